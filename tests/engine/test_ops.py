"""Our own kernels against what PyTorch computes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xcodec.codec.dac import Snake
from xcodec.engine import compile as compiling
from xcodec.engine import ops
from xcodec.engine.ops import (
    AHEAD,
    BEHIND,
    Int16Weight,
    SnakeParameters,
    depthwise_norm,
    gelu_,
    instance_norm_,
    int16_matmul,
    matmul,
    nearest,
    packed,
    winograd_conv,
    winograd_weight,
)

pytestmark = pytest.mark.skipif(not ops.available(), reason="there is no C compiler with OpenMP")


@pytest.fixture(params=[1, 2], autouse=True)
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def snr(reference: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


@pytest.mark.parametrize("rows", [1, 5, 6, 190, 500])
@pytest.mark.parametrize(("depth", "columns"), [(7, 16), (256, 48), (608, 32)])
def test_products(rows: int, depth: int, columns: int) -> None:
    a, weight, bias = torch.randn(rows, depth), torch.randn(columns, depth), torch.randn(columns)
    expected = a @ weight.T + bias
    made, snaked, residual = torch.empty(rows, columns), torch.empty(rows, columns), torch.randn(rows, columns)
    snake = Snake(columns)
    nn.init.uniform_(snake.alpha, 0.2, 3)
    values = SnakeParameters.of(snake.alpha)
    matmul(a, rows, depth, packed(weight), bias, made)
    assert snr(expected, made) > 110
    matmul(a, rows, depth, packed(weight), bias, made, snaked, values, residual)
    assert snr(expected + residual, made) > 110
    with torch.no_grad():
        assert snr(snake((expected + residual).T[None])[0].T, snaked) > 100
    if depth % 2 == 0:
        whole = Int16Weight.of(weight)
        int16_matmul(a, rows, depth, depth, whole, bias, made)
        assert snr(expected, made) > 55


@pytest.mark.parametrize("points", [1, 50, 333])
@pytest.mark.parametrize("width", [24, 600])
def test_the_nearest_entry(points: int, width: int) -> None:
    vectors = torch.randn(96, width)
    vectors[40:80] = vectors[:40]  # of two that are equally near, the first
    codes = torch.randint(96, (points,))
    found = nearest(vectors[codes] + 0.01 * torch.randn(points, width), packed(-2 * vectors), vectors.square().sum(1))
    assert torch.equal(found, torch.where((codes >= 40) & (codes < 80), codes - 40, codes))


def test_int16_never_overflows() -> None:
    """Where all weights and values are as large as they get, and of one sign."""
    a, weight, made = torch.full((2, 512), 3.0), torch.full((16, 512), 0.5), torch.empty(2, 16)
    int16_matmul(a, 2, 512, 512, Int16Weight.of(weight), None, made)
    torch.testing.assert_close(made, torch.full((2, 16), 768.0), rtol=1e-3, atol=0)
    int16_matmul(0 * a, 2, 512, 512, Int16Weight.of(0 * weight), None, made)
    assert torch.equal(made, torch.zeros(2, 16))


@pytest.mark.parametrize("samples", [1, 6, 55, 700])
@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_winograd_convolutions(samples: int, dilation: int) -> None:
    conv = nn.Conv1d(16, 32, 7, padding=3 * dilation, dilation=dilation).requires_grad_(False)
    x, made, snake = torch.randn(1, 16, samples), torch.full((samples, 32), torch.nan), Snake(32).requires_grad_(False)
    padded = nn.functional.pad(x[0].T, (0, 0, 3 * dilation, 9 * dilation))
    values = SnakeParameters.of(snake.alpha)
    winograd_conv(padded, samples, dilation, winograd_weight(conv.weight), conv.bias, made, values)
    assert snr(snake(conv(x))[0].T, made) > 90


@pytest.mark.parametrize("rows", [2, 256, 5_000])
def test_norms_over_time(rows: int) -> None:
    """Of columns that are nowhere near zero, too."""
    norm = nn.GroupNorm(32, 32).requires_grad_(False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(rows, 32) + torch.linspace(-50, 50, 32)
    expected = norm.double()(x.T[None].double())[0].T
    norm.float()
    instance_norm_(x, norm.weight, norm.bias, norm.eps)
    assert snr(expected, x) > 80


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 100])
def test_depthwise_convolutions_and_norms(rows: int) -> None:
    conv, norm = nn.Conv1d(48, 48, 7, groups=48), nn.LayerNorm(48)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(rows + 6, 48) + 5
    expected = norm.double()(conv.double()(x.T[None].double())[0].T)
    filters, bias = conv.weight[:, 0].T.contiguous().float(), conv.bias.float()  # type: ignore[union-attr]
    assert snr(expected, depthwise_norm(x, filters, bias, norm.float())) > 90


def test_gelus() -> None:
    x = torch.cat([torch.linspace(-9, 9, 4000), torch.tensor([-300.0, 300.0, 0.0, -0.0] * 4)])
    torch.testing.assert_close(gelu_(x.clone()), nn.functional.gelu(x), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one width")
def test_narrow_vectors_make_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So codes do not depend on whether a processor has AVX-512 (where this one has it; else both are narrow)."""
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", "cc")} "$@" -mno-avx512f\n')
    compiler.chmod(0o755)
    a, weight, bias, snake = torch.randn(50, 608), torch.randn(48, 608), torch.randn(48), torch.rand(1, 48, 1)
    filter_, padded = torch.randn(48, 48, 7), torch.randn(AHEAD + 50 + BEHIND, 48)

    def results() -> list[Tensor]:
        sums, snaked, filtered = torch.empty(50, 48), torch.empty(50, 48), torch.empty(50, 48)
        values = SnakeParameters.of(snake)
        matmul(a, 50, 608, packed(weight), bias, sums, snaked, values)
        winograd_conv(padded, 50, 3, winograd_weight(filter_), bias, filtered, values)
        return [sums, snaked, filtered, depthwise_norm(padded, filter_[0].T.contiguous(), bias, nn.LayerNorm(48))]

    wide = results()
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    narrow = compiling.library.__wrapped__()
    monkeypatch.setattr(ops, "library", lambda: narrow)
    assert all(map(torch.equal, results(), wide))
