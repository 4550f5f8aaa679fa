"""Networks on our kernels against the plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from xcodec.codec.config import TeacherConfig
from xcodec.codec.convnext import ConvNeXtBlock
from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.semantic import Teacher
from xcodec.engine import ops
from xcodec.engine.convnext import KernelConvNeXtBlock
from xcodec.engine.dac import KernelDac
from xcodec.engine.exact import without_weight_norms
from xcodec.engine.semantic import (
    KernelConv1d,
    KernelFeatureEncoder,
    KernelGelu,
    KernelLinear,
    KernelPositionalConv,
    replace_layers,
)

from .conftest import TEACHER, WIDE, bend_snakes, snr

pytestmark = pytest.mark.skipif(not ops.available(), reason="there is no C compiler with OpenMP")


@pytest.fixture(params=[1, 2], autouse=True)
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
@pytest.mark.parametrize("winograd", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 33])
@pytest.mark.parametrize("kind", [DacEncoder, DacDecoder])
def test_dac(kind: type[DacEncoder | DacDecoder], frames: int, winograd: bool) -> None:
    torch.manual_seed(0)
    network = kind(WIDE, (8, 5, 4, 2))
    bend_snakes(network)
    x = torch.randn(2, 1, 320 * frames) if kind is DacEncoder else torch.randn(2, 16, frames)
    assert KernelDac.supported(network)
    ours = KernelDac(network, winograd)
    assert ours.context_frames == network.context_frames
    assert snr(network(x), ours(x)) > (95 if winograd else 110)


@torch.no_grad()
@pytest.mark.parametrize("lookahead", [0, 3])
def test_convnext_blocks(lookahead: int) -> None:
    """As much of what is to come is seen, and the result is good to int16's 60 dB."""
    block = ConvNeXtBlock(48, 3, lookahead)
    nn.init.normal_(block.scale)
    x = torch.randn(2, 30, 48)
    assert snr(block(x), KernelConvNeXtBlock(block)(x)) > 60
    assert not KernelConvNeXtBlock.supported(ConvNeXtBlock(40, 3))


def test_which_networks_are_supported() -> None:
    assert not KernelDac.supported(DacDecoder(replace(WIDE, decoder_width=128), (8, 5, 4, 2)))
    assert not KernelDac.supported(DacDecoder(WIDE, (8, 5, 4, 2)).bfloat16())
    assert not KernelDac.supported(nn.Identity())


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
    without_weight_norms(teacher)
    replace_layers(teacher)
    kinds = {type(module) for module in teacher.modules()}
    assert kinds >= {KernelLinear, KernelGelu}
    assert kind != "whisper" or KernelConv1d in kinds
    assert kind == "whisper" or kinds >= {KernelFeatureEncoder, KernelPositionalConv}
    assert snr(expected, teacher(wav, 50)) > 50
