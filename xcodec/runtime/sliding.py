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
    grid: int | None = None
    """Where the network tells positions apart: frames of its windows. What is heard for a piece then begins ``before``
    frames ahead of the window, ends as many after it at the latest, and no piece reaches into the next window."""
    align: int = 1
    """What is heard begins with a multiple of so many frames."""

    def end(self, start: int, available: int) -> int:
        """Where a piece from ``start`` ends, if there are so many frames to give."""
        end = min(available, start + self.most)
        return min(end, (start // self.grid + 1) * self.grid) if self.grid else end

    def heard(self, start: int, end: int, available: int) -> tuple[int, int]:
        """The frames that are heard for a piece, of those that are there."""
        last = min(end + self.after, available)
        if not self.grid:
            first = max(start - self.before, 0)
            return first - first % self.align, last
        window = start // self.grid * self.grid
        return max(window - self.before, 0), min(last, window + self.grid + self.before)


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
            end = self._reach.end(self._next, available - after)
            first, last = self._reach.heard(self._next, end, available)
            made = self._network(self._held[..., (first - self._first) * self._in : (last - self._first) * self._in])
            yield made[..., (self._next - first) * self._out : (end - first) * self._out]
            self._next = end
            needed, _ = self._reach.heard(end, end, available)
            self._held = self._held[..., (needed - self._first) * self._in :].clone()  # a slice would keep all of it
            self._first = needed
