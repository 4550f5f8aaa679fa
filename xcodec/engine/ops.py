"""The operations of kernels.c on tensors: products of matrices and convolutions with what follows them, for a CPU.

PyTorch's convolutions of short clips leave half of a processor idle, and between two of its operations everything goes
through memory. Here a convolution reads overlapping rows where they lie, and the Snake after it is done before the
result leaves the registers. A row's result depends on nothing but that row: not on how many others there are, nor on
the number of threads, nor on the width of the processor's vectors.

All tensors are float32, on the CPU. Where there is no compiler, or what it makes computes something else, there are no
kernels (:func:`available`), and the engines leave the work to PyTorch.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from xcodec.engine.compile import library

POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1.5, -1.5, 0.75, -0.75)
"""And infinity: twelve."""
OUTPUTS = 6
"""Per tile."""
KERNEL = 7
COLUMNS = 16
"""Channels come in multiples of this."""
AHEAD, BEHIND = 27, 81
"""Rows of zeros before and after a waveform, for a filter of dilation 9 and its tiles."""
INT16_DEPTH = 256
"""Of an int16 product, the part whose sums are exact."""
_ROWS = 192
"""Of a product, at a time, and half as many of a convolution's tiles: they are to stay in the second-level cache."""
_TILE = 12
"""Rows: as many as the widest vectors take at a time, and twice as many as others do."""
_LARGEST = 8191
"""Of the int16 that stand for activations; those that stand for weights are as large as 32-bit sums allow."""


@dataclass(frozen=True)
class SnakeParameters:
    """A Snake's parameters, per column: alpha / π and 1 / alpha."""

    turns: Tensor
    scale: Tensor

    @classmethod
    def of(cls, alpha: Tensor, repeats: int = 1) -> SnakeParameters:
        """From float [1, C, 1]; columns are the channels, so many times over."""
        alpha = alpha.detach().flatten().double().repeat(repeats)
        return cls((alpha / torch.pi).float(), (alpha + 1e-9).reciprocal().float())


