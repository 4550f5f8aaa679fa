from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import xcodec
from tests.conftest import ACOUSTIC, TEACHERS, tiny_codec, tiny_config
from xcodec.codec.config import DacConfig
from xcodec.codec.dac import Snake
from xcodec.codec.model import XCodec
from xcodec.engine import engine as engines
from xcodec.engine import winograd as shortconv
from xcodec.engine.autotune import Abilities, abilities
from xcodec.engine.engine import BlockSnake, LowPrecision, accelerate, exact
from xcodec.engine.winograd import ShortConv1d
from xcodec.inference.streaming import StreamingDecoder
from xcodec.utils.checkpoint_io import CheckpointError

PLAIN = Abilities(torch.float32, int8=False)


def snr(reference: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


@pytest.fixture
def wav() -> Tensor:
    return 0.3 * torch.randn(1, 1, 24_000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("samples", [1, 700, 2**15, 100_003])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_block_snake_gives_the_same_bits(samples: int, batch: int) -> None:
    plain = Snake(5)
    torch.nn.init.uniform_(plain.alpha, 0.2, 3)
    x = torch.randn(batch, 5, samples)
    expected = plain(x)
    plain.__class__ = BlockSnake
    with torch.inference_mode():
        assert torch.equal(plain(x), expected)
    assert torch.equal(plain(x), expected)  # and where there are gradients


@pytest.mark.parametrize("teacher", [*TEACHERS, None])
@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_exact_is_exact(acoustic: str, teacher: str | None, wav: Tensor) -> None:
    plain = tiny_codec(acoustic, teacher)
    other = exact(copy.deepcopy(plain))
    codes = plain.encode(wav)
    assert torch.equal(other.encode(wav), codes)
    assert torch.equal(other.decode(codes), plain.decode(codes))
    assert other.fingerprint.weights == plain.fingerprint.weights
    assert list(other.state_dict()) == list(plain.state_dict())
    assert torch.equal(other.encode(wav), codes)  # with what was remembered


@pytest.mark.parametrize("change", ["in place", "data", "load", "double"])
def test_exact_notices_new_weights(change: str) -> None:
    """It remembers weights under weight norm; trained in between, it must not use the old ones."""
    plain = tiny_codec("dac", None)
    other = exact(copy.deepcopy(plain))
    codes = torch.zeros(1, 4, 3, dtype=torch.int64)
    for codec in (plain, other):
        before = codec.decode(codes)
        assert torch.equal(codec.decode(codes), before)
        weight = codec.acoustic_decoder.layers[0].parametrizations.weight
        if change == "in place":
            with torch.no_grad():
                weight.original1[3, 2, 1] += 1
        elif change == "data":
            weight.original0.data.mul_(2)
        elif change == "load":
            state = {name: 2 * value for name, value in codec.state_dict().items() if value.is_floating_point()}
            codec.load_state_dict(state, strict=False)
        else:
            codec.double()
        assert not torch.equal(codec.decode(codes), before)
    assert torch.equal(plain.decode(codes), other.decode(codes))
    assert sum(parameter.numel() for parameter in other.parameters()) == sum(
        parameter.numel() for parameter in plain.parameters()
    )


@pytest.mark.parametrize(
    "able", [PLAIN, Abilities(torch.bfloat16, int8=False), Abilities(torch.float32, int8=True)], ids=str
)
@pytest.mark.parametrize("teacher", ["hubert", "wavlm", "whisper"])
def test_fast_is_nearly_exact(able: Abilities, teacher: str, wav: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortconv, "LEAST_CHANNELS", 4)
    plain = tiny_codec("dac", teacher)
    fast = accelerate(copy.deepcopy(plain), able)
    codes = plain.encode(wav)
    assert (fast.encode(wav) == codes)[:, 0].float().mean() > (0.99 if able == PLAIN else 0.7)
    audio = fast.decode(codes)
    assert audio.dtype == torch.float32
    assert snr(plain.decode(codes), audio) > (30 if able.convolutions is torch.bfloat16 else 80)
    assert fast.fingerprint.weights == plain.fingerprint.weights
    kinds = {type(layer) for layer in fast.modules()}
    if able.convolutions is torch.float32:
        assert ShortConv1d in kinds
    else:  # on processors whose bfloat16 is wrong for so few channels, it is not taken
        assert kinds & {LowPrecision, ShortConv1d}


def test_wrong_results_are_refused(wav: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a processor's units for bfloat16 may give them."""
    plain = tiny_codec("dac", "hubert")
    monkeypatch.setattr(engines, "_TOLERATED", 1e-9)
    fast = accelerate(copy.deepcopy(plain), Abilities(torch.bfloat16, int8=False))
    assert LowPrecision not in {type(layer) for layer in fast.modules()}
    assert fast.teacher is not None
    assert fast.teacher.autocast is None
    assert torch.equal(fast.encode(wav), plain.encode(wav))


def test_fast_streams() -> None:
    fast = accelerate(tiny_codec("dac", None), Abilities(torch.bfloat16, int8=False))
    decoder = StreamingDecoder(fast)
    sound = decoder.push(torch.zeros(1, 4, 40, dtype=torch.int64))
    assert torch.cat([sound, decoder.finish()], dim=2).shape == (1, 1, 40 * 320)


def test_load_has_engines(tmp_path: Path, wav: Tensor) -> None:
    codec = tiny_codec(acoustic="dac")
    codec.save_pretrained(tmp_path / "model")
    loaded = xcodec.load(tmp_path / "model")
    assert torch.equal(loaded.encode(wav), codec.encode(wav))
    loaded.save_pretrained(tmp_path / "again")
    fast = xcodec.load(tmp_path / "model", engine="fast")
    assert fast.encode(wav).shape == (1, 4, 75)
    with pytest.raises(CheckpointError, match="exact"):
        fast.save_pretrained(tmp_path / "fast")
    with pytest.raises(ValueError, match="'exact' or 'fast'"):
        xcodec.load(tmp_path / "model", engine="warp")  # type: ignore[arg-type]


def test_abilities_are_measured_once() -> None:
    first = abilities(torch.device("cpu"))
    assert first.convolutions in (torch.float32, torch.bfloat16)
    assert abilities(torch.device("cpu")) is first


def test_wide_layers_are_replaced() -> None:
    acoustic = DacConfig(width=8, encoder_width=2, decoder_width=256)
    codec = accelerate(XCodec(replace(tiny_config("dac", None), acoustic=acoustic)), PLAIN)
    replaced = [layer for layer in codec.acoustic_decoder.modules() if isinstance(layer, ShortConv1d)]
    assert len(replaced) == 3 + 2  # the residual units of the first stage, 128 wide, and the dilated ones of the second
