"""Codecs wide enough for our kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import tiny_config
from xcodec.codec.config import DacConfig, QuantizerConfig, SemanticConfig, TeacherConfig
from xcodec.codec.dac import Snake
from xcodec.codec.model import XCodec

WIDE = DacConfig(width=16, encoder_width=16, decoder_width=256)
TEACHER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEACHER |= {"conv_dim": [256, 256, 32, 32, 32, 32, 32], "num_conv_pos_embeddings": 16}
TEACHER |= {"num_conv_pos_embedding_groups": 4}


def snr(reference: Tensor, other: Tensor) -> float:
    """In dB."""
    return float(10 * torch.log10(reference.square().sum() / (reference.double() - other.double()).square().sum()))


def bend_snakes(network: nn.Module) -> None:
    """Alphas of all sizes, as training gives them."""
    for module in network.modules():
        if isinstance(module, Snake):
            nn.init.uniform_(module.alpha, 0.2, 3)


@pytest.fixture(scope="session")
def _wide_codec() -> XCodec:
    torch.manual_seed(0)
    teacher = TeacherConfig({"model_type": "hubert", **TEACHER, "hidden_size": 256})
    quantizer = QuantizerConfig(codebooks=4, codebook_size=64, width=24, kmeans_iterations=3)
    config = replace(tiny_config("dac"), acoustic=WIDE, semantic=SemanticConfig(teacher, blocks=1), quantizer=quantizer)
    codec = XCodec(config)
    bend_snakes(codec)
    with torch.no_grad():
        codec.train()(torch.randn(4, 1, 32 * 320), torch.full((4,), 4))  # which places the codebooks
    return codec.eval()


@pytest.fixture
def wide_codec(_wide_codec: XCodec) -> XCodec:
    """All of whose parts the kernels can compute; a copy of its own for each test."""
    codec = XCodec(replace(_wide_codec.config))
    codec.load_state_dict(_wide_codec.state_dict())
    return codec.eval()


@pytest.fixture
def wav() -> Tensor:
    """A clip of 1.5 s, [1, 1, T]."""
    return 0.3 * torch.randn(1, 1, 24_000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def any_number_of_threads() -> Iterator[None]:
    """Lets a test set it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
