"""Our own kernels against what PyTorch computes."""

from __future__ import annotations

import copy
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import tiny_config
from xcodec.codec.config import DacConfig, QuantizerConfig, SemanticConfig, TeacherConfig
from xcodec.codec.dac import DacDecoder, DacEncoder, Snake
from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher
from xcodec.engine import ops as compiled
from xcodec.engine import ops as kernels
from xcodec.engine import semantic as hearing
from xcodec.engine.autotune import Abilities
from xcodec.engine.dac import ChannelsLastHalf, suits
from xcodec.engine.engine import accelerate, fold

pytestmark = pytest.mark.skipif(not kernels.available(), reason="there is no C compiler with OpenMP")

WIDE = DacConfig(width=16, encoder_width=16, decoder_width=256)
TEACHER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEACHER |= {"conv_dim": [256, 256, 32, 32, 32, 32, 32], "num_conv_pos_embeddings": 16}
TEACHER |= {"num_conv_pos_embedding_groups": 4}


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
    values = kernels.SnakeValues.of(snake.alpha)
    kernels.product(a, rows, depth, kernels.panels(weight), bias, made)
    assert snr(expected, made) > 110
    kernels.product(a, rows, depth, kernels.panels(weight), bias, made, snaked, values, residual)
    assert snr(expected + residual, made) > 110
    with torch.no_grad():
        assert snr(snake((expected + residual).T[None])[0].T, snaked) > 100
    if depth % 2 == 0:
        whole = kernels.WholeWeight.of(weight)
        kernels.whole_product(a, rows, depth, depth, whole, bias, made)
        assert snr(expected, made) > 55


@pytest.mark.parametrize("points", [1, 50, 333])
@pytest.mark.parametrize("width", [24, 600])
def test_the_nearest_entry(points: int, width: int) -> None:
    vectors = torch.randn(96, width)
    vectors[40:80] = vectors[:40]  # of two that are equally near, the first
    codes = torch.randint(96, (points,))
    found = kernels.nearest(
        vectors[codes] + 0.01 * torch.randn(points, width), kernels.panels(-2 * vectors), vectors.square().sum(1)
    )
    assert torch.equal(found, torch.where((codes >= 40) & (codes < 80), codes - 40, codes))


def test_whole_numbers_never_overflow() -> None:
    """Where all weights and values are as large as they get, and of one sign."""
    a, weight, made = torch.full((2, 512), 3.0), torch.full((16, 512), 0.5), torch.empty(2, 16)
    kernels.whole_product(a, 2, 512, 512, kernels.WholeWeight.of(weight), None, made)
    torch.testing.assert_close(made, torch.full((2, 16), 768.0), rtol=1e-3, atol=0)
    kernels.whole_product(0 * a, 2, 512, 512, kernels.WholeWeight.of(0 * weight), None, made)
    assert torch.equal(made, torch.zeros(2, 16))


@pytest.mark.parametrize("samples", [1, 6, 55, 700])
@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_short_filters(samples: int, dilation: int) -> None:
    conv = nn.Conv1d(16, 32, 7, padding=3 * dilation, dilation=dilation).requires_grad_(False)
    x, made, snake = torch.randn(1, 16, samples), torch.full((samples, 32), torch.nan), Snake(32).requires_grad_(False)
    wave = nn.functional.pad(x[0].T, (0, 0, 3 * dilation, 9 * dilation))
    values = kernels.SnakeValues.of(snake.alpha)
    kernels.short_filter(wave, samples, dilation, kernels.short_weight(conv.weight), conv.bias, made, values)
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
    kernels.standardise_(x, norm.weight, norm.bias, norm.eps)
    assert snr(expected, x) > 80


def test_gelus() -> None:
    x = torch.cat([torch.linspace(-9, 9, 4000), torch.tensor([-300.0, 300.0, 0.0, -0.0] * 4)])
    torch.testing.assert_close(kernels.gelu_(x.clone()), nn.functional.gelu(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 33])
@pytest.mark.parametrize("kind", [DacEncoder, DacDecoder])
def test_halves_of_dac(kind: type[DacEncoder | DacDecoder], frames: int) -> None:
    torch.manual_seed(0)
    half = kind(WIDE, (8, 5, 4, 2)).requires_grad_(False)
    for module in half.modules():
        if isinstance(module, Snake):
            nn.init.uniform_(module.alpha, 0.2, 3)
    x = torch.randn(2, 1, 320 * frames) if kind is DacEncoder else torch.randn(2, 16, frames)
    expected = half(x)
    fold(half)
    assert suits(half)
    made = ChannelsLastHalf(half)
    assert made.context_frames == half.context_frames
    assert snr(expected, made(x)) > 95


