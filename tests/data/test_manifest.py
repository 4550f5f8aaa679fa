from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xcodec.data.manifest import DataError, read_corpus


def write_tone(path: Path, seconds: float = 0.5, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(np.arange(int(seconds * rate)) * 0.1), rate)
    return path


def test_a_folder_gives_its_audio_files_in_order_with_their_lengths(tmp_path: Path) -> None:
    write_tone(tmp_path / "b/two.wav", 0.25, 24000)
    write_tone(tmp_path / "a/one.flac", 0.5)
    (tmp_path / "a/notes.txt").write_text("not audio")
    first, second = read_corpus(tmp_path, default_domain="speech")
    assert (first.path, first.samples, first.sample_rate) == (tmp_path / "a/one.flac", 8000, 16000)
    assert (second.path, second.samples, second.sample_rate) == (tmp_path / "b/two.wav", 6000, 24000)
    assert second.seconds == 0.25
    assert first.domain == "speech"
    assert first.voice != second.voice, "files of different folders are not joined"


def test_a_text_list_has_one_path_per_line_absolute_or_relative_to_it(tmp_path: Path) -> None:
    absolute = write_tone(tmp_path / "elsewhere/x.wav")
    write_tone(tmp_path / "lists/near.wav")
    listed = tmp_path / "lists/train.txt"
    listed.write_text(f"{absolute}\n\nnear.wav\n")
    assert [item.path for item in read_corpus(listed)] == [absolute, tmp_path / "lists/near.wav"]


def test_a_list_that_names_a_missing_file_says_which(tmp_path: Path) -> None:
    listed = tmp_path / "train.txt"
    listed.write_text("gone.wav\n")
    with pytest.raises(DataError, match=r"gone\.wav"):
        read_corpus(listed)


def test_broken_files_of_a_folder_are_named_counted_and_left_out_up_to_a_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write_tone(tmp_path / "good.wav")
    for name in ("bad0.wav", "bad1.wav"):
        (tmp_path / name).write_text("not audio")
    assert [item.path for item in read_corpus(tmp_path, max_broken_files=2)] == [good]
    assert "(1 so far)" in caplog.text
    assert "(2 so far)" in caplog.text
    assert "bad1.wav" in caplog.text
    with pytest.raises(DataError, match=r"2 of 3 audio files are broken; the last one: .*bad1\.wav"):
        read_corpus(tmp_path, max_broken_files=1)


def manifest_row(path: str, **other: object) -> dict[str, object]:
    row = {"path": path, "sample_rate": 16000, "samples": 16000, "domain": "speech", "source": "s"}
    return row | other


def write_manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_manifest_is_filtered_by_split_and_domain(tmp_path: Path) -> None:
    manifest = write_manifest(
        tmp_path / "manifest.jsonl",
        [
            manifest_row("a.flac", speaker="ann", text="hello", weight=0.5),
            manifest_row("b.flac", split="valid"),
            manifest_row("c.flac", domain="music"),
        ],
    )
    (item,) = read_corpus(manifest, split="train", domains=("speech",))
    assert item.path == tmp_path / "a.flac"
    assert (item.speaker, item.text, item.weight, item.split) == ("ann", "hello", 0.5, "train")
    assert len(read_corpus(manifest)) == 3


def test_filters_that_leave_nothing_are_an_error_that_names_them(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "manifest.jsonl", [manifest_row("a.flac")])
    with pytest.raises(DataError, match="split 'test' and of domain music"):
        read_corpus(manifest, split="test", domains=("music",))


def test_a_manifest_row_without_a_needed_field_is_an_error_with_its_line(tmp_path: Path) -> None:
    row = manifest_row("a.flac")
    del row["samples"]
    manifest = write_manifest(tmp_path / "manifest.jsonl", [manifest_row("b.flac"), row])
    with pytest.raises(DataError, match="line 2: no 'samples'"):
        read_corpus(manifest)


@pytest.mark.parametrize("content", [b"[1]\n", b"{\n", b"\xff\n", b'{"path": 1}\n'])
def test_what_is_no_manifest_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.jsonl"):
        read_corpus(tmp_path / "manifest.jsonl")


def test_a_compressed_manifest_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(manifest_row("a.flac")).encode())
    (tmp_path / "manifest.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match="cannot read"):
        read_corpus(tmp_path / "manifest.jsonl.gz")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_missing_or_empty_corpus_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        read_corpus(tmp_path / name)


def lhotse_cuts(folder: Path) -> object:
    """Three cuts of half a second, the second and third of them cut out of a longer recording."""
    lhotse = pytest.importorskip("lhotse")
    cuts = []
    for number in range(2):
        path = write_tone(folder / f"rec{number}.wav", 0.5 if number == 0 else 2.0)
        recording = lhotse.Recording.from_file(path)
        cut = recording.to_cut()
        said = lhotse.SupervisionSegment(
            f"s{number}", recording.id, 0, recording.duration, text=f"text {number}", speaker=f"spk{number}"
        )
        cut.supervisions = [said]
        cuts += [cut] if number == 0 else [cut.truncate(offset=o, duration=0.5) for o in (0.25, 1.0)]
    return lhotse.CutSet.from_cuts(cut.with_id(f"cut{i}") for i, cut in enumerate(cuts))


@pytest.mark.parametrize("how", ["mixed", "perturbed"])
def test_a_cut_that_is_not_as_it_was_recorded_is_refused(tmp_path: Path, how: str) -> None:
    cuts = list(lhotse_cuts(tmp_path))
    changed = cuts[0].mix(cuts[1]) if how == "mixed" else cuts[0].perturb_speed(1.1)
    type(lhotse_cuts(tmp_path)).from_cuts([changed]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(DataError, match="is not a piece"):
        read_corpus(tmp_path / "cuts.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_lhotse_cut_manifest_keeps_where_each_cut_starts(tmp_path: Path, suffix: str) -> None:
    manifest = tmp_path / f"cuts{suffix}"
    lhotse_cuts(tmp_path).to_file(manifest)
    items = read_corpus(manifest, default_domain="speech")
    assert [(item.path.name, item.start, item.samples) for item in items] == [
        ("rec0.wav", 0, 8000),
        ("rec1.wav", 4000, 8000),
        ("rec1.wav", 16000, 8000),
    ]
    assert (items[2].speaker, items[2].text, items[2].domain) == ("spk1", "text 1", "speech")


def test_a_lhotse_shar_folder_is_read_by_offset_inside_its_tar_files(tmp_path: Path) -> None:
    from xcodec.data.manifest import read_span

    cuts = lhotse_cuts(tmp_path / "wav")
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "flac"}, shard_size=2)
    direct = read_corpus_of_cuts(tmp_path, cuts)
    for item, original in zip(read_corpus(tmp_path / "shar"), direct, strict=True):
        assert item.path.suffix == ".tar"
        assert (item.samples, item.speaker) == (original.samples, original.speaker)
        np.testing.assert_allclose(read_span(item, 100, 500), read_span(original, 100, 500), atol=1e-4)


def read_corpus_of_cuts(folder: Path, cuts: object) -> list:
    cuts.to_file(folder / "cuts.jsonl")
    return read_corpus(folder / "cuts.jsonl")
