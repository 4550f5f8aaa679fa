"""How the next token is drawn: pure functions on logits [B, V]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xcodec.settings import require


@dataclass(frozen=True)
class Sampling:
    """Settings of :func:`draw`. The defaults change nothing: they draw from the model's own distribution."""

    temperature: float = 1.0
    """Below 1 the likely becomes likelier; 0 takes the likeliest."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    repetition_window: int = 0
    """Repetition-aware sampling (VALL-E 2, arXiv 2406.05370): a token that was drawn from the restricted distribution
    but makes up too much of the last so many is drawn again, from all tokens. 0: off."""
    repetition_share: float = 0.1
    """How much is too much."""

    def __post_init__(self) -> None:
        require(self.temperature >= 0, f"temperature must not be negative, not {self.temperature}")
        require(self.top_k >= 0, f"top_k must not be negative, not {self.top_k}")
        require(0 < self.top_p <= 1, f"top_p must lie in (0, 1], not {self.top_p}")
        require(self.repetition_window >= 0, f"repetition_window must not be negative, not {self.repetition_window}")
        require(0 < self.repetition_share <= 1, f"repetition_share must lie in (0, 1], not {self.repetition_share}")


def with_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by a temperature, which must be positive."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k likeliest (and what ties with the last of them).

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the likeliest tokens that together reach probability p; at least one is kept.

    >>> keep_top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).exp()
    tensor([[0.5000, 0.3000, 0.0000]])
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.masked_fill((before >= p).scatter(-1, order, before >= p), -math.inf)


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: away from what would be said without the condition. Scale 1 is no guidance.

    >>> guided(torch.tensor([2.0]), torch.tensor([1.0]), 3.0)
    tensor([4.])
    """
    return unconditional + scale * (conditional - unconditional)


def repeats(tokens: Tensor, history: Tensor, share: float) -> Tensor:
    """Whether each token [B] makes up more than a share of its row of the history [B, W].

    >>> repeats(torch.tensor([7, 7]), torch.tensor([[7, 7, 1, 2], [1, 2, 3, 4]]), 0.25)
    tensor([ True, False])
    """
    if not history.shape[1]:
        return torch.zeros_like(tokens, dtype=torch.bool)
    return (history == tokens[:, None]).float().mean(1) > share


def draw(
    logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None, history: Tensor | None = None
) -> Tensor:
    """Draw a token per row.

    Args:
        logits: [B, V].
        sampling: how.
        generator: makes the draw repeatable; it must be on the logits' device.
        history: int64 [B, W], the tokens drawn so far, the latest last.

    Returns:
        int64 [B].
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    warm = with_temperature(logits.float(), sampling.temperature)
    narrow = keep_top_p(keep_top_k(warm, sampling.top_k), sampling.top_p)
    tokens = torch.multinomial(narrow.softmax(-1), 1, generator=generator)[:, 0]
    if sampling.repetition_window and history is not None:
        again = repeats(tokens, history[:, -sampling.repetition_window :], sampling.repetition_share)
        if bool(again.any()):
            from_all = torch.multinomial(warm.softmax(-1), 1, generator=generator)[:, 0]
            tokens = torch.where(again, from_all, tokens)
    return tokens
