"""A convolution with fewer multiplications, for processors whose fastest numbers are float32.

Six neighbouring outputs of a filter of seven taps are 42 products of inputs and weights. But they are coefficients of a
product of two polynomials, which is known from its values at 12 points: 12 products, between sums of inputs and sums
of weights (Toom and Cook; Winograd's "minimal filtering", used for 3 × 3 in arXiv 1509.09308). Those over weights are
made once; those over inputs cost little where there are many channels, because each serves all channels of the output.

Rounding grows with the spread of the points. With those below, the result differs from the plain one at 100 dB below
the signal (float32 itself rounds at 130): benchmarks/shortconv.py measures both that and the time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1.5, -1.5, 0.75, -0.75)
"""And infinity: twelve."""
OUTPUTS = 6
"""Per tile."""
KERNEL = 7
LEAST_CHANNELS = 128
"""With fewer, the sums cost more than they save; but half as many will do for dilated ones, where PyTorch is slower."""
_BLOCK_BYTES = 2**22
"""Of transformed input at a time, to stay in the cache."""


def suits(module: nn.Module) -> bool:
    """Whether a layer is one that gains."""
    return (
        isinstance(module, nn.Conv1d)
        and module.kernel_size == (KERNEL,)
        and module.stride == (1,)
        and module.groups == 1
        and module.padding == (module.dilation[0] * (KERNEL // 2),)
        and min(module.in_channels, module.out_channels) >= LEAST_CHANNELS // min(module.dilation[0], 2)
    )


class ShortConv1d(nn.Module):
    """A `Conv1d` of seven taps, any dilation, computed in tiles of six outputs; for inference.

    Args:
        conv: one that `suits`; its weights are transformed, and not kept.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.dilation = conv.dilation[0]
        inputs, weights, outputs = transforms()
        self.inputs: Tensor
        self.outputs: Tensor
        self.register_buffer("inputs", inputs.to(conv.weight), persistent=False)  # [N, N], N = 12 points
        self.register_buffer("outputs", outputs.to(conv.weight), persistent=False)  # [6, N]
        transformed = torch.einsum("nk,oik->noi", weights, conv.weight.detach().double())
        self.weight = nn.Parameter(transformed.to(conv.weight), requires_grad=False)  # [N, C', C]
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        tile = OUTPUTS * self.dilation  # samples of a tile: six outputs of each of `dilation` interleaved filters
        samples = x.shape[2]
        tiles = -(-samples // tile)
        reach = self.dilation * (KERNEL // 2)
        x = F.pad(x, (reach, reach + tiles * tile - samples))
        made = x.new_empty(x.shape[0], self.weight.shape[1], tiles, OUTPUTS, self.dilation)
        at_once = max(1, _BLOCK_BYTES // (x.element_size() * x.shape[1] * len(self.inputs) * self.dilation))
        for row, out in zip(x, made, strict=True):
            for first in range(0, tiles, at_once):
                here = out[:, first : first + at_once]
                self._tiles(row[:, first * tile :], here)
                if self.bias is not None:
                    here += self.bias[:, None, None, None]
        return made.flatten(2)[..., :samples]

    def _tiles(self, x: Tensor, out: Tensor) -> None:
        """Fill ``out`` [C', q, 6, dilation] from [C, at least so many samples]."""
        points, channels, tiles, dilation = len(self.inputs), x.shape[0], out.shape[1], self.dilation
        # The samples that a tile of one of the interleaved filters needs are `dilation` apart.
        step = (dilation, x.stride(0), OUTPUTS * dilation, 1)
        needed = x.as_strided((points, channels, tiles, dilation), step, x.storage_offset())
        values = (self.inputs @ needed.reshape(points, -1)).view(points, channels, tiles * dilation)
        products = torch.bmm(self.weight, values)  # [N, C', q · dilation]
        sums = (self.outputs @ products.view(points, -1)).view(OUTPUTS, -1, tiles, dilation)
        out.copy_(sums.permute(1, 2, 0, 3))  # (6, C', q, dilation) -> (C', q, 6, dilation)


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of inputs [N, N], weights [N, 7] and products [6, N], float64.

    A product of polynomials is `interpolate @ ((evaluate @ a) * (evaluate @ b))`. A filter is its transpose with
    respect to one factor, so input and output change places.
    """
    points = torch.tensor(POINTS, dtype=torch.float64)
    count = len(points) + 1

    def evaluate(coefficients: int) -> Tensor:
        values = torch.zeros(count, coefficients, dtype=torch.float64)
        values[:-1] = points[:, None] ** torch.arange(coefficients)
        values[-1, -1] = 1  # at infinity, the leading coefficient
        return values

    weights = evaluate(KERNEL)
    scale = weights.abs().sum(1, keepdim=True)  # moved to the other side, so that all sums are about as large
    return torch.linalg.inv(evaluate(count)).T * scale, weights / scale, evaluate(OUTPUTS).T
