"""A network of finite context, run over a sequence piece by piece as if over the whole.

With 2 frames of context on either side, and pieces of 5 frames:

    frames     0 1 2 3 4 5 6 7 8 9 ...
    heard      └───────────┘             frames 0 … 6 go in,
    kept       └───────┘                 and 0 … 4 of what comes out are kept
    heard            └───────────────┘   then 3 … 11
    kept                 └───────┘       and of that 5 … 9
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reach:
    """How far a network looks, and in what portions it is to be run, all in frames."""

    before: int
    """Of context before a piece."""
    after: int
    """Of context after it, which must have come before the piece can be given."""
    least: int = 1
    """A piece waits until it has this many frames (but for the last)."""
    most: int = 1000
    """A longer one is divided, which bounds the memory."""


class Sliding:
    """Takes a sequence as it comes and gives what ``network`` makes of it, in order and without seams.

    Args:
        network: [B, C, frames × samples_in] -> [B, C', frames × samples_out], of no more context than ``reach`` says.
            What lies beyond the ends of the sequence is its own affair, as it is when it gets the whole.
        reach: that context, and the size of the pieces.
        samples_in: positions per frame of its input.
        samples_out: positions per frame of its output.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], reach: Reach, samples_in: int = 1, samples_out: int = 1
    ) -> None:
        self._network = network
        self._reach = reach
        self._in, self._out = samples_in, samples_out
        self._held: Tensor | None = None
        self._first = 0  # frame with which `held` begins
        self._next = 0  # frame to be given next

    def push(self, piece: Tensor) -> list[Tensor]:
        """Take [B, C, n], any n, and give what has become certain: pieces [B, C', frames × samples_out]."""
        self._held = piece if self._held is None else torch.cat([self._held, piece], dim=2)
        return list(self._ready(self._reach.after, self._reach.least))

    def finish(self) -> list[Tensor]:
        """The rest, now that the sequence has ended; it must have had whole frames."""
        return [] if self._held is None else list(self._ready(0, 1))

    def _ready(self, after: int, least: int) -> Iterator[Tensor]:
        assert self._held is not None
        available = self._first + self._held.shape[2] // self._in
        while available - after - self._next >= least:
            end = min(available - after, self._next + self._reach.most)
            first, last = max(self._next - self._reach.before, 0), min(end + self._reach.after, available)
            made = self._network(self._held[..., (first - self._first) * self._in : (last - self._first) * self._in])
            yield made[..., (self._next - first) * self._out : (end - first) * self._out]
            self._next = end
            needed = max(end - self._reach.before, 0)
            self._held = self._held[..., (needed - self._first) * self._in :].clone()  # a slice would keep all of it
            self._first = needed
