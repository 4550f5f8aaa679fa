"""What the outermost structure of an audio file says: which container it is, and whether all of it is there.

Decoders shorten a WAV to what is there, give the complete pages of a cut OGG, and stop at a length that wrapped at
4 GB, all without an error. So the headers of chunks, boxes, elements or pages are walked here first. FLAC needs no
such look, because every frame of it has a checksum.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["wav", "aiff", "flac", "ogg", "mp4", "matroska", "avi", "iff", "caf", "w64", "voc", "other"]

_WRAP = 2**32
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")


class AudioError(ValueError):
    """Audio that cannot be read or written; one line says what, where and what to do."""


class AudioFile(io.FileIO):
    """A file as a decoder should see it: with wrong lengths put right, and without the tags before its beginning.

    (libsndfile would take the length of a leading tag off the end of the audio.) Damaged headers make libsndfile seek
    before the beginning; that must not raise, because an exception cannot pass through C and would be printed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.origin = 0
        """Where it begins for its readers."""
        self._end: int | None = None
        self._patch: tuple[int, bytes] | None = None

    @property
    def size(self) -> int:
        """In bytes, as its readers see it."""
        return os.fstat(self.fileno()).st_size - self.origin if self._end is None else self._end

    def set_length(self, position: int, end: int) -> None:
        """From now on, the length of 32 bits at `position` reads as unknown, and the file ends at `end`."""
        self._patch, self._end = (position, b"\xff" * 4), end

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file, but that it stays where it is instead of going where no file can."""
        target = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        if 0 <= target < 2**40:
            super().seek(target + self.origin)
        return self.tell()

    def tell(self) -> int:
        """Position in bytes, as its readers see it."""
        return super().tell() - self.origin

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """As of any file."""
        position = self.tell()
        count = super().readinto(memoryview(buffer)[: max(0, self.size - position)]) or 0
        if self._patch is not None:
            at, content = self._patch
            for index, byte in enumerate(content, start=at - position):
                if 0 <= index < count:
                    buffer[index : index + 1] = bytes([byte])
        return count

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        buffer = bytearray(self.size - self.tell() if size is None or size < 0 else size)
        return bytes(buffer[: self.readinto(buffer)])


class Structure(NamedTuple):
    """What `examine` found."""

    kind: Kind
    head: bytes
    """The first 256 bytes after leading tags."""
    seekable: bool
    """Whether libsndfile reads all of it as FFmpeg does: one stream, plain samples, and no chunk beyond 4 GB."""


def examine(path: Path, file: AudioFile, thorough: bool) -> Structure:
    """See what a file is, and whether it is whole; `thorough` checks also what takes reading all of it.

    An OGG file that ends with a complete page but without the mark of the last one gives a warning, because
    some encoders forget that mark (550 of 20,000 files in Debian's packages).

    Raises:
        AudioError: it is empty, ends too early, or states a length that cannot be right.
    """
    if not file.size:
        raise AudioError(f"{path}: is empty")
    tags = _end_of_tags(file)
    file.seek(tags)
    head = file.read(256)
    kind, seekable, end = _kind(head), True, file.size
    if kind == "other":  # FFmpeg looks behind the tags by itself
        end = tags
    else:
        file.origin, end = tags, file.size - tags
    if kind in ("wav", "aiff"):
        seekable, end = _walk_chunks(path, file, "little" if head[:4] in (b"RIFF", b"RF64", b"BW64") else "big")
    elif kind in ("avi", "iff"):
        end = int.from_bytes(head[4:8], "little" if kind == "avi" else "big") + 8
    elif kind == "voc":
        end = _end_of_blocks(file)
    elif kind in ("caf", "w64"):
        end = _end_of_long_chunks(file, kind)
    elif kind == "mp4":
        end = _end_of_boxes(file)
    elif kind == "matroska":
        end = _end_of_elements(file)
    elif kind == "ogg":
        seekable, end = _walk_pages(path, file, thorough)
    if end > file.size:
        raise AudioError(f"{path}: cut short: {file.size} bytes of at least {end}; get the whole file")
    file.seek(0)
    return Structure(kind, head, seekable)


def _kind(head: bytes) -> Kind:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"FORM" and head[8:12] in (b"8SVX", b"16SV"):
        return "iff"
    if head.startswith(b"Creative Voice File\x1a"):
        return "voc"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    kinds: dict[bytes, Kind] = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b"riff": "w64"}
    kinds[b"\x1a\x45\xdf\xa3"] = "matroska"
    return kinds.get(head[:4], "other")


_MAGICS = {
    b"ID3": "MP3",
    b".snd": "AU",
    b"NIST_1A": "NIST SPHERE",
    b"#!AMR": "AMR",
    b"wvpk": "WavPack",
    b"MAC ": "APE",
    b"TTA1": "TTA",
    b"2BIT": "AVR",
    b"PVF1": "PVF",
    b"\x30\x26\xb2\x75": "WMA",
}


def format_of_magic(head: bytes) -> str | None:
    """The format that begins with these bytes; None if none does, but for bare frames, which have no magic number."""
    kind = _kind(head)
    return (
        kind.upper() if kind != "other" else next((_MAGICS[magic] for magic in _MAGICS if head.startswith(magic)), None)
    )


# --- tags ------------------------------------------------------------------------------------------------------------


def is_tag_or_padding(content: bytes) -> bool:
    """Whether bytes begin with a tag of those that stand behind audio, or are zeros."""
    return content.startswith(_TAGS) or not content.strip(b"\0")


def _end_of_tags(file: AudioFile) -> int:
    """Where the ID3v2 tags at the beginning of a file end, and the zeros that may follow them."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
            return position
        length = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        position += 10 + length + (10 if head[5] & 0x10 else 0)  # the flag of a footer
        file.seek(position)
        padding = file.read(2**16)
        position += len(padding) - len(padding.lstrip(b"\0"))


# --- WAV and AIFF: chunks --------------------------------------------------------------------------------------------


def _walk_chunks(path: Path, file: AudioFile, order: Literal["little", "big"]) -> tuple[bool, int]:
    """Whether libsndfile reads all samples of a WAV or AIFF as FFmpeg does, and where they end.

    A length that its writer did not know, or that wrapped at 4 GB, is put right in what decoders see of the file.
    """
    size, position, chunks, end, ds64, simple = file.size, 12, 0, 0, None, True
    while position + 8 <= size:
        file.seek(position)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        begin = position + 8
        if name == b"ds64":  # RF64: 64-bit lengths of the whole and of the samples
            ds64 = int.from_bytes(file.read(16)[8:], order)
        if name == b"fmt ":
            simple = _is_simple(path, file.read(26), order)
        if name in (b"data", b"SSND"):
            chunks += 1
            if ds64 is not None and length == _WRAP - 1:
                length = ds64
            elif _is_unknown(length) and not (length == 0 and _are_chunks(file, begin, order)):
                length = size - begin
                file.set_length(position + 4, size)
            elif size - begin - length >= _WRAP:
                length += (size - begin - length) // _WRAP * _WRAP
                file.set_length(position + 4, begin + length)
            end = begin + length
            if not any(_are_chunks(file, after, order) for after in (end, end + length % 2)):
                raise AudioError(
                    f"{path}: its header states {length} bytes of samples, but {size - begin} follow; "
                    f"set it right (ffmpeg -ignore_length 1 -i IN OUT.wav), or cut off what is no audio"
                )
        elif chunks and not _is_chunk_name(name):
            break
        position = begin + length + length % 2
    return simple and chunks < 2 and (ds64 is not None or end < _WRAP), end


def _is_simple(path: Path, layout: bytes, order: Literal["little", "big"]) -> bool:
    """Whether a WAV's samples are plain numbers in as many bytes as they need; raises if that cannot be."""
    kind, channels, align, bits, extended = (int.from_bytes(layout[at : at + 2], order) for at in (0, 2, 12, 14, 24))
    pcm, floats, laws = 1, 3, (6, 7)
    kind = extended if kind == 0xFFFE else kind
    if kind not in (pcm, floats, *laws):
        return False
    if not channels or not bits or align % channels or not channels * bits <= align * 8 <= channels * 64:
        raise AudioError(f"{path}: damaged: its header puts {channels} channels of {bits} bits into {align} bytes")
    return align * 8 == channels * bits and bits in {pcm: (8, 16, 24, 32), floats: (32, 64)}.get(kind, (8,))


def _is_unknown(length: int) -> bool:
    """Whether a length is what programs write that cannot go back to correct it: recorders, and writers to a pipe."""
    return length == 0 or any(limit - 2**16 <= length < limit for limit in (2**31, 2**32)) or length == 2**31


def _are_chunks(file: AudioFile, position: int, order: Literal["little", "big"]) -> bool:
    """Whether what follows the samples is chunks, tags or padding, and so none of the samples."""
    size = file.size
    if size - position < 8:
        return True
    file.seek(position)
    if is_tag_or_padding(file.read(2**16)):
        return True
    while position + 8 <= size:
        file.seek(position)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if not _is_chunk_name(name) or name in (b"RIFF", b"FORM"):
            return False
        position += 8 + length + length % 2
    return True


def _is_chunk_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)


