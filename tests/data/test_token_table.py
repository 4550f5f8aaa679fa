"""Token tables: what is written is read, and what is damaged is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xcodec.data.manifest import DataError
from xcodec.data.token_table import (
    Origin,
    TableInfo,
    TokenItem,
    read_ids,
    read_info,
    read_origins,
    read_table,
    write_shard,
)

INFO = TableInfo("tiny", "00112233aabbccdd", codebooks=3, codebook_size=64, sample_rate=16_000, hop_length=320)


def clip(name: str, frames: int, **about: str) -> TokenItem:
    codes = np.random.default_rng(len(name) + frames).integers(64, size=(3, frames))
    return TokenItem(name, codes.astype(np.uint16), **about)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    first = [clip("b", 7, text="Zwei.", speaker="ann", split="valid"), clip("a", 4, domain="music")]
    write_shard(tmp_path / "tokens-00000.parquet", INFO, first)
    write_shard(tmp_path / "tokens-00001.parquet", INFO, [clip("0", 1)])
    return tmp_path


def test_what_is_written_is_read_in_the_order_of_ids(table: Path) -> None:
    found = read_table(table)
    assert found.info == INFO
    assert found.info.frame_rate == 50
    assert [item.id for item in found.items] == ["0", "a", "b"]
    last = found.items[-1]
    expected = clip("b", 7, text="Zwei.", speaker="ann", split="valid")
    assert np.array_equal(last.codes, expected.codes)
    assert (last.text, last.speaker, last.split, last.frames) == ("Zwei.", "ann", "valid", 7)


def test_filters(table: Path) -> None:
    assert [item.id for item in read_table(table, split="valid").items] == ["b"]
    assert [item.id for item in read_table(table, domains=["music"]).items] == ["a"]
    with pytest.raises(DataError, match="no clips of split 'nowhere'"):
        read_table(table, split="nowhere")


def test_some_of_the_codebooks(table: Path) -> None:
    whole, part = read_table(table).items, read_table(table, codebooks=2).items
    assert all(np.array_equal(a.codes[:2], b.codes) for a, b in zip(whole, part, strict=True))


def test_other_tools_see_frames_of_fixed_width(table: Path) -> None:
    read = pq.read_table(table / "tokens-00000.parquet")
    assert read.schema.field("codes").type == pa.list_(pa.list_(pa.uint16(), 3))
    row = read.to_pylist()[1]
    assert np.array_equal(np.array(row["codes"]).T, clip("a", 4).codes)
    assert row["frames"] == 4
    assert row["model_hash"] == INFO.model_hash
    assert row["text"] is None


def test_a_shard_knows_its_ids_and_its_table(table: Path) -> None:
    assert read_ids(table / "tokens-00000.parquet") == ["b", "a"]
    assert read_info(table / "tokens-00000.parquet") == INFO


def test_a_row_keeps_from_which_audio_it_is_made(tmp_path: Path) -> None:
    shard = tmp_path / "tokens-00000.parquet"
    origins = {
        "a": Origin("/a.wav", "1:2:3", "ab" * 32, 8_000, 0, 5, 10, (0, 2)),
        "b": Origin("/caf\\xe9.wav", "4:5:6", "cd" * 32, 44_100, 99, 0, 99, None),
    }
    write_shard(shard, INFO, [dataclasses.replace(clip(name, 3), origin=origin) for name, origin in origins.items()])
    assert read_origins(shard) == origins
    assert pq.read_table(shard).to_pylist()[0]["content"] == "ab" * 32


def test_a_table_of_an_earlier_version_is_read_but_not_added_to(table: Path) -> None:
    shard = table / "tokens-00001.parquet"
    whole = pq.read_table(shard)
    later = ("path", "stamp", "content", "file_rate", "file_samples", "start", "samples", "channels")
    pq.write_table(whole.drop_columns(list(later)), shard)
    assert [item.id for item in read_table(table).items] == ["0", "a", "b"]
    with pytest.raises(DataError, match="earlier version"):
        read_origins(shard)
    with pytest.raises(DataError, match="does not say of all rows"):
        read_origins(table / "tokens-00000.parquet")


@pytest.mark.parametrize(
    ("start", "samples", "channels", "content", "overlaps"),
    [
        (15, 10, None, "x", True),
        (20, 10, None, "x", False),  # 10 to 20, then 20 to 30
        (0, 10, None, "x", False),
        (12, 2, (1,), "x", True),
        (12, 2, (0,), "x", False),
        (12, 2, None, "y", False),
    ],
)
def test_which_audio_overlaps(
    start: int, samples: int, channels: tuple[int, ...] | None, content: str, overlaps: bool
) -> None:
    first = Origin("/a.wav", "", "x", 8_000, 0, 10, 10, (1, 2))
    second = Origin("/b.wav", "", content, 8_000, 0, start, samples, channels)
    assert first.overlaps(second) is second.overlaps(first) is overlaps


def test_shards_of_two_codecs_do_not_mix(table: Path) -> None:
    write_shard(table / "tokens-00002.parquet", dataclasses.replace(INFO, model_hash="ff" * 8), [clip("z", 2)])
    with pytest.raises(DataError, match="another codec"):
        read_table(table)


def test_damage_is_told_in_one_line(table: Path) -> None:
    shard = table / "tokens-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"tokens-00001\.parquet") as caught:
        read_table(table)
    assert "\n" not in str(caught.value)


def test_codes_beyond_the_codebook_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "tokens-00000.parquet", INFO, [TokenItem("x", np.full((3, 2), 64, np.uint16))])
    with pytest.raises(DataError, match="x has codes beyond 64"):
        read_table(tmp_path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="xcodec tokenize"):
        read_table(tmp_path)
