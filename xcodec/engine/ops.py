"""Products and short filters in C (`kernels.c`).

PyTorch has no filter of few multiplications, its convolutions of short clips leave half of a processor idle, and
between two of its operations everything goes through memory. Written out, a filter takes in what it needs, and its
Snake is done before the result leaves the registers. Where there is no compiler, or what it makes computes something
else, there are no kernels, and `shortconv.py` does with PyTorch what it can.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xcodec.engine.winograd import KERNEL, OUTPUTS, POINTS, transforms

# Our library in C, compiled once for the processor at hand.
#
# That takes about two seconds. The library is then kept in the user's cache, by what it was made of, with what, and for
# which processor.

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """Compiled now or earlier; None where that does not work. With the types of what its functions take."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or os.name != "posix":
        return None
    try:
        # Not linked with OpenMP: its functions are those that PyTorch has loaded, so both share their threads.
        made = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None
    number: Any = ctypes.c_long
    pointer: Any = ctypes.c_void_p
    made.product.argtypes = [number] * 5 + [pointer, number] + [pointer] * 7 + [number] * 3
    made.nearest.argtypes = [number] * 3 + [pointer] * 5 + [number] * 2
    made.quantise.argtypes = [number] * 2 + [pointer] * 3 + [ctypes.c_float, number]
    made.whole_product.argtypes = [number] * 3 + [pointer, number] * 2 + [pointer] * 4 + [number] * 3
    made.standardise.argtypes = [number] * 2 + [pointer] * 3 + [ctypes.c_float, number]
    made.gelu.argtypes = [number, pointer, number]
    made.short_filter.argtypes = [number] * 4 + [pointer] * 9 + [number] * 2
    for function in (
        made.product,
        made.nearest,
        made.quantise,
        made.whole_product,
        made.standardise,
        made.gelu,
        made.short_filter,
    ):
        function.restype = None
    return made


def loaded() -> ctypes.CDLL:
    """The library, where it is known that there is one."""
    made = library()
    assert made is not None
    return made


def _compiled(compiler: str) -> Path:
    source = Path(__file__).with_name("kernels.c")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    made_of = b"\0".join([source.read_bytes(), " ".join(FLAGS).encode(), version, _processor()])
    name = f"kernels-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xcodec"
    if (folder / name).exists():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder))
    except OSError:  # a home that cannot be written: then for this process alone
        folder = work = Path(tempfile.mkdtemp())
    try:
        for command in (
            [compiler, *FLAGS, "-c", str(source), "-o", str(work / "kernels.o")],
            [compiler, "-shared", str(work / "kernels.o"), "-o", str(work / name)],
        ):
            subprocess.run(command, capture_output=True, check=True, timeout=300)
        return (work / name).rename(folder / name)
    finally:
        if work != folder:
            shutil.rmtree(work)


def _processor() -> bytes:
    """What `-march=native` looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)})).encode()


COLUMNS = 16
"""Channels come in multiples of this."""
AHEAD, BEHIND = 27, 81
"""Rows of zeros before and after a wave, for a filter of dilation 9 and its tiles."""
_ROWS = 192
"""Of a product, at a time, and half as many of a filter's tiles: they are to stay in the second-level cache."""
_TILE = 12
"""Rows: as many as the widest vectors take at a time, and twice as many as others do."""
_DEPTH = 256
"""Of a product of whole numbers, at a time: as in `kernels.c`."""
_LARGEST = 8191
"""Of whole numbers that stand for values; those that stand for weights are as large as 32-bit sums allow."""


@dataclass(frozen=True)
class SnakeValues:
    """A Snake's parameters, per column: alpha / π and 1 / alpha."""

    turns: Tensor
    scale: Tensor

    @classmethod
    def of(cls, alpha: Tensor, repeats: int = 1) -> SnakeValues:
        """From float [1, C, 1]; columns are the channels, so many times over."""
        alpha = alpha.detach().flatten().double().repeat(repeats)
        return cls((alpha / torch.pi).float(), (alpha + 1e-9).reciprocal().float())