# --- CAF and W64: chunks of 64-bit lengths ---------------------------------------------------------------------------


def _end_of_long_chunks(file: AudioFile, kind: Kind) -> int:
    """Where the samples of a CAF or W64 end; the end of the file if it does not say."""
    size, position = file.size, 8 if kind == "caf" else 40
    while position + 24 <= size:
        file.seek(position)
        header = file.read(24)
        if kind == "caf":
            length, begin = int.from_bytes(header[4:12], "big"), position + 12
        else:
            length, begin = int.from_bytes(header[16:24], "little") - 24, position + 24
        if header[:4] == b"data":
            return begin + length if 0 <= length < 2**63 else size
        position = begin + max(0, length) + (-length % 8 if kind == "w64" else 0)
    return size


# --- VOC: blocks -----------------------------------------------------------------------------------------------------


def _end_of_blocks(file: AudioFile) -> int:
    """Where the last block ends; the mark of the end, a byte 0, may be missing."""
    file.seek(20)
    size, position = file.size, int.from_bytes(file.read(2), "little")
    while position + 4 <= size:
        file.seek(position)
        kind, length = file.read(1), int.from_bytes(file.read(3), "little")
        if kind == b"\0":
            break
        position += 4 + length
    return position


# --- MP4: boxes ------------------------------------------------------------------------------------------------------


