"""How text, prompt and codes become one sequence of integers; the same for training and for generating.

    speech     [TEXT ðɪs …] [PROMPT codes of the same voice saying something else] AUDIO codes END
    music      AUDIO codes [END]
    sound      (embedding of the caption) AUDIO codes END

With several streams, what is not codes stands in stream 0, and the others hold PAD there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .patterns import Pattern
from .vocabulary import AUDIO, END, IGNORED, NOTHING, PAD, PROMPT, TEXT, Vocabulary


@dataclass(frozen=True)
class Example:
    """A sequence to learn from."""

    ids: Tensor
    """int64 [S, L]."""
    labels: Tensor
    """int64 [S, L]: what comes next, or ``IGNORED``."""


def context(
    vocabulary: Vocabulary,
    pattern: Pattern,
    text: Sequence[int] | None = None,
    prompt: Tensor | None = None,
    without_text: bool = False,
) -> Tensor:
    """What stands before the codes to be said, up to and with AUDIO: int64 [S, L].

    Args:
        vocabulary: of the model.
        pattern: of the model.
        text: indices of symbols; none where there is none, or it is told frame by frame.
        prompt: codes [K, F] of the voice.
        without_text: each symbol is replaced by NOTHING: what guidance compares with.
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
    """A sequence to learn from: nothing is learned of text and prompt, all of the codes and of END.

    Args:
        vocabulary: of the model.
        pattern: of the model.
        codes: [K, F], to be said.
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


def stack(examples: Sequence[Example]) -> Example:
    """A batch [B, S, L], padded at the end, where a causal model does not look and nothing is learned."""
    longest = max(each.ids.shape[1] for each in examples)
    return Example(
        torch.stack([_pad(each.ids, longest, PAD) for each in examples]),
        torch.stack([_pad(each.labels, longest, IGNORED) for each in examples]),
    )


@dataclass(frozen=True)
class Refinement:
    """What a refining model is given."""

    ids: Tensor
    """int64 [K, L]."""
    asked: Tensor
    """bool [L]: the frames to be refined."""


def refinement(
    vocabulary: Vocabulary, text: Sequence[int] | None, prompt: Tensor | None, codes: Tensor, level: int, given: int = 0
) -> Refinement:
    """Text, all codes of the prompt, and those codes of the frames that lie below ``level``.

    Args:
        vocabulary: of the model.
        text: indices of symbols; none where it is told frame by frame.
        prompt: codes [K, F] of the voice, all codebooks.
        codes: [K, F] of which the first ``level`` codebooks count.
        level: the codebook to be told next, from 1 on.
        given: so many of the first frames are known in all codebooks, and not asked for.
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
    asked = torch.zeros(ids.shape[1], dtype=torch.bool)
    asked[ids.shape[1] - codes.shape[1] + given :] = True
    return Refinement(ids, asked)


def _special(token: int, pattern: Pattern) -> Tensor:
    return _in_first(torch.tensor([token]), pattern)


def _in_first(ids: Tensor, pattern: Pattern) -> Tensor:
    """[L] -> [S, L], in stream 0."""
    grid = ids.new_full((pattern.width, len(ids)), PAD)
    grid[0] = ids
    return grid


def _pad(x: Tensor, length: int, value: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, length - x.shape[1]), value=value)
