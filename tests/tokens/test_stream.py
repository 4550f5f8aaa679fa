from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from xcodec.tokens.stream import StreamReader, StreamWriter, open_tokens
from xcodec.tokens.xc_file import TokenFile, TokenFileError, TokenHeader, write_tokens

HEADER = TokenHeader(2, 3, 1000, 24_000, 480, "a model", bytes(range(8)))
CODES = np.random.default_rng(0).integers(0, 1000, (2, 3, 50))


def stream() -> bytes:
    pipe = io.BytesIO()
    writer = StreamWriter(pipe, HEADER)
    for piece in np.split(CODES, [1, 8, 8, 31], axis=2):
        writer.write(piece)
    writer.finish(50 * 480 - 7)
    return pipe.getvalue()


def everything(data: bytes) -> tuple[np.ndarray, StreamReader]:
    reader = StreamReader(io.BytesIO(data))
    return np.concatenate(list(reader.pieces()), axis=2), reader


def test_there_and_back() -> None:
    codes, reader = everything(stream())
    np.testing.assert_array_equal(codes, CODES)
    assert reader.header == HEADER
    assert reader.samples == 50 * 480 - 7


def test_packets_come_one_by_one() -> None:
    data = stream()
    reader = StreamReader(io.BytesIO(data[:200]))
    assert next(reader.pieces()).shape == (2, 3, 1)


def test_more_frames_than_a_packet_holds() -> None:
    pipe = io.BytesIO()
    header = TokenHeader(1, 1, 2, 16_000, 320, "m", bytes(8))
    writer = StreamWriter(pipe, header)
    writer.write(np.ones((1, 1, 70_000), dtype=np.int64))
    writer.finish(70_000 * 320)
    assert [piece.shape[2] for piece in StreamReader(io.BytesIO(pipe.getvalue())).pieces()] == [65_535, 4_465]


def test_no_byte_may_be_missing_and_no_bit_wrong() -> None:
    data = stream()
    for size in range(len(data)):
        with pytest.raises(TokenFileError):
            everything(data[:size])
    for index in range(len(data)):
        with pytest.raises(TokenFileError):
            everything(data[:index] + bytes([data[index] ^ 4]) + data[index + 1 :])


def test_a_file_is_no_stream() -> None:
    with pytest.raises(TokenFileError, match="name it instead"):
        StreamReader(io.BytesIO(b"\x89XC\x01" + bytes(80)))
    with pytest.raises(TokenFileError, match="version 2"):
        StreamReader(io.BytesIO(b"\x89XS\x02" + bytes(80)))
    with pytest.raises(TokenFileError, match="empty"):
        StreamReader(io.BytesIO(b""))


def test_a_saved_stream_is_opened_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(stream())
    write_tokens(tmp_path / "a.xc", TokenFile(CODES, 1000, 24_000, 50 * 480 - 7, 480, "a model", bytes(range(8))))
    with open_tokens(tmp_path / "saved") as saved, open_tokens(tmp_path / "a.xc") as file:
        assert saved.header == file.header
        np.testing.assert_array_equal(saved.read_all().codes, file.read_all().codes)
    for content, complaint in [
        (stream()[:-1], "cut short"),
        (stream() + b"x", "too long"),
        (b"RIFF", "not an .xc file"),
    ]:
        (tmp_path / "saved").write_bytes(content)
        with pytest.raises(TokenFileError, match=rf"{tmp_path}/saved.*{complaint}"):
            open_tokens(tmp_path / "saved")
