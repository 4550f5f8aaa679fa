"""Acoustic halves that run at frame rate: a short-time Fourier transform, ConvNeXt blocks, and its inverse.

DAC works at sample rate, where most of its time goes. Here everything learnt happens once per frame, as in Vocos
(arXiv 2306.00814), which makes the halves tens of times cheaper on a CPU. The transform is fixed: frames of the
waveform times a matrix, so it exports and chunks like any other linear layer.

With a hop of 320 and a window of two hops, frame f sees the samples from 320·f − 160 to 320·f + 480:

    samples    0         320         640         960
    frame 0  ──┼────┐
    frame 1       └─┼───────────┼─────┐
    frame 2                   └─┼───────────┼──
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import SpectralConfig

COMPRESSION = 0.3
"""Exponent of the magnitudes that the encoder sees: loudness, roughly, and no frame drowns another."""
LOUDEST = 6.0
"""Largest natural logarithm of a magnitude that the decoder may ask for; full-scale tones lie near 5."""


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, two linear layers on each frame, added to the input (arXiv 2201.03545)."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, C, F]."""
        y = self.depthwise(x).transpose(1, 2)  # (B, C, F) -> (B, F, C)
        y = self.scale * self.contract(F.gelu(self.expand(self.norm(y))))
        return x + y.transpose(1, 2)  # (B, F, C) -> (B, C, F)


class Backbone(nn.Module):
    """Features in, features out, frame for frame: an embedding, ConvNeXt blocks, a linear layer."""

    def __init__(self, channels_in: int, width: int, layers: int, expansion: int, channels_out: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(channels_in, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, expansion) for _ in range(layers)))
        self.last_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, F, C']."""
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)  # (B, C, F) -> (B, F, C) -> (B, C, F)
        x = self.blocks(x).transpose(1, 2)  # (B, C, F) -> (B, F, C)
        return self.project(self.last_norm(x))


class FourierFrames(nn.Module):
    """Waveform to spectra and back; with the sine window on both sides the round trip is exact."""

    def __init__(self, hop_length: int, window_hops: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.window_hops = window_hops
        length = hop_length * window_hops
        self.bins = length // 2 + 1
        time = torch.arange(length, dtype=torch.float64)
        # The squares of the overlapping windows add up to one at every sample.
        window = torch.sin(torch.pi * (time + 0.5) / length) * (2 / window_hops) ** 0.5
        phase = 2 * torch.pi * torch.outer(time, torch.arange(self.bins)) / length
        forward = torch.cat([phase.cos(), -phase.sin()], dim=1) * window[:, None]  # [length, 2 · bins]
        weight = torch.full((self.bins,), 2 / length, dtype=torch.float64)
        weight[0] = weight[-1] = 1 / length  # the two bins that have no mirror image
        inverse = forward.T * weight.repeat(2)[:, None]  # [2 · bins, length]
        self.forward_basis: Tensor
        self.inverse_basis: Tensor
        self.register_buffer("forward_basis", forward.float(), persistent=False)
        self.register_buffer("inverse_basis", inverse.float(), persistent=False)

    def analyse(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, F, 2 × bins]: real parts, then imaginary parts."""
        margin = (self.window_hops - 1) * self.hop_length // 2
        frames = F.pad(wav.squeeze(1), (margin, margin)).unfold(1, self.window_hops * self.hop_length, self.hop_length)
        return frames @ self.forward_basis

    def synthesise(self, spectra: Tensor) -> Tensor:
        """[B, F, 2 × bins] -> [B, 1, F × hop] by overlap and add."""
        hops = (spectra @ self.inverse_basis).unflatten(2, (self.window_hops, self.hop_length))
        later = self.window_hops - 1
        overlapped = sum(F.pad(hops[:, :, k], (0, 0, k, later - k)) for k in range(self.window_hops))
        margin = later * self.hop_length // 2
        return overlapped.flatten(1)[:, None, margin:-margin]


class SpectralEncoder(nn.Module):
    """Waveform [B, 1, F × hop] -> acoustic features [B, D, F]."""

    def __init__(self, config: SpectralConfig, hop_length: int) -> None:
        super().__init__()
        self.frames = FourierFrames(hop_length, config.window_hops)
        self.backbone = Backbone(
            2 * self.frames.bins, config.encoder_width, config.encoder_layers, config.expansion, config.width
        )

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, D, F]."""
        spectra = self.frames.analyse(wav)
        real, imaginary = spectra.chunk(2, dim=2)
        power = real.square() + imaginary.square() + 1e-8
        compressed = spectra * power.pow((COMPRESSION - 1) / 2).repeat(1, 1, 2)
        return self.backbone(compressed.transpose(1, 2)).transpose(1, 2)  # (B, F, C) -> (B, C, F), twice


class SpectralDecoder(nn.Module):
    """Acoustic features [B, D, F] -> waveform [B, 1, F × hop]: a magnitude and a direction for every bin."""

    def __init__(self, config: SpectralConfig, hop_length: int) -> None:
        super().__init__()
        self.frames = FourierFrames(hop_length, config.window_hops)
        self.backbone = Backbone(
            config.width, config.decoder_width, config.decoder_layers, config.expansion, 3 * self.frames.bins
        )

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, 1, F × hop]."""
        log_magnitude, real, imaginary = self.backbone(features).chunk(3, dim=2)
        length = (real.square() + imaginary.square() + 1e-6).rsqrt()
        gain = log_magnitude.clamp(max=LOUDEST).exp() * length
        return self.frames.synthesise(torch.cat([real * gain, imaginary * gain], dim=2))
