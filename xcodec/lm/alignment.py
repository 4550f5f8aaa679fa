"""Which frame says which symbol of a text: alignment by a hidden Markov model whose observations are the codes.

Speech goes through its text from left to right, so a text is a chain of states, one for each symbol that can be heard,
with silence around it. A state says each code with a probability of its own, and goes on after a mean time of its own;
both are found from nothing but texts and codes, by taking the likeliest path through all clips, counting, and again
(Viterbi training: Rabiner, "A tutorial on hidden Markov models", 1989, section V.B; Juang and Rabiner, "The segmental
k-means algorithm", 1990). Tokens that tell sounds apart are aligned well, others badly: no other model is asked.

Shapes: B clips, T frames, U states, N symbols, V codes, K codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xcodec.lm.config import Durations, LMConfig, TextConfig
from xcodec.lm.text import PUNCTUATION, is_mark, symbols_of

CODEBOOKS = 4
"""By how many of the codec's codebooks clips are aligned, if it has so many."""
ROUNDS = 8
LEARNT_FROM = 1500
"""Clips of which the probabilities are learnt."""
PRIOR = 20.0
"""Frames of speech in general that are counted in with those of each state."""
AT_ONCE = 64
_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Chain:
    """The states of a text: silence, what is heard, silence."""

    kinds: list[int]
    """Of each: index of its symbol; the number of symbols for silence."""
    places: list[int]
    """Of each: where its symbol stands in the text, counting the silence before it as 0."""
    skippable: list[bool]
    """Whether it may last no time: silence, and what is between words."""


def chain_of(text: Sequence[int], symbols: str) -> Chain:
    """States of a text.

    Marks of stress, length or tone are heard in the sound beside them, and have no time of their own. Of several
    characters between two words, one stands for all: punctuation, if there is some.

    >>> chain_of([2, 1, 0, 3], ". ab").kinds
    [4, 2, 0, 3, 4]
    """
    silence = len(symbols)
    kinds, places, skippable = [silence], [0], [True]
    for place, index in enumerate(text, start=1):
        symbol = symbols[index]
        between = symbol in PUNCTUATION
        if not between and is_mark(symbol):
            continue
        if between and skippable[-1] and len(kinds) > 1:
            if symbol != " " and symbols[kinds[-1]] == " ":
                kinds[-1], places[-1] = index, place
            continue
        kinds.append(index)
        places.append(place)
        skippable.append(between)
    return Chain([*kinds, silence], [*places, len(text) + 1], [*skippable, True])


