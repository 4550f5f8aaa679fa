"""What the engines make of a model: the same codes and audio, to the precision that they promise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.conftest import ACOUSTIC, TEACHERS, tiny_codec
from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.model import XCodec
from xcodec.engine import ops
from xcodec.engine.dac import KernelDac
from xcodec.engine.exact import exact
from xcodec.engine.fast import Abilities, Autocast, HalfPrecision, abilities, fast
from xcodec.engine.semantic import KernelCodebook, KernelFeatureEncoder, KernelSemanticEncoder
from xcodec.inference.streaming import StreamingDecoder

from .conftest import snr

with_kernels = pytest.mark.skipif(not ops.available(), reason="there is no C compiler with OpenMP")
KERNELS, HALF = Abilities(kernels=True), Abilities(torch.bfloat16)


def kinds(network: XCodec) -> set[type]:
    return {type(module) for module in network.modules()}


@pytest.mark.parametrize("teacher", [*TEACHERS, None])
@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_exact_gives_the_bits_of_the_plain_network(acoustic: str, teacher: str | None, wav: Tensor) -> None:
    """Where the kernels do not take part, as in networks this narrow."""
    model = tiny_codec(acoustic, teacher)
    network = exact(model)
    codes = model.encode(wav)
    assert torch.equal(network.encode(wav), codes)
    assert torch.equal(network.decode(codes), model.decode(codes))


@with_kernels
@torch.no_grad()
@pytest.mark.parametrize("part", ["acoustic_encoder", "acoustic_decoder"])
def test_kernels_round_no_more_than_the_plain_network(wide_codec: XCodec, part: str) -> None:
    given = torch.randn(1, 16, 90) if part == "acoustic_decoder" else torch.randn(1, 1, 9_600)
    plain, ours = getattr(wide_codec, part), getattr(exact(wide_codec), part)
    truth = copy.deepcopy(plain).double()(given.double())
    assert isinstance(ours, KernelDac)
    assert snr(truth, ours(given)) > snr(truth, plain(given)) - 3


@with_kernels
@pytest.mark.usefixtures("any_number_of_threads")
def test_bits_depend_on_nothing_around_them(wide_codec: XCodec) -> None:
    """On no number of threads, no chunk's length and no neighbour in a batch."""
    codes = torch.randint(64, (3, 4, 150), generator=torch.Generator().manual_seed(2))
    network = exact(wide_codec)
    torch.set_num_threads(1)
    audio = network.decode(codes)
    torch.set_num_threads(2)
    assert torch.equal(network.decode(codes), audio)
    assert torch.equal(network.decode(codes[1:2]), audio[1:2])
    for portion in (1, 7, 40):
        decoder = StreamingDecoder(network)
        pieces = [decoder.decode(codes[:1, :, first : first + portion]) for first in range(0, 150, portion)]
        assert torch.equal(torch.cat([*pieces, decoder.finish()], dim=2), audio[:1])


def test_without_kernels_exact_is_the_plain_network(wide_codec: XCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "available", lambda: False)
    codes = torch.randint(64, (1, 4, 50))
    assert torch.equal(exact(wide_codec).decode(codes), wide_codec.decode(codes))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_the_plain_network(wide_codec: XCodec, dtype: torch.dtype) -> None:
    codes = torch.randint(64, (1, 4, 50))
    model = wide_codec.to(dtype)
    for network in (exact(model), fast(model)):
        assert {type(network.acoustic_encoder), type(network.acoustic_decoder)} == {DacEncoder, DacDecoder}
        assert torch.equal(network.decode(codes), model.decode(codes))


@pytest.mark.parametrize("able", [Abilities(), HALF, pytest.param(KERNELS, marks=with_kernels)], ids=str)
def test_the_model_stays_what_it_is(wide_codec: XCodec, able: Abilities, wav: Tensor) -> None:
    state = {name: (value, value.clone()) for name, value in wide_codec.state_dict(keep_vars=True).items()}
    modules = list(wide_codec.named_modules())
    codes, audio = wide_codec.encode(wav), wide_codec.decode(torch.zeros(1, 4, 9, dtype=torch.int64))
    for network in (exact(wide_codec), fast(wide_codec, able)):
        network.decode(network.encode(wav))
    assert list(wide_codec.named_modules()) == modules
    for name, value in wide_codec.state_dict(keep_vars=True).items():
        assert value is state[name][0]
        assert torch.equal(value, state[name][1])
    assert torch.equal(wide_codec.encode(wav), codes)
    assert torch.equal(wide_codec.decode(torch.zeros(1, 4, 9, dtype=torch.int64)), audio)


@pytest.mark.parametrize("able", [Abilities(), HALF], ids=str)
@pytest.mark.parametrize("teacher", ["hubert", "wavlm", "whisper"])
def test_fast_is_nearly_exact(able: Abilities, teacher: str, wav: Tensor) -> None:
    model = tiny_codec("dac", teacher)
    network = fast(model, able)
    codes = model.encode(wav)
    assert (network.encode(wav) == codes)[:, 0].float().mean() > (0.99 if able.dtype is torch.float32 else 0.7)
    audio = network.decode(codes)
    assert audio.dtype == torch.float32
    assert snr(model.decode(codes), audio) > (30 if able.dtype is torch.bfloat16 else 80)


@with_kernels
def test_fast_on_kernels(wide_codec: XCodec, wav: Tensor) -> None:
    network = fast(wide_codec, KERNELS)
    assert isinstance(network.acoustic_encoder, KernelDac)
    assert kinds(network) >= {KernelSemanticEncoder, KernelFeatureEncoder, KernelCodebook}
    codes = wide_codec.encode(wav)
    assert (network.encode(wav) == codes)[:, 0].float().mean() > 0.95
    assert snr(wide_codec.decode(codes), network.decode(codes)) > 80


def test_wrong_results_are_refused(wav: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a processor's units for bfloat16 may give them."""
    model = tiny_codec("dac", "hubert")
    assert kinds(fast(model, HALF)) & {HalfPrecision, Autocast}
    monkeypatch.setattr("xcodec.engine.fast._TOLERATED", 1e-9)
    network = fast(model, HALF)
    assert not kinds(network) & {HalfPrecision, Autocast}
    assert torch.equal(network.encode(wav), model.encode(wav))


def test_fast_streams() -> None:
    decoder = StreamingDecoder(fast(tiny_codec("dac", None), HALF))
    audio = decoder.decode(torch.zeros(1, 4, 40, dtype=torch.int64))
    assert torch.cat([audio, decoder.finish()], dim=2).shape == (1, 1, 40 * 320)


def test_abilities_are_measured_once() -> None:
    first = abilities(torch.device("cpu"))
    assert first.dtype in (torch.float32, torch.bfloat16)
    assert abilities(torch.device("cpu")) is first
