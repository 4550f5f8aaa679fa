"""How long text usually lasts, where nothing says it frame by frame (`reading.py`): least squares over a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .config import Durations, LMConfig, TextConfig
from .text import symbols_of

ROUNDS = 2000


def expected_frames(text: Sequence[int], config: LMConfig) -> float:
    """How many frames a text usually lasts, silence around it included.

    Args:
        text: indices of symbols.
        config: of a model that reads text.
    """
    assert config.text is not None
    symbols, durations = symbols_of(config.text), config.durations
    return durations.silence + sum(durations.symbols.get(symbols[index], durations.usual) for index in text)


def measure_durations(
    texts: Sequence[Sequence[int]], frames: Sequence[int], speakers: Sequence[str | None], config: TextConfig
) -> Durations:
    """Which durations of symbols, and which silence, explain best how long clips are: least squares, none below zero.

    Args:
        texts: indices of symbols of each clip.
        frames: how long each is.
        speakers: who says it. Some speak faster than others; durations are those of the average.
        config: of the front end.
    """
    symbols = symbols_of(config)
    counts = torch.zeros(len(texts), len(symbols) + 1, dtype=torch.float64)
    for row, text in zip(counts, texts, strict=True):
        row[:-1] = torch.bincount(torch.tensor(list(text)), minlength=len(symbols))
    counts[:, -1] = 1  # the silence
    lasts = torch.tensor(list(frames), dtype=torch.float64)
    said = counts[:, :-1].sum(1)
    usual = float(lasts.sum() / said.sum())
    for speaker in sorted(set(speakers), key=str):
        own = torch.tensor([each == speaker for each in speakers])
        lasts[own] *= usual * said[own].sum() / lasts[own].sum()
    # Multiplying by the ratio of what is and what is said keeps all durations positive (Lee and Seung, 2001).
    products, aim = counts.T @ counts, counts.T @ lasts
    found = torch.full((len(symbols) + 1,), usual, dtype=torch.float64)
    for _ in range(ROUNDS):
        found *= aim / (products @ found).clamp(min=1e-9)
    seen = counts.sum(0) > 0
    known = {symbol: round(float(found[i]), 3) for i, symbol in enumerate(symbols) if seen[i]}
    return Durations(round(usual, 3), round(float(found[-1]), 3), known)
