"""The paper's acoustic encoder and decoder: those of DAC (arXiv 2306.06546), as X-Codec changes them.

Two changes against DAC: a transposed convolution of odd stride pads its output by one sample, so that F frames always
decode to exactly F × hop samples; and there is no tanh at the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from xcodec.codec.config import DacConfig
from xcodec.codec.receptive_field import context_frames

DILATIONS = (1, 3, 9)


class Snake(nn.Module):
    """x + sin²(αx)/α, one α per channel: a nonlinearity with a period, for waveforms (arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).square()


class ResidualUnit(nn.Module):
    """Dilated convolution between two Snakes, added to its input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            weight_norm(nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation)),
            Snake(channels),
            weight_norm(nn.Conv1d(channels, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        return x + self.block(x)


def _downsample(channels: int, stride: int) -> nn.Sequential:
    """[B, C, T] -> [B, 2C, T / stride]."""
    return nn.Sequential(
        *(ResidualUnit(channels, dilation) for dilation in DILATIONS),
        Snake(channels),
        weight_norm(nn.Conv1d(channels, 2 * channels, 2 * stride, stride, padding=math.ceil(stride / 2))),
    )


def _upsample(channels: int, stride: int) -> nn.Sequential:
    """[B, C, F] -> [B, C / 2, F × stride]."""
    return nn.Sequential(
        Snake(channels),
        weight_norm(
            nn.ConvTranspose1d(
                channels,
                channels // 2,
                2 * stride,
                stride,
                padding=math.ceil(stride / 2),
                output_padding=stride % 2,
            )
        ),
        *(ResidualUnit(channels // 2, dilation) for dilation in DILATIONS),
    )


class DacEncoder(nn.Module):
    """Waveform [B, 1, F × hop] -> acoustic features [B, D, F]."""

    def __init__(self, config: DacConfig, strides: tuple[int, ...]) -> None:
        super().__init__()
        channels = [config.encoder_width * 2**depth for depth in range(len(strides) + 1)]
        self.layers = nn.Sequential(
            weight_norm(nn.Conv1d(1, channels[0], 7, padding=3)),
            *(_downsample(width, stride) for width, stride in zip(channels[:-1], strides, strict=True)),
            Snake(channels[-1]),
            weight_norm(nn.Conv1d(channels[-1], config.width, 3, padding=1)),
        )
        self.context_frames = context_frames(self, samples_in=math.prod(strides))
        """Frames of audio on either side of a frame that its features depend on."""

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, D, F]."""
        return self.layers(wav)


class DacDecoder(nn.Module):
    """Acoustic features [B, D, F] -> waveform [B, 1, F × hop]."""

    def __init__(self, config: DacConfig, strides: tuple[int, ...]) -> None:
        super().__init__()
        strides = config.decoder_strides or strides
        channels = [config.decoder_width // 2**depth for depth in range(len(strides) + 1)]
        self.layers = nn.Sequential(
            weight_norm(nn.Conv1d(config.width, channels[0], 7, padding=3)),
            *(_upsample(width, stride) for width, stride in zip(channels[:-1], strides, strict=True)),
            Snake(channels[-1]),
            weight_norm(nn.Conv1d(channels[-1], 1, 7, padding=3)),
        )
        self.context_frames = context_frames(self, samples_out=math.prod(strides))
        """Frames of features on either side of a frame that its audio depends on."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, 1, F × hop]."""
        return self.layers(features)
