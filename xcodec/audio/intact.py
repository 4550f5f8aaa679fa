"""Whether a file is as long as its own headers say.

libsndfile shortens a WAV to what is there, and gives the complete pages of a cut OGG and the first of several
joined ones, all without an error. So the outermost structure of a file is walked here: the headers of its
chunks, boxes or pages. FLAC needs no such look, because its decoder notices.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from xcodec.audio.errors import AudioError

# What programs write as a WAV's length when they cannot go back to correct it (FFmpeg; SoX and eSpeak).
_LENGTH_UNKNOWN = (0xFFFFFFFF, 0x7FFFF000)


def check_whole(path: Path, file: BinaryIO) -> None:
    """Raise AudioError if a WAV, AIFF, M4A or OGG file ends too early, or joins several OGG streams.

    An OGG file that ends with a complete page but without the mark of the last one gives a warning, because
    some encoders forget that mark (550 of 20,000 files in Debian's packages).
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"FORM"):
        end = _end_of_sound_chunk(file, size, "big" if head[:4] == b"FORM" else "little")
    elif head[4:8] == b"ftyp":
        end = _end_of_boxes(file, size)
    elif head[:4] == b"OggS":
        end = _end_of_pages(path, file, size)
    else:
        return
    if end > size:
        raise AudioError(f"{path}: cut short: {size} bytes of at least {end}; get the whole file")


def _end_of_sound_chunk(file: BinaryIO, size: int, order: str) -> int:
    """Where the samples of a WAV (little-endian) or AIFF (big-endian) end; `size` if it does not say."""
    position, length_in_ds64 = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = file.read(4), _integer(file.read(4), order)
        if name == b"ds64":  # RF64: 64-bit lengths of the whole and of the samples
            length_in_ds64 = _integer(file.read(16)[8:], order)
        if name in (b"data", b"SSND"):
            if length in _LENGTH_UNKNOWN:
                return size if length_in_ds64 is None else position + 8 + length_in_ds64
            return position + 8 + length
        position += 8 + length + length % 2
    return size


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box of an MP4 file ends."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length = _integer(file.read(8)[:4], "big")
        if length == 1:
            length = _integer(file.read(8), "big")
        if length < 8:  # 0: up to the end of the file; else not a box
            return size
        position += length
    return position


def _end_of_pages(path: Path, file: BinaryIO, size: int) -> int:
    """Where the last page of an OGG file ends; beyond `size` if anything is missing."""
    end, in_audio, last = 0, False, False
    for page in _pages(file):
        if page.is_first and in_audio:
            raise AudioError(f"{path}: joins several OGG streams; separate them, or convert it to one")
        end, in_audio, last = page.end, not page.is_first, page.is_last
    if end < size and not last:
        return size + 1  # the header of a page is cut, or is none
    if end == size and not last:
        warnings.warn(f"{path}: this OGG file lacks the mark of its last page; it may be cut short", stacklevel=2)
    return end


def last_page_samples(file: BinaryIO) -> int:
    """How many samples the last page of an OGG file holds; keeps the file's position."""
    position = file.tell()
    ends = [0, *(page.samples for page in _pages(file) if page.samples >= 0)]
    file.seek(position)
    return ends[-1] - ends[-2] if len(ends) > 1 else 0


class _Page(NamedTuple):
    """The header of an OGG page."""

    is_first: bool  # of its stream
    is_last: bool
    samples: int  # since the start of the stream, when this page ends; -1 if no packet ends in it
    end: int  # in the file, in bytes


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Give the pages of an OGG file up to its end, or to the first thing that is not a page."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            return
        segments = header[26]
        position += 27 + segments + sum(file.read(segments))
        samples = int.from_bytes(header[6:14], "little", signed=True)
        yield _Page(bool(header[5] & 2), bool(header[5] & 4), samples, position)


def _integer(data: bytes, order: str) -> int:
    return int.from_bytes(data, "big" if order == "big" else "little")
