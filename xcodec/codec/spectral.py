"""Acoustic halves that run at frame rate: a modified discrete cosine transform (MDCT) with ConvNeXt blocks around it.

DAC works at sample rate, where most of its time goes. Here everything learnt happens once per frame, as in Vocos
(arXiv 2306.00814), which makes the halves tens of times cheaper on a CPU. The transform is fixed: frames of the
waveform times a matrix, as many coefficients as samples, and it inverts exactly.

Both halves begin as the plain transform: their learnt part adds to it and starts at zero. So before the first training
step, with codebooks placed by k-means, this already is a working transform codec (docs/xcodec-mini.md has the measure),
and training goes on from there.

With a hop of 320, frame f sees the samples from 320·f − 160 to 320·f + 480, half of them shared with its neighbours:

    samples    0         320         640         960
    frame 0  ──┼────┐
    frame 1       └─┼───────────┼─────┐
    frame 2                   └─┼───────────┼──
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import SpectralConfig
from .context import context_frames

LOUDNESS = 3.0
"""Gain before compression, which brings the coefficients of speech to about one."""
FLOOR = 1e-5
"""Added to squared coefficients, so that compression has a finite slope at zero."""


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
    """A linear map of each frame, which starts as the identity, plus ConvNeXt blocks, which start as zero."""

    def __init__(self, channels_in: int, width: int, layers: int, expansion: int, channels_out: int) -> None:
        super().__init__()
        self.skip = nn.Linear(channels_in, channels_out, bias=False)
        nn.init.eye_(self.skip.weight)  # where there are fewer channels out than in, the lowest pass
        self.embed = nn.Conv1d(channels_in, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, expansion) for _ in range(layers)))
        self.last_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, channels_out)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, F, C] -> [B, F, C']."""
        x = self.embed(frames.transpose(1, 2))  # (B, F, C) -> (B, C, F)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)  # (B, C, F) -> (B, F, C) -> (B, C, F)
        x = self.blocks(x).transpose(1, 2)  # (B, C, F) -> (B, F, C)
        return self.skip(frames) + self.project(self.last_norm(x))


class Mdct(nn.Module):
    """Waveform to compressed MDCT coefficients and back, exactly.

    Compression takes the square root of each coefficient and keeps its sign: quiet bands then count for something in
    the quantiser's distances, as they do for the ear.
    """

    def __init__(self, hop_length: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.margin = hop_length // 2
        time = torch.arange(2 * hop_length, dtype=torch.float64) + 0.5
        window = torch.sin(math.pi * time / (2 * hop_length))
        frequency = torch.arange(hop_length, dtype=torch.float64) + 0.5
        cosines = torch.cos(math.pi / hop_length * torch.outer(time + hop_length / 2, frequency))
        self.basis: Tensor
        self.fade_in: Tensor
        basis = math.sqrt(2 / hop_length) * window[:, None] * cosines  # [2 · hop, hop]
        self.register_buffer("basis", basis.float(), persistent=False)
        # The first half hop and the last one lie in one frame only, with no second to add up to full loudness.
        fade_in = 1 / window[self.margin : hop_length].square()
        self.register_buffer("fade_in", fade_in.float(), persistent=False)  # [hop / 2], falls from 2 to 1

    def analyse(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, F, hop]."""
        padded = F.pad(wav.squeeze(1), (self.margin, self.margin))
        coefficients = LOUDNESS * (padded.unfold(1, 2 * self.hop_length, self.hop_length) @ self.basis)
        return coefficients * (coefficients.square() + FLOOR).pow(-0.25)

    def synthesise(self, compressed: Tensor) -> Tensor:
        """[B, F, hop] -> [B, 1, F × hop] by overlap and add."""
        frames = (compressed * compressed.abs() / LOUDNESS) @ self.basis.T  # [B, F, 2 · hop]
        first, second = frames.chunk(2, dim=2)
        overlapped = F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))  # [B, F + 1, hop]
        wav = overlapped.flatten(1)[:, self.margin : -self.margin]
        between = wav[:, self.margin : -self.margin]
        start, end = wav[:, : self.margin] * self.fade_in, wav[:, -self.margin :] * self.fade_in.flip(0)
        return torch.cat([start, between, end], dim=1)[:, None]


class SpectralEncoder(nn.Module):
    """Waveform [B, 1, F × hop] -> acoustic features [B, D, F]."""

    def __init__(self, config: SpectralConfig, hop_length: int) -> None:
        super().__init__()
        self.mdct = Mdct(hop_length)
        self.backbone = Backbone(
            hop_length, config.encoder_width, config.encoder_layers, config.expansion, config.width
        )
        self.context_frames = context_frames(self.backbone) + 1  # a frame of the MDCT reaches into its neighbours
        """Frames of audio on either side of a frame that its features depend on."""

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, D, F]."""
        return self.backbone(self.mdct.analyse(wav)).transpose(1, 2)  # (B, F, D) -> (B, D, F)


class SpectralDecoder(nn.Module):
    """Acoustic features [B, D, F] -> waveform [B, 1, F × hop]."""

    def __init__(self, config: SpectralConfig, hop_length: int) -> None:
        super().__init__()
        self.mdct = Mdct(hop_length)
        self.backbone = Backbone(
            config.width, config.decoder_width, config.decoder_layers, config.expansion, hop_length
        )
        self.context_frames = context_frames(self.backbone) + 1  # neighbours overlap with half of a frame's audio
        """Frames of features on either side of a frame that its audio depends on."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, 1, F × hop]."""
        return self.mdct.synthesise(self.backbone(features.transpose(1, 2)))  # (B, D, F) -> (B, F, D)
