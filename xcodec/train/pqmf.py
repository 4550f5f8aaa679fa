"""A pseudo-quadrature mirror filter bank: a waveform cut into equally wide sub-bands at a lower rate (Nguyen, 1994).

The prototype is a Kaiser-windowed sinc; its cutoff is searched for once so that analysis and synthesis together are
nearly the identity, which is what makes no part of the spectrum count twice or not at all.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PQMF(nn.Module):
    """Waveform [B, 1, T] to sub-bands [B, N, T / N] and back."""

    def __init__(self, bands: int, taps: int = 96, beta: float = 9.0) -> None:
        """``taps`` must be even: the filters have one more."""
        super().__init__()
        self.bands = bands
        self.taps = taps
        prototype = _prototype(bands, taps, beta)
        time = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
        band = torch.arange(bands, dtype=torch.float64)[:, None]
        angle = (2 * band + 1) * math.pi / (2 * bands) * time
        shift = (-1.0) ** band * math.pi / 4
        self.analysis: Tensor
        self.synthesis: Tensor
        # [N, 1, taps + 1]
        self.register_buffer("analysis", (2 * prototype * torch.cos(angle + shift))[:, None].float(), persistent=False)
        self.register_buffer("synthesis", (2 * prototype * torch.cos(angle - shift))[:, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> [B, N, ceil(T / N)]."""
        return F.conv1d(wav, self.analysis, stride=self.bands, padding=self.taps // 2)

    def inverse(self, subbands: Tensor) -> Tensor:
        """[B, N, T / N] -> [B, 1, T]."""
        upsampled = subbands.new_zeros(*subbands.shape[:2], subbands.shape[2], self.bands)
        upsampled[..., 0] = subbands * self.bands
        # Each band is filtered by its own row, and the bands are added: a convolution from N channels to one.
        filters = self.synthesis.transpose(0, 1)  # (N, 1, taps) -> (1, N, taps)
        return F.conv1d(upsampled.flatten(2), filters, padding=self.taps // 2)


def _prototype(bands: int, taps: int, beta: float) -> Tensor:
    """Low-pass filter [taps + 1] whose squared response crosses 1/2 where two bands meet."""
    window = torch.kaiser_window(taps + 1, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
    crossing = math.pi / (2 * bands)

    def lowpass(cutoff: float) -> Tensor:
        return torch.sinc(cutoff * time / math.pi) * cutoff / math.pi * window

    # The response at the crossing rises with the cutoff, so bisection finds it.
    low, high = 0.5 * crossing, 2 * crossing
    for _ in range(60):
        middle = (low + high) / 2
        response = (lowpass(middle) * torch.cos(crossing * time)).sum()
        low, high = (middle, high) if response < math.sqrt(0.5) else (low, middle)
    return lowpass((low + high) / 2)
