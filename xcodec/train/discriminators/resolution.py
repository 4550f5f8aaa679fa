"""The multi-resolution discriminator of UnivNet (arXiv 2106.07889), on complex spectra as in DAC (arXiv 2306.06546)."""

from __future__ import annotations

from torch import Tensor, nn

from .base import ConvStack, Spectrogram, Verdict


class ResolutionDiscriminator(nn.Module):
    """Real and imaginary parts at one FFT size; the hop is a quarter of it."""

    def __init__(self, fft_size: int, width: int) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(fft_size, fft_size // 4)
        channels = (2, width, width, width, width)
        strides = [(1, 2), (1, 2), (1, 2), (1, 2)]
        self.stack = ConvStack(channels, (3, 9), strides, last_kernel=(3, 3))

    def forward(self, wav: Tensor) -> Verdict:
        """[B, 1, T] -> Verdict."""
        return self.stack(self.spectrogram(wav))
