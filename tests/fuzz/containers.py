"""Damaged, tagged, joined and lying audio files: read as FFmpeg reads them, or refused in one line."""

from __future__ import annotations

import io
import re
import struct
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.audio.conftest import ffmpeg_encode, make_tone
from tests.fuzz import about_to_try, check_message
from xcodec import audio

# Name of a seed -> its rate, and how it is made: by libsndfile (format, subtype) or FFmpeg (encoder).
SEEDS: dict[str, tuple[int, str | tuple[str, str]]] = {
    "pcm.wav": (8_000, ("WAV", "PCM_16")),
    "float.wav": (8_000, ("WAV", "FLOAT")),
    "24.wav": (8_000, ("WAVEX", "PCM_24")),
    "adpcm.wav": (8_000, ("WAV", "MS_ADPCM")),
    "64.wav": (8_000, ("RF64", "PCM_16")),
    "mp3.wav": (16_000, "libmp3lame"),
    "a.aiff": (8_000, ("AIFF", "PCM_16")),
    "a.caf": (8_000, ("CAF", "PCM_16")),
    "a.w64": (8_000, ("W64", "PCM_16")),
    "a.au": (8_000, ("AU", "PCM_16")),
    "a.flac": (8_000, ("FLAC", "PCM_16")),
    "flac.oga": (8_000, "flac"),
    "vorbis.ogg": (8_000, ("OGG", "VORBIS")),
    "a.opus": (48_000, ("OGG", "OPUS")),
    "a.mp3": (16_000, "libmp3lame"),
    "a.mp2": (16_000, "mp2"),
    "a.aac": (16_000, "aac"),
    "a.m4a": (16_000, "aac"),
    "alac.m4a": (8_000, "alac"),
    "pcm.mov": (8_000, "pcm_s16le"),
    "a.mkv": (16_000, "aac"),
    "flac.mkv": (8_000, "flac"),
    "opus.webm": (48_000, "libopus"),
    "a.g722": (16_000, "g722"),
}
_NAMES = sorted(SEEDS)
_LOSSY = ("vorbis", "opus")


@cache
def seed(name: str, folder: Path) -> bytes:
    """A whole small file."""
    rate, how = SEEDS[name]
    path = folder / name
    signal = make_tone(0.2, rate, 1 if name.endswith("g722") else 2)
    if isinstance(how, str):
        ffmpeg_encode(path, signal, rate, how)
    else:
        soundfile.write(path, signal.T, rate, format=how[0], subtype=how[1])
    return path.read_bytes()


def _id3(size: int, footer: bool) -> bytes:
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0" + (b"\x10" if footer else b"\0") + length + bytes(size) + (b"3DI" + bytes(7)) * footer


_NUMBERS = (
    *(0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFDB, 0xFFFFFFFF, 36, 44, 100, 1000, 44100),
)
Change = tuple[str, "int | bytes", "int | bytes"]
Case = tuple[str, list[Change]]


def batch(number: int, folder: Path, outcomes: Counter[str]) -> None:
    """Try one file."""
    case = draw(Random(number))
    about_to_try(folder, repr(case))
    outcomes[check(case, folder)] += 1


def draw(random: Random) -> Case:
    """A file, and what happens to it."""
    return random.choice(_NAMES), [_draw_change(random) for _ in range(random.choice((1, 1, 1, 2, 2, 3)))]


def _draw_change(random: Random) -> Change:
    # Half of the damage goes to the headers at the beginning, and some to the end.
    place = random.choice(
        (random.randint(0, 120), random.randint(0, 120), random.randint(0, 2**14), -random.randint(1, 200))
    )
    return random.choice(
        (
            ("byte", place, random.randint(0, 255)),
            ("bit", place, random.randint(0, 7)),
            ("number", 2 * random.randint(0, 60), random.choice(_NUMBERS)),
            ("big number", 2 * random.randint(0, 60), random.choice(_NUMBERS)),
            ("cut", place, 0),
            ("behead", random.randint(1, 700), 0),
            ("delete", place, random.randint(1, 600)),
            ("repeat", place, random.randint(1, 600)),
            ("before", _draw_tag(random), 0),
            ("after", _draw_tag(random), 0),
            ("inside", place, _draw_tag(random)),
            ("join", 0, 0),
        )
    )


