"""The discriminators of adversarial training. They live here, not in ``codec``, so that inference never loads them.

``stft``        the release's: spectrograms at six hops, each seen by a stack of strided convolutions
``period``      HiFi-GAN's multi-period discriminator (arXiv 2010.05646)
``resolution``  UnivNet's multi-resolution discriminator (arXiv 2106.07889), on complex spectra as in DAC (2306.06546)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from xcodec.train.config import DiscriminatorConfig
from xcodec.utils.spectra import Stft

SLOPE = 0.1
"""Of the leaky ReLUs, as in HiFi-GAN."""


@dataclass
class DiscriminatorOutput:
    """What one discriminator gives for a batch."""

    score: Tensor
    """float32 [B, …]: trained towards 1 on real audio and 0 on the codec's."""
    features: list[Tensor]
    """The outputs of its layers, float32 [B, C, …] each, first layer first."""

    def split(self) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        """The outputs for the first and the second half of the batch."""
        scores = self.score.chunk(2)
        features = [each.chunk(2) for each in self.features]
        return (
            DiscriminatorOutput(scores[0], [first for first, _ in features]),
            DiscriminatorOutput(scores[1], [second for _, second in features]),
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

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        """[B, C, height, width] -> DiscriminatorOutput."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x.float())
        return DiscriminatorOutput(self.last(x).float(), features)


class SpectrumImage(Stft):
    """The complex short-time spectrum as an image of two channels, its real and its imaginary part."""

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> [B, 2, F, bins], of about unit scale for speech at its usual level."""
        image = super().forward(wav.squeeze(1)) * (8 / self.fft_size) ** 0.5
        return image.permute(0, 3, 1, 2)  # (B, F, bins, 2) -> (B, 2, F, bins)


class StftDiscriminator(nn.Module):
    """Magnitude and its logarithm at one hop; the FFT is four hops long."""

    def __init__(self, hop: int, width: int) -> None:
        super().__init__()
        self.spectrogram = SpectrumImage(4 * hop, hop)
        channels = (2, width, 2 * width, 4 * width, 8 * width, 16 * width)
        self.stack = ConvStack(channels, (3, 3), [(1, 2), (2, 2), (2, 2), (2, 2), (2, 2)], last_kernel=(3, 3))

    def forward(self, wav: Tensor) -> DiscriminatorOutput:
        """[B, 1, T] -> DiscriminatorOutput."""
        magnitude = (self.spectrogram(wav).square().sum(1) + 1e-7).sqrt()
        return self.stack(torch.stack([magnitude, magnitude.log()], dim=1))


class PeriodDiscriminator(nn.Module):
    """Convolutions along the columns of a waveform folded at one period: every p-th sample makes a column."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        channels = (1, width, 4 * width, 16 * width, 32 * width, 32 * width)
        strides = [(3, 1), (3, 1), (3, 1), (3, 1), (1, 1)]
        self.stack = ConvStack(channels, (5, 1), strides, last_kernel=(3, 1))

    def forward(self, wav: Tensor) -> DiscriminatorOutput:
        """[B, 1, T] -> DiscriminatorOutput."""
        padded = F.pad(wav, (0, -wav.shape[2] % self.period), mode="reflect")
        return self.stack(padded.unflatten(2, (-1, self.period)))  # (B, 1, T) -> (B, 1, T / p, p)


class ResolutionDiscriminator(nn.Module):
    """Real and imaginary parts at one FFT size; the hop is a quarter of it."""

    def __init__(self, fft_size: int, width: int) -> None:
        super().__init__()
        self.spectrogram = SpectrumImage(fft_size, fft_size // 4)
        channels = (2, width, width, width, width)
        strides = [(1, 2), (1, 2), (1, 2), (1, 2)]
        self.stack = ConvStack(channels, (3, 9), strides, last_kernel=(3, 3))

    def forward(self, wav: Tensor) -> DiscriminatorOutput:
        """[B, 1, T] -> DiscriminatorOutput."""
        return self.stack(self.spectrogram(wav))


class Discriminators(nn.Module):
    """All the discriminators of a run."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        members: list[nn.Module] = []
        if "stft" in config.kinds:
            members += [StftDiscriminator(hop, config.width) for hop in config.stft_hops]
        if "period" in config.kinds:
            members += [PeriodDiscriminator(period, config.width) for period in config.periods]
        if "resolution" in config.kinds:
            members += [ResolutionDiscriminator(size, config.width) for size in config.resolutions]
        self.members = nn.ModuleList(members)

    def forward(self, wav: Tensor) -> list[DiscriminatorOutput]:
        """[B, 1, T] -> one output from each."""
        return [member(wav) for member in self.members]


def split_outputs(outputs: list[DiscriminatorOutput]) -> tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]:
    """The outputs for a batch of which one half is real and the other the codec's -> those for each half."""
    split = [output.split() for output in outputs]
    return [first for first, _ in split], [second for _, second in split]
