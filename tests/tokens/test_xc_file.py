"""The `.xc` file: what is written comes back, and nothing damaged is believed."""

from __future__ import annotations

import doctest
import random
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xcodec.tokens.xc_file import (
    HEADER_BYTES,
    AudioTokenizer,
    TokenFile,
    TokenFileError,
    TokenHeader,
    TokenReader,
    TokenWriter,
    from_bytes,
    read_header,
    read_tokens,
    to_bytes,
    write_tokens,
)

OFFICIAL_NAMES = [
    "xcodec-hubert-librispeech",
    "xcodec-wavlm-mls",
    "xcodec-wavlm-more-data",
    "xcodec-hubert-general",
    "xcodec-hubert-general-balanced",
]
WEIGHTS = bytes(range(8))
CHECKSUM_AT = HEADER_BYTES - 4
# Where the header's fields after the version lie: offset and bytes, as docs/xc-format.md has them.
FIELDS = [(4, 1), (5, 1), (6, 2), (8, 4), (12, 2), (14, 2), (16, 4), (20, 8), (28, 31)]


def make_tokens(
    channels: int = 1, codebooks: int = 2, frames: int = 9, codebook_size: int = 1024, lacking: int = 60
) -> TokenFile:
    """Tokens with random codes, whose last frame lacks some samples."""
    codes = np.random.default_rng(0).integers(0, codebook_size, (channels, codebooks, frames))
    return TokenFile(codes, codebook_size, 16_000, frames * 320 - lacking, 320, "xcodec-mini", WEIGHTS)


def with_right_checksum(data: bytes) -> bytes:
    """The same bytes, but with the checksum a hostile writer would put there."""
    checksum = zlib.crc32(data[:CHECKSUM_AT], zlib.crc32(data[HEADER_BYTES:]))
    return data[:CHECKSUM_AT] + struct.pack("<I", checksum) + data[HEADER_BYTES:]


def with_bytes(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


@st.composite
def token_files(draw: st.DrawFn) -> TokenFile:
    """Any file the format can hold, up to 200 frames."""
    codebook_size = draw(st.sampled_from([2, 3, 256, 1000, 1024, 65_535, 65_536]) | st.integers(2, 65_536))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 32), st.integers(1, 200)))
    hop_length = draw(st.integers(1, 65_535))
    random_codes = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return TokenFile(
        codes=random_codes.integers(0, codebook_size, shape),
        codebook_size=codebook_size,
        sample_rate=draw(st.integers(1, 2**32 - 1)),
        samples=shape[2] * hop_length - draw(st.integers(0, hop_length - 1)),
        hop_length=hop_length,
        model=draw(st.sampled_from([*OFFICIAL_NAMES, "m", "modèle-é", "x" * 31])),
        model_hash=draw(st.binary(min_size=8, max_size=8)),
    )


# --- What is written comes back ---


@settings(max_examples=150, deadline=None)
@given(token_files())
def test_round_trip(tokens: TokenFile) -> None:
    data = to_bytes(tokens)
    back = from_bytes(data)
    np.testing.assert_array_equal(back.codes, tokens.codes)
    assert back.codes.dtype == np.int64
    assert back.header == tokens.header
    assert len(data) == tokens.header.file_bytes


