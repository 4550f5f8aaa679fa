from __future__ import annotations

import copy
import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import XCodec, audio
from xcodec.cli.info import describe
from xcodec.inference import files, streaming
from xcodec.inference.files import FileCodec
from xcodec.inference.pipes import encode_pipe
from xcodec.tokens.xc_file import HEADER_BYTES, TokenFileError, read_tokens, write_tokens


def noise(path: Path, samples: int, rate: int = 16_000, channels: int = 1) -> Path:
    generator = np.random.default_rng(samples)
    audio.write(path, generator.uniform(-0.5, 0.5, (channels, samples)).astype(np.float32), rate)
    return path


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 16_001])
def test_exact_number_of_samples(codec: XCodec, tmp_path: Path, samples: int) -> None:
    source = noise(tmp_path / "a.wav", samples)
    at_work = FileCodec(codec)
    report = at_work.encode(source, tmp_path / "a.xc")
    assert (report.samples, report.channels, report.sample_rate) == (samples, 1, 16_000)
    assert report.bytes == (tmp_path / "a.xc").stat().st_size
    at_work.decode(tmp_path / "a.xc", tmp_path / "b.wav")
    at_work.reconstruct(source, tmp_path / "c.flac")
    assert audio.info(tmp_path / "b.wav").samples == samples
    assert audio.info(tmp_path / "c.flac").samples == samples


@pytest.mark.parametrize(
    ("samples", "rate", "expected"), [(44_100, 44_100, 16_000), (3, 96_000, 1), (999, 8_000, 1998)]
)
def test_other_rates(codec: XCodec, tmp_path: Path, samples: int, rate: int, expected: int) -> None:
    source = noise(tmp_path / "a.wav", samples, rate, channels=2)
    FileCodec(codec).reconstruct(source, tmp_path / "b.wav")
    made = audio.info(tmp_path / "b.wav")
    assert (made.samples, made.sample_rate, made.channels) == (expected, 16_000, 1)


def test_reconstruct_is_encode_then_decode(codec: XCodec, tmp_path: Path) -> None:
    source = noise(tmp_path / "a.wav", 5_000, channels=2)
    for channels in ("mix", "keep"):
        at_work = FileCodec(codec, bandwidth=codec.bandwidths[1], channels=channels)
        at_work.encode(source, tmp_path / "a.xc")
        at_work.decode(tmp_path / "a.xc", tmp_path / "b.wav")
        at_work.reconstruct(source, tmp_path / "c.wav")
        assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "c.wav").read_bytes()


def test_the_audio_is_the_codecs_own(codec: XCodec, tmp_path: Path) -> None:
    source = noise(tmp_path / "a.wav", 3_000)
    FileCodec(codec).reconstruct(source, tmp_path / "b.wav")
    heard, _ = audio.read(tmp_path / "b.wav")
    with torch.inference_mode():
        expected = codec.decode(codec.encode(torch.from_numpy(audio.read(source)[0][0])))[0, 0, :3_000].clamp(-1, 1)
    np.testing.assert_allclose(heard[0], expected.numpy(), atol=2**-15)


