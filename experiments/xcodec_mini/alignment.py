"""Do the tokens of two codecs agree about when the symbols of a text are said? Each is aligned by itself.

python -m experiments.xcodec_mini.alignment TABLE TABLE    (two folders that xcodec tokenize made of the same clips)
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from xcodec.data.token_table import read_table
from xcodec.lm.alignment import HMMAligner
from xcodec.lm.config import ALIGNED_CODEBOOKS, CodecSpec, LMConfig, TextConfig
from xcodec.lm.text import read

LONGEST = 500
"""Frames."""


def main() -> None:
    """Print how far apart boundaries are."""
    parser = argparse.ArgumentParser(description="Do the tokens of two codecs agree about when what is said?")
    parser.add_argument("tables", nargs=2, help="folders that xcodec tokenize made of the same clips")
    parser.add_argument("--clips", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = TextConfig()
    ends: list[dict[str, np.ndarray]] = []
    for table in options.tables:
        read_in = read_table(table, "train", domains=("speech",), codebooks=ALIGNED_CODEBOOKS)
        items = [item for item in read_in.items if item.text and item.frames <= LONGEST]
        items = items[:: max(1, len(items) // options.clips)][: options.clips]
        texts, codes = [read(item.text or "", text) for item in items], [item.codes for item in items]
        aligner = HMMAligner(LMConfig(CodecSpec(**vars(read_in.info)), text=text))
        aligner.fit(texts, codes)
        ends.append({item.id: own.cumsum() for item, own in zip(items, aligner(texts, codes), strict=True)})
    apart = np.concatenate([np.abs(own - ends[1][name]) for name, own in ends[0].items() if name in ends[1]])
    print(f"{len(apart)} boundaries, mean distance {apart.mean():.2f} frames")
    for frames in (0, 1, 2, 5):
        print(f"within {frames} frames: {100 * (apart <= frames).mean():.1f} %")


if __name__ == "__main__":
    main()
