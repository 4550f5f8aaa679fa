"""Forced alignment by a hidden Markov model of which the observations are the codes, and mean durations of symbols.

A text is a left-to-right sequence of states, one for each symbol that has a sound, with silence around it. A state
emits each code with a probability of its own, and is left after a mean time of its own; both are found from nothing but
texts and codes, by taking the likeliest path through all clips, counting, and again (Viterbi training: Rabiner, "A
tutorial on hidden Markov models", 1989, section V.B; Juang and Rabiner, "The segmental k-means algorithm", 1990). No
other model is needed; tokens that tell sounds apart are aligned well, others badly.

Shapes: B clips, T frames, U states, N symbols, V codes, K codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xcodec.lm.config import ALIGNED_CODEBOOKS, Durations, LMConfig, TextConfig
from xcodec.lm.text import PUNCTUATION, is_mark, symbols_of

ROUNDS = 8
"""Of Viterbi training."""
MAX_TRAINING_CLIPS = 1500
"""That the probabilities are estimated from."""
PRIOR = 20.0
"""Frames with the overall distribution of codes that are added to those of each state (additive smoothing)."""
BATCH = 64
_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class StateSequence:
    """The states of a text: silence, its sounds, silence."""

    labels: list[int]
    """Of each: index of its symbol; the number of symbols for silence."""
    positions: list[int]
    """Of each: the position of its symbol in the text, counting the silence before it as 0."""
    skippable: list[bool]
    """Whether it may have no frame: silence, and what is between words."""


def state_sequence(text: Sequence[int], symbols: str) -> StateSequence:
    """States of a text.

    Marks of stress, length or tone have no state: they belong to the sound beside them. Of several characters between
    two words one gets a state: punctuation, if there is some.

    >>> state_sequence([2, 1, 0, 3], ". ab").labels
    [4, 2, 0, 3, 4]
    """
    silence = len(symbols)
    labels, positions, skippable = [silence], [0], [True]
    for position, index in enumerate(text, start=1):
        symbol = symbols[index]
        between = symbol in PUNCTUATION
        if not between and is_mark(symbol):
            continue
        if between and skippable[-1] and len(labels) > 1:
            if symbol != " " and symbols[labels[-1]] == " ":
                labels[-1], positions[-1] = index, position
            continue
        labels.append(index)
        positions.append(position)
        skippable.append(between)
    return StateSequence([*labels, silence], [*positions, len(text) + 1], [*skippable, True])


class HMMAligner(nn.Module):
    """Emission and transition probabilities of a left-to-right hidden Markov model.

    Args:
        config: of a model that reads text.
    """

    log_emission: Tensor
    """[K, N + 1, V]: log-probability of emitting each code of each codebook; the last state is silence."""
    log_stay: Tensor
    """[N + 1]: log-probability of staying in a state."""
    log_leave: Tensor
    """[N + 1]: log-probability of leaving it."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        assert config.text is not None
        self.symbols = symbols_of(config.text)
        states, codebooks = len(self.symbols) + 1, min(ALIGNED_CODEBOOKS, config.codec.codebooks)
        self.register_buffer("log_emission", torch.zeros(codebooks, states, config.codec.codebook_size))
        self.register_buffer("log_stay", torch.full((states,), 0.8).log())
        self.register_buffer("log_leave", torch.full((states,), 0.2).log())

    @property
    def codebooks(self) -> int:
        """How many of the first codebooks it observes."""
        return len(self.log_emission)

    def fit(self, texts: Sequence[Sequence[int]], codes: Sequence[NDArray[np.integer]]) -> None:
        """Viterbi training, from states of equal length on.

        Args:
            texts: indices of symbols of each clip.
            codes: [≥ K, T] of each clip.
        """
        chains = [state_sequence(text, self.symbols) for text in texts]
        paths = [_even(chain, each.shape[1]) for chain, each in zip(chains, codes, strict=True)]
        for _ in range(ROUNDS):
            self._count(chains, codes, paths)
            paths = self._paths(chains, codes)
        self._count(chains, codes, paths)

    def forward(
        self, texts: Sequence[Sequence[int]], codes: Sequence[NDArray[np.integer]], partial: bool = False
    ) -> list[NDArray[np.int64]]:
        """Frames of each symbol of each text: [len(text) + 2] each, with the silence before and after.

        Args:
            texts: indices of symbols.
            codes: [≥ K, T] of each clip.
            partial: clips may end before their texts do.
        """
        chains = [state_sequence(text, self.symbols) for text in texts]
        found = []
        for text, chain, path in zip(texts, chains, self._paths(chains, codes, partial), strict=True):
            found.append(np.bincount(np.array(chain.positions)[path], minlength=len(text) + 2))
        return found

    def _count(
        self, chains: Sequence[StateSequence], codes: Sequence[NDArray[np.integer]], paths: Sequence[NDArray[np.int64]]
    ) -> None:
        labels = np.concatenate([np.array(chain.labels)[path] for chain, path in zip(chains, paths, strict=True)])
        _, states, size = self.log_emission.shape
        for level in range(self.codebooks):
            observed = np.concatenate([each[level] for each in codes]).astype(np.int64)
            together = np.bincount(labels * size + observed, minlength=states * size).reshape(states, size)
            in_general = (together.sum(0) + 0.5) / (together.sum() + 0.5 * size)
            counted = together + PRIOR * in_general
            self.log_emission[level] = torch.from_numpy(np.log(counted / counted.sum(1, keepdims=True)))
        frames = np.bincount(labels, minlength=states)
        visits = np.zeros(states)
        for chain, path in zip(chains, paths, strict=True):
            visits += np.bincount(np.array(chain.labels)[np.unique(path)], minlength=states)
        log_leave = torch.from_numpy((visits + 1) / (frames + 5)).clamp(max=0.9).float()
        self.log_leave.copy_(log_leave.log())
        self.log_stay.copy_((1 - log_leave).log())

    def _paths(
        self, chains: Sequence[StateSequence], codes: Sequence[NDArray[np.integer]], partial: bool = False
    ) -> list[NDArray[np.int64]]:
        """The likeliest state of each frame."""
        order = sorted(range(len(chains)), key=lambda index: codes[index].shape[1])
        paths: dict[int, NDArray[np.int64]] = {}
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            found = self._viterbi([chains[index] for index in some], [codes[index] for index in some], partial)
            paths |= dict(zip(some, found, strict=True))
        return [paths[index] for index in range(len(chains))]

    @torch.no_grad()
    def _viterbi(
        self, chains: Sequence[StateSequence], codes: Sequence[NDArray[np.integer]], partial: bool
    ) -> list[NDArray[np.int64]]:
        clips, states = len(chains), max(len(chain.labels) for chain in chains)
        lengths = [each.shape[1] for each in codes]
        labels = torch.full((clips, states), len(self.symbols))
        skippable = torch.zeros(clips, states, dtype=torch.bool)
        observed = torch.zeros(clips, self.codebooks, max(lengths), dtype=torch.int64)
        for row, (chain, each) in enumerate(zip(chains, codes, strict=True)):
            labels[row, : len(chain.labels)] = torch.tensor(chain.labels)
            skippable[row, : len(chain.labels)] = torch.tensor(chain.skippable)
            observed[row, :, : each.shape[1]] = torch.from_numpy(each[: self.codebooks].astype(np.int64))
        # Many small steps: faster on the CPU, wherever the model is.
        log_emission = self.log_emission.float().cpu()
        log_stay, log_leave = self.log_stay.float().cpu()[labels], self.log_leave.float().cpu()[labels]  # [B, U]
        # Skipping a state has no cost of its own.
        over = torch.where(skippable[:, 1:-1], log_leave[:, :-2], log_leave.new_tensor(_IMPOSSIBLE))
        best = torch.full((clips, states), _IMPOSSIBLE)
        best[:, 0] = 0
        best[:, 1] = 0  # without silence before
        came, ends = [], []
        for frame in range(max(lengths)):
            if frame:
                options = torch.full((3, clips, states), _IMPOSSIBLE)
                options[0] = best + log_stay
                options[1, :, 1:] = best[:, :-1] + log_leave[:, :-1]
                options[2, :, 2:] = best[:, :-2] + over
                best, back = options.max(0)
                came.append(back)
            for level in range(self.codebooks):
                best = best + log_emission[level][labels, observed[:, level, frame, None]]
            ends.append(best)
        moves = torch.stack(came).numpy() if came else np.zeros((0, clips, states), np.int64)
        found = []
        for row, (chain, length) in enumerate(zip(chains, lengths, strict=True)):
            last = ends[length - 1][row, : len(chain.labels)]
            state = int(last.argmax()) if partial else len(chain.labels) - 2 + int(last[-2:].argmax())
            path = np.empty(length, np.int64)
            for frame in range(length - 1, -1, -1):
                path[frame] = state
                state -= int(moves[frame - 1, row, state]) if frame else 0
            found.append(path)
        return found