def _end_of_boxes(file: AudioFile) -> int:
    """Where the last box ends that audio depends on."""
    size, position = file.size, 0
    while position + 8 <= size:
        file.seek(position)
        length, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8 or not _is_chunk_name(name):  # 0: up to the end of the file; else not a box
            break
        position += length
        if position > size and name not in (b"moov", b"mdat", b"moof"):
            break
    return position


# --- Matroska and WebM: elements -------------------------------------------------------------------------------------

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675


def _end_of_elements(file: AudioFile) -> int:
    """Where the last element ends; a recorder that streams leaves the lengths of the outer ones open."""
    size, position = file.size, 0
    while position < size:
        file.seek(position)
        name, name_bytes = _vint(file, keep_marker=True)
        length, length_bytes = _vint(file, keep_marker=False)
        if not name_bytes or not length_bytes:
            break
        position += name_bytes + length_bytes
        if length == 2 ** (7 * length_bytes) - 1:  # unknown
            if name not in (_SEGMENT, _CLUSTER):
                break
            continue
        position += length
        if name == _SEGMENT:
            break
    return position


def _vint(file: AudioFile, keep_marker: bool) -> tuple[int, int]:
    """A variable-length integer of EBML, and how many bytes it takes; 0 if there is none."""
    first = file.read(1)
    width = 9 - first[0].bit_length() if first else 9
    if width > 8:
        return 0, 0
    value = int.from_bytes(first + file.read(width - 1), "big")
    return (value if keep_marker else value % 2 ** (7 * width)), width


