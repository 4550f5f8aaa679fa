"""In which order an autoregressive model says the codes of several codebooks.

Code k of frame f is said in stream `streams[k]` at step `f · period + offsets[k]`; each step is one position of the
transformer, and all streams of a step are said at once, each knowing only the steps before. With three codebooks:

    flat: one stream, three steps per frame        delay: three streams, one step per frame
    step  0   1   2   3   4   5                    step  0   1   2   3   4
          0.0 1.0 2.0 0.1 1.1 2.1                        0.0 0.1 0.2
          (k.f)                                              1.0 1.1 1.2
                                                                 2.0 2.1 2.2

Flat is exact and K times as long; delay is short, and lets code k know the codes below it of its own frame, because it
comes k steps later (MusicGen, arXiv 2306.05284, section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xcodec.settings import ConfigError, require


@dataclass(frozen=True)
class Pattern:
    """A layout of codes [K, F] on a grid [S, L].

    Raises:
        ConfigError: two codes share a cell, a stream is empty, or a code comes no later than the one it refines.
    """

    streams: tuple[int, ...]
    """Of each codebook."""
    offsets: tuple[int, ...]
    """Of each codebook, in steps."""
    period: int
    """Steps from frame to frame."""

    def __post_init__(self) -> None:
        require(
            len(self.streams) == len(self.offsets) > 0 and self.period > 0,
            "a pattern needs a stream and an offset for each codebook, and a positive period",
        )
        require(
            set(self.streams) == set(range(max(self.streams) + 1)),
            f"streams must be numbered from 0 without gaps, not {sorted(set(self.streams))}",
        )
        require(self.offsets[0] == 0, f"codebook 0 must start at step 0, not {self.offsets[0]}")
        # Codes of one stream collide if and only if their offsets differ by a whole number of periods.
        cells = {(stream, offset % self.period) for stream, offset in zip(self.streams, self.offsets, strict=True)}
        require(len(cells) == len(self.streams), f"two codebooks share a cell of the grid: {self}")
        require(
            all(below < above for below, above in pairwise(self.offsets)),
            f"each codebook must come later than the one it refines; offsets are {list(self.offsets)}",
        )

    @property
    def codebooks(self) -> int:
        """K."""
        return len(self.streams)

    @property
    def width(self) -> int:
        """S: streams."""
        return max(self.streams) + 1

    def length(self, frames: int) -> int:
        """L: steps that it takes to say so many frames."""
        return (frames - 1) * self.period + self.offsets[-1] + 1 if frames else 0

    def frames_ready(self, steps: int) -> int:
        """Frames whose codes have all been said after so many steps.

        >>> delay(3).frames_ready(4), flat(3).frames_ready(4)
        (2, 1)
        """
        return max(0, (steps - 1 - self.offsets[-1]) // self.period + 1)

    def said_at(self, step: int) -> list[tuple[int, int, int]]:
        """What is said at a step: (stream, codebook, frame) of each code.

        >>> delay(3).said_at(1)
        [(0, 0, 1), (1, 1, 0)]
        """
        said = []
        for codebook, (stream, offset) in enumerate(zip(self.streams, self.offsets, strict=True)):
            frame, rest = divmod(step - offset, self.period)
            if rest == 0 and frame >= 0:
                said.append((stream, codebook, frame))
        return said

    def arrange(self, codes: Tensor, fill: int) -> Tensor:
        """Codes [..., K, F] -> grid [..., S, L], with ``fill`` in the empty cells."""
        *before, codebooks, frames = codes.shape
        if codebooks != self.codebooks:
            raise ValueError(f"the pattern has {self.codebooks} codebooks, the codes {codebooks}")
        grid = codes.new_full((*before, self.width, self.length(frames)), fill)
        for codebook in range(codebooks):
            grid[..., self.streams[codebook], self._steps(codebook, frames)] = codes[..., codebook, :]
        return grid

    def restore(self, grid: Tensor) -> Tensor:
        """Grid [..., S, L] -> codes [..., K, F] of the frames that are complete: the inverse of :meth:`arrange`."""
        frames = self.frames_ready(grid.shape[-1])
        rows = [grid[..., self.streams[k], self._steps(k, frames)] for k in range(self.codebooks)]
        return torch.stack(rows, dim=-2)

    def _steps(self, codebook: int, frames: int) -> slice:
        first = self.offsets[codebook]
        return slice(first, first + (frames - 1) * self.period + 1 if frames else first, self.period)


def flat(codebooks: int) -> Pattern:
    """One code after another in one stream."""
    return Pattern((0,) * codebooks, tuple(range(codebooks)), codebooks)


def delay(codebooks: int) -> Pattern:
    """One stream per codebook, each a step later than the one below."""
    return Pattern(tuple(range(codebooks)), tuple(range(codebooks)), 1)


def named(name: str, codebooks: int) -> Pattern:
    """A pattern by its name in a config."""
    makers = {"flat": flat, "delay": delay}
    if name not in makers:
        raise ConfigError(f"pattern is {name!r}; known: {', '.join(makers)}")
    return makers[name](codebooks)
