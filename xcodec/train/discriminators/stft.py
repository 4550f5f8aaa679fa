"""The release's discriminator: spectrograms at six hops, each seen by a stack of strided convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ConvStack, Spectrogram, Verdict


class StftDiscriminator(nn.Module):
    """Magnitude and its logarithm at one hop; the FFT is four hops long."""

    def __init__(self, hop: int, width: int) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(4 * hop, hop)
        channels = (2, width, 2 * width, 4 * width, 8 * width, 16 * width)
        self.stack = ConvStack(channels, (3, 3), [(1, 2), (2, 2), (2, 2), (2, 2), (2, 2)], last_kernel=(3, 3))

    def forward(self, wav: Tensor) -> Verdict:
        """[B, 1, T] -> Verdict."""
        magnitude = (self.spectrogram(wav).square().sum(1) + 1e-7).sqrt()
        return self.stack(torch.stack([magnitude, magnitude.log()], dim=1))
