"""The one error of this package, and the checks that reading and writing share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

# A rate outside this range is damaged or hostile: at 1 Hz, a file would resample to 16,000 times its size.
MIN_RATE, MAX_RATE = 1_000, 2**20


class AudioError(ValueError):
    """Audio that cannot be read or written; one line says what, where and what to do."""


def check_rate(sample_rate: int, where: str | Path) -> None:
    """Raise AudioError for a sample rate (Hz) that no audio has."""
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise AudioError(f"{where}: a sample rate of {sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz")


def bad_frames(frames: NDArray[Any]) -> tuple[int, int]:
    """Count the frames of `[t, C]` with NaN or infinite values, and say which is the first (0 if none)."""
    bad = ~np.isfinite(frames).all(axis=1)
    count = int(np.count_nonzero(bad))
    return count, int(bad.argmax()) if count else 0


def not_finite(path: str | Path, count: int, first: int) -> AudioError:
    """Make the error that says how many samples are NaN or infinite, and which is the first."""
    return AudioError(f"{path}: {count} samples are NaN or infinite, first at {first}; mend or drop it")


@contextmanager
def libsndfile_errors(path: str | Path, what: str) -> Iterator[None]:
    """Turn libsndfile's errors into an AudioError that begins with `what`."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: {what} (libsndfile: {error.error_string.rstrip('.')})") from error
