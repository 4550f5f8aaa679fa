"""Audio files that appear whole or not at all: `write`, and `Writer` for long audio."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from xcodec.audio.containers import AudioError
from xcodec.audio.decoding import bad_frames, check_rate, libsndfile_errors, not_finite
from xcodec.utils.files import atomic_write

# Suffix -> libsndfile's format, and the encoding written unless another is asked for.
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
_PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_WAV_MAX_BYTES = 2**32 - 1
_BLOCK = 2**16  # frames given to libsndfile at a time: its Vorbis encoder crashes on millions


def write(path: str | Path, audio: ArrayLike, sample_rate: int, subtype: str | None = None) -> int:
    """Write audio `[C, T]` or `[T]`.

    Args:
        path: `.wav`, `.flac`, `.ogg` (Vorbis) or `.opus` (of which libsndfile spoils the last 6 ms).
        audio: floating-point values in [-1, 1].
        sample_rate: in Hz.
        subtype: libsndfile's name of an encoding, such as `PCM_24`; by default 16 bits in WAV and FLAC.

    Returns:
        How many values lay beyond ±1 and were clipped; `FLOAT` and `DOUBLE` keep them, so that it is 0.

    Raises:
        OSError: the file cannot be written (no such folder, no permission, disk full).
        AudioError: the suffix, rate, subtype or number of channels cannot be written, or the audio is empty,
            not floating-point, NaN or infinite.
    """
    array = np.asarray(audio)
    with Writer(path, sample_rate, array.shape[0] if array.ndim == 2 else 1, subtype) as writer:
        writer.write(array)
    return writer.clipped


class Writer:
    """Write long audio block by block: `with Writer(...) as writer: writer.write(block)`.

    The file appears when the `with` block ends well, else not at all. Arguments and errors are those of
    `write`; `channels` is the C of every block.

    Attributes:
        samples: how many samples per channel were written so far.
        clipped: how many values lay beyond ±1 and were clipped so far.
    """

    def __init__(self, path: str | Path, sample_rate: int, channels: int = 1, subtype: str | None = None) -> None:
        check_rate(sample_rate, "sample_rate")
        suffix = Path(path).suffix.lower()
        if suffix not in _FORMATS:
            raise AudioError(f"{path}: cannot write {suffix or 'no suffix'}; use {', '.join(_FORMATS)}")
        self._format, default = _FORMATS[suffix]
        self._subtype = default if subtype is None else subtype.upper()
        known = [default] if self._format == "OGG" else list(soundfile.available_subtypes(self._format))
        if self._subtype not in known:
            raise AudioError(f"{path}: {suffix} cannot hold {subtype}; it holds {', '.join(known)}")
        if self._subtype == "OPUS" and sample_rate not in _OPUS_RATES:
            rates = ", ".join(map(str, _OPUS_RATES))
            raise AudioError(f"{path}: Opus cannot hold {sample_rate} Hz; resample to one of {rates}")
        self._path, self._sample_rate, self._channels = path, sample_rate, channels
        self.samples = 0
        self.clipped = 0

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self._path))
            self._file = stack.enter_context(_Target(temporary, "r+b"))
            layout = f"{self._channels} channels at {self._sample_rate} Hz"
            with libsndfile_errors(self._path, f"cannot hold {layout}"):
                self._sound = soundfile.SoundFile(
                    self._file, "w", self._sample_rate, self._channels, self._subtype, format=self._format
                )
            stack.push(self._finish)
            self._on_exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._on_exit.__exit__(kind, error, trace)

    def write(self, audio: ArrayLike) -> None:
        """Append a block `[C, t]`, or `[t]` for one channel."""
        block = np.asarray(audio)
        if not np.issubdtype(block.dtype, np.floating):
            raise AudioError(f"{self._path}: samples are {block.dtype}; give floats in [-1, 1]")
        if block.ndim == 1:
            block = block[np.newaxis]
        if block.ndim != 2 or len(block) != self._channels:
            raise AudioError(f"{self._path}: expected audio [{self._channels}, T], got {list(block.shape)}")
        frames = block.T  # [C, T] -> [T, C]
        bad, first = bad_frames(frames)
        if bad:
            raise not_finite(self._path, bad, self.samples + first)
        for begin in range(0, len(frames), _BLOCK):
            encodable = self._encodable(frames[begin : begin + _BLOCK])
            with libsndfile_errors(self._path, "cannot be written"):
                self._sound.write(encodable)
            self._check_target()
        self.samples += len(frames)

    def _encodable(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Clip frames `[t, C]`, and turn them into the integers that a PCM file holds."""
        if self._subtype not in ("FLOAT", "DOUBLE"):
            self.clipped += int(np.count_nonzero(np.abs(frames) > 1))
            frames = np.clip(frames, -1, 1)
        bits = _PCM_BITS.get(self._subtype)
        if bits is None:
            return np.ascontiguousarray(frames, dtype=np.float32)
        # The exact inverse of reading. libsndfile would truncate, and scale by one less than it divides by.
        full = 2 ** (bits - 1)
        steps = np.minimum(np.rint(frames.astype(np.float64) * full), full - 1)
        return np.ascontiguousarray(steps.astype(np.int32) << (32 - bits))  # libsndfile takes the upper bits

    def _check_target(self) -> None:
        if self._file.failure:
            raise self._file.failure
        if self._format == "WAV" and self._file.tell() > _WAV_MAX_BYTES:
            raise AudioError(f"{self._path}: WAV cannot exceed 4 GB; write .flac")

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        with libsndfile_errors(self._path, "cannot be written"):
            self._sound.close()  # writes the last samples, and the length into the header
        if kind is None:
            self._check_target()
            if not self.samples:
                raise AudioError(f"{self._path}: no samples to write")


class _Target(io.FileIO):
    """The file that libsndfile writes to. No error can pass its C code, so the first is kept for `Writer`."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        remaining = memoryview(data)
        try:
            while remaining and not self.failure:
                remaining = remaining[super().write(remaining) :]
        except OSError as error:
            self.failure = error
        return len(data)
