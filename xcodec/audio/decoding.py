"""Opened audio files that give float32 blocks, whatever they are."""

from __future__ import annotations

import errno
import io
import os
import stat
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from xcodec.audio.containers import (
    AudioError,
    AudioFile,
    Structure,
    examine,
    format_of_magic,
    is_frame,
    is_tag_or_padding,
    last_page_samples,
    mp3_samples,
)

Audio = NDArray[np.float32]

READABLE = "WAV, AIFF, FLAC, OGG, Opus, MP3, M4A, MP4, MKV, WebM, AAC or G.722"
# A rate outside this range is damaged or hostile: at 1 Hz, a file would resample to 16,000 times its size.
MIN_RATE, MAX_RATE = 1_000, 2**20
MAX_LEVEL = 32.0
"""Beyond this (30 dB over full scale) float samples are no audio, but integers that nobody scaled."""
_BLOCK_VALUES = 2**18  # samples × channels decoded at a time: 1 MB, whatever a header claims

# What FFmpeg may find in a file; never what FFmpeg would guess, since a playlist in disguise has it open other files.
_FFMPEG_FORMATS = (
    "wav,aiff,flac,ogg,mp3,aac,mov,matroska,caf,w64,au,nistsphere,ac3,eac3,amr,amrnb,amrwb,wv,tta,ape,asf,avi,mpegts,"
    "mpeg,flv,voc,ircam,iff,avr,epaf,pvf,rm,nut,sox,gxf,mxf,loas,wtv,mmf,adx,dts,dtshd,truehd,mlp,xwma,dsf,tak,shn,mpc,"
    "mpc8,qcp,oma"
)
_LIBSNDFILE_KINDS = ("wav", "aiff", "flac", "ogg")
_UNSTATED = 2**62  # what libsndfile says of a FLAC without a length
# Those whose headers state exactly how long they are.
_STATED = ("au", "nistsphere", "wv", "tta", "ape")
# Bare streams of frames.
_FRAMES_ONLY = ("mp3", "aac")
_ENOUGH_FRAMES = 8192
"""Bytes in which there are three frames of either."""


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


class Source(ABC):
    """An open audio file."""

    path: Path
    sample_rate: int
    """In Hz."""
    channels: int
    samples: int | None
    """Number of samples in each channel that the file promises; None if it does not."""
    stated_seconds: float | None
    """How long it says that it lasts, about."""
    format: str

    @abstractmethod
    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        """Give blocks `[t, C]` from frame `start` on: `samples` frames or more (None: all), if there are."""

    def blocks(self, start: int = 0, samples: int | None = None) -> Iterator[Audio]:
        """Give, once, blocks `[t, C]`: exactly `samples` frames from `start` (None: the rest), or raise."""
        if start < 0 or (samples is not None and samples < 1):
            raise AudioError(f"{self.path}: start={start} must be >= 0 and samples={samples} must be >= 1")
        end = None if samples is None else start + samples
        position, bad, first_bad = start, 0, 0
        for block in self._decode(start, samples):
            if end is not None:
                block = block[: end - position]
            count, first = bad_frames(block)
            if count and not bad:
                first_bad = position + first
            bad += count
            if not bad:  # else go on, only to count
                self._check_level(block, position)
                yield block
            position += len(block)
            if position == end:
                break
        self._check_end(start, position, end)
        if bad:
            raise not_finite(self.path, bad, first_bad)

    def _check_end(self, start: int, position: int, end: int | None) -> None:
        """Raise unless what was read, `start` to `position`, is all that was asked for and all that was promised."""
        promised = self.samples or 0
        if position < (promised if end is None else min(end, promised)):
            raise AudioError(f"{self.path}: cut short or damaged: ends at sample {position}, not {promised}")
        if position < (start + 1 if end is None else end):
            if start == 0 and end is None:
                raise AudioError(f"{self.path}: holds no samples")
            wanted = f"{start} to {end}" if end is not None else f"from {start} on"
            raise AudioError(f"{self.path}: has {self.samples or position} samples; cannot read {wanted}")

    def _check_level(self, block: Audio, position: int) -> None:
        levels = np.abs(block).max(axis=1, initial=0)
        if levels.max(initial=0) > MAX_LEVEL:
            first = int((levels > MAX_LEVEL).argmax())
            raise AudioError(
                f"{self.path}: sample {position + first} is {levels[first]:g}, where full scale is 1; scale it down "
                "(16-bit integers saved as floats: divide by 32768)"
            )


class _Sequential(soundfile.SoundFile):
    """soundfile seeks after every block, to where it already is; near the end of Opus that spoils the next one."""

    def seekable(self) -> bool:
        return False


