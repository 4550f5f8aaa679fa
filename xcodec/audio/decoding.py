"""Opened audio files that give float32 blocks, whatever they are."""

from __future__ import annotations

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from xcodec.audio.errors import AudioError, bad_frames, check_rate, libsndfile_errors, not_finite
from xcodec.audio.intact import check_whole, last_page_samples

Audio = NDArray[np.float32]

READABLE = "WAV, AIFF, FLAC, OGG, Opus, MP3, M4A, AAC or G.722"
# Of the many formats of libsndfile, those in which it or `intact.py` sees a missing end.
_LIBSNDFILE_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG")
_BLOCK_VALUES = 2**18  # samples × channels decoded at a time: 1 MB, whatever a header claims


class Source(ABC):
    """An open audio file."""

    path: Path
    sample_rate: int
    """In Hz."""
    channels: int
    samples: int | None
    """Exact number of samples in each channel; None where only decoding tells."""
    format: str

    @abstractmethod
    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        """Give blocks `[t, C]` from frame `start` on: `samples` frames or more (None: all), if there are."""

    def blocks(self, start: int = 0, samples: int | None = None) -> Iterator[Audio]:
        """Give, once, blocks `[t, C]`: exactly `samples` frames from `start` (None: the rest), or raise."""
        if start < 0 or (samples is not None and samples < 1):
            raise AudioError(f"{self.path}: start={start} must be >= 0 and samples={samples} must be >= 1")
        end = self.samples if samples is None else start + samples
        if self.samples is not None and end is not None and not start < end <= self.samples:
            raise AudioError(f"{self.path}: has {self.samples} samples; cannot read {start} to {end}")
        position, bad, first_bad = start, 0, 0
        for block in self._decode(start, None if end is None else end - start):
            if end is not None:
                block = block[: end - position]
            count, first = bad_frames(block)
            if count and not bad:
                first_bad = position + first
            bad += count
            position += len(block)
            if not bad:  # else go on, only to count
                yield block
            if position == end:
                break
        if position == start or (end is not None and position < end):
            wanted = "more" if end is None else end
            raise AudioError(f"{self.path}: cut short or damaged: ends at sample {position}, not {wanted}")
        if bad:
            raise not_finite(self.path, bad, first_bad)


class _File(io.FileIO):
    """An open file. Damaged headers make libsndfile seek before its beginning; it must not hear of that by an error,
    which cannot pass through C and would be printed instead.
    """

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except OSError:
            return self.tell()


class _Sequential(soundfile.SoundFile):
    """soundfile seeks after every block, to where it already is; near the end of Opus that spoils the next one."""

    def seekable(self) -> bool:
        return False


