"""How much a codec's codes say: entropy and usage, from the codes of many clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class CodeStatistics:
    """Of each codebook, coarsest first."""

    frames: int
    """What they were measured on. With few frames per entry, entropy and usage come out too low."""
    usage: list[float]
    """Share of the entries that occur at all."""
    entropy: list[float]
    """Bits per code that an ideal coder needs who knows how often each occurs."""
    bigram_entropy: list[float]
    """Bits per code that it needs if it also knows the code before: the entropy of a code given the last."""
    repetition: list[float]
    """Share of the frames whose code is that of the frame before."""

    def kbps(self, frame_rate: float) -> float:
        """What an ideal coder of single codes would send, where the nominal bitrate spends all bits."""
        return sum(self.entropy) * frame_rate / 1000


def code_statistics(clips: Sequence[Codes], codebook_size: int) -> CodeStatistics:
    """Count the codes `[K, F]` of clips.

    Raises:
        ValueError: no codes, or one outside the codebook.
    """
    if not clips or sum(codes.shape[1] for codes in clips) == 0:
        raise ValueError("there are no codes to count")
    codebooks = len(clips[0])
    joined = np.concatenate(clips, axis=1).astype(np.int64)
    if joined.min() < 0 or joined.max() >= codebook_size:
        raise ValueError(f"codes must lie in [0, {codebook_size}); got {joined.min()} … {joined.max()}")
    pairs = [
        np.concatenate([codes[k, :-1].astype(np.int64) * codebook_size + codes[k, 1:] for codes in clips])
        for k in range(codebooks)
    ]
    starts = [np.concatenate([codes[k, :-1] for codes in clips]) for k in range(codebooks)]
    return CodeStatistics(
        frames=joined.shape[1],
        usage=[len(np.unique(row)) / codebook_size for row in joined],
        entropy=[entropy(row) for row in joined],
        bigram_entropy=[entropy(pair) - entropy(start) for pair, start in zip(pairs, starts, strict=True)],
        repetition=[
            float(np.mean(pair % codebook_size == pair // codebook_size)) if len(pair) else 0.0 for pair in pairs
        ],
    )


def entropy(symbols: Codes) -> float:
    """Of the distribution of symbols, in bits.

    >>> entropy(np.array([0, 0, 1, 2]))
    1.5
    """
    if len(symbols) == 0:
        return 0.0
    _, counts = np.unique(symbols, return_counts=True)
    shares = counts / len(symbols)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # no minus zero
