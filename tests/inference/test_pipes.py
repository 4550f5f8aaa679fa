from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.audio.conftest import ffmpeg_encode, make_tone
from tests.conftest import tiny_codec
from xcodec import XCodec
from xcodec.inference.pipes import decode_pipe, encode_pipe
from xcodec.tokens.stream import StreamReader
from xcodec.tokens.xc_file import TokenFileError


def pcm(samples: int) -> bytes:
    return np.random.default_rng(samples).integers(-(2**14), 2**14, samples).astype("<i2").tobytes()


@pytest.mark.parametrize("samples", [1, 320, 16_001])
def test_there_and_back(codec: XCodec, samples: int) -> None:
    coded, heard = io.BytesIO(), io.BytesIO()
    encode_pipe(codec, io.BytesIO(pcm(samples)), coded, 0.6)
    wav = torch.from_numpy(np.frombuffer(pcm(samples), "<i2").astype(np.float32) / 2**15)
    pieces = list(StreamReader(io.BytesIO(coded.getvalue())).pieces())
    codes = torch.from_numpy(np.concatenate(pieces, axis=2))
    assert (codes == codec.encode(wav, 0.6)).float().mean() > 0.98  # rounding may flip one that is nearly tied
    decode_pipe(codec, io.BytesIO(coded.getvalue()), heard)
    sound = np.frombuffer(heard.getvalue(), "<i2") / 2**15
    whole = codec.decode(codes)[0, 0, :samples].clamp(-1, 1).numpy()
    np.testing.assert_allclose(sound, whole, atol=2**-15)


def test_what_is_refused(codec: XCodec) -> None:
    with pytest.raises(ValueError, match="no audio"):
        encode_pipe(codec, io.BytesIO(b""), io.BytesIO())
    with pytest.raises(ValueError, match="within a sample"):
        encode_pipe(codec, io.BytesIO(b"abc"), io.BytesIO())
    coded = io.BytesIO()
    encode_pipe(codec, io.BytesIO(pcm(999)), coded)
    with pytest.raises(TokenFileError, match="was made by model"):
        decode_pipe(tiny_codec(teacher=None, seed=1), io.BytesIO(coded.getvalue()), io.BytesIO())
    with pytest.raises(TokenFileError, match="cut short"):
        decode_pipe(codec, io.BytesIO(coded.getvalue()[:-1]), io.BytesIO())


class Trickle(io.BytesIO):
    """A pipe that gives one byte at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(1)


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.ogg", "a.aiff", "a.mp3", "bare.mp3", "a.aac", "a.m4a", "a.mkv", "a.caf"]
)
@pytest.mark.parametrize("pipe", [io.BytesIO, Trickle])
def test_files_are_not_taken_for_samples(codec: XCodec, name: str, pipe: type[io.BytesIO], tmp_path: Path) -> None:
    path, signal = tmp_path / name, make_tone(1.0, 16_000)
    if name.endswith(("mp3", "aac", "m4a", "mkv")):
        encoder = "libmp3lame" if name.endswith("mp3") else "aac"
        ffmpeg_encode(
            path, signal, 16_000, encoder, **({"write_xing": "0", "id3v2_version": "0"} if "bare" in name else {})
        )
    else:
        soundfile.write(path, signal.T, 16_000)
    made = io.BytesIO()
    with pytest.raises(
        ValueError, match=r"standard input is a file of \w+, but .* ffmpeg -i - -f s16le -ac 1 -ar \d+ -$"
    ):
        encode_pipe(codec, pipe(path.read_bytes()), made)
    assert made.getvalue() == b""


@pytest.mark.parametrize(
    "start", ["ffff", "ffff0000", "fffb9064", "fff15080", "ffff9064ffff9064", "00000000667479", "4944"]
)
def test_samples_are_not_taken_for_files(codec: XCodec, start: str) -> None:
    """The first samples may be those that begin a frame of MP3, by chance."""
    for rest in (bytes(20_000), pcm(10_000), b""):
        coded = io.BytesIO()
        samples = bytes.fromhex(start) + rest
        encode_pipe(codec, Trickle(samples[: len(samples) // 2 * 2]), coded)
        reader = StreamReader(io.BytesIO(coded.getvalue()))
        list(reader.pieces())
        assert reader.samples == len(samples) // 2