@settings(max_examples=80, deadline=None)
@given(tokens=token_files(), cuts=st.lists(st.integers(0, 200), max_size=8), step=st.integers(1, 70))
def test_blocks_equal_the_whole(
    tmp_path_factory: pytest.TempPathFactory, tokens: TokenFile, cuts: list[int], step: int
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.xc"
    with TokenWriter(path, replace(tokens.header, samples=0)) as writer:
        for block in np.split(tokens.codes, sorted(cuts), axis=2):
            writer.write(block)
        writer.samples = tokens.samples
    assert path.read_bytes() == to_bytes(tokens)

    with TokenReader(path) as reader:
        blocks = list(reader.blocks(step))
        start, stop = sorted([min(step, reader.header.frames), reader.header.frames // 2])
        part = reader.read(start, stop)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=2), tokens.codes)
    np.testing.assert_array_equal(part, tokens.codes[:, :, start:stop])
    assert all(block.shape[2] == step for block in blocks[:-1])


@pytest.mark.parametrize("frames", [1, 8, 20_001])
def test_files_hold_what_bytes_hold(tmp_path: Path, frames: int) -> None:
    tokens = make_tokens(channels=2, frames=frames)
    write_tokens(tmp_path / "a.xc", tokens)
    assert (tmp_path / "a.xc").read_bytes() == to_bytes(tokens)
    np.testing.assert_array_equal(read_tokens(tmp_path / "a.xc").codes, tokens.codes)
    assert read_header(tmp_path / "a.xc") == tokens.header


def test_torch_gets_a_long_tensor() -> None:
    assert torch.from_numpy(from_bytes(to_bytes(make_tokens())).codes).dtype == torch.int64


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_any_integer_type_is_written_alike(dtype: type) -> None:
    tokens = make_tokens(codebook_size=100)
    assert to_bytes(replace(tokens, codes=tokens.codes.astype(dtype))) == to_bytes(tokens)


def test_ten_seconds_at_4_kbps_are_5000_bytes() -> None:
    tokens = make_tokens(codebooks=8, frames=500, lacking=0)
    assert tokens.header.file_bytes - HEADER_BYTES == len(to_bytes(tokens)) - HEADER_BYTES == 5_000


@pytest.mark.parametrize("name", OFFICIAL_NAMES)
def test_header_with_an_official_name_is_below_64_bytes(name: str) -> None:
    tokens = replace(make_tokens(), model=name)
    assert len(to_bytes(tokens)) - (2 * 9 * 10 + 7) // 8 < 64
    assert from_bytes(to_bytes(tokens)).model == name


def test_the_documented_example_is_real() -> None:
    document = Path(__file__).parents[2] / "docs" / "xc-format.md"
    results = doctest.testfile(str(document), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0


# --- What cannot be written ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.zeros((2, 9), np.int64)}, r"\[C, K, F\]"),
        ({"codes": np.zeros((1, 2, 9))}, "integers"),
        ({"codes": np.full((1, 2, 9), 1024)}, "below 1024"),
        ({"codes": np.full((1, 2, 9), -1)}, "span -1"),
        ({"codes": np.zeros((256, 1, 9), np.int64)}, "channels"),
        ({"codes": np.zeros((1, 256, 9), np.int64)}, "codebooks"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"codebook_size": 65_537}, "codebook_size"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"hop_length": 0}, "hop_length"),
        ({"hop_length": 65_536}, "hop_length"),
        ({"samples": -1}, "samples"),
        ({"samples": 9 * 320 + 1}, "10 frames of 320, not 9"),
        ({"samples": 8 * 320}, "8 frames of 320, not 9"),
        ({"model": ""}, "model"),
        ({"model": "x" * 32}, "model"),
        ({"model": "é" * 16}, "model"),
        ({"model": "two\nlines"}, "model"),
        ({"model": "\x1b[2J"}, "model"),
        ({"model": "\ud800"}, "model"),
        ({"model_hash": b"short"}, "model_hash"),
    ],
)
def test_unfit_tokens_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenFileError, match=message) as refusal:
        replace(make_tokens(), **change)
    assert "\n" not in str(refusal.value)


def test_zero_samples_are_refused() -> None:
    empty = replace(make_tokens(), codes=np.zeros((1, 2, 0), np.int64), samples=0)
    with pytest.raises(TokenFileError, match="0 samples"):
        to_bytes(empty)


@pytest.mark.parametrize("samples", [0, 1, 8 * 320, 9 * 320 + 1])
def test_writer_refuses_a_wrong_sample_count(tmp_path: Path, samples: int) -> None:
    header = replace(make_tokens().header, samples=samples)
    with pytest.raises(TokenFileError, match="frames"), TokenWriter(tmp_path / "a.xc", header) as writer:
        writer.write(make_tokens().codes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 2, 4), (2, 4)])
def test_writer_refuses_blocks_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with (
        pytest.raises(TokenFileError, match=r"\[1, 2, F\]"),
        TokenWriter(tmp_path / "a.xc", make_tokens().header) as writer,
    ):
        writer.write(np.zeros(shape, np.int64))
    assert list(tmp_path.iterdir()) == []


