"""Throughput of `tokenize`: one process, and actors of a Ray cluster on this machine.

    python -m benchmarks.cluster --clips 48

Speeds are multiples of real time, from the first clip done to the last, so that the start of Ray and the loading of
models do not count; `start` is what comes before. The share outside the encoder is what an actor does not spend in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import xcodec
from xcodec import audio
from xcodec.inference.corpus import tokenize
from xcodec.inference.corpus_encoding import ClipEncoder

SAMPLE = Path(__file__).parents[1] / "samples" / "english-please-stay-on-the-line.flac"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48)
    clips = parser.parse_args().clips
    torch.set_num_threads(1)
    wav = xcodec.read_audio(SAMPLE, 16_000).numpy()
    seconds = len(wav) / 16_000
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch, "corpus")
        corpus.mkdir()
        for number in range(clips):
            audio.write(corpus / f"{number:04}.flac", (wav * np.float32(0.5 + number / clips / 2))[None], 16_000)
        encoder = ClipEncoder(xcodec.load(), None)
        encoder.encode(wav)
        began = time.perf_counter()
        for _ in range(8):
            encoder.encode(wav)
        alone = (time.perf_counter() - began) / 8
        print(f"the encoder by itself: {seconds / alone:.0f} × real time on one thread")
        print("| run | × real time | start, s | outside the encoder |\n|---|---|---|---|")
        for name, cluster, jobs in (("one process", None, 1), ("Ray, 1 actor", "ray", 1), ("Ray, 2 actors", "ray", 2)):
            moments: list[float] = []
            began = time.perf_counter()
            tokenize(
                corpus,
                Path(scratch, name),
                cluster=cluster,
                jobs=jobs,
                progress=lambda done, total, moments=moments: moments.append(time.perf_counter()),  # type: ignore[misc]
            )
            per_clip = (moments[-1] - moments[0]) / (clips - 1)
            outside = 1 - alone / (per_clip * jobs)
            print(f"| {name} | {seconds / per_clip:.0f} | {moments[0] - began:.1f} | {outside:.0%} |", flush=True)


if __name__ == "__main__":
    main()