class LibsndfileSource(Source):
    """A file that states its length, read by seeking."""

    def __init__(self, path: Path, file: AudioFile, sound: soundfile.SoundFile) -> None:
        self.path, self._file, self._sound = path, file, sound
        self.sample_rate, self.channels, self.samples = sound.samplerate, sound.channels, sound.frames
        self.stated_seconds = sound.frames / max(1, sound.samplerate)
        self.format = f"{sound.format} {sound.subtype}"

    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        end = self._sound.frames if samples is None else start + samples
        if not start < end <= self._sound.frames:
            return
        position = start
        if start and self._sound.subtype == "VORBIS":
            # libsndfile misses its aim in the last page, which its encoder cut: jump before it, then walk.
            position = max(0, min(start, self._sound.frames - last_page_samples(self._file)))
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
    """A file that PyAV decodes from its beginning, once.

    Args:
        path: for messages.
        file: opened.
        head: its first bytes.
        demuxer: FFmpeg's name of what it is; None lets FFmpeg find out.
        track: which of its audio tracks, from 0; None is the first, with a warning if there are others.
        stack: closes what is opened here.
    """

    def __init__(
        self, path: Path, file: AudioFile, head: bytes, demuxer: str | None, track: int | None, stack: ExitStack
    ) -> None:
        import av  # a quarter of a second that few files need

        self.path = path
        with self._ffmpeg_errors(f"not readable as {READABLE}"):
            # Large packets, of which PCM may have any, because each costs the same.
            options = {"max_size": "262144"} if demuxer else {"format_whitelist": _FFMPEG_FORMATS}
            container = stack.enter_context(
                av.open(file, "r", format=demuxer, options=options, metadata_errors="ignore")
            )
        self._container, self._name = container, container.format.name.split(",")[0]
        self._track = stream = _track(path, container.streams.audio, track)
        if self._name not in _FRAMES_ONLY:
            # Or FFmpeg would make sound of frames whose checksum is wrong.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        if (self._name, stream.codec_context.name) == ("caf", "alac"):
            # Its last frame is as short as it should be already, and FFmpeg would cut it once more.
            stream.codec_context.options |= {"flags2": "skip_manual"}
        frames = self._packets_decoded()
        first = next(frames, None)
        if first is None:
            raise AudioError(f"{path}: holds no samples")
        # The decoder's word, not the container's: HE-AAC plays at twice the rate in its header.
        self.sample_rate, self.channels = first.sample_rate, first.layout.nb_channels
        self.stated_seconds = float(stream.duration * stream.time_base) if stream.duration else None
        self.samples = self._promised(head, file.size)
        self.format = self._format(head)
        self._frames: Iterator[Any] = chain([first], frames, [None])

    def _promised(self, head: bytes, size: int) -> int | None:
        if self._name == "g722":
            return 2 * size  # two samples in a byte
        if self._name == "mp3":
            return mp3_samples(head)
        if self._name == "flac":
            return int.from_bytes(head[18:26], "big") % 2**36 or None  # STREAMINFO may leave it open
        if self._name in _STATED and self.stated_seconds:
            return round(self.stated_seconds * self.sample_rate)
        return None

    def _format(self, head: bytes) -> str:
        if self._name == "flac":
            bits = (head[20] << 8 | head[21]) >> 4 & 31  # of STREAMINFO, one less than there are
            return "FLAC PCM_S8" if bits == 7 else f"FLAC PCM_{bits + 1}"
        name = {"mov": "MP4", "matroska": "WEBM" if b"webm" in head else "MKV"}.get(self._name, self._name.upper())
        if name == "MP4" and head[8:11] in (b"M4A", b"qt "):
            name = "M4A" if head[8:11] == b"M4A" else "MOV"
        return f"{name} {self._track.codec_context.name}"

    def _packets_decoded(self) -> Iterator[Any]:
        """Frames of FFmpeg. In streams of frames, tags may stand between them, and anything at either end."""
        import av

        damage: Exception | None = None
        begun = False
        with self._ffmpeg_errors("cut short or damaged"):
            for packet in self._container.demux(self._track):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    if not packet.size:  # only what its container says of the rest
                        continue
                    if self._name not in _FRAMES_ONLY:
                        raise
                    if begun and not is_tag_or_padding(bytes(packet)):
                        damage = error  # unless no frame comes any more
                    continue
                if frames and damage is not None:
                    raise damage
                begun = begun or bool(frames)
                yield from (frame for frame in frames if frame.samples)

    def _decode(self, start: int, samples: int | None) -> Iterator[Audio]:
        import av

        position = 0
        layout: tuple[str, str] | None = None
        for frame, following in pairwise(self._frames):
            if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.channels):
                raise AudioError(f"{self.path}: its sample rate or channels change midway; convert it")
            if layout != (frame.format.name, frame.layout.name):  # streams that are joined may differ
                layout = (frame.format.name, frame.layout.name)
                to_float = av.AudioResampler(format="flt")  # not "fltp": beyond 8 planes PyAV reads wild memory
            length = frame.samples
            if following is None and frame.time_base == Fraction(1, self.sample_rate) and frame.duration:
                length = min(length, frame.duration)  # the encoder filled up the last frame
            if position + length > start:
                with self._ffmpeg_errors("cut short or damaged"):
                    (packed,) = to_float.resample(frame)
                block: Audio = packed.to_ndarray().astype(np.float32, copy=False).reshape(-1, self.channels)
                yield block[max(0, start - position) : length]
            position += length

    @contextmanager
    def _ffmpeg_errors(self, what: str) -> Iterator[None]:
        import av

        try:
            yield
        except av.FFmpegError as error:
            raise AudioError(f"{self.path}: {what} (FFmpeg: {error.strerror})") from error


