"""Text encoder, length regulator and duration model, for text that is aligned with the frames of the codes.

VALL-E puts the text before the codes and lets attention find out which symbol a frame belongs to; a small model on a
few hours of speech does not learn that. With aligned text (`TextConfig.aligned`) clips are aligned with their texts
before training (`alignment.py`), each frame is given the encoder's state of its own symbol, and a duration model is
learnt beside. That is FastSpeech's length regulator (arXiv 1905.09263, section 3.2) in front of VALL-E's two stages;
ELLA-V (arXiv 2401.07333) and RALL-E (arXiv 2404.03204) align phonemes and codes for the same reason.

Shapes: B rows, T symbols (with those for the silence before and after), F frames, L positions, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xcodec.lm.config import LMConfig
from xcodec.lm.layout import END, NOTHING, PAD, TEXT, Vocabulary
from xcodec.lm.transformer import RMSNorm

KERNEL = 5
"""Symbols in the receptive field of one layer."""
LAYERS = 2
INITIAL_SCALE = 1e-3
"""Standard deviation of the layers' first weights: what they add starts as small as the embeddings are."""
INITIAL_DURATION = 4.0
"""Frames per symbol before anything is learnt."""


@dataclass(frozen=True)
class AlignedText:
    """A text and the frames of its symbols."""

    text: Tensor
    """int64 [T]: TEXT for the silence before, symbols, END for the silence after; integers of the vocabulary."""
    frame_positions: Tensor
    """float [F + 1]: the position in ``text`` of each frame, and how far it is through its symbol: 4.25 is a quarter of
    the fifth. The last is that of the frame after the end."""
    durations: Tensor
    """float [T]: frames of each symbol."""

    @classmethod
    def from_durations(cls, vocabulary: Vocabulary, text: Sequence[int], durations: NDArray[np.integer]) -> AlignedText:
        """Align a text of which the durations are known.

        Args:
            vocabulary: of the model.
            text: indices of symbols.
            durations: [len(text) + 2], frames of each symbol, with the silence before and after.
        """
        symbols = vocabulary.text(torch.tensor(list(text), dtype=torch.int64))
        tokens = torch.cat([torch.tensor([TEXT]), symbols, torch.tensor([END])])
        frames = torch.from_numpy(np.asarray(durations, dtype=np.int64))
        starts = frames.cumsum(0) - frames
        symbol = torch.arange(len(tokens)).repeat_interleave(frames)
        progress = (torch.arange(len(symbol)) - starts[symbol]) / frames[symbol]
        return cls(tokens, torch.cat([symbol + progress, torch.tensor([len(tokens) - 1.0])]), frames.float())

    @property
    def frames(self) -> int:
        """F."""
        return len(self.frame_positions) - 1

    def without_text(self) -> AlignedText:
        """The same with NOTHING for each symbol: the unconditional input of guidance."""
        return AlignedText(torch.full_like(self.text, NOTHING), self.frame_positions, self.durations)

    def autoregressive_positions(self, before: int, positions: int, period: int) -> Tensor:
        """For each position of an autoregressive model, the position in the text of the next token: float [L].

        Args:
            before: positions up to and with AUDIO, of which only that predicts a frame.
            positions: L.
            period: positions per frame.
        """
        found = torch.full((positions,), -1.0)
        found[before - 1 :] = self._at(torch.arange(positions - before + 1) // period)
        return found

    def nar_positions(self, before: int, positions: int) -> Tensor:
        """For each position of a non-autoregressive model, its position in the text: float [L].

        Args:
            before: positions up to and with AUDIO.
            positions: L.
        """
        found = torch.full((positions,), -1.0)
        found[before:] = self._at(torch.arange(positions - before))
        return found

    def _at(self, frames: Tensor) -> Tensor:
        """Of frames, which may lie beyond the end."""
        return self.frame_positions[frames.clamp(max=self.frames)]


class TextEncoder(nn.Module):
    """Embeddings and residual convolutions: symbols to states, which the length regulator spreads over the frames.

    Args:
        config: of a model with aligned text.
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.embedding = nn.Embedding(Vocabulary.of(config).first_code(0), width, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():
            self.embedding.weight[PAD].zero_()
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(LAYERS))
        layers = [nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(LAYERS)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=INITIAL_SCALE)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)
        self.progress = nn.Parameter(torch.zeros(width))

    def forward(self, text: Tensor) -> Tensor:
        """States of symbols: int64 [B, T] -> [B, T, D]. Padding changes nothing."""
        present = (text != PAD)[:, :, None]
        x = self.embedding(text)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            update = layer(norm(x).transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
            x = (x + F.gelu(update)) * present
        return x

    def upsample(self, states: Tensor, positions: Tensor) -> Tensor:
        """The length regulator: states of symbols to those of positions.

        Args:
            states: [B, T, D], of symbols.
            positions: float [B, L], each one's position in the text, as :class:`AlignedText` has it; negative for none.

        Returns:
            [B, L, D], 0 where a position has no symbol.
        """
        symbol = positions.long().clamp(min=0)
        own = states.gather(1, symbol[:, :, None].expand(-1, -1, states.shape[2]))
        progress = (positions - symbol)[:, :, None] * self.progress
        return (own + progress) * (positions >= 0)[:, :, None]


class DurationModel(nn.Module):
    """States of symbols to their durations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, 1)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.constant_(self.out.bias, np.log(np.expm1(INITIAL_DURATION)))

    def forward(self, states: Tensor) -> Tensor:
        """[B, T, D] -> frames [B, T], positive."""
        return F.softplus(self.out(self.norm(states))[:, :, 0])

    def loss(self, states: Tensor, text: Tensor, durations: Tensor) -> Tensor:
        """Negative log-likelihood of durations as Poisson counts: nats per symbol.

        Args:
            states: [B, T, D].
            text: int64 [B, T].
            durations: [B, T], frames.
        """
        present = (text != PAD) & (text != NOTHING)
        if not bool(present.any()):
            return self(states).sum() * 0  # each weight needs a gradient on each rank
        return F.poisson_nll_loss(self(states)[present], durations[present], log_input=False, full=True)


def round_durations(durations: Tensor) -> NDArray[np.int64]:
    """Durations [T] as int64, at least one frame in total: what rounding takes from one symbol goes to the next."""
    ends = durations.double().cumsum(0).round().long()
    ends[-1].clamp_(min=1)
    return torch.diff(ends, prepend=ends.new_zeros(1)).numpy()
