"""Codes on their way through a pipe, where nobody can go back to fill in a header.

A stream says first what an `.xc` file says, but for its length; then come packets of frames, and a last, empty packet
with the number of samples and a checksum (docs/xc-format.md has the layout). A stream that was cut short is noticed.

    >>> import io
    >>> header = TokenHeader(1, 2, 1024, 16_000, 320, "xcodec-mini", bytes(8))
    >>> pipe = io.BytesIO()
    >>> writer = StreamWriter(pipe, header)
    >>> writer.write(np.arange(16).reshape(1, 2, 8))
    >>> writer.finish(2_500)
    >>> reader = StreamReader(io.BytesIO(pipe.getvalue()))
    >>> [piece.shape for piece in reader.pieces()], reader.samples
    ([(1, 2, 8)], 2500)
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from xcodec.tokens.xc_file import (
    MAX_NAME_BYTES,
    TokenFile,
    TokenFileError,
    TokenHeader,
    TokenReader,
    pack_codes,
    to_bytes,
    unpack_codes,
)

MAGIC = b"\x89XS"
VERSION = 1

# magic, version; channels, codebooks, codebook size - 1; sample rate, hop length; hash of the weights, model's name
_FIELDS = struct.Struct(f"<3sB BBH IH 8s{MAX_NAME_BYTES}s")
_COUNT = struct.Struct("<H")
_MOST = 2**16 - 1
"""Frames in a packet."""


class StreamWriter:
    """Writes packets to a pipe, each at once."""

    def __init__(self, pipe: BinaryIO, header: TokenHeader) -> None:
        self._pipe, self._header = pipe, header
        self._checksum = 0
        shape = (header.channels, header.codebooks, header.codebook_size - 1)
        timing = (header.sample_rate, header.hop_length)
        self._send(_FIELDS.pack(MAGIC, VERSION, *shape, *timing, header.model_hash, header.model.encode()))

    def write(self, codes: NDArray[np.integer[Any]]) -> None:
        """Sends codes `[C, K, f]`, any number of frames."""
        for start in range(0, codes.shape[2], _MOST):
            packet = codes[:, :, start : start + _MOST]
            self._send(_COUNT.pack(packet.shape[2]) + pack_codes(packet, self._header))

    def finish(self, samples: int) -> None:
        """Ends the stream, and says how many samples per channel it stands for."""
        self._send(_COUNT.pack(0) + samples.to_bytes(8, "little"))
        self._pipe.write(self._checksum.to_bytes(4, "little"))
        self._pipe.flush()

    def _send(self, data: bytes) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._pipe.write(data)
        self._pipe.flush()


class StreamReader:
    """Reads what `StreamWriter` wrote, packet by packet.

    Attributes:
        header: what the stream says about its codes; its `samples` are 0.
        samples: how many there are per channel, known when the last piece has been read.

    Raises:
        TokenFileError: it is no such stream, of another version, or its header cannot be.
    """

    def __init__(self, pipe: BinaryIO, name: str = "standard input") -> None:
        self._pipe, self._name = pipe, name
        self._checksum = 0
        self.samples = 0
        start = pipe.read(len(MAGIC))
        if start != MAGIC:
            kind = "an .xc file; name it instead of piping it" if start == b"\x89XC" else "not a stream of codes"
            raise self._error(kind if start else "empty")
        rest = pipe.read(_FIELDS.size - len(MAGIC))
        if rest[:1] not in (b"", bytes([VERSION])):
            raise self._error(f"stream version {rest[0]}, but this xcodec reads {VERSION}; update xcodec")
        fields = self._counted(start + rest, _FIELDS.size)
        _, _, channels, codebooks, last, rate, hop, model_hash, model_bytes = _FIELDS.unpack(fields)
        try:
            model = model_bytes.rstrip(b"\0").decode()
            self.header = TokenHeader(channels, codebooks, last + 1, rate, hop, model, model_hash)
        except (UnicodeDecodeError, TokenFileError) as error:
            raise self._error(f"corrupted header: {error}") from None

    def pieces(self) -> Iterator[NDArray[np.int64]]:
        """Codes `[C, K, f]` of packet after packet.

        Raises:
            TokenFileError: the stream is corrupted, or ends before its end.
        """
        header, frames = self.header, 0
        while count := _COUNT.unpack(self._take(_COUNT.size))[0]:
            codes = unpack_codes(self._take(-(-count * header.frame_bits // 8)), count, header)
            if np.any(codes >= header.codebook_size):
                raise self._error(f"corrupted: a code is not below {header.codebook_size}")
            frames += count
            yield codes
        self.samples = int.from_bytes(self._take(8), "little")
        expected = self._checksum
        if int.from_bytes(self._take(4), "little") != expected:
            raise self._error("corrupted: its checksum does not match")
        if -(-self.samples // header.hop_length) != frames or frames == 0:
            raise self._error(f"corrupted: {frames} frames of {header.hop_length} cannot hold {self.samples} samples")

    def _take(self, size: int) -> bytes:
        return self._counted(self._pipe.read(size), size)

    def _counted(self, data: bytes, size: int) -> bytes:
        if len(data) < size:
            raise self._error("cut short: the end of the stream is missing")
        self._checksum = zlib.crc32(data, self._checksum)
        return data

    def _error(self, fault: str) -> TokenFileError:
        return TokenFileError(f"the stream of codes in {self._name}: {fault}")


def open_tokens(path: str | os.PathLike[str]) -> TokenReader:
    """Opens codes on disk: an `.xc` file, or a stream that was saved to a file, which is read whole.

    Raises:
        OSError: there is no such file, or it may not be read.
        TokenFileError: it is neither, or is truncated or corrupted.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return TokenReader(path)
        file.seek(0)
        stream = StreamReader(file, os.fspath(path))
        codes = np.concatenate([piece.astype(np.uint16) for piece in stream.pieces()], axis=2)
        if file.read(1):
            raise TokenFileError(f"{os.fspath(path)}: too long: more follows its stream of codes")
    h = stream.header
    tokens = TokenFile(codes, h.codebook_size, h.sample_rate, stream.samples, h.hop_length, h.model, h.model_hash)
    return TokenReader(io.BytesIO(to_bytes(tokens)))
