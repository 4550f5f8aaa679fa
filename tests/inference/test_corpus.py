"""A corpus to a token table: every row accounted for, each clip once, whatever happens."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.data.manifest import DataError
from xcodec.data.token_table import TokenItem, read_table, shards, write_shard
from xcodec.engine.engine import load
from xcodec.inference.corpus import TokenizeReport, shard_from, tokenize
from xcodec.inference.files import FileCodec
from xcodec.inference.locks import alone
from xcodec.tokens.xc_file import TokenReader

COMMAND = str(Path(sys.executable).with_name("xcodec"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_codec(teacher=None).save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of seven clips at two rates, one of them missing; and two clips of one file."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = []
    for number in range(7):
        rate = 16_000 if number % 2 else 8_000
        samples = 1_000 + 700 * number
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)
        audio.write(folder / f"{number}.wav", sound, rate)
        rows.append(
            {
                "path": f"{number}.wav",
                "sample_rate": rate,
                "samples": samples,
                "domain": "speech" if number else "music",
                "source": "here",
                "speaker": f"s{number % 2}",
                "text": f"Number {number}.",
                "split": "valid" if number == 6 else "train",
            }
        )
    (folder / "3.wav").unlink()
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def noise(path: Path, seed: int, samples: int = 2_000, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, (1, samples)).astype(np.float32), rate)
    return path


def rows(path: Path, *texts: str | None, samples: int = 2_000) -> list[dict[str, object]]:
    facts = {"path": str(path), "sample_rate": 16_000, "samples": samples, "domain": "sound", "source": "s"}
    return [facts | {"text": text} for text in texts]


def manifest_of(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def numbers(report: TokenizeReport) -> tuple[int, int, int, int]:
    """Rows in, kept, skipped, already there."""
    return report.rows, report.kept, len(report.skipped), report.already


def codes_of(folder: Path) -> dict[str, list[list[int]]]:
    return {item.id: item.codes.tolist() for item in read_table(folder).items}


def test_codes_are_those_of_the_codec_and_what_is_known_comes_along(corpus: Path, model: Path, tmp_path: Path) -> None:
    made = tokenize(corpus, tmp_path / "tokens", model=str(model))
    assert numbers(made) == (7, 6, 1, 0)
    assert str(made) == "7 rows in = 6 kept + 1 skipped + 0 already there"
    assert [each.id for each in made.skipped] == ["3.wav#0+3100"]
    table = read_table(tmp_path / "tokens")
    codec = XCodec.from_pretrained(model)
    assert table.info.model_hash == codec.fingerprint.tokens
    assert table.info.codebooks == 4
    item = next(item for item in table.items if item.id.startswith("2.wav#0+2400@"))
    samples, _ = audio.read(corpus.parent / "2.wav", codec.sample_rate)
    assert np.array_equal(item.codes, codec.encode(torch.from_numpy(samples)[None])[0].numpy())
    assert (item.text, item.speaker, item.domain, item.split) == ("Number 2.", "s0", "speech", "train")
    (skipped,) = map(json.loads, (tmp_path / "tokens" / "skipped.jsonl").read_text().splitlines())
    assert skipped["path"] == str(corpus.parent / "3.wav")
    assert "No such file" in skipped["reason"]


def test_again_makes_only_what_is_new(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    tokenize(corpus, folder, model=str(model), domains=["speech"], shard_size=2)
    assert len(shards(folder)) == 3
    made = tokenize(corpus, folder, model=str(model))
    assert numbers(made) == (7, 1, 1, 5)
    assert tokenize(corpus, folder, model=str(model)).kept == 0
    assert len(shards(folder)) == 4
    audio.write(corpus.parent / "3.wav", np.zeros((1, 3_100), np.float32), 16_000)
    assert numbers(tokenize(corpus, folder, model=str(model))) == (7, 1, 0, 6)
    assert (folder / "skipped.jsonl").read_text() == ""
    assert len(codes_of(folder)) == 7


def test_several_processes_make_the_same(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "one", model=str(model))
    tokenize(corpus, tmp_path / "two", model=str(model), jobs=2, shard_size=4)
    assert codes_of(tmp_path / "one") == codes_of(tmp_path / "two")


def test_long_clips_become_pieces_and_a_rest_is_accounted_for(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "corpus" / "long.wav", 0, samples=5_210, rate=8_000)  # 0.65 s and ten samples
    made = tokenize(path.parent, tmp_path / "tokens", model=str(model), max_seconds=0.13)
    assert numbers(made) == (6, 5, 1, 0)
    assert made.skipped[0].id == "long.wav#5200+10"
    frames = {item.id.partition("@")[0]: item.frames for item in read_table(tmp_path / "tokens").items}
    assert frames == {f"long.wav#{1040 * number}+1040": 7 for number in range(5)}


def test_another_codec_or_bandwidth_is_refused(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "tokens", model=str(model))
    with pytest.raises(DataError, match="name another folder"):
        tokenize(corpus, tmp_path / "tokens", model=str(model), bandwidth=XCodec.from_pretrained(model).bandwidths[0])
    with pytest.raises(ValueError, match="no engine"):
        tokenize(corpus, tmp_path / "tokens", model=str(model), engine="best")  # type: ignore[arg-type]


def test_a_folder_with_a_file_that_is_no_audio(corpus: Path, model: Path, tmp_path: Path) -> None:
    (corpus.parent / "9.wav").write_bytes(b"RIFF?")
    made = tokenize(corpus.parent, tmp_path / "tokens", model=str(model))
    assert numbers(made) == (7, 6, 1, 0)
    assert [each.id for each in made.skipped] == ["9.wav"]


def test_nothing_is_made_of_a_corpus_that_is_none(corpus: Path, model: Path, tmp_path: Path) -> None:
    for wrong, options in ((tmp_path / "gone", {}), (corpus, {"split": "test"}), (corpus, {"shard": (2, 2)})):
        with pytest.raises(DataError):
            tokenize(wrong, tmp_path / "tokens", model=str(model), **options)  # type: ignore[arg-type]
    assert not (tmp_path / "tokens").exists()


def test_a_long_file_gets_the_codes_that_encode_gives_it(tmp_path: Path) -> None:
    """Also with a teacher that attends to the whole of what it is given, for which long files are cut."""
    tiny_codec("spectral", "hubert").save_pretrained(tmp_path / "model")
    path = noise(tmp_path / "corpus" / "long.wav", 0, samples=48_000 * 11 * 2, rate=44_100)
    FileCodec(load(tmp_path / "model")).encode(path, tmp_path / "long.xc")
    with TokenReader(tmp_path / "long.xc") as reader:
        expected = np.concatenate(list(reader.blocks(1000)), axis=2)[0]
    listed = manifest_of(
        tmp_path / "m.jsonl",
        [{**rows(path, None)[0], "sample_rate": 44_100, "samples": 48_000 * 22, "text": "as a row of a manifest"}],
    )
    for number, source in enumerate((path.parent, listed)):
        tokenize(source, tmp_path / f"t{number}", model=str(tmp_path / "model"))
        (item,) = read_table(tmp_path / f"t{number}").items
        assert np.array_equal(item.codes, expected)


# --- which rows there are --------------------------------------------------------------------------------------------


def test_two_corpora_with_the_same_names_are_both_in_the_table(model: Path, tmp_path: Path) -> None:
    noise(tmp_path / "A" / "001.wav", 1)
    noise(tmp_path / "B" / "001.wav", 2)
    for name in ("A", "B"):
        assert numbers(tokenize(tmp_path / name, tmp_path / "t", model=str(model))) == (1, 1, 0, 0)
    for name in ("A", "B"):
        assert numbers(tokenize(tmp_path / name, tmp_path / "t", model=str(model))) == (1, 0, 0, 1)
    assert len(codes_of(tmp_path / "t")) == 2


def test_a_file_that_is_longer_than_it_states_is_kept_to_its_end(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "A" / "1.flac"
    noise(path, 1, samples=8_000)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0]) + (4_000).to_bytes(4, "big")  # STREAMINFO's total of samples
    path.write_bytes(content)
    for kept in (1, 0):
        assert numbers(tokenize(path.parent, tmp_path / "t", model=str(model))) == (1, kept, 0, 1 - kept)
    (item,) = read_table(tmp_path / "t").items
    assert item.id.startswith("1.flac#0+8000@")
    assert item.frames == 25
    made = tokenize(path.parent, tmp_path / "pieces", model=str(model), max_seconds=0.25)
    assert numbers(made) == (2, 2, 0, 0)


def test_copies_are_rows_of_their_own(model: Path, tmp_path: Path) -> None:
    first = noise(tmp_path / "A" / "001.wav", 1)
    for name in ("002.wav", "003.wav"):
        shutil.copy(first, first.parent / name)
    assert numbers(tokenize(first.parent, tmp_path / "t", model=str(model))) == (3, 3, 0, 0)
    assert numbers(tokenize(first.parent, tmp_path / "t", model=str(model))) == (3, 0, 0, 3)


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_file_that_was_replaced_is_refused_or_replaced(model: Path, tmp_path: Path, keep_times: bool) -> None:
    path = noise(tmp_path / "A" / "001.wav", 1)
    noise(tmp_path / "A" / "002.wav", 2)
    tokenize(path.parent, tmp_path / "t", model=str(model))
    times = path.stat()
    noise(path, 3)
    if keep_times:  # as rsync or cp -p do, with the same length
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = codes_of(tmp_path / "t")
    with pytest.raises(DataError, match=r"holds 1 rows .*001\.wav.* its file has changed"):
        tokenize(path.parent, tmp_path / "t", model=str(model))
    assert codes_of(tmp_path / "t") == before
    assert numbers(tokenize(path.parent, tmp_path / "t", model=str(model), update=True)) == (2, 1, 0, 1)
    tokenize(path.parent, tmp_path / "fresh", model=str(model))
    assert codes_of(tmp_path / "t") == codes_of(tmp_path / "fresh") != before


def test_other_pieces_are_refused_or_replaced_wherever_the_corpus_is_now(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "A" / "001.wav", 1, samples=16_000)
    tokenize(path.parent, tmp_path / "t", model=str(model))
    shutil.copytree(tmp_path / "A", tmp_path / "elsewhere")
    for corpus in (tmp_path / "A", tmp_path / "elsewhere"):
        with pytest.raises(DataError, match="other pieces"):
            tokenize(corpus, tmp_path / "t", model=str(model), max_seconds=0.5)
    made = tokenize(tmp_path / "elsewhere", tmp_path / "t", model=str(model), max_seconds=0.5, update=True)
    assert numbers(made) == (2, 2, 0, 0)
    assert {name.partition("@")[0] for name in codes_of(tmp_path / "t")} == {"001.wav#0+8000", "001.wav#8000+8000"}


def test_other_cuts_of_the_same_recording_are_added(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "long.wav", 1, samples=16_000)
    for start in (0, 8_000):
        lines = [{**rows(path, f"from {start}", samples=8_000)[0], "start": start}]
        made = tokenize(manifest_of(tmp_path / f"{start}.jsonl", lines), tmp_path / "t", model=str(model))
        assert numbers(made) == (1, 1, 0, 0)
    assert len(codes_of(tmp_path / "t")) == 2


def test_each_caption_of_a_clip_is_a_row(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 1)
    manifest = manifest_of(tmp_path / "m.jsonl", rows(path, "a dog barks", "birds sing", "a man talks", "birds sing"))
    assert numbers(tokenize(manifest, tmp_path / "t", model=str(model))) == (4, 3, 0, 1)
    assert numbers(tokenize(manifest, tmp_path / "t", model=str(model))) == (4, 0, 0, 4)
    texts = {item.text for item in read_table(tmp_path / "t").items}
    assert texts == {"a dog barks", "birds sing", "a man talks"}


def test_what_is_said_anew_of_a_clip_is_refused_or_replaces_the_row_with_its_codes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise(tmp_path / "a.wav", 1)
    tokenize(manifest_of(tmp_path / "m.jsonl", rows(path, "a dog barks")), tmp_path / "t", model=str(model))
    (before,) = codes_of(tmp_path / "t").values()
    better = manifest_of(tmp_path / "m.jsonl", rows(path, "a dog growls"))
    with pytest.raises(DataError, match="says something else"):
        tokenize(better, tmp_path / "t", model=str(model))
    monkeypatch.setattr("xcodec.inference.corpus_encoding.stream_item", None)  # nothing is encoded
    assert numbers(tokenize(better, tmp_path / "t", model=str(model), update=True)) == (1, 1, 0, 0)
    (item,) = read_table(tmp_path / "t").items
    assert item.text == "a dog growls"
    assert item.codes.tolist() == before


def test_what_is_there_is_neither_read_nor_decoded_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [noise(tmp_path / "A" / f"{number}.wav", number) for number in range(4)]
    tokenize(tmp_path / "A", tmp_path / "t", model=str(model), max_seconds=0.05)
    for name in ("corpus_rows.read_header", "corpus_rows.content_hash", "corpus_encoding.stream_item"):
        monkeypatch.setattr(f"xcodec.inference.{name}", None)
    assert numbers(tokenize(tmp_path / "A", tmp_path / "t", model=str(model), max_seconds=0.05)) == (12, 0, 0, 12)
    paths[0].unlink()  # what has been tokenised may go
    assert numbers(tokenize(tmp_path / "A", tmp_path / "t", model=str(model), max_seconds=0.05)) == (9, 0, 0, 9)
    monkeypatch.undo()
    monkeypatch.setattr("xcodec.inference.corpus_encoding.stream_item", None)
    (tmp_path / "A").rename(tmp_path / "moved")
    assert numbers(tokenize(tmp_path / "moved", tmp_path / "t", model=str(model), max_seconds=0.05)) == (9, 0, 0, 9)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"moved/{number}.wav\n" for number in range(1, 4)))
    assert numbers(tokenize(listed, tmp_path / "t", model=str(model), max_seconds=0.05)) == (9, 0, 0, 9)


def test_a_file_that_changes_while_it_is_read_is_skipped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise(tmp_path / "A" / "1.wav", 1)

    def replaced_meanwhile(*_: object) -> Iterator[np.ndarray]:
        noise(path, 2)
        yield np.zeros((1, 2_000), np.float32)

    monkeypatch.setattr("xcodec.inference.corpus_encoding.stream_item", replaced_meanwhile)
    made = tokenize(path.parent, tmp_path / "t", model=str(model))
    assert [each.reason for each in made.skipped] == [f"{path}: was changed while it was read"]


def test_names_that_are_not_utf_8(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "A" / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.wav"), 1)
    Path(os.fsdecode(b"%s/\xfe.wav" % os.fsencode(path.parent))).write_bytes(b"no audio")
    for kept in (1, 0):
        made = tokenize(tmp_path / "A", tmp_path / "t", model=str(model))
        assert numbers(made) == (2, kept, 1, 1 - kept)
    (item,) = read_table(tmp_path / "t").items
    assert item.id.startswith("caf\\xe9/\\xff.wav#0+2000@")
    assert json.loads((tmp_path / "t" / "skipped.jsonl").read_text())["id"] == "caf\\xe9/\\xfe.wav"


def test_what_other_runs_skipped_stays_said(model: Path, tmp_path: Path) -> None:
    for name in ("A", "B"):
        noise(tmp_path / name / "1.wav", 1)
        (tmp_path / name / "2.wav").write_bytes(b"no audio")
        tokenize(tmp_path / name, tmp_path / "t", model=str(model))
    lines = [json.loads(line) for line in (tmp_path / "t" / "skipped.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [str(tmp_path / name / "2.wav") for name in ("A", "B")]


def test_a_table_of_an_earlier_version_is_not_added_to(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "t", model=str(model))
    (shard,) = shards(tmp_path / "t")
    table = read_table(tmp_path / "t")
    write_shard(shard, table.info, [dataclasses.replace(item, origin=None) for item in table.items])
    with pytest.raises(DataError, match="name another folder"):
        tokenize(corpus, tmp_path / "t", model=str(model))


def test_a_copy_of_a_shard_is_named(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "t", model=str(model))
    shutil.copy(tmp_path / "t" / "tokens-00000.parquet", tmp_path / "t" / "tokens-copy.parquet")
    with pytest.raises(DataError, match=r"tokens-copy\.parquet holds rows that another file of the table has, too"):
        tokenize(corpus, tmp_path / "t", model=str(model))


def test_rows_that_do_not_add_up_are_an_error(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(path: Path, info: object, items: list[TokenItem]) -> None:
        write_shard(path, info, items[1:])  # type: ignore[arg-type]

    monkeypatch.setattr("xcodec.inference.corpus.write_shard", lossy)
    with pytest.raises(DataError, match="do not add up"):
        tokenize(corpus, tmp_path / "t", model=str(model))


# --- many runs at once -----------------------------------------------------------------------------------------------


def test_runs_that_share_a_corpus_make_each_row_once(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "whole", model=str(model), max_seconds=0.1)
    command = [COMMAND, "tokenize", str(corpus), str(tmp_path / "t"), "--model", str(model), "--max-seconds", "0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "3"}
    running = [
        subprocess.Popen([*command, "--json"], env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE)
        for rank in range(3)
    ]
    reports = [json.loads(process.communicate(timeout=300)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert codes_of(tmp_path / "t") == codes_of(tmp_path / "whole")
    assert sum(report["kept"] for report in reports) == len(codes_of(tmp_path / "t"))
    assert min(report["rows"] for report in reports) > 0
    made = tokenize(corpus, tmp_path / "t", model=str(model), max_seconds=0.1)
    assert (made.kept, len(made.skipped)) == (0, 3)
    left = {path.name for path in (tmp_path / "t").iterdir()}
    assert left == {"skipped.jsonl"} | {f"tokens-{rank:04d}of0003-00000.parquet" for rank in range(3)}


def test_who_may_be_at_work_at_once(tmp_path: Path) -> None:
    with alone(tmp_path / "t", (0, 3)), alone(tmp_path / "t", (2, 3)):
        for other in ((0, 3), (0, 1), (1, 2)):
            with pytest.raises(DataError, match="another run"), alone(tmp_path / "t", other):
                pass
    with alone(tmp_path / "t"), pytest.raises(DataError, match="another run"), alone(tmp_path / "t", (0, 2)):
        pass
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("option", "environment", "shard"),
    [
        (None, {}, (0, 1)),
        ("3/8", {"RANK": "1", "WORLD_SIZE": "2"}, (3, 8)),
        (None, {"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, (1, 2)),
        (None, {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, (3, 4)),
        (None, {"RANK": "1"}, (0, 1)),
    ],
)
def test_which_shard_a_process_does(option: str | None, environment: dict[str, str], shard: tuple[int, int]) -> None:
    assert shard_from(option, environment) == shard


@pytest.mark.parametrize("option", ["", "3", "a/b", "1/2/3", "-1/2", "\u00b2/3"])
def test_what_is_no_shard(option: str) -> None:
    with pytest.raises(DataError, match="i/n"):
        shard_from(option, {})
