"""Does a text-to-speech model read? What held-out codes cost it with their text, with another clip's, and with none.

A model of aligned text is told when each symbol is said, of any text: where it would best be said in these codes.

python -m experiments.xcodec_mini.text_use runs/speech-ar-mini/model data/tokens
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from xcodec.data.token_table import read_table
from xcodec.lm.checkpoint import load_autoregressive
from xcodec.lm.layout import example
from xcodec.lm.model import AutoregressiveLM, Prediction
from xcodec.lm.text import text_to_symbols
from xcodec.lm.text_encoder import AlignedText

LONGEST = 8.0
"""In seconds."""


def losses(model: AutoregressiveLM, codes: Tensor, text: list[int], without_text: bool) -> list[Prediction]:
    """What the codes [K, F] of a clip are worth to a model that is told a text."""
    own = codes[: model.config.codebooks]
    if model.aligner is None or model.text_encoder is None:
        made = example(model.vocabulary, model.pattern, own, text, without_text=without_text, ends=False)
        return model.losses(made.ids[None], made.labels[None])
    (durations,) = model.aligner([text], [codes.numpy()])
    aligned_text = AlignedText.from_durations(model.vocabulary, text, durations)
    aligned_text = aligned_text.without_text() if without_text else aligned_text
    made = example(model.vocabulary, model.pattern, own, ends=False)
    positions = aligned_text.autoregressive_positions(1, made.ids.shape[1], model.pattern.period)
    states = model.text_encoder.upsample(model.text_encoder(aligned_text.text[None]), positions[None])
    return model.losses(made.ids[None], made.labels[None], text_states=states)


@torch.inference_mode()
def main() -> None:
    """Print nats per code."""
    parser = argparse.ArgumentParser(description="Does a text-to-speech model read?")
    parser.add_argument("model", help="folder of a first stage, or a checkpoint of its training")
    parser.add_argument("table", help="folder that xcodec tokenize made")
    parser.add_argument("--clips", type=int, default=40)
    options = parser.parse_args()
    model = load_autoregressive(options.model)
    config = model.config
    assert config.text is not None
    table = read_table(options.table, domains=("speech",))
    learnt = {item.speaker for item in table.items if item.split == "train"}
    most = LONGEST * config.codec.frame_rate
    held_out = [item for item in table.items if item.split != "train" and item.speaker in learnt]
    items = [item for item in held_out if item.text and item.frames < most][: options.clips]
    texts = [text_to_symbols(item.text or "", config.text) for item in items]
    for kind, shift in (("its own text", 0), ("the text of another clip", len(items) // 3), ("no text", 0)):
        nats, codes = 0.0, 0
        for index, item in enumerate(items):
            text = texts[(index + shift) % len(items)]
            said = torch.from_numpy(item.codes.astype(np.int64))
            for each in losses(model, said, text, without_text=kind == "no text"):
                nats += float(each.loss) * len(each.right)
                codes += len(each.right)
        print(f"{kind:<25} {nats / codes:.3f} nats per code")


if __name__ == "__main__":
    main()