# --- OGG: pages ------------------------------------------------------------------------------------------------------


def _walk_pages(path: Path, file: AudioFile, thorough: bool) -> tuple[bool, int]:
    """Whether an OGG is one stream, and where its last page ends; beyond the file if anything is missing."""
    size, single, end, in_audio, last = file.size, True, 0, False, False
    numbers: dict[bytes, int] = {}
    for page in _pages(file):
        if page.is_first:
            single = single and not in_audio
        elif page.number != numbers.get(page.stream, -1) + 1:
            raise AudioError(f"{path}: damaged: a page of its OGG stream is missing at byte {page.start}")
        if thorough and page.end <= size and not _is_intact(file, page):
            raise AudioError(f"{path}: damaged: the checksum of the OGG page at byte {page.start} does not match")
        numbers[page.stream] = page.number
        end, in_audio, last = page.end, not page.is_first, page.is_last
    if end < size:
        file.seek(end)
        if b"OggS" in file.read():
            raise AudioError(f"{path}: damaged: what follows byte {end} is no OGG page, but pages come after it")
        if not last:
            return single, size + 1  # the header of a page is cut
    if end == size and not last:
        warnings.warn(f"{path}: this OGG file lacks the mark of its last page; it may be cut short", stacklevel=2)
    return single, end


def last_page_samples(file: AudioFile) -> int:
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
    stream: bytes
    number: int  # in its stream
    start: int  # in the file, in bytes
    end: int


def _pages(file: AudioFile) -> Iterator[_Page]:
    """Give the pages of an OGG file up to its end, or to the first thing that is not a page."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            return
        segments = header[26]
        end = position + 27 + segments + sum(file.read(segments))
        samples = int.from_bytes(header[6:14], "little", signed=True)
        number = int.from_bytes(header[18:22], "little")
        yield _Page(bool(header[5] & 2), bool(header[5] & 4), samples, header[14:18], number, position, end)
        position = end


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _is_intact(file: AudioFile, page: _Page) -> bool:
    """Whether the checksum of a page is right."""
    file.seek(page.start)
    content = bytearray(file.read(page.end - page.start))
    stated = int.from_bytes(content[22:26], "little")
    content[22:26] = bytes(4)
    # The CRC-32 of zlib with the bits of every byte the other way round, begun at 0 and not inverted.
    found = zlib.crc32(bytes(content).translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2) == stated


# --- MPEG audio: frames ----------------------------------------------------------------------------------------------


def is_frame(head: bytes) -> bool:
    """Whether bytes begin like a frame of MPEG audio or AAC (ADTS)."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    return head[1] & 0xF6 == 0xF0 or (0 < head[2] >> 4 < 15 and head[2] & 0x0C != 0x0C and head[1] & 0x18 != 0x08)


def mp3_samples(head: bytes) -> int | None:
    """The number of samples that the first frame of an MP3, a Xing or Info tag, promises; None if it does not."""
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    if not is_frame(head) or tag < 0 or not head[tag + 7] & 1:
        return None
    frames = int.from_bytes(head[tag + 8 : tag + 12], "big")
    at = tag + 8 + sum(length for bit, length in ((1, 4), (2, 4), (4, 100), (8, 4)) if head[tag + 7] & bit)
    lame = head[at : at + 4] in (b"LAME", b"Lavf", b"Lavc")
    delay_and_padding = int.from_bytes(head[at + 21 : at + 24], "big") if lame else 0
    samples = frames * (1152 if head[1] & 8 else 576)
    return max(0, samples - (delay_and_padding >> 12) - delay_and_padding % 2**12)