def test_the_audio_track_that_is_asked_for_is_coded(codec: XCodec, tmp_path: Path) -> None:
    with av.open(tmp_path / "film.mkv", "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for track, samples in zip(tracks, (16_000, 8_000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(track.encode(frame))
    report = FileCodec(codec, track=1).encode(tmp_path / "film.mkv", tmp_path / "a.xc")
    assert report.samples == describe(str(tmp_path / "film.mkv"), track=1)["samples"] == 8_000
    with pytest.raises(audio.AudioError, match="has no audio track 2"):
        FileCodec(codec, track=2).encode(tmp_path / "film.mkv", tmp_path / "a.xc")


def test_keep_codes_each_channel_by_itself(codec: XCodec, tmp_path: Path) -> None:
    source = noise(tmp_path / "a.wav", 4_000, channels=3)
    at_work = FileCodec(codec, channels="keep")
    report = at_work.encode(source, tmp_path / "a.xc")
    assert report.channels == 3
    assert report.kbps == pytest.approx(3 * codec.bandwidths[-1])
    codes = read_tokens(tmp_path / "a.xc").codes
    for channel, sound in enumerate(audio.read(source, mono=False)[0]):
        alone = codec.encode(torch.from_numpy(sound))[0]
        assert np.array_equal(codes[channel], alone.numpy())
    at_work.decode(tmp_path / "a.xc", tmp_path / "b.wav")
    assert audio.info(tmp_path / "b.wav").channels == 3


def test_size_is_the_nominal_bitrate(codec: XCodec, tmp_path: Path) -> None:
    source = noise(tmp_path / "a.wav", 160_000)
    for kbps in codec.bandwidths:
        report = FileCodec(codec, kbps).encode(source, tmp_path / "a.xc")
        assert report.kbps == pytest.approx(kbps)
        assert report.bytes - HEADER_BYTES == pytest.approx(kbps * 10 * 1000 / 8, abs=1)


def test_bandwidth_that_the_model_lacks(codec: XCodec) -> None:
    with pytest.raises(ValueError, match="3"):
        FileCodec(codec, bandwidth=3)


def test_tokens_of_another_model_are_refused(codec: XCodec, tmp_path: Path) -> None:
    FileCodec(codec).encode(noise(tmp_path / "a.wav", 1_000), tmp_path / "a.xc")
    other = copy.deepcopy(codec)
    with torch.no_grad():
        other.prior.weight[0, 0] += 1e-3
    with pytest.raises(TokenFileError, match="was made by model"):
        FileCodec(other).decode(tmp_path / "a.xc", tmp_path / "b.wav")
    assert not (tmp_path / "b.wav").exists()


def test_tokens_that_contradict_their_model_are_refused(codec: XCodec, tmp_path: Path) -> None:
    FileCodec(codec).encode(noise(tmp_path / "a.wav", 640), tmp_path / "a.xc")
    tokens = read_tokens(tmp_path / "a.xc")
    forged = dict(vars(tokens)) | {"hop_length": 640, "samples": 1_280}  # twice as much as decoding gives
    write_tokens(tmp_path / "a.xc", type(tokens)(**forged))
    with pytest.raises(TokenFileError, match="contradicts"):
        FileCodec(codec).decode(tmp_path / "a.xc", tmp_path / "b.wav")


def test_nothing_is_left_when_it_fails(codec: XCodec, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_text("not audio")
    target = tmp_path / "b.wav"
    target.write_text("precious")
    with pytest.raises(audio.AudioError):
        FileCodec(codec).reconstruct(source, target)
    with pytest.raises(audio.AudioError):
        FileCodec(codec, make_folders=True).reconstruct(source, tmp_path / "new" / "b.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav"]
    assert target.read_text() == "precious"


def test_a_target_that_cannot_be_written_is_refused_before_the_work(codec: XCodec, tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"  # so if it were read first, the error would be about this
    with pytest.raises(audio.AudioError, match=r"\.mp3"):
        FileCodec(codec).reconstruct(missing, tmp_path / "b.mp3")


def test_a_long_file_is_coded_in_pieces_as_if_at_once(
    codec: XCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_codec(teacher=None)
    monkeypatch.setattr(streaming, "CHUNK_SECONDS", 1.0)
    monkeypatch.setattr(files, "_BLOCK_FRAMES", 60)
    source = noise(tmp_path / "a.wav", 400_001, channels=2)
    seen: list[float] = []
    FileCodec(whole, channels="keep").encode(source, tmp_path / "a.xc", seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == 1.0
    wav = torch.from_numpy(audio.read(source, mono=False)[0])[:, None]
    codes = torch.from_numpy(read_tokens(tmp_path / "a.xc").codes)
    assert (codes == whole.encode(wav)).float().mean() > 0.999  # rounding may flip a code that is nearly tied
    seen.clear()
    FileCodec(whole).decode(tmp_path / "a.xc", tmp_path / "b.wav", seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == 1.0
    heard = audio.read(tmp_path / "b.wav", mono=False)[0]
    np.testing.assert_allclose(heard, whole.decode(codes)[:, 0, :400_001].clamp(-1, 1).numpy(), atol=2**-15)


def test_damage_deep_in_a_file_leaves_nothing(codec: XCodec, tmp_path: Path) -> None:
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 400_000).astype(np.float32)
    audio.write(tmp_path / "a.wav", wav, 16_000, "FLOAT")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[-400:-396] = np.float32(np.nan).tobytes()
    (tmp_path / "a.wav").write_bytes(content)
    for target in ("b.xc", "b.wav"):
        with pytest.raises(audio.AudioError, match="NaN"):
            getattr(FileCodec(codec), "encode" if target == "b.xc" else "reconstruct")(
                tmp_path / "a.wav", tmp_path / target
            )
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_names_that_are_not_utf_8(codec: XCodec, tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"{os.fsdecode(b'caf' + bytes([0xE9]))}{suffix}"
    noise(tmp_path / f"plain{suffix}", 1_000).rename(source)
    files = FileCodec(codec)
    assert files.encode(source, source.with_suffix(".xc")).samples == 1_000
    assert files.decode(source.with_suffix(".xc"), source.with_suffix(".ogg")).samples == 1_000


def test_a_saved_stream_is_decoded_like_a_file(codec: XCodec, tmp_path: Path) -> None:
    samples, _ = audio.read(noise(tmp_path / "a.wav", 3_000))
    with (tmp_path / "saved").open("wb") as saved:
        encode_pipe(codec, io.BytesIO((samples * 2**15).astype("<i2").tobytes()), saved)
    files = FileCodec(codec)
    files.encode(tmp_path / "a.wav", tmp_path / "a.xc")
    files.decode(tmp_path / "a.xc", tmp_path / "b.wav")
    assert files.decode(tmp_path / "saved", tmp_path / "c.wav").samples == 3_000
    difference = audio.read(tmp_path / "b.wav")[0] - audio.read(tmp_path / "c.wav")[0]
    assert np.sqrt(np.mean(difference**2)) < 0.05
