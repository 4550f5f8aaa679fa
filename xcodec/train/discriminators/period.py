"""HiFi-GAN's multi-period discriminator (arXiv 2010.05646): every p-th sample of the waveform makes a column."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .base import ConvStack, Verdict


class PeriodDiscriminator(nn.Module):
    """Convolutions along the columns of a waveform folded at one period."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        channels = (1, width, 4 * width, 16 * width, 32 * width, 32 * width)
        strides = [(3, 1), (3, 1), (3, 1), (3, 1), (1, 1)]
        self.stack = ConvStack(channels, (5, 1), strides, last_kernel=(3, 1))

    def forward(self, wav: Tensor) -> Verdict:
        """[B, 1, T] -> Verdict."""
        padded = F.pad(wav, (0, -wav.shape[2] % self.period), mode="reflect")
        return self.stack(padded.unflatten(2, (-1, self.period)))  # (B, 1, T) -> (B, 1, T / p, p)