# --- Whole or not at all ---


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.xc"
    write_tokens(path, make_tokens())
    before = path.read_bytes()
    longer = make_tokens(frames=30)
    with pytest.raises(KeyboardInterrupt), TokenWriter(path, longer.header) as writer:  # noqa: PT012
        writer.write(longer.codes)
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    tokens = make_tokens(frames=20_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_tokens(tmp_path / "a.xc", tokens)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.xc").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.xc"):
        write_tokens(tmp_path / "a.xc", make_tokens())
    assert [p.name for p in tmp_path.iterdir()] == ["a.xc"]


def test_an_hour_is_written_and_read_in_constant_memory(tmp_path: Path) -> None:
    block = np.random.default_rng(0).integers(0, 1024, (1, 8, 1_111))
    header = replace(make_tokens(codebooks=8).header, samples=0)
    tracemalloc.start()
    with TokenWriter(tmp_path / "a.xc", header) as writer:
        for _ in range(162):
            writer.write(block)
            writer.samples += block.shape[2] * header.hop_length
    with TokenReader(tmp_path / "a.xc") as reader:
        frames = sum(block.shape[2] for block in reader.blocks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frames == 162 * 1_111
    assert peak < 2e6, f"{peak} bytes; the packed codes alone are 1.8 MB, unpacked 11.5 MB"


# --- Nothing damaged is believed ---


def test_every_flipped_bit_is_refused() -> None:
    data = to_bytes(make_tokens(codebook_size=1000))
    for bit in range(8 * len(data)):
        damaged = with_bytes(data, bit // 8, bytes([data[bit // 8] ^ 1 << bit % 8]))
        with pytest.raises(TokenFileError):
            from_bytes(damaged)


def test_every_truncation_is_refused() -> None:
    data = to_bytes(make_tokens())
    for size in range(len(data)):
        with pytest.raises(TokenFileError, match="truncated" if size >= 3 else "not an .xc file"):
            from_bytes(data[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not an .xc file"),
        (lambda data: b"RIFF" + data[4:], "not an .xc file"),
        (lambda data: with_bytes(data, 3, b"\x02"), "format version 2, but this xcodec reads 1; update"),
        (lambda data: data[:40], "truncated: 40 bytes, where the header alone has 63"),
        (lambda data: data[:-1], "truncated: 85 bytes, where its header announces 86"),
        (lambda data: data + b"\0", "too long: 87 bytes, where its header announces 86"),
        (lambda data: with_bytes(data, 70, b"\xff\xff"), "corrupted: its checksum does not match"),
    ],
)
def test_each_fault_has_its_own_line(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "a.xc"
    path.write_bytes(damage(to_bytes(make_tokens())))
    for read in (read_tokens, read_header):
        with pytest.raises(TokenFileError) as refusal:
            read(path)
        assert str(refusal.value).startswith(f"{path}: {message}")
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("offset", "new", "message"),
    [
        (4, b"\0", "channels"),
        (5, b"\0", "codebooks"),
        (6, b"\0\0", "codebook_size"),
        (8, bytes(4), "sample_rate"),
        (12, bytes(2), "cannot lack"),
        (14, b"\x40\x01", "9 frames of 320 samples cannot lack 320"),
        (16, bytes(4), "0 frames"),
        (16, b"\xff" * 4, "truncated"),
        (4, b"\xff\xff\xff\xff", "truncated"),
        (28, b"\xff", "not UTF-8"),
        (28, b"\x1b", "model"),
        (28, bytes(31), "model"),
        (HEADER_BYTES + 22, b"\x80", "bits after the last code"),
        (HEADER_BYTES, b"\xff\xff", "a code is not below 1000"),
    ],
)
def test_a_lie_with_a_right_checksum_is_refused(offset: int, new: bytes, message: str) -> None:
    data = to_bytes(make_tokens(codebook_size=1000))
    with pytest.raises(TokenFileError, match=message):
        from_bytes(with_right_checksum(with_bytes(data, offset, new)))


def corrupt(data: bytes, dice: random.Random) -> bytes:
    """Damage of one kind, or of several."""
    at, other = sorted(dice.choices(range(len(data) + 1), k=2))
    match dice.randrange(7):
        case 0:
            number = int.from_bytes(data, "little")
            for _ in range(dice.randint(1, 8)):
                number ^= 1 << dice.randrange(8 * len(data))
            return number.to_bytes(len(data), "little")
        case 1:
            return data[:at]
        case 2:
            return data + dice.randbytes(dice.randint(1, 100))
        case 3:
            return data[:at] + data[other:]
        case 4:
            return data[:at] + dice.randbytes(dice.randint(1, 16)) + data[other:]
        case 5:  # an edited header field, often with an extreme value
            offset, size = dice.choice(FIELDS)
            return with_bytes(data, offset, dice.choice([bytes(size), b"\xff" * size, dice.randbytes(size)]))
        case _:
            return corrupt(corrupt(data, dice) or data, dice)


def test_ten_thousand_corruptions() -> None:
    """Each is refused; one whose checksum was made right again may also decode to exactly what it says."""
    dice = random.Random(2)
    originals = [
        to_bytes(make_tokens(channels, codebooks, frames, codebook_size))
        for channels, codebooks, frames, codebook_size in [
            (1, 1, 1, 1024),
            (1, 8, 50, 1024),
            (2, 4, 33, 1000),
            (3, 2, 100, 2),
            (1, 2, 77, 65_536),
        ]
    ]
    accepted = 0
    tracemalloc.start()
    for number in range(10_000):
        original = dice.choice(originals)
        damaged = corrupt(original, dice)
        made_right = number % 2 == 0 and len(damaged) >= HEADER_BYTES
        if made_right:
            damaged = with_right_checksum(damaged)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        try:
            tokens = from_bytes(damaged)
        except TokenFileError:
            tokens = None
        _, peak = tracemalloc.get_traced_memory()
        # A code takes at least one bit in the file and at most 16 bytes while it is read, plus its 8 bits
        # unpacked: 17 * 8 for one byte. Python's own objects need some thousand bytes.
        assert peak - before < 20_000 + 136 * len(damaged)
        if tokens is not None:
            # Tokens can be written in one way only, so this shows that they are just what the file says.
            assert made_right or damaged == original
            assert to_bytes(tokens) == damaged
            accepted += damaged != original
    tracemalloc.stop()
    assert accepted > 100, "the corruptions with a right checksum should reach the decoder"


# --- Whose codes are these ---


def test_expect_accepts_the_same_weights_under_any_name() -> None:
    make_tokens().header.expect("renamed", WEIGHTS, "out.xc")


def test_expect_names_both_models() -> None:
    with pytest.raises(TokenFileError) as refusal:
        make_tokens().header.expect("xcodec-hubert-librispeech", b"\xff" * 8, "out.xc")
    assert str(refusal.value) == (
        "out.xc was made by model xcodec-mini (tokens 0001020304050607), but this is "
        "xcodec-hubert-librispeech (tokens ffffffffffffffff); load that model with --model"
    )


def test_header_tells_the_sizes() -> None:
    header = TokenHeader(2, 8, 1000, 16_000, 320, "m", WEIGHTS, samples=641)
    assert (header.frames, header.code_bits, header.frame_bits) == (3, 10, 160)
    assert header.file_bytes == HEADER_BYTES + 60


# --- The protocol ---


class SignTokenizer:
    """The smallest codec there is: one bit per sample."""

    sample_rate = 8_000
    frame_rate = 8_000.0
    hop_length = 1
    codebook_size = 2
    bandwidths = (8.0,)

    def encode(self, wav: torch.Tensor, bandwidth: float | None = None, lengths: object = None) -> torch.Tensor:
        return (wav > 0).long()

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return codes * 2.0 - 1


def test_any_codec_can_be_a_tokenizer() -> None:
    codec = SignTokenizer()
    assert isinstance(codec, AudioTokenizer)
    assert not isinstance(object(), AudioTokenizer)
    codes = codec.encode(torch.tensor([[[0.5, -0.5, 0.25]]]))
    tokens = TokenFile(codes.numpy(), codec.codebook_size, codec.sample_rate, 3, 1, "sign", WEIGHTS)
    back = torch.from_numpy(from_bytes(to_bytes(tokens)).codes)
    assert codec.decode(back).tolist() == [[[1.0, -1.0, 1.0]]]
