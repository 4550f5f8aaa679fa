"""Tokens: what a codec turns audio into, what every codec offers, and the file that keeps them.

**The convention.** Codes are integers `[B, K, F]`: batch, codebooks, frames. `codes[b, 0]` is the coarsest
codebook, and the first `k` codebooks alone are the same audio at a lower bandwidth. A code lies within 0 and
`codebook_size - 1`; a frame stands for `hop_length` samples. The channels of one file are coded each on its
own, which gives `[C, K, F]`.

**The file.** An `.xc` file is a header of 63 bytes and then the codes, bit-packed, so that its size is the
nominal bitrate (`docs/xc-format.md` has the layout). Any flipped bit, missing byte or extra byte is refused.

    >>> codes = np.arange(16).reshape(1, 2, 8)
    >>> tokens = TokenFile(codes, codebook_size=1024, sample_rate=16_000, samples=2_500, hop_length=320,
    ...                    model="xcodec-mini", model_hash=bytes(8))
    >>> data = to_bytes(tokens)
    >>> len(data) - HEADER_BYTES  # 16 codes of 10 bits
    20
    >>> bool(np.all(from_bytes(data).codes == codes))
    True

`write_tokens` and `read_tokens` take whole files; `TokenWriter` and `TokenReader` take long ones in blocks.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xcodec.utils.files import atomic_write

if TYPE_CHECKING:
    import torch

MAGIC = b"\x89XC"
VERSION = 1
MAX_NAME_BYTES = 31

# magic, version; channels, codebooks, codebook size - 1; sample rate, hop length, samples that the last frame
# lacks, frames; hash of the weights, name of the model. After them, the checksum.
_FIELDS = struct.Struct(f"<3sB BBH IHHI 8s{MAX_NAME_BYTES}s")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size

# What the header's fields can hold. Samples have no field of their own: frames bound them.
_LIMITS = {
    "channels": (1, 2**8 - 1),
    "codebooks": (1, 2**8 - 1),
    "codebook_size": (2, 2**16),
    "sample_rate": (1, 2**32 - 1),
    "hop_length": (1, 2**16 - 1),
    "samples": (0, 2**48),
    "frames": (0, 2**32 - 1),
}

# Codes, or bytes, worked on at a time: bounds the memory needed beyond the result. A multiple of 8, so that
# every piece of codes but the last fills whole bytes.
_PIECE = 2**15


@runtime_checkable
class AudioTokenizer(Protocol):
    """What every codec offers, ours or another's: audio to tokens and back."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of the audio it takes and gives."""

    @property
    def frame_rate(self) -> float:
        """Frames per second of its codes: `sample_rate / hop_length`."""

    @property
    def hop_length(self) -> int:
        """Samples per frame."""

    @property
    def codebook_size(self) -> int:
        """Entries in each codebook."""

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """The bitrates it can be asked for, in kbps."""

    def encode(
        self, wav: torch.Tensor, bandwidth: float | None = None, lengths: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Audio `[B, 1, T]` within [-1, 1], `lengths` samples of it real, to codes `[B, K, F]`, int64."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes `[B, K, F]` to audio `[B, 1, F * hop_length]`."""


class TokenFileError(ValueError):
    """Tokens that do not fit the format, or a file that cannot be trusted; the message is one line."""


@dataclass(frozen=True)
class TokenHeader:
    """What an `.xc` file says about its codes.

    Args:
        channels: audio channels, each with codes of its own (C).
        codebooks: codes per frame and channel (K).
        codebook_size: entries per codebook.
        sample_rate: of the decoded audio, in Hz.
        hop_length: samples per frame.
        model: the codec's name, for people: 1 to 31 bytes of printable UTF-8.
        model_hash: the first 8 bytes of the SHA-256 of what makes its codes, for `expect`.
        samples: the exact count per channel; 0 as long as it is not known.

    Raises:
        TokenFileError: a value does not fit the format.
    """

    channels: int
    codebooks: int
    codebook_size: int
    sample_rate: int
    hop_length: int
    model: str
    model_hash: bytes
    samples: int = 0

    def __post_init__(self) -> None:
        for field, (low, high) in _LIMITS.items():
            if not low <= getattr(self, field) <= high:
                raise TokenFileError(f"{field} must be within {low} and {high}, not {getattr(self, field)}")
        # Printable, because a hostile name could otherwise write control sequences to a terminal.
        if not self.model.isprintable() or not 1 <= len(self.model.encode()) <= MAX_NAME_BYTES:
            raise TokenFileError(f"model must be 1 to {MAX_NAME_BYTES} printable bytes, not {self.model!r}")
        if len(self.model_hash) != 8:
            raise TokenFileError(f"model_hash must be 8 bytes, not {len(self.model_hash)}")

    @property
    def frames(self) -> int:
        """Frames it takes to hold the samples (F)."""
        return -(-self.samples // self.hop_length)

    @property
    def code_bits(self) -> int:
        """Bits per code: 10 for 1024 entries."""
        return (self.codebook_size - 1).bit_length()

    @property
    def frame_bits(self) -> int:
        """Bits per frame, all channels and codebooks together; times the frame rate, the nominal bitrate."""
        return self.channels * self.codebooks * self.code_bits

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return HEADER_BYTES + _bytes_for(self.frames * self.frame_bits)

    def expect(self, model: str, model_hash: bytes, source: str | os.PathLike[str]) -> None:
        """Checks that the codes in `source` are this model's; what makes its codes decides, whatever its name.

        Raises:
            TokenFileError: they are another's.
        """
        if model_hash != self.model_hash:
            raise TokenFileError(
                f"{os.fspath(source)} was made by model {self.model} (tokens {self.model_hash.hex()}), "
                f"but this is {model} (tokens {model_hash.hex()}); load that model with --model"
            )

    def _to_bytes(self, payload_checksum: int) -> bytes:
        if self.samples == 0:
            raise TokenFileError("there are 0 samples; an .xc file holds at least one")
        lacking = self.frames * self.hop_length - self.samples
        shape = (self.channels, self.codebooks, self.codebook_size - 1)
        timing = (self.sample_rate, self.hop_length, lacking, self.frames)
        fields = _FIELDS.pack(MAGIC, VERSION, *shape, *timing, self.model_hash, self.model.encode())
        # The fields come last into the checksum because a writer learns its counts last.
        return fields + _CHECKSUM.pack(zlib.crc32(fields, payload_checksum))

    @classmethod
    def _from_bytes(cls, fields: bytes) -> TokenHeader:
        _, _, *shape, rate, hop, lacking, frames, model_hash, padded_name = _FIELDS.unpack(fields)
        channels, codebooks, last_code = shape
        if frames == 0 or lacking >= hop:
            raise TokenFileError(f"{frames} frames of {hop} samples cannot lack {lacking} samples")
        try:
            name = padded_name.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise TokenFileError("the model's name is not UTF-8") from None
        return cls(channels, codebooks, last_code + 1, rate, hop, name, model_hash, frames * hop - lacking)


@dataclass(frozen=True, eq=False)
class TokenFile:
    """The whole content of an `.xc` file: codes `[C, K, F]` of any integer type, and what `TokenHeader` says.

    Decoding gives `F * hop_length` samples per channel, of which the first `samples` are real.

    Raises:
        TokenFileError: a value does not fit the format, or the frames are not those that hold `samples`.
    """

    codes: NDArray[np.integer[Any]]
    codebook_size: int
    sample_rate: int
    samples: int
    hop_length: int
    model: str
    model_hash: bytes

    def __post_init__(self) -> None:
        if self.codes.ndim != 3:
            raise TokenFileError(f"codes must be [C, K, F], not of shape {self.codes.shape}")
        _check_codes(self.codes, self.header)
        _check_frames(self.codes.shape[2], self.header)

    @property
    def header(self) -> TokenHeader:
        """What the file says about the codes."""
        return TokenHeader(
            channels=self.codes.shape[0],
            codebooks=self.codes.shape[1],
            codebook_size=self.codebook_size,
            sample_rate=self.sample_rate,
            hop_length=self.hop_length,
            model=self.model,
            model_hash=self.model_hash,
            samples=self.samples,
        )


class TokenWriter:
    """Writes an `.xc` file block by block, in memory that does not grow with it.

    The file appears when the `with` block ends, and not at all when an exception ends it. If the header
    leaves `samples` at 0, set `writer.samples` before the end.
    """

    def __init__(self, path: str | os.PathLike[str], header: TokenHeader) -> None:
        self.samples = header.samples
        self._header = header
        self._path = path
        self._frames = 0
        self._checksum = 0
        # Blocks need not end on a byte: up to 7 codes wait here until 8 of them make whole bytes.
        self._waiting = np.empty(0, dtype=np.uint16)

    def __enter__(self) -> TokenWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(os.fspath(self._path)))
            self._file = stack.enter_context(open(temporary, "r+b"))
            self._file.write(bytes(HEADER_BYTES))
            stack.push(self._finish)
            self._on_exit = stack.pop_all()
        return self

    def write(self, codes: NDArray[np.integer[Any]]) -> None:
        """Appends codes `[C, K, f]`, any number of frames.

        Raises:
            TokenFileError: their shape or a value does not fit the header.
        """
        _check_codes(codes, self._header)
        stream = np.concatenate([self._waiting, _in_file_order(codes)])
        whole = len(stream) // 8 * 8
        self._append(stream[:whole])
        self._waiting = stream[whole:]
        self._frames += codes.shape[2]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._on_exit.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._append(self._waiting)
            self._fill_in_header()

    def _append(self, stream: NDArray[np.uint16]) -> None:
        payload = _pack(stream, self._header.code_bits)
        self._checksum = zlib.crc32(payload, self._checksum)
        self._file.write(payload)

    def _fill_in_header(self) -> None:
        header = replace(self._header, samples=self.samples)
        _check_frames(self._frames, header)
        self._file.seek(0)
        self._file.write(header._to_bytes(self._checksum))


class TokenReader:
    """Reads an `.xc` file, given by path or as a binary file, in memory that does not grow with it.

    Opening it checks all of it once, so that nothing is decoded from a damaged file.

    Raises:
        TokenFileError: it is not an `.xc` file, or of another version, truncated, too long or corrupted.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._file, self._name = _open(source)
        try:
            self.header = self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TokenReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """The codes of frames `start` to `stop - 1`, `[C, K, stop - start]`.

        Raises:
            IndexError: the file does not have these frames.
            TokenFileError: a code is not below the codebook size.
        """
        header = self.header
        if not 0 <= start <= stop <= header.frames:
            raise IndexError(f"frames {start} to {stop} are not within the {header.frames} of {self._name}")
        first_byte, first_bit = divmod(start * header.frame_bits, 8)
        self._file.seek(HEADER_BYTES + first_byte)
        payload = self._file.read(_bytes_for(stop * header.frame_bits) - first_byte)
        count = (stop - start) * header.channels * header.codebooks
        stream = _unpack(payload, first_bit, count, header.code_bits)
        if np.any(stream >= header.codebook_size):
            raise self._error(f"corrupted: a code is not below {header.codebook_size}")
        return _by_channel(stream, header)

    def blocks(self, frames: int | None = None) -> Iterator[NDArray[np.int64]]:
        """All codes in order, `[C, K, frames]` at a time, of which the last may be shorter."""
        step = frames or max(1, _PIECE // (self.header.channels * self.header.codebooks))
        for start in range(0, self.header.frames, step):
            yield self.read(start, min(start + step, self.header.frames))

    def read_all(self) -> TokenFile:
        """The whole file."""
        codes = np.concatenate(list(self.blocks()), axis=2)
        h = self.header
        return TokenFile(codes, h.codebook_size, h.sample_rate, h.samples, h.hop_length, h.model, h.model_hash)

    def _check(self) -> TokenHeader:
        """Reads the header and holds the rest against it; what it claims is believed only after that."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        head = self._file.read(HEADER_BYTES)
        if not head.startswith(MAGIC):
            raise self._error("not an .xc file")
        version = head[len(MAGIC) : len(MAGIC) + 1]
        if version not in (b"", bytes([VERSION])):
            raise self._error(f"format version {version[0]}, but this xcodec reads {VERSION}; update xcodec")
        if size < HEADER_BYTES:
            raise self._error(f"truncated: {size} bytes, where the header alone has {HEADER_BYTES}")
        fields, checksum = head[: _FIELDS.size], head[_FIELDS.size :]
        try:
            header = TokenHeader._from_bytes(fields)
        except TokenFileError as error:
            raise self._error(f"corrupted header: {error}") from None
        if size != header.file_bytes:
            fault = "truncated" if size < header.file_bytes else "too long"
            raise self._error(f"{fault}: {size} bytes, where its header announces {header.file_bytes}")
        payload_checksum, last_byte = 0, 0
        while piece := self._file.read(_PIECE):
            payload_checksum = zlib.crc32(piece, payload_checksum)
            last_byte = piece[-1]
        if checksum != _CHECKSUM.pack(zlib.crc32(fields, payload_checksum)):
            raise self._error("corrupted: its checksum does not match")
        used_bits = header.frames * header.frame_bits % 8
        if used_bits and last_byte >> used_bits:
            raise self._error("corrupted: the bits after the last code are not zero")
        return header

    def _error(self, fault: str) -> TokenFileError:
        return TokenFileError(f"{self._name}: {fault}")


def write_tokens(path: str | os.PathLike[str], tokens: TokenFile) -> None:
    """Writes an `.xc` file, whole or not at all."""
    with TokenWriter(path, tokens.header) as writer:
        writer.write(tokens.codes)


def read_tokens(path: str | os.PathLike[str]) -> TokenFile:
    """Reads a whole `.xc` file; raises what `TokenReader` raises."""
    with TokenReader(path) as reader:
        return reader.read_all()


def read_header(path: str | os.PathLike[str]) -> TokenHeader:
    """What an `.xc` file says about its codes, once its checksum is found right; the codes stay packed."""
    with TokenReader(path) as reader:
        return reader.header


def to_bytes(tokens: TokenFile) -> bytes:
    """The content of the file that `write_tokens` would write."""
    payload = _pack(_in_file_order(tokens.codes), tokens.header.code_bits)
    return tokens.header._to_bytes(zlib.crc32(payload)) + payload


def from_bytes(data: bytes) -> TokenFile:
    """Reads the content of an `.xc` file; raises what `TokenReader` raises."""
    with TokenReader(io.BytesIO(data)) as reader:
        return reader.read_all()


def pack_codes(codes: NDArray[np.integer[Any]], header: TokenHeader) -> bytes:
    """Codes `[C, K, f]` as the payload of an `.xc` file has them, filled up with zero bits to whole bytes.

    Raises:
        TokenFileError: their shape or a value does not fit the header.
    """
    _check_codes(codes, header)
    return _pack(_in_file_order(codes), header.code_bits)


def unpack_codes(payload: bytes, frames: int, header: TokenHeader) -> NDArray[np.int64]:
    """The codes `[C, K, frames]` that `pack_codes` packed. Whether they are codes of the codebook is not checked."""
    return _by_channel(_unpack(payload, 0, frames * header.channels * header.codebooks, header.code_bits), header)


def _open(source: str | os.PathLike[str] | BinaryIO) -> tuple[BinaryIO, str]:
    if isinstance(source, (str, os.PathLike)):
        return open(source, "rb"), os.fspath(source)
    return source, "these bytes"


def _check_codes(codes: NDArray[np.integer[Any]], header: TokenHeader) -> None:
    if codes.ndim != 3 or codes.shape[:2] != (header.channels, header.codebooks):
        raise TokenFileError(f"codes must be [{header.channels}, {header.codebooks}, F], not {codes.shape}")
    if not np.issubdtype(codes.dtype, np.integer):
        raise TokenFileError(f"codes must be integers, not {codes.dtype}")
    low, high = (codes.min(), codes.max()) if codes.size else (0, 0)
    if low < 0 or high >= header.codebook_size:
        raise TokenFileError(f"codes must be below {header.codebook_size}; these span {low} to {high}")


def _check_frames(frames: int, header: TokenHeader) -> None:
    if frames != header.frames:
        raise TokenFileError(
            f"{header.samples} samples make {header.frames} frames of {header.hop_length}, not {frames}"
        )


def _in_file_order(codes: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
    # [C, K, F] -> [F, C, K]: frame by frame, so that a file grows at its end
    return codes.astype(np.uint16).transpose(2, 0, 1).reshape(-1)


def _by_channel(stream: NDArray[np.uint16], header: TokenHeader) -> NDArray[np.int64]:
    # [F, C, K] -> [C, K, F]
    return stream.reshape(-1, header.channels, header.codebooks).transpose(1, 2, 0).astype(np.int64, order="C")


def _bytes_for(bits: int) -> int:
    return -(-bits // 8)


def _pack(stream: NDArray[np.uint16], code_bits: int) -> bytes:
    """Codes to bytes: one long little-endian number, the first code lowest, zeros above the last."""
    packed = []
    for start in range(0, len(stream), _PIECE):
        words = stream[start : start + _PIECE].astype("<u2").view(np.uint8).reshape(-1, 2)
        bits = np.unpackbits(words, axis=1, count=code_bits, bitorder="little")
        packed.append(np.packbits(bits, bitorder="little").tobytes())
    return b"".join(packed)


def _unpack(payload: bytes, first_bit: int, count: int, code_bits: int) -> NDArray[np.uint16]:
    """The `count` codes that begin at `first_bit` of what `_pack` made."""
    bits = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little")
    words = np.zeros((count, 16), dtype=np.uint8)
    words[:, :code_bits] = bits[first_bit : first_bit + count * code_bits].reshape(count, code_bits)
    return np.packbits(words, axis=1, bitorder="little").view("<u2").reshape(-1)