def format_of(head: bytes, whole: bool = False) -> str | None:
    """The format of audio file that begins with these bytes, or is these bytes if they are the `whole`.

    None if they begin none, "" if it takes more of them to tell.
    """
    if len(head) < 12 and not whole:
        return ""
    if (name := format_of_magic(head)) or not is_frame(head):
        return name
    if len(head) < _ENOUGH_FRAMES and not whole:
        return ""
    import av

    options = {"format_whitelist": ",".join(_FRAMES_ONLY)}
    with suppress(av.FFmpegError), av.open(io.BytesIO(head), "r", options=options) as container:
        packets = list(islice((packet for packet in container.demux(audio=0) if packet.size), 3))
        if packets and all(is_frame(bytes(packet)) and packet.decode() for packet in packets):
            return container.format.name.upper()
    return None


def _track(path: Path, tracks: Any, wanted: int | None) -> Any:
    """The audio track to decode, of all of a file."""
    if not tracks:
        raise AudioError(f"{path}: holds no audio track")
    codecs = ["unknown" if each.codec_context is None else each.codec_context.name for each in tracks]
    names = ", ".join(f"{index}: {each.language or 'und'} {codecs[index]}" for index, each in enumerate(tracks))
    if wanted is None and len(tracks) > 1:
        others = "another by --track of encode, reconstruct and info, or taken out by ffmpeg -i IN -map 0:a:1 OUT.wav"
        warnings.warn(f"{path}: of its {len(tracks)} audio tracks ({names}), the first is read; {others}", stacklevel=2)
    if not 0 <= (wanted or 0) < len(tracks):
        raise AudioError(f"{path}: has no audio track {wanted}; it has {names}")
    if tracks[wanted or 0].codec_context is None:
        raise AudioError(f"{path}: FFmpeg knows no decoder for its audio; convert it")
    return tracks[wanted or 0]


@contextmanager
def open_audio(path: str | Path, needed: int | None = None, track: int | None = None) -> Iterator[Source]:
    """Open an intact, non-empty audio file; the errors are those of `reading.read`.

    Args:
        path: of a file.
        needed: how many of its samples, counted from the first, a part reaches to; None: all of the file will be read,
            so that all of it is checked.
        track: see `FFmpegSource`.
    """
    path = Path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise AudioError(f"{path}: is not a regular file; save the audio to a file first")
    with ExitStack() as stack:
        file = stack.enter_context(AudioFile(path))
        found = examine(path, file, thorough=needed is None)
        source = (None if track else _seekable(path, file, found, needed, stack)) or _decoded(
            path, file, found, track, stack
        )
        check_rate(source.sample_rate, path)
        if source.samples == 0:
            raise AudioError(f"{path}: holds no samples")
        yield source


def _seekable(path: Path, file: AudioFile, found: Structure, needed: int | None, stack: ExitStack) -> Source | None:
    """What libsndfile reads as FFmpeg does, and only that."""
    if path.suffix.lower() == ".g722" or found.kind not in _LIBSNDFILE_KINDS or not found.seekable:
        return None
    if found.kind == "flac" and needed is None:  # libsndfile believes STREAMINFO, which may state too few samples
        return None
    try:
        sound = stack.enter_context(_Sequential(file))
    except soundfile.LibsndfileError:
        return None
    return LibsndfileSource(path, file, sound) if sound.frames >= (needed or 0) and sound.frames < _UNSTATED else None


def _decoded(path: Path, file: AudioFile, found: Structure, track: int | None, stack: ExitStack) -> Source:
    demuxer = found.kind if found.kind in _LIBSNDFILE_KINDS else None
    file.seek(0)
    return FFmpegSource(path, file, found.head, "g722" if path.suffix.lower() == ".g722" else demuxer, track, stack)
