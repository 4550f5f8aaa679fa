"""What `exact` computes from weights once: with kernels of our own, in the network's own precision."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import tiny_config
from xcodec.codec.config import DacConfig
from xcodec.codec.dac import DacDecoder, DacEncoder, Snake
from xcodec.codec.model import XCodec
from xcodec.engine import engine as remembered
from xcodec.engine import ops as kernels
from xcodec.engine.autotune import Abilities
from xcodec.engine.engine import KernelDacDecoder, KernelDacEncoder, accelerate, exact, plain
from xcodec.inference.streaming import StreamingDecoder

pytestmark = pytest.mark.skipif(not kernels.available(), reason="there is no C compiler with OpenMP")

WIDE = DacConfig(width=16, encoder_width=16, decoder_width=256)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def codec() -> XCodec:
    torch.manual_seed(0)
    made = XCodec(replace(tiny_config("dac", None), acoustic=WIDE)).eval()
    for module in made.modules():
        if isinstance(module, Snake):
            nn.init.uniform_(module.alpha, 0.2, 3)
    return made


@pytest.fixture
def features() -> Tensor:
    return torch.randn(1, 16, 90, generator=torch.Generator().manual_seed(1))


def snr(reference: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference.double() - other.double()).square().sum()))


@torch.inference_mode()
@pytest.mark.parametrize("half", ["acoustic_encoder", "acoustic_decoder"])
def test_kernels_round_no_more_than_the_plain_network(codec: XCodec, features: Tensor, half: str) -> None:
    given = features if half == "acoustic_decoder" else torch.randn(1, 1, 9_600)
    network = getattr(codec, half)
    rounded = network(given)
    truth = copy.deepcopy(network).double()(given.double())
    made = getattr(exact(codec), half)(given)
    assert type(network) in (KernelDacEncoder, KernelDacDecoder)
    assert not torch.equal(made, rounded)  # so it was the kernels that made it
    assert snr(truth, made) > snr(truth, rounded) - 3


@torch.inference_mode()
def test_bits_depend_on_nothing_around_them(codec: XCodec) -> None:
    """On no number of threads, no piece's length and no neighbour in a batch."""
    codes = torch.randint(64, (3, 4, 150), generator=torch.Generator().manual_seed(2))
    exact(codec)
    torch.set_num_threads(1)
    audio = codec.decode(codes)
    torch.set_num_threads(2)
    assert torch.equal(codec.decode(codes), audio)
    assert torch.equal(codec.decode(codes[1:2]), audio[1:2])
    for portion in (1, 7, 40):
        decoder = StreamingDecoder(codec)
        pieces = [decoder.push(codes[:1, :, first : first + portion]) for first in range(0, 150, portion)]
        assert torch.equal(torch.cat([*pieces, decoder.finish()], dim=2), audio[:1])


@torch.no_grad()
@pytest.mark.parametrize("change", ["in place", "data", "load"])
def test_new_weights_are_noticed(codec: XCodec, features: Tensor, change: str) -> None:
    other = exact(copy.deepcopy(codec))
    before = other.acoustic_decoder(features)
    for each in (codec, other):
        weight = each.acoustic_decoder.layers[0].parametrizations.weight  # type: ignore[index, union-attr]
        if change == "in place":
            weight.original1[3, 2, 1] += 1
        elif change == "data":
            weight.original0.data.mul_(2)
        else:
            each.load_state_dict({name: 1.1 * value for name, value in each.state_dict().items()})
    made = other.acoustic_decoder(features)
    assert not torch.equal(made, before)
    assert snr(codec.acoustic_decoder(features), made) > 100


def test_where_there_are_gradients_it_is_the_plain_network(codec: XCodec, features: Tensor) -> None:
    other = exact(copy.deepcopy(codec))
    for each in (codec, other):
        each.acoustic_decoder(features).square().sum().backward()
    gradients = zip(codec.parameters(), other.parameters(), strict=True)
    assert all(one.grad is None or torch.equal(one.grad, two.grad) for one, two in gradients)  # type: ignore[arg-type]
    assert list(other.state_dict()) == list(codec.state_dict())


@torch.inference_mode()
def test_elsewhere_it_is_the_plain_network(codec: XCodec, features: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """In other precisions, for graphs, and without a compiler."""
    expected = codec.acoustic_decoder(features)
    doubled = copy.deepcopy(codec).double().acoustic_decoder(features.double())
    other = exact(copy.deepcopy(codec))
    assert not torch.equal(other.acoustic_decoder(features), expected)
    assert torch.equal(other.double().acoustic_decoder(features.double()), doubled)
    copied = plain(exact(copy.deepcopy(codec)))
    assert type(copied.acoustic_decoder) is DacDecoder
    assert type(copied.acoustic_encoder) is DacEncoder
    assert torch.equal(copied.acoustic_decoder(features), expected)
    monkeypatch.setattr(remembered.kernels, "available", lambda: False)
    assert torch.equal(exact(copy.deepcopy(codec)).acoustic_decoder(features), expected)


@torch.inference_mode()
def test_an_exact_codec_can_be_made_fast(codec: XCodec, features: Tensor) -> None:
    expected = codec.acoustic_decoder(features)
    fast = accelerate(exact(codec), Abilities(torch.float32, int8=False, kernels=True))
    assert snr(expected, fast.acoustic_decoder(features)) > 80
