"""Read audio files whole, in part or as a stream, at any sample rate."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from xcodec.audio.decoding import Audio, Source, open_audio
from xcodec.audio.errors import check_rate

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".g722", ".aif", ".aiff"})


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds."""

    sample_rate: int
    """In Hz."""
    channels: int
    samples: int
    """Exact number of samples in each channel."""
    format: str
    """Container and encoding, for people: `WAV PCM_16`, `OGG VORBIS`, `M4A aac`."""


def info(path: str | Path) -> AudioInfo:
    """Say what a file holds, decoding it only where nothing else tells its exact length (M4A, AAC, some MP3).

    Raises:
        OSError: the file is missing, is a directory or may not be read.
        AudioError: it is not audio, holds none, or is cut short.
    """
    with open_audio(path) as source:
        samples = source.samples
        if samples is None:
            samples = sum(len(block) for block in source.blocks())
        return AudioInfo(source.sample_rate, source.channels, samples, source.format)


def stated_seconds(path: str | Path) -> float | None:
    """How long a file says that it lasts, in seconds; None where only decoding tells. Errors are those of `read`."""
    with open_audio(path) as source:
        return None if source.samples is None else source.samples / source.sample_rate


def read(
    path: str | Path,
    sample_rate: int | None = None,
    mono: bool = True,
    start: int = 0,
    samples: int | None = None,
) -> tuple[Audio, int]:
    """Read a file, or a part of it.

    Args:
        path: its content counts, not its suffix (but for `.g722`, which has no header).
        sample_rate: what to resample to, in Hz; by default the file's own rate.
        mono: mix down to one channel, the mean of all.
        start: first sample to read, counted at the file's own rate. MP3, M4A, AAC and G.722 are decoded up to
            it; the other formats seek.
        samples: how many to read, counted at the file's own rate; by default all the rest.

    Returns:
        Audio `[C, T]`, and its sample rate in Hz.

    Raises:
        OSError: the file is missing, is a directory or may not be read.
        AudioError: it is not audio, holds none or fewer samples than asked for, is cut short or damaged, or
            has samples that are NaN or infinite.
    """
    with open_audio(path) as source:
        rate = source.sample_rate if sample_rate is None else sample_rate
        frames = np.concatenate(list(_frames(source, rate, mono, start, samples)))
    return _channels_first(frames), rate


def stream(
    path: str | Path, sample_rate: int | None = None, mono: bool = True, block_seconds: float = 10.0
) -> Generator[Audio]:
    """Read a file of any length in constant memory: blocks `[C, t]` that, joined, are what `read` gives.

    Each block lasts `block_seconds`, and the last one the rest. Errors are those of `read`; damage deep in a
    file shows only when the stream gets there, so keep what you make from a stream only once it has ended.
    """
    with open_audio(path) as source:
        rate = source.sample_rate if sample_rate is None else sample_rate
        size = max(1, round(block_seconds * rate))
        pieces: list[Audio] = []
        held = 0
        for piece in _frames(source, rate, mono):
            pieces.append(piece)
            held += len(piece)
            if held >= size:
                frames = np.concatenate(pieces)
                complete = held - held % size
                for begin in range(0, complete, size):
                    yield _channels_first(frames[begin : begin + size])
                pieces, held = [frames[complete:]], held - complete
        if held:
            yield _channels_first(np.concatenate(pieces))


def resample(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """Resample audio `[C, T]` between rates in Hz, by soxr at high quality; see `xcodec.audio` on lengths."""
    check_rate(from_rate, "from_rate")
    check_rate(to_rate, "to_rate")
    samples = audio.shape[1]
    if from_rate == to_rate or samples == 0:
        return audio
    missing = max(0, _shortest(from_rate, to_rate) - samples)
    padded = np.pad(audio.astype(np.float32, copy=False), ((0, 0), (0, missing)))
    return _channels_first(soxr.resample(padded.T, from_rate, to_rate, quality="HQ"))  # [C, T] -> [T, C]


def find_audio(path: str | Path) -> list[Path]:
    """All audio files below a folder by their suffix, sorted, without hidden ones. A file gives itself.

    Raises:
        OSError: there is nothing of that name.
    """
    path = Path(path)
    path.stat()  # raises
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    )


def _frames(source: Source, rate: int, mono: bool, start: int = 0, samples: int | None = None) -> Iterator[Audio]:
    """Give blocks `[t, C]` of a file, mixed down and resampled to `rate`."""
    check_rate(rate, "sample_rate")
    blocks = source.blocks(start, samples)
    if mono:
        blocks = (block.mean(axis=1, keepdims=True) for block in blocks)
    if rate == source.sample_rate:
        yield from blocks
        return
    channels = 1 if mono else source.channels
    resampler = soxr.ResampleStream(source.sample_rate, rate, channels, dtype="float32", quality="HQ")
    taken = 0
    for block in blocks:
        taken += len(block)
        yield resampler.resample_chunk(block)
    missing = max(0, _shortest(source.sample_rate, rate) - taken)
    yield resampler.resample_chunk(np.zeros((missing, channels), np.float32), last=True)


def _shortest(from_rate: int, to_rate: int) -> int:
    """How many samples it takes to get one; soxr turns fewer into nothing."""
    return -(-from_rate // (2 * to_rate))


def _channels_first(frames: Audio) -> Audio:
    return np.ascontiguousarray(frames.T)  # [T, C] -> [C, T]
