"""How fast is generation: with the cache, without it, and by `transformers`' own generate with the same weights?

    python benchmarks/generation.py [--config configs/lm/speech-ar-mini.yaml] [--frames 250] [--rounds 5]

The model has random weights, which cost the same as trained ones. One thread, and its CPU time, so that what else runs
on the machine hardly counts; the three take turns, and medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from xcodec.lm.checkpoint import to_llama
from xcodec.lm.config import CodecSpec
from xcodec.lm.generation import Limits, Request, Sampling, generate
from xcodec.lm.layout import END, context
from xcodec.lm.model import AutoregressiveLM, build_model
from xcodec.train.config import LMTrainConfig, read_run

TEXT = list(range(60))
"""As many symbols as a sentence of about four seconds has."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="configs/lm/speech-ar-mini.yaml")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)

    run = read_run(options.config, (), LMTrainConfig)
    if run.model.get("text"):  # a Llama is not told its text frame by frame
        run = read_run(options.config, ["model.text.aligned=false"], LMTrainConfig)
    torch.manual_seed(0)
    model = build_model(run.language_model(CodecSpec("benchmark", "0" * 16))).eval()
    assert isinstance(model, AutoregressiveLM), "only models that say frame after frame can be compared"
    before = context(model.vocabulary, model.pattern, TEXT if model.config.text is not None else None)
    begun = torch.zeros(model.pattern.codebooks, 0, dtype=torch.int64)
    request = Request(before, begun, Limits(options.frames, options.frames), Sampling(top_p=0.9))
    candidates: dict[str, Callable[[], object]] = {
        "with the cache": lambda: generate(model, request),
        "without it": lambda: generate(model, request, cached=False),
    }
    if model.pattern.width == 1:
        llama = to_llama(model)
        steps = model.pattern.length(options.frames)
        candidates["transformers' generate"] = lambda: llama.generate(
            before, do_sample=True, top_p=0.9, top_k=0, min_new_tokens=steps, max_new_tokens=steps, eos_token_id=END
        )

    took: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, work in candidates.items():
            started = time.process_time()
            with torch.inference_mode():
                work()
            took[name].append(time.process_time() - started)
    seconds = options.frames / model.config.codec.frame_rate
    weights = sum(each.numel() for each in model.parameters()) / 1e6
    print(f"{run.name}: {weights:.1f} M weights, {seconds:g} s of tokens, one thread, medians of CPU time")
    base = statistics.median(took["with the cache"])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"{name:<24}{median:7.2f} s   {seconds / median:6.2f} × real time   {median / base:5.2f} × the first")


if __name__ == "__main__":
    main()