@dataclass(frozen=True)
class Int16Weight:
    """A matrix as int16, with a scale for each column."""

    values: Tensor
    """int16 [columns / 16, depth / 2, 16, 2]."""
    scales: Tensor
    """[columns]."""

    @classmethod
    def of(cls, weight: Tensor) -> Int16Weight:
        """From float [columns, depth]."""
        weight = weight.detach().float()
        columns, depth = weight.shape
        blocks = nn.functional.pad(weight.abs(), (0, -depth % INT16_DEPTH)).unflatten(1, (-1, INT16_DEPTH)).sum(2)
        # No sum of 256 products may exceed 32 bits; rounding adds half a weight to each.
        largest = 2**31 / (_LARGEST + 1) - INT16_DEPTH
        scales = torch.maximum(blocks.amax(1) / largest, weight.abs().amax(1) / 32767).clamp(min=1e-20)
        integers = (weight / scales[:, None]).round().to(torch.int16)
        values = integers.reshape(columns // COLUMNS, COLUMNS, depth // 2, 2).transpose(1, 2).contiguous()
        return cls(values, scales)


def packed(weight: Tensor) -> Tensor:
    """Weights [..., columns, depth] in the order in which a product reads them: [..., columns / 16, depth, 16]."""
    *many, columns, depth = weight.shape
    return weight.detach().float().reshape(*many, columns // COLUMNS, COLUMNS, depth).transpose(-1, -2).contiguous()


def packed_filter(weight: Tensor) -> Tensor:
    """The same of a convolution's filter [C', C, k], as a product of rows of k · C values."""
    return packed(flat_filter(weight))


def flat_filter(weight: Tensor) -> Tensor:
    """A convolution's filter as a matrix: [C', C, k] -> [C', k · C]."""
    return weight.detach().transpose(1, 2).flatten(1)  # (C', C, k) -> (C', k, C) -> (C', k · C)


def matmul(
    a: Tensor,
    rows: int,
    stride: int,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor | None,
    snaked: Tensor | None = None,
    snake: SnakeParameters | None = None,
    residual: Tensor | None = None,
    taps: int = 1,
    jump: int = 0,
) -> None:
    """Rows of ``a`` times a matrix, plus a bias, plus a residual, into ``out``; and the Snake of it into ``snaked``.

    Args:
        a: its first value is the first of the first row. Each row goes on in memory for as long as the matrix
            is deep, wherever the tensor ends, and the next begins ``stride`` values after it. A row of several
            ``taps`` goes on for an equal part of the depth from each.
        rows: how many.
        stride: from row to row.
        weight: ``packed`` [columns, depth].
        bias: [columns].
        out: [rows, columns], contiguous; not the residual.
        snaked: the same.
        snake: what makes ``snaked``.
        residual: [rows, columns], contiguous.
        taps: of a row.
        jump: from tap to tap.
    """
    columns, depth = weight.shape[0] * COLUMNS, weight.shape[1]
    _kernels().matmul(
        rows,
        columns,
        taps,
        jump,
        depth // taps,
        _pointer(a),
        stride,
        _pointer(weight),
        _pointer(bias),
        _pointer(residual),
        _pointer(out),
        _pointer(snaked),
        _pointer(snake.turns if snake else None),
        _pointer(snake.scale if snake else None),
        *_shares(rows, columns),
    )


def int16_matmul(
    a: Tensor, rows: int, stride: int, spread: int, weight: Int16Weight, bias: Tensor | None, out: Tensor
) -> None:
    """As ``matmul``, in int16, of which sums of 256 products are exact: good to some 60 dB.

    Args:
        a: contiguous.
        rows: how many.
        stride: from row to row; a multiple of ``spread``.
        spread: so many values of ``a`` have one scale, by the largest of them. All that a row has, which is
            a multiple of 16, or a multiple of 256.
        weight: of [columns, depth].
        bias: [columns].
        out: [rows, columns], contiguous.
    """
    assert spread % COLUMNS == 0
    blocks, half, _, _ = weight.values.shape
    integers, scales = torch.empty_like(a, dtype=torch.int16), a.new_empty(a.numel() // spread)
    _kernels().quantize(len(scales), spread, _pointer(a), _pointer(integers), _pointer(scales), _LARGEST, _threads())
    _kernels().int16_matmul(
        rows,
        blocks * COLUMNS,
        2 * half,
        _pointer(integers),
        stride,
        _pointer(scales),
        spread,
        _pointer(weight.values),
        _pointer(weight.scales),
        _pointer(bias),
        _pointer(out),
        *_shares(rows, blocks * COLUMNS),
    )


def winograd_conv(
    x: Tensor, samples: int, dilation: int, weight: Tensor, bias: Tensor, snaked: Tensor, snake: SnakeParameters
) -> None:
    """The Snake of a convolution of seven taps, in few multiplications.

    Args:
        x: [..., C] contiguous, from 3 × dilation samples before the first output to 9 × dilation after the last.
        samples: of the output.
        dilation: of the taps.
        weight: ``winograd_weight`` of the filter.
        bias: [C'].
        snaked: [samples, C'], contiguous.
        snake: what makes it.
    """
    inputs, outputs = _transforms()
    points, blocks, channels, _ = weight.shape
    columns, threads = blocks * COLUMNS, _threads()
    share = -(-samples // (OUTPUTS * threads))
    block = min(_ROWS // 2 if channels > 128 else _ROWS // 4, -(-share // _TILE) * _TILE)
    space = x.new_empty(threads * points * block * (channels + columns))
    _kernels().winograd_conv(
        samples,
        channels,
        columns,
        dilation,
        _pointer(x),
        _pointer(inputs),
        _pointer(outputs),
        _pointer(weight),
        _pointer(bias),
        _pointer(snaked),
        _pointer(snake.turns),
        _pointer(snake.scale),
        _pointer(space),
        block,
        threads,
    )


def winograd_weight(weight: Tensor) -> Tensor:
    """A filter [C', C, 7] at the twelve points, packed: [12, C' / 16, C, 16]."""
    _, weights, _ = winograd_transforms()
    return packed(torch.einsum("nk,oik->noi", weights, weight.detach().double()))


def nearest(points: Tensor, weight: Tensor, squares: Tensor) -> Tensor:
    """Of points [M, D], which of the entries of a codebook is nearest: int64 [M].

    Args:
        points: contiguous.
        weight: ``packed`` -2 times the entries [N, D].
        squares: [N], of the entries' lengths.
    """
    codes, threads = points.new_empty(len(points), dtype=torch.int64), _threads()
    share = -(-len(points) // threads)
    block = min(_ROWS // 4, -(-share // _TILE) * _TILE)
    space = points.new_empty(threads * block * len(squares))
    _kernels().nearest(
        len(points),
        len(squares),
        points.shape[1],
        _pointer(points),
        _pointer(weight),
        _pointer(squares),
        _pointer(space),
        _pointer(codes),
        block,
        threads,
    )
    return codes


def instance_norm_(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> None:
    """Of [T, C] contiguous, C a multiple of 16, normalise each channel over time, in place."""
    _kernels().instance_norm(*x.shape, _pointer(x), _pointer(weight), _pointer(bias), epsilon, _threads())


def depthwise_norm(x: Tensor, filters: Tensor, bias: Tensor, norm: nn.LayerNorm) -> Tensor:
    """The layer norm of a depthwise convolution over time: [T + k - 1, C] contiguous -> [T, C].

    Args:
        x: C a multiple of 16.
        filters: [k, C], contiguous.
        bias: [C].
        norm: over channels.
    """
    rows, columns = len(x) - len(filters) + 1, x.shape[1]
    out = x.new_empty(rows, columns)
    _kernels().depthwise_norm(
        rows,
        columns,
        len(filters),
        _pointer(x),
        _pointer(filters),
        _pointer(bias),
        _pointer(norm.weight),
        _pointer(norm.bias),
        norm.eps,
        _pointer(out),
        _threads(),
    )
    return out


def gelu_(x: Tensor) -> Tensor:
    """The GELU of [..., D] contiguous, D a multiple of 16, in place."""
    assert x.numel() % COLUMNS == 0
    _kernels().gelu(x.numel(), _pointer(x), _threads())
    return x


@cache
def available() -> bool:
    """Whether there are kernels, and they compute what PyTorch does."""
    if library() is None:
        return False
    generator = torch.Generator().manual_seed(0)
    wide, dilation = 3 * COLUMNS, 3  # so many that there are tiles of two vectors and of one
    x, alpha = torch.randn(AHEAD + 50 + BEHIND, wide, generator=generator), torch.full((1, wide, 1), 0.7)
    weight, bias = torch.randn(wide, wide, KERNEL, generator=generator) / 20, torch.randn(wide, generator=generator)
    ahead, here, snake = x[AHEAD - 3 * dilation :], x[AHEAD : AHEAD + 50], SnakeParameters.of(alpha)
    few, all_taps, integers = torch.empty(50, wide), torch.empty(50, wide), torch.empty(50, wide)
    winograd_conv(ahead, 50, dilation, winograd_weight(weight), bias, few, snake)
    matmul(ahead, 50, wide, packed_filter(weight), bias, None, all_taps, snake, taps=KERNEL, jump=dilation * wide)
    int16_matmul(here, 50, wide, wide, Int16Weight.of(weight[:, :, 0]), bias, integers)
    normed = x.clone()
    instance_norm_(normed, torch.ones(wide), bias, 1e-5)
    norm = nn.LayerNorm(wide)
    filtered = depthwise_norm(x, weight[0].T.contiguous(), bias, norm)
    depthwise = torch.conv1d(x.T[None], weight[:1].transpose(0, 1), bias, groups=wide)[0].T
    around = x[AHEAD - 3 * dilation : AHEAD + 50 + 3 * dilation]
    plain = torch.conv1d(around.T[None], weight, bias, dilation=dilation)[0].T
    expected = plain + (0.7 * plain).sin().square() / 0.7
    return (
        torch.allclose(few, expected, atol=1e-4)
        and torch.allclose(all_taps, expected, atol=1e-5)
        and torch.allclose(normed, nn.functional.group_norm(x.T[None], wide, bias=bias)[0].T, atol=1e-4)
        and torch.allclose(filtered, norm(depthwise), atol=1e-4)
        and torch.allclose(gelu_(x.clone()), nn.functional.gelu(x), atol=1e-6)
        and torch.allclose(integers, here @ weight[:, :, 0].T + bias, atol=1e-2)
        and torch.equal(nearest(here, packed(-2 * x[:144]), x[:144].square().sum(1)), torch.arange(50) + AHEAD)
    )


def _kernels() -> ctypes.CDLL:
    loaded = library()
    assert loaded is not None, "ask available() first"
    return loaded


def _threads() -> int:
    return torch.get_num_threads()


def _shares(rows: int, columns: int) -> tuple[int, int, int]:
    """How many rows and columns are one thread's work at a time, and how many threads there are.

    Every thread reads all weights of its columns once for each block of rows, so where there are few rows it is the
    columns that are shared.
    """
    threads, blocks = _threads(), -(-rows // _ROWS)
    width = columns
    if blocks < threads:
        width = -(-columns // (threads * COLUMNS)) * COLUMNS
    else:
        blocks = -(-blocks // threads) * threads
    block = -(-rows // blocks)
    return -(-block // _TILE) * _TILE, width, threads


def _pointer(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()


@cache
def _transforms() -> tuple[Tensor, Tensor]:
    inputs, _, outputs = winograd_transforms()
    assert len(POINTS) + 1 == len(inputs)
    return inputs.float().contiguous(), outputs.float().contiguous()


# Winograd's minimal filtering: convolutions of seven taps with fewer multiplications.
#
# Six neighbouring outputs of a filter of seven taps are 42 products of inputs and weights. But they are coefficients of
# a product of two polynomials, which is known from its values at 12 points: 12 products, between sums of inputs and
# sums of weights (Toom and Cook; Winograd's "minimal filtering", used for 3 × 3 in arXiv 1509.09308). Those over
# weights are made once; those over inputs cost little where there are many channels, because each serves all channels
# of the output. Rounding grows with the spread of the points: the result differs from the plain one at 100 dB below the
# signal (float32 itself rounds at 130).


def winograd_transforms() -> tuple[Tensor, Tensor, Tensor]:
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
