"""Does a text-to-speech model read? What held-out codes cost it with their text, with another clip's, and with none.

python benchmarks/text_use.py runs/speech-ar-mini/model data/tokens
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from xcodec.data.token_table import read_table
from xcodec.lm.checkpoint import load_autoregressive
from xcodec.lm.pace import expected_frames
from xcodec.lm.sequences import example
from xcodec.lm.text import read

LONGEST = 8.0
"""In seconds."""


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
    table = read_table(options.table, domains=("speech",), codebooks=config.codebooks)
    learnt = {item.speaker for item in table.items if item.split == "train"}
    most = LONGEST * config.codec.frame_rate
    held_out = [item for item in table.items if item.split != "train" and item.speaker in learnt]
    items = [item for item in held_out if item.text and item.frames < most][: options.clips]
    texts = [read(item.text or "", config.text) for item in items]
    for kind, shift in (("its own text", 0), ("the text of another clip", len(items) // 3), ("no text", 0)):
        nats, codes = 0.0, 0
        for index, item in enumerate(items):
            text = texts[(index + shift) % len(items)]
            said = torch.from_numpy(item.codes.astype(np.int64))
            made = example(model.vocabulary, model.pattern, said, text, without_text=kind == "no text", ends=False)
            pace = torch.tensor([said.shape[1] / expected_frames(text, config)])
            for each in model.losses(made.ids[None], made.labels[None], pace=pace):
                nats += float(each.loss) * len(each.right)
                codes += len(each.right)
        print(f"{kind:<25} {nats / codes:.3f} nats per code")


if __name__ == "__main__":
    main()
