"""Streams give what whole clips give, for every architecture, in pieces of any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ACOUSTIC, TEACHERS, tiny_codec
from xcodec.codec.config import VocoderConfig
from xcodec.codec.model import XCodec
from xcodec.codec.spectral import SpectralDecoder
from xcodec.engine.engine import Codec
from xcodec.inference import streaming
from xcodec.inference.streaming import StreamingDecoder, StreamingEncoder

WINDOWED = ["whisper", None]


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a clip of seconds already has seams."""
    monkeypatch.setattr(streaming, "CHUNK_SECONDS", 1.0)


def awake(codec: XCodec) -> XCodec:
    """In float64, where rounding cannot hide a seam, and without layers that start at zero and would."""
    for parameter in (*codec.acoustic_encoder.parameters(), *codec.acoustic_decoder.parameters()):
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return codec.double()


def decoded(decoder: StreamingDecoder, codes: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat([*(decoder.decode(piece) for piece in codes.split(sizes, dim=2)), decoder.finish()], dim=2)


def encoded(encoder: StreamingEncoder, wav: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat([*(encoder.encode(piece) for piece in wav.split(sizes)), encoder.finish()], dim=2)


@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_decoding_is_that_of_the_whole(acoustic: str) -> None:
    codec = awake(tiny_codec(acoustic, None))
    codes = torch.randint(64, (1, 4, 131))
    expected = codec.decode(codes)
    for min_frames, sizes in ((1, [1] * 131), (1, [131]), (7, [60, 0, 71]), (100, [3] * 43 + [2])):
        streamed = decoded(StreamingDecoder(codec, min_frames), codes, sizes)
        torch.testing.assert_close(streamed, expected, rtol=1e-9, atol=1e-9)


def speaking(features: Tensor) -> Tensor:
    """Features [B, D, F] -> compressed magnitudes [B, 2 F, 321]: a voice whose pitch jumps, and breath in between."""
    height = (1e3 * features.mean(1)).sin().repeat_interleave(2, dim=1)[..., None]  # (B, F) -> (B, 2 F, 1)
    bins = torch.arange(321, dtype=features.dtype)  # of 25 Hz
    harmonic = 25 * bins / (140 + 60 * height)
    voice = torch.exp(-(((harmonic - harmonic.round()) / 0.15) ** 2))
    breath = 0.5 + 0.4 * torch.sin(bins**2)
    return 5 * torch.where(height < 0, breath, voice)


def test_decoding_a_voice_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(awake(tiny_codec("spectral", None))).network
    decoder = codec.acoustic_decoder
    assert isinstance(decoder, SpectralDecoder)
    assert decoder.pulse_train is not None
    monkeypatch.setattr(decoder, "spectra", speaking)
    codes = torch.randint(64, (1, 4, 14)).repeat_interleave(15, dim=2)
    spectra = speaking((codec.quantizer.decode(codes).transpose(1, 2) @ codec.to_acoustic.weight.T).transpose(1, 2))
    voiced = decoder.pulse_train(decoder.spectrogram.expand(spectra))[1]
    assert 0.2 < voiced.double().mean() < 0.95
    expected = codec.decode(codes)
    for min_frames, sizes in ((1, [1] * 210), (7, [60, 0, 150]), (100, [3] * 70)):
        streamed = decoded(StreamingDecoder(codec, min_frames), codes, sizes)
        torch.testing.assert_close(streamed, expected, rtol=1e-7, atol=1e-7)
    for attribute, wrong in (("align_frames", 1), ("context_frames", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(decoder, attribute, wrong)
            streamed = decoded(StreamingDecoder(codec, 7), codes, [210])
            assert not torch.allclose(streamed, expected, rtol=1e-4, atol=1e-4)


def test_decoding_with_a_vocoder_is_that_of_the_whole_and_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    symmetric = VocoderConfig(width=16, layers=2)
    latency = []
    for vocoder in (symmetric, replace(symmetric, lookahead=0)):
        monkeypatch.setitem(ACOUSTIC, "spectral", replace(ACOUSTIC["spectral"], vocoder=vocoder))
        codec = awake(tiny_codec("spectral", None))
        monkeypatch.setattr(codec.acoustic_decoder, "spectra", speaking)
        codes = torch.randint(64, (1, 4, 14)).repeat_interleave(15, dim=2)
        expected = codec.decode(codes)
        for min_frames, sizes in ((1, [1] * 210), (7, [60, 0, 150])):
            streamed = decoded(StreamingDecoder(codec, min_frames), codes, sizes)
            torch.testing.assert_close(streamed, expected, rtol=1e-9, atol=1e-9)
        latency.append(StreamingDecoder(codec).latency)
    assert latency[0] - latency[1] == pytest.approx(2 * 3 / 50), "three frames of each layer"


@pytest.mark.parametrize("kind", list(ACOUSTIC))
def test_with_less_context_it_is_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "spectral":
        # Without pulses, whose context is a block's worth, of which few clips need the last frame.
        monkeypatch.setitem(ACOUSTIC, kind, replace(ACOUSTIC[kind], pulses=False))  # type: ignore[call-arg]
    codec = awake(tiny_codec(kind, None))
    codes = torch.randint(64, (1, 4, 131))
    codec.acoustic_decoder.context_frames -= 2  # type: ignore[operator]
    streamed = decoded(StreamingDecoder(codec), codes, [131])
    assert not torch.allclose(streamed, codec.decode(codes), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_sound_comes_when_the_latency_says(acoustic: str) -> None:
    codec = tiny_codec(acoustic, None)
    decoder = StreamingDecoder(codec, min_frames=3)
    codes = torch.randint(64, (1, 4, 100))
    silent = [decoder.decode(code).numel() == 0 for code in codes.split(1, dim=2)]
    assert silent.index(False) + 1 == round(decoder.latency * codec.frame_rate)


@pytest.mark.parametrize("teacher", WINDOWED)
@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_encoding_is_that_of_the_whole(acoustic: str, teacher: str | None) -> None:
    codec = awake(tiny_codec(acoustic, teacher))
    for samples, size in ((1, 1), (320, 320), (321, 160), (80_000, 80_000), (163_333, 15_123), (160_000, 16_000)):
        wav = 0.3 * torch.randn(samples, dtype=torch.float64)
        encoder = StreamingEncoder(codec)
        sizes = [size] * (samples // size) + [samples % size]
        streamed, expected = encoded(encoder, wav, sizes), codec.encode(wav)
        assert streamed.shape == expected.shape
        # Not the codes themselves: a tiny codebook holds entries that are equal, between which rounding decides.
        torch.testing.assert_close(codec.quantizer.decode(streamed), codec.quantizer.decode(expected))
        assert encoder.samples == samples


@pytest.mark.parametrize("teacher", [teacher for teacher in TEACHERS if teacher != "whisper"])
def test_a_teacher_without_windows_is_given_chunks(teacher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec(teacher=teacher)
    wav = 0.3 * torch.randn(5 * 16_000)
    given = []

    def forward(wav: Tensor, frames: int, windowed: bool) -> Tensor:
        assert not windowed
        given.append(frames)
        return torch.zeros(1, 16, frames)

    monkeypatch.setattr(codec.teacher, "forward", forward)
    monkeypatch.setattr(streaming, "WHOLE_CLIP_CONTEXT", 0.5)
    assert encoded(StreamingEncoder(codec), wav, [80_000]).shape == (1, 4, 250)
    assert given == [75, 100, 100, 100, 75]  # a second each, with half a second on either side


@pytest.mark.parametrize("teacher", list(TEACHERS))
def test_a_clip_that_fits_into_a_piece_is_encoded_as_ever(teacher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHUNK_SECONDS", 20.0)
    codec = tiny_codec(teacher=teacher)
    wav = 0.3 * torch.randn(40_001)
    assert torch.equal(encoded(StreamingEncoder(codec, 0.6), wav, [40_001]), codec.encode(wav, 0.6))


@pytest.mark.parametrize("look_ahead", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("teacher", ["hubert", "whisper"])
def test_codes_come_when_the_latency_says(teacher: str, look_ahead: float) -> None:
    codec = tiny_codec(teacher=teacher)
    encoder = StreamingEncoder(codec, look_ahead=look_ahead, min_frames=5)
    wav = 0.3 * torch.randn(6 * 16_000)
    given, waited = 0, 0.0
    for index, block in enumerate(wav.split(320)):
        codes = encoder.encode(block)
        if codes.shape[2]:
            waited = max(waited, index + 1 - given)
            given += codes.shape[2]
    assert waited / 50 <= encoder.latency
    assert waited / 50 >= encoder.latency - 5 / 50  # and it is no idle promise
    assert given + encoder.finish().shape[2] == 300


def test_more_look_ahead_brings_it_closer_to_the_whole() -> None:
    codec = tiny_codec(teacher="whisper", semantic_gain=1000.0)
    wav = 0.3 * torch.randn(6 * 16_000)
    expected = codec.encode(wav)
    equal = [
        float((encoded(StreamingEncoder(codec, look_ahead=ahead), wav, [96_000]) == expected).float().mean())
        for ahead in (0.0, 5.0)
    ]
    assert 0.1 < equal[0] < equal[1] - 0.01
    assert equal[1] > 0.98  # a window of 4 s and 1 s after it: all that it is given offline, but for rounding


def test_what_a_stream_refuses() -> None:
    codec = tiny_codec(teacher="whisper")
    encoder, decoder = StreamingEncoder(codec), StreamingDecoder(codec)
    with pytest.raises(ValueError, match="finite"):
        encoder.encode(torch.tensor([0.0, float("nan")]))
    with pytest.raises(ValueError, match="full scale is 1"):
        encoder.encode(torch.tensor([0.0, 9830.0]))
    with pytest.raises(ValueError, match=r"\[1, 1, t\]"):
        encoder.encode(torch.zeros(2, 1, 320))
    with pytest.raises(ValueError, match=r"\[1, K, f\]"):
        decoder.decode(torch.zeros(2, 4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="must lie in"):
        decoder.decode(torch.full((1, 4, 99), 64))
    with pytest.raises(ValueError, match="no bandwidth"):
        StreamingEncoder(codec, bandwidth=99)
    with pytest.raises(ValueError, match="at most 30 s"):
        StreamingEncoder(codec, look_ahead=26.0)
    with pytest.raises(ValueError, match="negative"):
        StreamingEncoder(codec, look_ahead=-1.0)
    encoder.finish()
    with pytest.raises(ValueError, match="finished"):
        encoder.encode(torch.zeros(1))
