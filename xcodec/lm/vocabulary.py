"""Which integer means what: special tokens, then the symbols of text, then codes.

One numbering for all, so that a model with one stream is a plain language model (and can be exported as one). Streams
of codes that are said at the same time share the numbers, but each has its own embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .config import LMConfig
from .patterns import Pattern, named
from .text import symbols_of

PAD = 0
"""Nothing: embedded as zeros, never predicted."""
TEXT = 1
"""Text begins."""
PROMPT = 2
"""Codes of the voice to speak with begin: of other words than those of the text."""
AUDIO = 3
"""The codes to be said begin."""
END = 4
"""They are over."""
NOTHING = 5
"""Stands for each symbol of text where the model must do without, for guidance."""
SPECIALS = 6
IGNORED = -100
"""A label that nothing is learned from."""


@dataclass(frozen=True)
class Vocabulary:
    """The numbering of one model."""

    text_symbols: int
    codebooks: int
    """Sets of codes with numbers of their own: one per codebook where one stream says several, else one."""
    codebook_size: int

    @classmethod
    def of(cls, config: LMConfig) -> Vocabulary:
        """The numbering that a config implies."""
        symbols = len(symbols_of(config.text)) if config.text is not None else 0
        shared = config.refines or config.pattern == "delay"
        return cls(symbols, 1 if shared else config.codebooks, config.codec.codebook_size)

    @property
    def size(self) -> int:
        """How many integers there are."""
        return SPECIALS + self.text_symbols + self.codebooks * self.codebook_size

    def first_code(self, codebook: int) -> int:
        """The integer of code 0 of a codebook."""
        own = codebook if self.codebooks > 1 else 0
        return SPECIALS + self.text_symbols + own * self.codebook_size

    def text(self, symbols: Tensor) -> Tensor:
        """Indices of symbols -> integers."""
        return symbols + SPECIALS

    def codes(self, codes: Tensor) -> Tensor:
        """Codes [..., K, F] -> integers of the same shape."""
        numbered = codes + SPECIALS + self.text_symbols
        if self.codebooks > 1:
            steps = numbered.new_tensor(range(codes.shape[-2])) * self.codebook_size
            numbered = numbered + steps[:, None]
        return numbered


def pattern_of(config: LMConfig) -> Pattern:
    """The order in which an autoregressive model says its codes."""
    return named(config.pattern, config.codebooks)