class LibsndfileSource(Source):
    """A file that states its length, read by seeking."""

    def __init__(self, path: Path, file: BinaryIO, sound: soundfile.SoundFile) -> None:
        self.path, self._file, self._sound = path, file, sound
        self.sample_rate, self.channels, self.samples = sound.samplerate, sound.channels, sound.frames
        self.format = f"{sound.format} {sound.subtype}"

    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        position = start
        if start and self._sound.subtype == "VORBIS":
            # libsndfile misses its aim in the last page, which its encoder cut: jump before it, then walk.
            position = max(0, min(start, self._sound.frames - last_page_samples(self._file)))
        if self._sound.subtype == "GSM610":
            position = 0  # libsndfile cannot seek in it, not even to where it is
        end = self._sound.frames if samples is None else start + samples
        size = max(1, _BLOCK_VALUES // self.channels)
        with libsndfile_errors(self.path, "cut short or damaged"):
            if position:
                self._sound.seek(position)
            while position < end:
                block = self._sound.read(min(size, end - position), dtype="float32", always_2d=True)
                if not len(block):
                    return
                yield block[max(0, start - position) :]
                position += len(block)


class FFmpegSource(Source):
    """A file that PyAV decodes from its beginning, once."""

    def __init__(self, path: Path, file: BinaryIO, head: bytes, demuxer: str, stack: ExitStack) -> None:
        import av  # a quarter of a second that few files need

        self.path = path
        with self._ffmpeg_errors():
            # One demuxer, never FFmpeg's guess: a playlist in disguise would have it open other files.
            container = stack.enter_context(av.open(file, "r", format=demuxer, metadata_errors="ignore"))
            if not container.streams.audio:
                raise AudioError(f"{path}: holds no audio track")
            track = container.streams.audio[0]
            frames = container.decode(track)
            first = next(frames, None)
        if first is None:
            raise AudioError(f"{path}: holds no samples")
        # The decoder's word, not the container's: HE-AAC plays at twice the rate in its header.
        self.sample_rate, self.channels = first.sample_rate, first.layout.nb_channels
        self.samples = None
        if demuxer == "g722":
            self.samples = 2 * os.fstat(file.fileno()).st_size  # two samples in a byte
        elif demuxer == "mp3" and _has_frame_count(head) and track.duration and track.time_base:
            self.samples = round(track.duration * track.time_base * self.sample_rate)
        self.format = f"{'M4A' if demuxer == 'mp4' else demuxer.upper()} {track.codec_context.name}"
        self._frames: Iterator[Any] = chain([first], frames, [None])

    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        import av

        to_float = av.AudioResampler(format="fltp")
        position = 0
        with self._ffmpeg_errors():
            for frame, following in pairwise(self._frames):
                if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.channels):
                    raise AudioError(f"{self.path}: its sample rate or channels change midway; convert it")
                length = frame.samples
                if following is None and frame.time_base == Fraction(1, self.sample_rate) and frame.duration:
                    length = min(length, frame.duration)  # the encoder filled up the last frame
                if position + length > start:
                    (planes,) = to_float.resample(frame)
                    block = planes.to_ndarray().T.astype(np.float32, copy=False)  # [C, t] -> [t, C]
                    yield block[max(0, start - position) : length]
                position += length

    @contextmanager
    def _ffmpeg_errors(self) -> Iterator[None]:
        import av

        try:
            yield
        except av.FFmpegError as error:
            raise AudioError(f"{self.path}: cut short or damaged (FFmpeg: {error.strerror})") from error


@contextmanager
def open_audio(path: str | Path) -> Iterator[Source]:
    """Open a whole, non-empty audio file; the errors are those of `reading.read`."""
    path = Path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise AudioError(f"{path}: is not a regular file; save the audio to a file first")
    with ExitStack() as stack:
        file = stack.enter_context(_File(path))
        source = _source(path, file, stack)
        check_rate(source.sample_rate, path)
        if source.samples == 0:
            raise AudioError(f"{path}: holds no samples")
        yield source


def _source(path: Path, file: BinaryIO, stack: ExitStack) -> Source:
    head = _head(file)
    if not head:
        raise AudioError(f"{path}: is empty")
    check_whole(path, file)
    file.seek(0)
    if demuxer := _demuxer(path, head):
        return FFmpegSource(path, file, head, demuxer, stack)
    if path.suffix.lower() == ".raw":  # soundfile would ask for its rate and channels
        raise AudioError(f"{path}: raw samples do not say what they are; convert to {READABLE}")
    with libsndfile_errors(path, f"not readable as {READABLE}"):
        sound = stack.enter_context(_Sequential(file))
    if sound.format not in _LIBSNDFILE_FORMATS:
        raise AudioError(f"{path}: cannot read {sound.format}; convert to {READABLE}")
    return LibsndfileSource(path, file, sound)


def _head(file: BinaryIO) -> bytes:
    """The first bytes of a file, after any ID3v2 tag."""
    head = file.read(64)
    if head[:3] == b"ID3" and len(head) >= 10:
        length = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(10 + length)
        head = file.read(64) or head
    return head


def _demuxer(path: Path, head: bytes) -> str | None:
    """FFmpeg's name of a format that is not libsndfile's, or that libsndfile gets wrong; else None."""
    if path.suffix.lower() == ".g722":
        return "g722"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"fLaC" and int.from_bytes(head[18:26], "big") % 2**36 == 0:
        return "flac"  # STREAMINFO leaves the total of samples open; libsndfile cannot read it to the end
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the 11 bits that begin an MPEG frame
        # Not libsndfile for MP3: it seeks only approximately.
        return "mp3" if head[1] & 0b110 else "aac"
    return None


def _has_frame_count(head: bytes) -> bool:
    """Whether an MP3's first frame is a Xing or Info tag that counts the frames."""
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    return tag >= 0 and bool(int.from_bytes(head[tag + 4 : tag + 8], "big") & 1)