def _draw_tag(random: Random) -> bytes:
    return random.choice(
        (
            _id3(random.randint(0, 40_000), random.random() < 0.5),
            bytes(random.randint(1, 5_000)),
            b"TAG" + b"song".ljust(125, b"\0"),
            b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA0000000) + bytes(8),
            b"LYRICSBEGIN" + b"a" * 100 + b"000111LYRICS200",
        )
    )


def change(content: bytes, changes: list[Change]) -> bytes:
    """The content of a file after what a case does to it."""
    original = content
    for kind, first, second in changes:
        data = bytearray(content)
        at = first % max(1, len(data)) if isinstance(first, int) else 0
        if kind == "byte" and data:
            data[at] = second
        elif kind == "bit" and data:
            data[at] ^= 1 << second
        elif kind in ("number", "big number"):
            data[at : at + 4] = struct.pack("<I" if kind == "number" else ">I", second)
        elif kind == "cut":
            del data[at:]
        elif kind == "behead":
            del data[:at]
        elif kind == "delete":
            del data[at : at + second]
        elif kind == "repeat":
            data[at:at] = data[at : at + second]
        elif kind == "inside":
            data[at:at] = second
        content = bytes(data)
        if kind == "before":
            content = first + content
        elif kind == "after":
            content += first
        elif kind == "join":
            content += original
    return content


def check(case: Case, folder: Path) -> str:
    """Try one case, and say what became of it: `refused`, `read`, or `read alone` where FFmpeg reads nothing.

    Raises:
        AssertionError: `read` and `info` disagree, or what is read is not what FFmpeg reads.
    """
    name, changes = case
    content = change(seed(name, folder), changes)
    path = folder / f"case{Path(name).suffix}"
    path.write_bytes(content)
    try:
        samples, rate = audio.read(path, mono=False)
    except audio.AudioError as error:
        check_message(error)
        with pytest.raises(audio.AudioError, match=re.escape(str(error))):
            audio.info(path)
        return "refused"
    found = audio.info(path)
    assert (found.channels, found.samples, found.sample_rate) == (*samples.shape, rate), found
    expected = ffmpeg_reads(content, name)
    if expected is None:
        return "read alone"
    extra = expected.shape[1] - samples.shape[1]
    if found.format.startswith("OGG") and 0 < extra < 2_048:
        expected = expected[:, : samples.shape[1]]  # with tags at either end it does not cut the end of the last packet
    assert expected.shape == samples.shape, f"{samples.shape} read, where FFmpeg reads {expected.shape}"
    difference = float(np.abs(samples - expected).max())
    assert difference < (0.05 if found.format.lower().endswith(_LOSSY) else 1e-4), f"differs by {difference}"
    return "read"


def ffmpeg_reads(content: bytes, name: str) -> NDArray[np.float32] | None:
    """All that FFmpeg reads, [C, T], without what an encoder added to fill up the last frame; None if nothing."""
    blocks: list[NDArray[np.float32]] = []
    try:
        with av.open(
            io.BytesIO(content), metadata_errors="ignore", format="g722" if name.endswith("g722") else None
        ) as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                return None
            frames = []
            for packet in container.demux(audio=0):
                with suppress(av.FFmpegError):
                    frames += packet.decode()
            for frame, following in pairwise([*frames, None]):
                length = frame.samples
                if following is None and frame.time_base == Fraction(1, frame.sample_rate) and frame.duration:
                    length = min(length, frame.duration)
                blocks.append(_as_floats(frame)[:, :length])
    except (av.FFmpegError, ValueError):
        return None
    return np.concatenate(blocks, axis=1) if blocks else None


def _as_floats(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Samples [C, t] of a frame."""
    samples = frame.to_ndarray()  # [C, t], or [1, t * C]
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype.kind == "u":
        samples = samples.astype(np.int16) - 128
        return (samples / 2**7).astype(np.float32)
    scale = 2.0 ** (8 * samples.itemsize - 1) if samples.dtype.kind == "i" else 1.0
    return (samples / scale).astype(np.float32)
