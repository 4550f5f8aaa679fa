"""What `xcodec.load` gives: a codec that wraps a model, and does what the model does whatever surrounds the call."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xcodec
from tests.conftest import tiny_codec
from xcodec import Codec, StreamingDecoder, StreamingEncoder, XCodec
from xcodec.engine.engine import Engine
from xcodec.tokens.xc_file import AudioTokenizer

from .conftest import snr

ENGINES = get_args(Engine)


@pytest.fixture(scope="module", params=["dac-wavlm", "spectral-whisper"])
def model(request: pytest.FixtureRequest) -> XCodec:
    return tiny_codec(*request.param.split("-"))


@pytest.fixture
def wav() -> Tensor:
    return 0.3 * torch.randn(1, 1, 7_000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=ENGINES)
def codec(request: pytest.FixtureRequest, model: XCodec) -> Codec:
    return Codec(model, request.param)


# --- the wrapper -----------------------------------------------------------------------------------------------------


def test_it_has_what_the_model_has(codec: Codec, model: XCodec, wav: Tensor) -> None:
    assert isinstance(codec, AudioTokenizer)
    for name in ("sample_rate", "hop_length", "frame_rate", "bandwidths", "codebook_size", "device", "config"):
        assert getattr(codec, name) == getattr(model, name)
    assert codec.fingerprint == model.fingerprint
    torch.testing.assert_close(
        codec.latents(wav[..., :6_400]).values, model.latents(wav[..., :6_400]).values, rtol=0.05, atol=0.05
    )
    assert codec.encode(wav, bandwidth=0.6, lengths=[4_999]).shape == (1, 2, 22)
    assert repr(codec) == f"<xcodec.Codec {model.config.name}, engine {codec.engine}, on cpu>"


def test_loading(tmp_path: Path, wav: Tensor) -> None:
    model = tiny_codec(acoustic="dac")
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(xcodec.load(tmp_path / "model").encode(wav), model.encode(wav))
    assert xcodec.load(tmp_path / "model", engine="fast").encode(wav).shape == (1, 4, 22)
    assert type(XCodec.from_pretrained(tmp_path / "model")) is XCodec
    with pytest.raises(ValueError, match="'exact' or 'fast'"):
        xcodec.load(tmp_path / "model", engine="warp")  # type: ignore[arg-type]
    for device in ("cuda:99", "rocket"):
        with pytest.raises(ValueError, match=f"cannot compute on device {device}"):
            xcodec.load(tmp_path / "model", device=device)


@torch.no_grad()
def halve_one(model: XCodec) -> None:
    model.acoustic_decoder.layers[0].parametrizations.weight.original1[3, 2, 1] += 1  # type: ignore[index, union-attr]


def through_data(model: XCodec) -> None:
    """Which counts as no new version, and is what averaging of weights does."""
    for parameter in model.acoustic_decoder.parameters():
        parameter.data.mul_(1.1)


def load_state(model: XCodec, assign: bool = False) -> None:
    state = {name: 1.1 * value if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=assign)


@pytest.mark.parametrize(
    "change",
    [halve_one, through_data, load_state, lambda model: load_state(model, assign=True), lambda model: model.double()],
    ids=["in place", "data", "load", "assign", "double"],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_new_weights_are_noticed(wide_codec: XCodec, change: Callable[[XCodec], object], engine: Engine) -> None:
    codec = Codec(wide_codec, engine)
    codes = torch.randint(64, (1, 4, 5))
    before, fingerprint = codec.decode(codes), codec.fingerprint
    change(wide_codec)
    after = codec.decode(codes)
    assert not torch.equal(after, before)
    assert snr(wide_codec.decode(codes), after) > 60
    assert codec.fingerprint == wide_codec.fingerprint
    assert change(XCodec(wide_codec.config)) is not None or codec.fingerprint != fingerprint  # all but a new precision


# --- what surrounds a call -------------------------------------------------------------------------------------------


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "nothing": nullcontext,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "autocast of another device": lambda: torch.autocast("cuda", torch.float16),
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "default float64": lambda: default_dtype(torch.float64),
    "default device": lambda: torch.device("meta"),
}


def everything(codec: Codec | XCodec, wav: Tensor) -> list[Tensor]:
    """All that a codec gives: at once, of a batch, and of streams."""
    codes = codec.encode(wav)
    encoder, decoder = StreamingEncoder(codec), StreamingDecoder(codec)
    streamed = [encoder.encode(wav[0, 0]), encoder.finish()]
    audio = [decoder.decode(codes), decoder.finish()]
    lengths = [wav.shape[2], 5_000]
    return [codes, codec.encode(torch.cat([wav, wav]), lengths=lengths), codec.decode(codes), *streamed, *audio]


@pytest.mark.filterwarnings("ignore:.*autocast")  # of the one that is not for this machine
@pytest.mark.parametrize("surroundings", list(SURROUNDINGS))
def test_codes_do_not_depend_on_what_surrounds_a_call(codec: Codec, wav: Tensor, surroundings: str) -> None:
    expected = everything(codec, wav)
    with SURROUNDINGS[surroundings]():
        made = everything(codec, wav)
        plain = everything(codec.model, wav)
    for one, other, third in zip(expected, made, plain, strict=True):
        assert torch.equal(one, other)
        for each in (other, third):
            assert not each.is_inference()
            assert not each.requires_grad
        assert other.dtype == third.dtype == one.dtype
    assert codec.engine == "fast" or torch.equal(plain[0], expected[0])


@pytest.mark.filterwarnings("ignore:.*autocast")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("surroundings", list(SURROUNDINGS))
def test_nor_on_what_surrounds_the_loading(tmp_path: Path, wav: Tensor, surroundings: str, engine: Engine) -> None:
    model = tiny_codec("dac", "whisper")
    model.save_pretrained(tmp_path / "model")
    expected = Codec(model, engine).encode(wav)
    with SURROUNDINGS[surroundings]():
        loaded = xcodec.load(tmp_path / "model", engine=engine)
    assert torch.equal(loaded.encode(wav), expected)
    for parameter in loaded.model.parameters():
        assert parameter.dtype is torch.float32
        assert not parameter.is_inference()
    assert loaded.fingerprint == model.fingerprint


@pytest.mark.usefixtures("any_number_of_threads")
@pytest.mark.parametrize("engine", ENGINES)
def test_nor_on_threads(wide_codec: XCodec, wav: Tensor, engine: Engine) -> None:
    """Here even to the bit, but for the teacher, whose attention is PyTorch's: on some processors it rounds otherwise
    on another number of threads, and codes that are nearly tied change."""
    codec = Codec(wide_codec, engine)
    codes = codec.encode(wav)
    with torch.no_grad():
        features, audio = codec.network.acoustic_encoder(wav), codec.decode(codes)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(codec.network.acoustic_encoder(wav), features)
            assert torch.equal(codec.decode(codes), audio)


def surroundings_now() -> list[object]:
    state = np.random.get_state()
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        [state[0], state[1].tolist(), *state[2:]],
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("surroundings", ["inference_mode", "default bfloat16"])
def test_and_what_surrounds_a_call_stays_as_it_was(wav: Tensor, engine: Engine, surroundings: str) -> None:
    measure_abilities_anew()
    with SURROUNDINGS[surroundings]():
        before = surroundings_now()
        codec = xcodec.load(engine=engine)
        everything(codec, wav)
        with pytest.raises(ValueError, match="finite"):
            codec.encode(wav * torch.nan)
        assert surroundings_now() == before


def measure_abilities_anew() -> None:
    from xcodec.engine import fast, ops

    fast.abilities.cache_clear()
    ops.available.cache_clear()


# --- what goes in, and what comes out --------------------------------------------------------------------------------


def test_codes_and_audio_can_be_trained_on(codec: Codec, wav: Tensor) -> None:
    for each in (codec, codec.model):
        codes = each.encode(wav)
        nn.Embedding(64, 8)(codes).sum().backward()
        logits = torch.randn(1, 64, *codes.shape[1:], requires_grad=True)
        nn.functional.cross_entropy(logits, codes).backward()
        nn.Linear(320, 9)(each.decode(codes).view(-1, 320)).sum().backward()
        codes += 1  # which is the caller's, to do with as they like


def test_audio_of_every_kind_is_taken(codec: Codec, wav: Tensor) -> None:
    samples = wav[0, 0, :320].bfloat16().float()  # values that every type below can hold
    expected = codec.encode(samples)
    array = samples.numpy()
    strided = np.stack([array, array], axis=1)[:, 0]
    for given in (
        samples.double(),
        samples.bfloat16(),
        samples.clone().requires_grad_(),
        samples[None, None],
        array,
        array.astype(np.float64),
        array.astype(">f4"),
        strided,
        array[::-1].copy()[::-1],
        array.tolist(),
        [[array.tolist()]],
    ):
        assert torch.equal(codec.encode(given), expected), given
    assert codec.encode(samples.half()).shape == expected.shape
    assert torch.equal(codec.decode(expected.numpy().astype(np.uint16)), codec.decode(expected))
    assert torch.equal(codec.decode(expected.tolist()), codec.decode(expected))
    assert torch.equal(codec.decode(expected.int()), codec.decode(expected))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            torch.zeros(320, dtype=torch.int16),
            r"floating point in \[-1, 1\] \(int16 samples / 32768\); got int16",
        ),
        (np.zeros(320, np.int16), r"floating point.*got int16 \[320\]"),
        ([0, 1, 2], r"floating point.*got int64 \[3\]"),
        (torch.zeros(320, dtype=torch.complex64), r"got complex64 \[320\]"),
        (np.zeros(320, bool), r"got bool \[320\]"),
        ("speech.wav", r"got <U10 \[\]"),
        (None, r"got object \[\]"),
        ([[0.0, 1.0], [2.0]], "nested lists of equal lengths"),
        (torch.zeros(2, 320), r"\[B, 1, T\] or \[T\], and not empty; got float32 \[2, 320\]"),
        (np.zeros((1, 2, 320), np.float32), r"got float32 \[1, 2, 320\]"),
        ([], r"not empty|floating"),
        ([0.5, float("nan")], "NaN or infinite"),
        (np.array([1e300]), "NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_audio_that_cannot_be_is_refused_in_one_line(codec: Codec, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        codec.encode(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(4, 9), r"codes must be integers \[B, K, F\]; got float32 \[4, 9\]"),
        (np.zeros((4, 9)), r"integers.*got float64 \[4, 9\]"),
        (torch.zeros(4, 9, dtype=torch.bool), r"integers.*got bool"),
        ([[1, 2], [3]], "nested lists of equal lengths"),
        (torch.zeros(9, dtype=torch.int64), r"got int64 \[9\]"),
        (np.full((4, 9), 64, np.uint16), r"must lie in \[0, 64\); got 64 … 64"),
    ],
)
def test_codes_that_cannot_be_are_refused_in_one_line(codec: Codec, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        codec.decode(given)
    assert "\n" not in str(error.value)
