"""Read a span of a recording by seeking to it: a crop of an hour costs what a crop of a minute does."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from xcodec import audio
from xcodec.data.manifest import AudioItem


class BrokenAudioError(OSError):
    """A recording that is missing, unreadable, shorter than its manifest says, or not finite."""

    def __init__(self, path: Path, message: str) -> None:
        """Keep the file beside the message, which names it too."""
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[type[BrokenAudioError], tuple[Path, str]]:
        """As it was made: an exception that another process cannot unpickle ends the whole pool of processes."""
        return type(self), (self.path, str(self))


def read_span(item: AudioItem, first: int, count: int) -> np.ndarray:
    """Samples `first` to `first + count` of `item`, at the file's own rate.

    Returns:
        float32 [count], channels averaged.

    Raises:
        BrokenAudioError: The file cannot give these samples.
    """
    try:
        if item.stored is None:
            samples, rate = audio.read(item.path, start=item.start + first, samples=count)
            samples = samples[0]  # (1, T) -> (T,)
        else:
            samples, rate = _read_stored(item.path, *item.stored, item.start + first, count)
    except (audio.AudioError, soundfile.LibsndfileError, OSError) as error:
        raise BrokenAudioError(item.path, str(error)) from error
    if rate != item.sample_rate:
        raise BrokenAudioError(item.path, f"{item.path}: has {rate} Hz, not {item.sample_rate} Hz as its manifest says")
    return samples


def _read_stored(path: Path, offset: int, size: int, first: int, count: int) -> tuple[np.ndarray, int]:
    """The same from an audio file inside a tar archive, which has no path for `audio.read` to open."""
    with path.open("rb") as archive:
        archive.seek(offset)
        content = io.BytesIO(archive.read(size))
    with soundfile.SoundFile(content) as file:
        file.seek(first)
        samples = file.read(count, dtype="float32", always_2d=True).mean(axis=1)  # (T, C) -> (T,)
        if len(samples) != count or not np.isfinite(samples).all():
            raise audio.AudioError(f"{path}: holds a clip that is cut short or not finite")
        return samples, file.samplerate
