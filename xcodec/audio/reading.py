"""Read audio files whole, in part or as a stream, at any sample rate."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from xcodec.audio.decoding import Audio, Source, check_rate, open_audio

_SUFFIXES = (
    ".wav .flac .ogg .oga .opus .mp3 .m4a .aac .g722 .aif .aiff .aifc .mp2 .m4b .mp4 .mov .mkv .mka .webm .3gp .caf "
    ".w64 .au .sph .ac3 .amr .wv .tta .ape .wma .voc"
)
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Of files to look for in folders. What is named is read by its content, whatever its suffix."""


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


def info(path: str | Path, track: int | None = None, stated: bool = False) -> AudioInfo:
    """Say what a file holds. All of it is decoded, so that what is described here can be read.

    Args:
        path: as of `read`.
        track: as of `read`.
        stated: take the number of samples that the file states, if it does: quick, but damage inside it goes unseen,
            and so does a second FLAC that was joined to the first.

    Raises:
        OSError, AudioError: as `read`.
    """
    with open_audio(path, 0 if stated else None, track) as source:
        samples = source.samples if stated else None
        if samples is None:
            samples = sum(len(block) for block in source.blocks())
        return AudioInfo(source.sample_rate, source.channels, samples, source.format)


def stated_seconds(path: str | Path, track: int | None = None) -> float | None:
    """How long a file says that it lasts, in seconds, about; None if it does not. Errors are those of `read`."""
    with open_audio(path, 0, track) as source:
        return source.stated_seconds


def read(
    path: str | Path,
    sample_rate: int | None = None,
    mono: bool = True,
    start: int = 0,
    samples: int | None = None,
    track: int | None = None,
) -> tuple[Audio, int]:
    """Read a file, or a part of it.

    Args:
        path: its content counts, not its suffix (but for `.g722`, which has no header).
        sample_rate: what to resample to, in Hz; by default the file's own rate.
        mono: mix down to one channel, the mean of all.
        start: first sample to read, counted at the file's own rate. In WAV, AIFF, FLAC, OGG and Opus it is sought;
            the other formats are decoded up to it.
        samples: how many to read, counted at the file's own rate; by default all the rest.
        track: which audio track to read, from 0; by default the first, with a warning if there are others.

    Returns:
        Audio `[C, T]`, and its sample rate in Hz.

    Raises:
        OSError: the file is missing, is a directory or may not be read.
        AudioError: it is not audio, holds none or fewer samples than asked for, is cut short or damaged, or
            has samples that are NaN, infinite or far beyond full scale.
    """
    whole = start == 0 and samples is None
    with open_audio(path, None if whole else start + (samples or 1), track) as source:
        rate = source.sample_rate if sample_rate is None else sample_rate
        frames = np.concatenate(list(_frames(source, rate, mono, start, samples)))
    return _channels_first(frames), rate


def stream(
    path: str | Path,
    sample_rate: int | None = None,
    mono: bool = True,
    block_seconds: float = 10.0,
    track: int | None = None,
) -> Generator[Audio]:
    """Read a file of any length in constant memory: blocks `[C, t]` that, joined, are what `read` gives.

    Each block lasts `block_seconds`, and the last one the rest. Errors are those of `read`; damage deep in a
    file shows only when the stream gets there, so keep what you make from a stream only once it has ended.
    """
    with open_audio(path, track=track) as source:
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


def find_audio(path: str | Path, suffixes: Collection[str] = AUDIO_SUFFIXES) -> list[Path]:
    """All audio files below a folder by their suffix, sorted, without hidden ones. A file gives itself.

    Other `suffixes` find other files. Links to folders are entered, but for one that leads back to a folder it lies in.
    Links that lead nowhere are among the files, so that whoever reads them finds that out.

    Raises:
        OSError: there is nothing of that name, or a folder may not be read.
    """
    path = Path(path)
    path.stat()  # raises
    return sorted(_files_below(path, suffixes, ())) if path.is_dir() else [path]


def _files_below(folder: Path, suffixes: Collection[str], above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if path.is_dir():  # not entry's, which raises for links that lead to each other
                yield from _files_below(path, suffixes, (*above, identity))
            elif path.suffix.lower() in suffixes and (path.is_file() or not path.exists()):
                yield path


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
