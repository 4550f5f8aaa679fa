"""The codec as its users meet it: shapes, bandwidths, batches, and errors that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import ACOUSTIC, TEACHERS, tiny_codec, tiny_config
from xcodec.codec.config import QuantizerConfig
from xcodec.codec.model import XCodec
from xcodec.tokens.xc_file import AudioTokenizer

EVERY_KIND = [(acoustic, teacher) for acoustic in ACOUSTIC for teacher in (*TEACHERS, None)]


@pytest.mark.parametrize(("acoustic", "teacher"), EVERY_KIND)
def test_audio_to_codes_to_audio(acoustic: str, teacher: str | None) -> None:
    codec = tiny_codec(acoustic, teacher)
    for samples in (1, 319, 320, 321, 7000):
        frames = -(-samples // 320)
        codes = codec.encode(torch.randn(2, 1, samples))
        assert codes.shape == (2, 4, frames)
        assert codes.dtype == torch.int64
        audio = codec.decode(codes)
        assert audio.shape == (2, 1, frames * 320)
        assert audio.isfinite().all()


def test_it_is_an_audio_tokenizer(codec: XCodec) -> None:
    assert isinstance(codec, AudioTokenizer)
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate, codec.codebook_size) == (16000, 320, 50, 64)
    assert codec.bandwidths == (0.3, 0.6, 1.2)


@pytest.mark.parametrize("teacher", ["hubert", "wavlm", "whisper", None])
@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_a_clip_gets_the_same_codes_alone_and_in_any_batch(acoustic: str, teacher: str | None) -> None:
    codec = tiny_codec(acoustic, teacher)
    lengths = [320, 16000 * 20, 1, 48000, 12345, 321]
    clips = [0.3 * torch.randn(length) for length in lengths]
    batch = torch.full((len(clips), 1, max(lengths)), 7.0)  # loud rubbish in the padding must not matter
    for row, clip in zip(batch, clips, strict=True):
        row[0, : len(clip)] = clip
    together = codec.encode(batch, bandwidth=1.2, lengths=lengths)
    for row, clip in zip(together, clips, strict=True):
        alone = codec.encode(clip, bandwidth=1.2)[0]
        assert torch.equal(row[:, : alone.shape[1]], alone)
        assert not row[:, alone.shape[1] :].any()
    backwards = codec.encode(batch.flip(0), lengths=torch.tensor(lengths[::-1]))
    assert torch.equal(backwards.flip(0), together)


def test_lower_bandwidths_are_the_first_codebooks(codec: XCodec) -> None:
    wav = torch.randn(1, 1, 6400)
    codes = codec.encode(wav)
    for bandwidth, codebooks in ((0.3, 1), (0.6, 2), (1.2, 4)):
        assert torch.equal(codec.encode(wav, bandwidth=bandwidth), codes[:, :codebooks])


def test_encoding_leaves_no_trace(codec: XCodec) -> None:
    wav = torch.randn(1, 1, 6400)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    first = codec.encode(wav, bandwidth=0.3)
    codec.encode(wav, bandwidth=1.2)
    assert torch.equal(codec.encode(wav, bandwidth=0.3), first)
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())


def test_without_a_teacher_it_is_the_acoustic_baseline() -> None:
    baseline = tiny_codec(teacher=None)
    assert not any("semantic" in name or "teacher" in name for name, _ in baseline.named_modules())
    output = baseline(torch.randn(1, 1, 3200), torch.tensor([4]))
    assert output.semantic is None
    assert output.teacher is None


@pytest.mark.parametrize("acoustic", list(ACOUSTIC))
def test_a_24_khz_25_hz_codec_trains_and_round_trips(acoustic: str) -> None:
    config = tiny_config(
        acoustic,
        "hubert",
        sample_rate=24000,
        strides=(8, 5, 4, 6),
        quantizer=QuantizerConfig(codebooks=3, codebook_size=32, width=24),
        bandwidth_codebooks=(1, 3),
    )
    torch.manual_seed(0)
    codec = XCodec(config).train()
    optimizer = torch.optim.Adam([each for each in codec.parameters() if each.requires_grad], 1e-3)
    wav = 0.1 * torch.randn(4, 1, 24000)
    losses = []
    for _ in range(5):
        output = codec(wav, torch.tensor([1, 3, 3, 1]))
        assert output.audio.shape == wav.shape
        assert output.semantic is not None
        assert output.teacher is not None
        loss = (output.audio - wav).square().mean() + (output.semantic - output.teacher).square().mean()
        (loss + 0.1 * output.commitment).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    codes = codec.eval().encode(wav)
    assert codes.shape == (4, 3, 25)
    assert codec.decode(codes).shape == (4, 1, 24000)


def test_warming_up_skips_the_quantiser(codec: XCodec) -> None:
    output = codec(torch.randn(1, 1, 3200), None)
    assert output.codes is None
    assert float(output.commitment) == 0


def test_gradients_reach_all_that_should_learn_and_nothing_else() -> None:
    codec = tiny_codec().train()
    output = codec(torch.randn(2, 1, 6400), torch.tensor([4, 4]))
    (output.audio.square().mean() + output.semantic.square().mean() + output.commitment).backward()
    for name, parameter in codec.named_parameters():
        assert (parameter.grad is not None) == (not name.startswith("teacher.")), name


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (torch.zeros(1, 2, 100), r"\[B, 1, T\] or \[T\].*got float32 \[1, 2, 100\]"),
        (torch.zeros(1, 100), r"got float32 \[1, 100\]"),
        (torch.zeros(1, 1, 0), "not empty"),
        (torch.zeros(100, dtype=torch.int16), "floating point"),
        (torch.tensor([0.0, float("nan")]), "NaN or infinite"),
        (torch.tensor([0.0, float("inf")]), "NaN or infinite"),
        (torch.tensor([0.0, -9830.0, 1.0]), "9830, where full scale is 1.*divide by 32768"),
    ],
)
def test_audio_that_cannot_be(codec: XCodec, wav: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(wav)


@pytest.mark.parametrize("lengths", [[100], [0, 100], [100, 101], [-1, 5]])
def test_lengths_that_cannot_be(codec: XCodec, lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths must give each of the 2 clips"):
        codec.encode(torch.zeros(2, 1, 100), lengths=lengths)


@pytest.mark.parametrize("lengths", [100, [50.5, 100.0], ["50", "100"], torch.tensor([50.0, 100.0])])
def test_lengths_that_are_no_whole_numbers(codec: XCodec, lengths: Any) -> None:
    with pytest.raises(ValueError, match="lengths must be a list of whole numbers"):
        codec.encode(torch.zeros(2, 1, 100), lengths=lengths)


def test_a_bandwidth_that_is_no_number(codec: XCodec) -> None:
    with pytest.raises(ValueError, match=r"no bandwidth of '1\.2' kbps"):
        codec.encode(torch.zeros(100), bandwidth="1.2")  # type: ignore[arg-type]


def test_bandwidth_that_the_model_lacks(codec: XCodec) -> None:
    with pytest.raises(ValueError, match=r"has no bandwidth of 4 kbps; it has 0\.3, 0\.6, 1\.2"):
        codec.encode(torch.zeros(1, 1, 320), bandwidth=4)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 4, 5), "integers"),
        (torch.zeros(4, dtype=torch.int64), "integers"),
        (torch.zeros(1, 4, 0, dtype=torch.int64), "empty"),
        (torch.zeros(1, 5, 3, dtype=torch.int64), "5 codebooks given, but"),
        (torch.full((1, 4, 3), 64), r"\[0, 64\); got 64"),
        (torch.full((1, 4, 3), -1), r"\[0, 64\); got -1"),
    ],
)
def test_codes_that_cannot_be(codec: XCodec, codes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.decode(codes)
