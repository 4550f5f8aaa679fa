"""Winograd's minimal filtering: convolutions of seven taps with fewer multiplications.

Six neighbouring outputs of a filter of seven taps are 42 products of inputs and weights. But they are coefficients of a
product of two polynomials, which is known from its values at 12 points: 12 products, between sums of inputs and sums
of weights (Toom and Cook; Winograd's "minimal filtering", used for 3 × 3 in arXiv 1509.09308). Those over weights are
made once; those over inputs cost little where there are many channels, because each serves all channels of the output.

Rounding grows with the spread of the points. With those below, the result differs from the plain one at 100 dB below
the signal (float32 itself rounds at 130).
"""

from __future__ import annotations

import torch
from torch import Tensor

POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1.5, -1.5, 0.75, -0.75)
"""And infinity: twelve."""
OUTPUTS = 6
"""Per tile."""
KERNEL = 7


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of inputs [N, N], weights [N, 7] and products [6, N], float64; N = 12 points.

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
