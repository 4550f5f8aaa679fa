"""What every discriminator gives, and the two convolutions they are built of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
"""Of the leaky ReLUs, as in HiFi-GAN."""


@dataclass
class Verdict:
    """What one discriminator thinks of a batch."""

    score: Tensor
    """float32 [B, …]: 1 where it takes the audio for real, 0 where for the codec's."""
    features: list[Tensor]
    """The outputs of its layers, float32 [B, C, …] each, first layer first."""

    def split(self) -> tuple[Verdict, Verdict]:
        """The verdicts on the two halves of the batch."""
        scores = self.score.chunk(2)
        features = [each.chunk(2) for each in self.features]
        return (
            Verdict(scores[0], [first for first, _ in features]),
            Verdict(scores[1], [second for _, second in features]),
        )


class ConvStack(nn.Module):
    """2-D convolutions with leaky ReLUs, then one to a single channel of scores."""

    def __init__(
        self,
        channels: Sequence[int],
        kernel: tuple[int, int],
        strides: Sequence[tuple[int, int]],
        last_kernel: tuple[int, int],
    ) -> None:
        """``channels`` has the input's first, and so one more than ``strides``."""
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, kernel, stride, padding))
            for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
        )
        last_padding = (last_kernel[0] // 2, last_kernel[1] // 2)
        self.last = weight_norm(nn.Conv2d(channels[-1], 1, last_kernel, padding=last_padding))

    def forward(self, x: Tensor) -> Verdict:
        """[B, C, height, width] -> Verdict."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x.float())
        return Verdict(self.last(x).float(), features)


class Spectrogram(nn.Module):
    """The complex short-time spectrum as an image of two channels."""

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.hop = hop
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> [B, 2, F, bins], of about unit scale for speech at its usual level."""
        # reflection needs more samples than it reflects; short clips end in silence instead
        mode = "reflect" if wav.shape[2] > self.fft_size // 2 else "constant"
        spectrum = torch.stft(
            wav.squeeze(1), self.fft_size, self.hop, window=self.window, pad_mode=mode, return_complex=True
        )
        image = torch.view_as_real(spectrum) * (8 / self.fft_size) ** 0.5
        return image.permute(0, 3, 2, 1)  # (B, bins, F, 2) -> (B, 2, F, bins)
