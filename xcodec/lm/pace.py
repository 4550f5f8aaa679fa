"""When what is to be read will be said: durations of symbols, and positions of text on the clock of the codes.

A decoder-only model has to find out by itself that speech goes through its text from left to right, and where in the
text it is. For a small model and a few hours of speech that is most of the work. A model of paced text
(`TextConfig.paced`) is told a first guess: how long each symbol usually lasts, stretched so that the whole text lasts
as long as the codes do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .config import Durations, LMConfig, TextConfig
from .text import symbols_of
from .vocabulary import AUDIO, NOTHING, PAD, PROMPT, SPECIALS, Vocabulary

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


class Pacing(nn.Module):
    """Positions of grids on the clock of the codes to be said, in frames.

        TEXT      ð    ɪ    s   …       PROMPT codes  AUDIO  codes …
        silence/2 where each is said    … -3  -2      -1     0  1  2 …

    Args:
        config: of a model of paced text.
    """

    durations: Tensor

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        assert config.text is not None
        known = config.durations
        durations = torch.zeros(Vocabulary.of(config).size)
        durations[NOTHING] = known.usual
        for index, symbol in enumerate(symbols_of(config.text)):
            durations[SPECIALS + index] = known.symbols.get(symbol, known.usual)
        self.register_buffer("durations", durations, persistent=False)
        self.silence = known.silence

    def forward(self, ids: Tensor, pace: Tensor | None = None, period: int = 1) -> Tensor:
        """Where everything stands: float [B, L].

        Args:
            ids: int64 [B, S, L], each row with TEXT first, and AUDIO somewhere.
            pace: [B], times the usual durations; by default such that the text lasts as long as the codes in the grid.
            period: positions per frame.
        """
        place = torch.arange(ids.shape[2], device=ids.device)
        stream = ids[:, 0]
        begins = (stream == AUDIO).int().argmax(1, keepdim=True)  # [B, 1]
        is_text = ((stream == PROMPT) | (stream == AUDIO)).cumsum(1) == 0
        lasts = self.durations[stream] * is_text
        if pace is None:
            frames = ((ids != PAD).any(1) & (place > begins)).sum(1) / period
            pace = frames / (self.silence + lasts.sum(1)).clamp(min=1e-3)
        middle = self.silence / 2 + lasts.cumsum(1) - lasts / 2
        return torch.where(is_text, middle * pace[:, None], (place - begins - 1) / period)
