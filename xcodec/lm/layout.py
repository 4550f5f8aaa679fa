"""How text, prompt and codes become one sequence of integers; the same for training and for generating.

    speech     [TEXT ðɪs …] [PROMPT codes of the same speaker saying something else] AUDIO codes END
    music      AUDIO codes [END]
    sound      (embedding of the caption) AUDIO codes END

With several streams, what is not codes stands in stream 0, and the others hold PAD there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xcodec.lm.config import LMConfig
from xcodec.lm.text import symbols_of
from xcodec.utils.config import require

# --- codebook patterns ------------------------------------------------------------------------------------------------
#
# In which order an autoregressive model predicts the codes of several codebooks. Code k of frame f belongs to stream
# `streams[k]` at step `f · period + offsets[k]`; each step is one position of the transformer, and all streams of a
# step are predicted at once, each given only the steps before. With three codebooks:
#
#     flat: one stream, three steps per frame        delay: three streams, one step per frame
#     step  0   1   2   3   4   5                    step  0   1   2   3   4
#           0.0 1.0 2.0 0.1 1.1 2.1                        0.0 0.1 0.2
#           (k.f)                                              1.0 1.1 1.2
#                                                                  2.0 2.1 2.2
#
# Flat is exact and K times as long; delay is short, and conditions code k on the codes below it of its own frame,
# because it comes k steps later (MusicGen, arXiv 2306.05284, section 2.2).


@dataclass(frozen=True)
class Pattern:
    """A layout of codes [K, F] on a grid of streams and steps [S, L].

    Raises:
        ConfigError: two codes share a cell, a stream is empty, or a code comes no later than the one below it.
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
            f"each codebook must come later than the one below; offsets are {list(self.offsets)}",
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
        """L: steps of so many frames."""
        return (frames - 1) * self.period + self.offsets[-1] + 1 if frames else 0

    def complete_frames(self, steps: int) -> int:
        """Frames of which all codes are there after so many steps.

        >>> delay(3).complete_frames(4), flat(3).complete_frames(4)
        (2, 1)
        """
        return max(0, (steps - 1 - self.offsets[-1]) // self.period + 1)

    def codes_at(self, step: int) -> list[tuple[int, int, int]]:
        """The codes of a step: (stream, codebook, frame) of each.

        >>> delay(3).codes_at(1)
        [(0, 0, 1), (1, 1, 0)]
        """
        found = []
        for codebook, (stream, offset) in enumerate(zip(self.streams, self.offsets, strict=True)):
            frame, rest = divmod(step - offset, self.period)
            if rest == 0 and frame >= 0:
                found.append((stream, codebook, frame))
        return found

    def arrange(self, codes: Tensor, fill: int) -> Tensor:
        """Codes [..., K, F] -> grid [..., S, L], with ``fill`` in the empty cells."""
        *before, codebooks, frames = codes.shape
        if codebooks != self.codebooks:
            raise ValueError(f"the pattern has {self.codebooks} codebooks, the codes {codebooks}")
        grid = codes.new_full((*before, self.width, self.length(frames)), fill)
        for codebook in range(codebooks):
            grid[..., self.streams[codebook], self._steps(codebook, frames)] = codes[..., codebook, :]
        return grid

    def _steps(self, codebook: int, frames: int) -> slice:
        first = self.offsets[codebook]
        return slice(first, first + (frames - 1) * self.period + 1 if frames else first, self.period)


def flat(codebooks: int) -> Pattern:
    """One code after another in one stream."""
    return Pattern((0,) * codebooks, tuple(range(codebooks)), codebooks)


def delay(codebooks: int) -> Pattern:
    """One stream per codebook, each a step later than the one below."""
    return Pattern(tuple(range(codebooks)), tuple(range(codebooks)), 1)


# --- vocabulary -------------------------------------------------------------------------------------------------------
#
# Token ids: special tokens, then the symbols of text, then codes. One numbering for all, so that a model with one
# stream is a plain language model (and can be exported as one). Streams share the numbers, but each has its own
# embeddings.

PAD = 0
"""Padding: embedded as zeros, never predicted."""
TEXT = 1
"""Text begins."""
PROMPT = 2
"""Codes of the speaker saying other words begin."""
AUDIO = 3
"""The codes to be predicted begin."""
END = 4
"""End of the codes."""
NOTHING = 5
"""In place of each symbol of text, for classifier-free guidance."""
SPECIALS = 6
IGNORED = -100
"""A label without a loss."""


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of one model."""

    text_symbols: int
    codebooks: int
    """Sets of codes with numbers of their own: one per codebook where one stream has several, else one."""
    codebook_size: int

    @classmethod
    def of(cls, config: LMConfig) -> Vocabulary:
        """The token ids that a config implies."""
        symbols = len(symbols_of(config.text)) if config.text is not None else 0
        shared = config.non_autoregressive or config.pattern == "delay"
        return cls(symbols, 1 if shared else config.codebooks, config.codec.codebook_size)

    @property
    def size(self) -> int:
        """Number of token ids."""
        return SPECIALS + self.text_symbols + self.codebooks * self.codebook_size

    def first_code(self, codebook: int) -> int:
        """The token id of code 0 of a codebook."""
        own = codebook if self.codebooks > 1 else 0
        return SPECIALS + self.text_symbols + own * self.codebook_size

    def text(self, symbols: Tensor) -> Tensor:
        """Indices of symbols -> token ids."""
        return symbols + SPECIALS

    def codes(self, codes: Tensor) -> Tensor:
        """Codes [..., K, F] -> token ids of the same shape."""
        numbered = codes + SPECIALS + self.text_symbols
        if self.codebooks > 1:
            steps = numbered.new_tensor(range(codes.shape[-2])) * self.codebook_size
            numbered = numbered + steps[:, None]
        return numbered


def pattern_of(config: LMConfig) -> Pattern:
    """The codebook pattern of an autoregressive model."""
    return {"flat": flat, "delay": delay}[config.pattern](config.codebooks)


# --- sequences --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A training sequence."""

    ids: Tensor
    """int64 [S, L]."""
    labels: Tensor
    """int64 [S, L]: the next token at each position, or ``IGNORED``."""


def context(
    vocabulary: Vocabulary,
    pattern: Pattern,
    text: Sequence[int] | None = None,
    prompt: Tensor | None = None,
    without_text: bool = False,
) -> Tensor:
    """All that precedes the codes to be predicted, up to and with AUDIO: int64 [S, L].

    Args:
        vocabulary: of the model.
        pattern: of the model.
        text: indices of symbols; none where there is none, or it is aligned.
        prompt: codes [K, F] of the speaker.
        without_text: each symbol is replaced by NOTHING: the unconditional context of guidance.
    """
    parts = []
    if text is not None:
        symbols = vocabulary.text(torch.tensor(list(text), dtype=torch.int64))
        if without_text:
            symbols = torch.full_like(symbols, NOTHING)
        parts += [_special(TEXT, pattern), _in_first(symbols, pattern)]
    if prompt is not None and prompt.shape[1]:
        parts += [_special(PROMPT, pattern), pattern.arrange(vocabulary.codes(prompt), PAD)]
    parts.append(_special(AUDIO, pattern))
    return torch.cat(parts, dim=1)


def example(
    vocabulary: Vocabulary,
    pattern: Pattern,
    codes: Tensor,
    text: Sequence[int] | None = None,
    prompt: Tensor | None = None,
    without_text: bool = False,
    ends: bool = True,
) -> Example:
    """A training sequence: labels on the codes and END, none on text and prompt.

    Args:
        vocabulary: of the model.
        pattern: of the model.
        codes: [K, F], to be predicted.
        text: see :func:`context`.
        prompt: see :func:`context`.
        without_text: see :func:`context`.
        ends: whether the sound is over after the codes, or they are a piece of a longer one.
    """
    before = context(vocabulary, pattern, text, prompt, without_text)
    grid = pattern.arrange(vocabulary.codes(codes), PAD)
    if ends:
        last = codes.shape[1] * pattern.period  # where the next frame would begin
        grid = torch.cat([grid, grid.new_full((len(grid), max(0, last + 1 - grid.shape[1])), PAD)], dim=1)
        grid[0, last] = END
    whole = torch.cat([before, grid], dim=1)
    labels = whole[:, 1:].clone()
    labels[labels == PAD] = IGNORED
    labels[:, : before.shape[1] - 1] = IGNORED
    return Example(whole[:, :-1], labels)


@dataclass(frozen=True)
class NARInput:
    """Input of a non-autoregressive model."""

    ids: Tensor
    """int64 [K, L]."""
    targets: Tensor
    """bool [L]: the frames whose next codebook is to be predicted."""


def nar_input(
    vocabulary: Vocabulary, text: Sequence[int] | None, prompt: Tensor | None, codes: Tensor, level: int, given: int = 0
) -> NARInput:
    """Text, all codes of the prompt, and those codes of the frames that lie below ``level``.

    Args:
        vocabulary: of the model.
        text: indices of symbols; none where it is aligned.
        prompt: codes [K, F] of the speaker, all codebooks.
        codes: [K, F] of which the first ``level`` codebooks count.
        level: the codebook to be predicted, from 1 on.
        given: so many of the first frames are known in all codebooks, and no targets.
    """
    codebooks = codes.shape[0]

    def special(token: int) -> Tensor:
        return torch.tensor([token] + [PAD] * (codebooks - 1))[:, None]

    known = vocabulary.codes(codes)
    known[level:, given:] = PAD
    parts = []
    if text is not None:
        symbols = torch.full((codebooks, len(text)), PAD)
        symbols[0] = vocabulary.text(torch.tensor(list(text), dtype=torch.int64))
        parts += [special(TEXT), symbols]
    if prompt is not None and prompt.shape[1]:
        parts += [special(PROMPT), vocabulary.codes(prompt)]
    parts += [special(AUDIO), known]
    ids = torch.cat(parts, dim=1)
    targets = torch.zeros(ids.shape[1], dtype=torch.bool)
    targets[ids.shape[1] - codes.shape[1] + given :] = True
    return NARInput(ids, targets)


def _special(token: int, pattern: Pattern) -> Tensor:
    return _in_first(torch.tensor([token]), pattern)


def _in_first(ids: Tensor, pattern: Pattern) -> Tensor:
    """[L] -> [S, L], in stream 0."""
    grid = ids.new_full((pattern.width, len(ids)), PAD)
    grid[0] = ids
    return grid
