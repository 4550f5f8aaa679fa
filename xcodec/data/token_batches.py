"""Batches of clips of about the same length, in an endless stream in which batch `i` depends on the seed and `i` alone.

    stream index of the batch of rank r at step s  =  s · ranks + r

so that, as with crops, a run resumes by knowing an integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xcodec.data.manifest import DataError


class LengthBuckets:
    """Numbers of clips, batch after batch; every clip comes once per round.

    Args:
        lengths: positions that each clip takes.
        budget: positions of a batch, padding included.
        seed: of the order.
        jitter: how much lengths are blurred before clips are put side by side, so that rounds differ.

    Raises:
        DataError: no clips, or one that alone exceeds the budget.
    """

    def __init__(self, lengths: Sequence[int], budget: int, seed: int, jitter: float = 0.1) -> None:
        if not lengths:
            raise DataError("no clips to make batches of")
        if max(lengths) > budget:
            raise DataError(
                f"the longest clip takes {max(lengths)} positions, more than the {budget} of a batch; raise"
                " data.batch_positions or lower data.max_seconds"
            )
        self.lengths = np.asarray(lengths)
        self.budget, self.seed, self.jitter = budget, seed, jitter
        self.ends = [0]
        """Of each round that was looked at, the number of the batch after its last."""
        self._round = lru_cache(maxsize=2)(self._make_round)

    def __getitem__(self, number: int) -> list[int]:
        """The clips of batch ``number``, counted from 0 without end."""
        while number >= self.ends[-1]:
            self.ends.append(self.ends[-1] + len(self._round(len(self.ends) - 1)))
        rounds = int(np.searchsorted(self.ends, number, side="right")) - 1
        return self._round(rounds)[number - self.ends[rounds]]

    @property
    def first_round(self) -> list[list[int]]:
        """The batches in which every clip comes once, for the first time."""
        return self._round(0)

    def _make_round(self, rounds: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, rounds))
        blurred = self.lengths * (1 + self.jitter * rng.uniform(-1, 1, len(self.lengths)))
        batches: list[list[int]] = [[]]
        longest = 0
        for index in np.argsort(blurred, kind="stable").tolist():
            longest = max(longest, int(self.lengths[index]))
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.budget:
                batches.append([])
                longest = int(self.lengths[index])
            batches[-1].append(index)
        rng.shuffle(batches)
        return batches