class Aligner(nn.Module):
    """What is known of how texts are said in codes.

    Args:
        config: of a model that reads text.
    """

    scores: Tensor
    """[K, N + 1, V]: log-probability of each code of each codebook in each state; the last is silence."""
    stays: Tensor
    """[N + 1]: log-probability that a state goes on for another frame."""
    goes: Tensor
    """[N + 1]: that it does not."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        assert config.text is not None
        self.symbols = symbols_of(config.text)
        kinds, codebooks = len(self.symbols) + 1, min(CODEBOOKS, config.codec.codebooks)
        self.register_buffer("scores", torch.zeros(codebooks, kinds, config.codec.codebook_size))
        self.register_buffer("stays", torch.full((kinds,), 0.8).log())
        self.register_buffer("goes", torch.full((kinds,), 0.2).log())

    @property
    def codebooks(self) -> int:
        """How many of the first codebooks it looks at."""
        return len(self.scores)

    def learn(self, texts: Sequence[Sequence[int]], codes: Sequence[NDArray[np.integer]]) -> None:
        """Find the probabilities, from clips cut evenly on.

        Args:
            texts: indices of symbols of each clip.
            codes: [≥ K, T] of each clip.
        """
        chains = [chain_of(text, self.symbols) for text in texts]
        paths = [_even(chain, each.shape[1]) for chain, each in zip(chains, codes, strict=True)]
        for _ in range(ROUNDS):
            self._count(chains, codes, paths)
            paths = self._paths(chains, codes)
        self._count(chains, codes, paths)

    def forward(
        self, texts: Sequence[Sequence[int]], codes: Sequence[NDArray[np.integer]], begun: bool = False
    ) -> list[NDArray[np.int64]]:
        """How many frames each symbol of each text lasts: [len(text) + 2] each, with the silence before and after.

        Args:
            texts: indices of symbols.
            codes: [≥ K, T] of each clip.
            begun: clips may be over before their texts are.
        """
        chains = [chain_of(text, self.symbols) for text in texts]
        found = []
        for text, chain, path in zip(texts, chains, self._paths(chains, codes, begun), strict=True):
            found.append(np.bincount(np.array(chain.places)[path], minlength=len(text) + 2))
        return found

    def _count(
        self, chains: Sequence[Chain], codes: Sequence[NDArray[np.integer]], paths: Sequence[NDArray[np.int64]]
    ) -> None:
        kinds = np.concatenate([np.array(chain.kinds)[path] for chain, path in zip(chains, paths, strict=True)])
        _, states, size = self.scores.shape
        for level in range(self.codebooks):
            said = np.concatenate([each[level] for each in codes]).astype(np.int64)
            together = np.bincount(kinds * size + said, minlength=states * size).reshape(states, size)
            in_general = (together.sum(0) + 0.5) / (together.sum() + 0.5 * size)
            counted = together + PRIOR * in_general
            self.scores[level] = torch.from_numpy(np.log(counted / counted.sum(1, keepdims=True)))
        frames = np.bincount(kinds, minlength=states)
        visits = np.zeros(states)
        for chain, path in zip(chains, paths, strict=True):
            visits += np.bincount(np.array(chain.kinds)[np.unique(path)], minlength=states)
        goes = torch.from_numpy((visits + 1) / (frames + 5)).clamp(max=0.9).float()
        self.goes.copy_(goes.log())
        self.stays.copy_((1 - goes).log())

    def _paths(
        self, chains: Sequence[Chain], codes: Sequence[NDArray[np.integer]], begun: bool = False
    ) -> list[NDArray[np.int64]]:
        """The likeliest state of each frame."""
        order = sorted(range(len(chains)), key=lambda index: codes[index].shape[1])
        paths: dict[int, NDArray[np.int64]] = {}
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            found = self._viterbi([chains[index] for index in some], [codes[index] for index in some], begun)
            paths |= dict(zip(some, found, strict=True))
        return [paths[index] for index in range(len(chains))]

    @torch.no_grad()
    def _viterbi(
        self, chains: Sequence[Chain], codes: Sequence[NDArray[np.integer]], begun: bool
    ) -> list[NDArray[np.int64]]:
        clips, states = len(chains), max(len(chain.kinds) for chain in chains)
        lengths = [each.shape[1] for each in codes]
        kinds = torch.full((clips, states), len(self.symbols))
        skippable = torch.zeros(clips, states, dtype=torch.bool)
        said = torch.zeros(clips, self.codebooks, max(lengths), dtype=torch.int64)
        for row, (chain, each) in enumerate(zip(chains, codes, strict=True)):
            kinds[row, : len(chain.kinds)] = torch.tensor(chain.kinds)
            skippable[row, : len(chain.kinds)] = torch.tensor(chain.skippable)
            said[row, :, : each.shape[1]] = torch.from_numpy(each[: self.codebooks].astype(np.int64))
        # Many small steps: wherever the model is, they are faster here.
        scores = self.scores.float().cpu()
        stays, goes = self.stays.float().cpu()[kinds], self.goes.float().cpu()[kinds]  # [B, U]
        # Passing over a state costs nothing but what it would have said.
        over = torch.where(skippable[:, 1:-1], goes[:, :-2], goes.new_tensor(_IMPOSSIBLE))
        best = torch.full((clips, states), _IMPOSSIBLE)
        best[:, 0] = 0
        best[:, 1] = 0  # without silence before
        came, ends = [], []
        for frame in range(max(lengths)):
            if frame:
                options = torch.full((3, clips, states), _IMPOSSIBLE)
                options[0] = best + stays
                options[1, :, 1:] = best[:, :-1] + goes[:, :-1]
                options[2, :, 2:] = best[:, :-2] + over
                best, back = options.max(0)
                came.append(back)
            for level in range(self.codebooks):
                best = best + scores[level][kinds, said[:, level, frame, None]]
            ends.append(best)
        moves = torch.stack(came).numpy() if came else np.zeros((0, clips, states), np.int64)
        found = []
        for row, (chain, length) in enumerate(zip(chains, lengths, strict=True)):
            last = ends[length - 1][row, : len(chain.kinds)]
            state = int(last.argmax()) if begun else len(chain.kinds) - 2 + int(last[-2:].argmax())
            path = np.empty(length, np.int64)
            for frame in range(length - 1, -1, -1):
                path[frame] = state
                state -= int(moves[frame - 1, row, state]) if frame else 0
            found.append(path)
        return found


def _even(chain: Chain, frames: int) -> NDArray[np.int64]:
    """All states that must be heard, for the same time."""
    heard = np.flatnonzero(~np.array(chain.skippable))
    return heard[np.arange(frames) * len(heard) // frames]


# How long text usually lasts, where nothing says it frame by frame (`reading.py`): least squares over a corpus.

DURATION_ROUNDS = 2000


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
    for _ in range(DURATION_ROUNDS):
        found *= aim / (products @ found).clamp(min=1e-9)
    seen = counts.sum(0) > 0
    known = {symbol: round(float(found[i]), 3) for i, symbol in enumerate(symbols) if seen[i]}
    return Durations(round(usual, 3), round(float(found[-1]), 3), known)
