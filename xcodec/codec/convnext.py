"""ConvNeXt blocks on frames: what everything at frame rate is made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, two linear layers on each frame, added to the input (arXiv 2201.03545).

    Of the kernel's seven frames, ``lookahead`` are future ones: with fewer than three, streaming has less latency.
    """

    KERNEL = 7

    def __init__(self, width: int, expansion: int, lookahead: int = KERNEL // 2) -> None:
        super().__init__()
        # `padding` tells `context_frames` how far the kernel reaches back; `forward` pads by itself.
        self.depthwise = nn.Conv1d(width, width, self.KERNEL, padding=self.KERNEL - 1 - lookahead, groups=width)
        self.lookahead = lookahead
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, C] -> [B, F, C]."""
        # As an image of F × 1 pixels: where channels come last, its gradient is five times as fast.
        y = F.pad(x, (0, 0, self.KERNEL - 1 - self.lookahead, self.lookahead))
        y = y.transpose(1, 2)[..., None]  # (B, F, C) -> (B, C, F, 1)
        y = F.conv2d(y, self.depthwise.weight[..., None], self.depthwise.bias, groups=y.shape[1])
        y = y[..., 0].transpose(1, 2)  # (B, C, F, 1) -> (B, F, C)
        return x + self.scale * self.contract(F.gelu(self.expand(self.norm(y))))


class Backbone(nn.Module):
    """ConvNeXt blocks on frames, whose output starts as zero."""

    def __init__(
        self,
        channels_in: int,
        width: int,
        layers: int,
        expansion: int,
        channels_out: int,
        lookahead: int = ConvNeXtBlock.KERNEL // 2,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(channels_in, width, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, expansion, lookahead) for _ in range(layers)))
        self.lookahead = layers * lookahead + kernel // 2
        """Frames after one that its output depends on."""
        self.last_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, channels_out)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, F, C] -> [B, F, C']."""
        x = self.embed(frames.transpose(1, 2)).transpose(1, 2)  # (B, F, C) -> (B, C, F) -> (B, F, C)
        return self.project(self.last_norm(self.blocks(self.norm(x))))