def _even(chain: StateSequence, frames: int) -> NDArray[np.int64]:
    """All states that cannot be skipped, with equal durations."""
    required = np.flatnonzero(~np.array(chain.skippable))
    return required[np.arange(frames) * len(required) // frames]


# --- mean durations, for models whose text is not aligned -------------------------------------------------------------

DURATION_ROUNDS = 2000


def expected_frames(text: Sequence[int], config: LMConfig) -> float:
    """Expected frames of a text, with the silence around it.

    Args:
        text: indices of symbols.
        config: of a model that reads text.
    """
    assert config.text is not None
    symbols, durations = symbols_of(config.text), config.durations
    return durations.silence + sum(durations.symbols.get(symbols[index], durations.usual) for index in text)


def estimate_durations(
    texts: Sequence[Sequence[int]], frames: Sequence[int], speakers: Sequence[str | None], config: TextConfig
) -> Durations:
    """Mean durations of symbols and of the silence, from the lengths of clips: non-negative least squares.

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
    durations = torch.tensor(list(frames), dtype=torch.float64)
    total = counts[:, :-1].sum(1)
    mean = float(durations.sum() / total.sum())
    for speaker in sorted(set(speakers), key=str):
        own = torch.tensor([each == speaker for each in speakers])
        durations[own] *= mean * total[own].sum() / durations[own].sum()
    # Multiplicative updates keep all durations positive (Lee and Seung, 2001).
    products, aim = counts.T @ counts, counts.T @ durations
    found = torch.full((len(symbols) + 1,), mean, dtype=torch.float64)
    for _ in range(DURATION_ROUNDS):
        found *= aim / (products @ found).clamp(min=1e-9)
    seen = counts.sum(0) > 0
    known = {symbol: round(float(found[i]), 3) for i, symbol in enumerate(symbols) if seen[i]}
    return Durations(round(mean, 3), round(float(found[-1]), 3), known)