def test_halves_that_do_not_suit() -> None:
    assert not suits(DacDecoder(replace(WIDE, decoder_width=128), (8, 5, 4, 2)))
    assert not suits(DacDecoder(WIDE, (8, 5, 4, 2)).bfloat16())
    assert not suits(nn.Identity())


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "whisper"])
def test_teachers(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "whisper":
        sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
        config = TeacherConfig({"model_type": kind, **sizes}, padding=0, window=4.0, context=1.0)
    else:
        config = TeacherConfig({"model_type": kind, **TEACHER})
    teacher, wav = Teacher(config, 16_000), torch.randn(2, 1, 16_000)
    for module in teacher.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    expected = teacher(wav, 50)
    fold(teacher)
    hearing.lighten(teacher)
    kinds = {type(module) for module in teacher.modules()}
    assert kinds >= {hearing.KernelLinear, hearing.KernelGelu}
    assert kind != "whisper" or hearing.KernelConv in kinds
    assert kind == "whisper" or kinds >= {hearing.ChannelsLastFeatures, hearing.KernelPositions}
    assert snr(expected, teacher(wav, 50)) > 50


def test_a_fast_codec() -> None:
    teacher = TeacherConfig({"model_type": "hubert", **TEACHER, "hidden_size": 256})
    semantic = SemanticConfig(teacher, blocks=1)
    quantizer = QuantizerConfig(codebooks=4, codebook_size=64, width=24, kmeans_iterations=3)
    plain = _placed(semantic, quantizer)
    fast = accelerate(copy.deepcopy(plain), Abilities(torch.float32, int8=False, kernels=True))
    assert isinstance(fast.acoustic_encoder, ChannelsLastHalf)
    assert isinstance(fast.semantic_encoder, hearing.ChannelsLastSemantic)
    assert isinstance(fast.quantizer.first(1)[0].codebook, hearing.KernelCodebook)
    wav = 0.3 * torch.randn(1, 1, 24_000, generator=torch.Generator().manual_seed(0))
    codes = plain.encode(wav)
    assert (fast.encode(wav) == codes)[:, 0].float().mean() > 0.95
    assert snr(plain.decode(codes), fast.decode(codes)) > 80


def _placed(semantic: SemanticConfig, quantizer: QuantizerConfig) -> XCodec:
    """A codec with codebooks among the latents of noise."""
    torch.manual_seed(0)
    codec = XCodec(replace(tiny_config("dac", None), acoustic=WIDE, semantic=semantic, quantizer=quantizer)).train()
    with torch.no_grad():
        codec(torch.randn(4, 1, 32 * 320), torch.full((4,), 4))
    return codec.eval()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one width")
def test_narrow_vectors_make_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So codes do not depend on whether a processor has AVX-512 (where this one has it; else both are narrow)."""
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", "cc")} "$@" -mno-avx512f\n')
    compiler.chmod(0o755)
    a, weight, bias, snake = torch.randn(50, 608), torch.randn(48, 608), torch.randn(48), torch.rand(1, 48, 1)
    filter_, wave = torch.randn(48, 48, 7), torch.randn(kernels.AHEAD + 50 + kernels.BEHIND, 48)

    def results() -> list[Tensor]:
        sums, snaked, filtered = torch.empty(50, 48), torch.empty(50, 48), torch.empty(50, 48)
        values = kernels.SnakeValues.of(snake)
        kernels.product(a, 50, 608, kernels.panels(weight), bias, sums, snaked, values)
        kernels.short_filter(wave, 50, 3, kernels.short_weight(filter_), bias, filtered, values)
        return [sums, snaked, filtered]

    wide = results()
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    narrow = compiled.library.__wrapped__()
    monkeypatch.setattr(kernels, "loaded", lambda: narrow)
    assert all(map(torch.equal, results(), wide))


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = compiled.library.__wrapped__
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert library() is not None
    assert [path.suffix for path in (tmp_path / "xcodec").iterdir()] == [".so"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("CC", "false")
    assert library() is None
    assert list(tmp_path.rglob("other/**/*.*")) == []
    monkeypatch.setenv("CC", "no-such-compiler")
    assert library() is None