def panels(weight: Tensor) -> Tensor:
    """Weights [..., columns, depth] as a product reads them: [..., columns / 16, depth, 16]."""
    *many, columns, depth = weight.shape
    return weight.detach().float().reshape(*many, columns // COLUMNS, COLUMNS, depth).transpose(-1, -2).contiguous()


def product(
    a: Tensor,
    rows: int,
    stride: int,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor | None,
    snaked: Tensor | None = None,
    snake: SnakeValues | None = None,
    residual: Tensor | None = None,
    taps: int = 1,
    jump: int = 0,
) -> None:
    """Rows of ``a`` times a matrix, plus a bias, plus a residual, into ``out``; and the Snake of it into ``snaked``.

    A row's result does not depend on how many others there are, nor on the number of threads.

    Args:
        a: float32; its first value is the first of the first row. Each row goes on in memory for as long as the matrix
            is deep, wherever the tensor ends, and the next begins ``stride`` values after it. A row of several
            ``taps`` goes on for an equal part of the depth from each.
        rows: how many.
        stride: from row to row.
        weight: ``panels`` of [columns, depth].
        bias: [columns].
        out: [rows, columns], contiguous; not the residual.
        snaked: the same.
        snake: what makes ``snaked``.
        residual: [rows, columns], contiguous.
        taps: of a row.
        jump: from tap to tap.
    """
    columns, depth = weight.shape[0] * COLUMNS, weight.shape[1]
    loaded().product(
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


def nearest(points: Tensor, weight: Tensor, squares: Tensor) -> Tensor:
    """Of points [M, D], which of the entries of a codebook is nearest: int64 [M].

    Args:
        points: float32, contiguous.
        weight: ``panels`` of -2 times the entries [N, D].
        squares: [N], of the entries' lengths.
    """
    codes, threads = torch.empty(len(points), dtype=torch.int64), _threads()
    share = -(-len(points) // threads)
    block = min(_ROWS // 4, -(-share // _TILE) * _TILE)
    space = torch.empty(threads * block * len(squares))
    loaded().nearest(
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


@dataclass(frozen=True)
class WholeWeight:
    """Weights as whole numbers."""

    values: Tensor
    """int16 [columns / 16, depth / 2, 16, 2]."""
    scales: Tensor
    """[columns]: what one of them stands for."""

    @classmethod
    def of(cls, weight: Tensor) -> WholeWeight:
        """From float [columns, depth]."""
        weight = weight.detach().float()
        columns, depth = weight.shape
        blocks = nn.functional.pad(weight.abs(), (0, -depth % _DEPTH)).unflatten(1, (-1, _DEPTH)).sum(2)  # [columns, …]
        # No sum of 256 products may exceed 32 bits; rounding adds half a weight to each.
        most = 2**31 / (_LARGEST + 1) - _DEPTH
        scales = torch.maximum(blocks.amax(1) / most, weight.abs().amax(1) / 32767).clamp(min=1e-20)
        whole = (weight / scales[:, None]).round().to(torch.int16)
        values = whole.reshape(columns // COLUMNS, COLUMNS, depth // 2, 2).transpose(1, 2).contiguous()
        return cls(values, scales)


def whole_product(
    a: Tensor, rows: int, stride: int, spread: int, weight: WholeWeight, bias: Tensor | None, out: Tensor
) -> None:
    """As `product`, computed in whole numbers of 16 bits, of which sums of 256 are exact: good to some 60 dB.

    Args:
        a: float32, contiguous.
        rows: how many.
        stride: from row to row; a multiple of ``spread``.
        spread: so many values of ``a`` have one scale, by the largest of them. All that a row has, which is
            a multiple of 16, or a multiple of 256.
        weight: of [columns, depth].
        bias: [columns].
        out: [rows, columns], contiguous.
    """
    assert spread % COLUMNS == 0
    panel_count, half, _, _ = weight.values.shape
    whole, scales = torch.empty_like(a, dtype=torch.int16), torch.empty(a.numel() // spread)
    loaded().quantise(len(scales), spread, _pointer(a), _pointer(whole), _pointer(scales), _LARGEST, _threads())
    loaded().whole_product(
        rows,
        panel_count * COLUMNS,
        2 * half,
        _pointer(whole),
        stride,
        _pointer(scales),
        spread,
        _pointer(weight.values),
        _pointer(weight.scales),
        _pointer(bias),
        _pointer(out),
        *_shares(rows, panel_count * COLUMNS),
    )


def short_filter(
    wave: Tensor, samples: int, dilation: int, weight: Tensor, bias: Tensor, snaked: Tensor, snake: SnakeValues
) -> None:
    """The Snake of a filter of seven taps.

    Args:
        wave: float32 [..., C] contiguous, from 3 × dilation samples before the first output to 9 × dilation after
            the last.
        samples: of the output.
        dilation: of the taps.
        weight: ``short_weight`` of the filter.
        bias: [C'].
        snaked: [samples, C'], contiguous.
        snake: what makes it.
    """
    inputs, outputs = _matrices()
    points, panel_count, channels, _ = weight.shape
    columns, threads = panel_count * COLUMNS, _threads()
    share = -(-samples // (OUTPUTS * threads))
    block = min(_ROWS // 2 if channels > 128 else _ROWS // 4, -(-share // _TILE) * _TILE)
    space = torch.empty(threads * points * block * (channels + columns))
    loaded().short_filter(
        samples,
        channels,
        columns,
        dilation,
        _pointer(wave),
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


def short_weight(weight: Tensor) -> Tensor:
    """A filter [C', C, 7] at the twelve points, in panels [12, C' / 16, C, 16]."""
    _, weights, _ = transforms()
    return panels(torch.einsum("nk,oik->noi", weights, weight.detach().double()))


@cache
def available() -> bool:
    """Whether there are kernels, and they compute what they should."""
    if library() is None:
        return False
    generator = torch.Generator().manual_seed(0)
    wide, dilation = 3 * COLUMNS, 3  # so many that there are tiles of two vectors and of one
    wave, alpha = torch.randn(AHEAD + 50 + BEHIND, wide, generator=generator), torch.full((1, wide, 1), 0.7)
    weight, bias = torch.randn(wide, wide, KERNEL, generator=generator) / 20, torch.randn(wide, generator=generator)
    ahead, here, snake = wave[AHEAD - 3 * dilation :], wave[AHEAD : AHEAD + 50], SnakeValues.of(alpha)
    made, again, whole = torch.empty(50, wide), torch.empty(50, wide), torch.empty(50, wide)
    flat = weight.transpose(1, 2).flatten(1)  # (C', C, 7) -> (C', 7 · C)
    short_filter(ahead, 50, dilation, short_weight(weight), bias, made, snake)
    product(ahead, 50, wide, panels(flat), bias, None, again, snake, taps=KERNEL, jump=dilation * wide)
    whole_product(here, 50, wide, wide, WholeWeight.of(weight[:, :, 0]), bias, whole)
    standard = wave.clone()
    standardise_(standard, torch.ones(wide), bias, 1e-5)
    around = wave[AHEAD - 3 * dilation : AHEAD + 50 + 3 * dilation]
    plain = torch.conv1d(around.T[None], weight, bias, dilation=dilation)[0].T
    expected = plain + (0.7 * plain).sin().square() / 0.7
    return (
        torch.allclose(made, expected, atol=1e-4)
        and torch.allclose(again, expected, atol=1e-5)
        and torch.allclose(standard, nn.functional.group_norm(wave.T[None], wide, bias=bias)[0].T, atol=1e-4)
        and torch.allclose(gelu_(wave.clone()), nn.functional.gelu(wave), atol=1e-6)
        and torch.allclose(whole, here @ weight[:, :, 0].T + bias, atol=1e-2)
        and torch.equal(nearest(here, panels(-2 * wave[:144]), wave[:144].square().sum(1)), torch.arange(50) + AHEAD)
    )


def standardise_(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> None:
    """Of float32 [T, C] contiguous, C a multiple of 16, give each column that mean and that standard deviation."""
    loaded().standardise(*x.shape, _pointer(x), _pointer(weight), _pointer(bias), epsilon, _threads())


def gelu_(x: Tensor) -> Tensor:
    """The GELU of float32 [..., D] contiguous, D a multiple of 16, in place."""
    assert x.numel() % COLUMNS == 0
    loaded().gelu(x.numel(), _pointer(x), _threads())
    return x


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
def _matrices() -> tuple[Tensor, Tensor]:
    inputs, _, outputs = transforms()
    assert len(POINTS) + 1 == len(inputs)
    return inputs.float().contiguous(), outputs.float().contiguous()
