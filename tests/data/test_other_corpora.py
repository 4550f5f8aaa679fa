"""Corpora of other libraries, each made by its own writer."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xcodec.data.manifest import AudioItem, DataError, UnreadableFile, read_rows, read_span

datasets = pytest.importorskip("datasets")
webdataset = pytest.importorskip("webdataset")


def sound(seed: int, samples: int = 1_600) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-0.5, 0.5, samples) * 2**15).round().astype(np.float32) / 2**15


def encoded(samples: np.ndarray, file_format: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=file_format, subtype="PCM_16")
    return file.getvalue()


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    with webdataset.ShardWriter(str(tmp_path / "tars-%03d.tar"), maxcount=2, verbose=0) as writer:
        for number in range(3):
            known = {"transcript": f"Number {number}.", "speaker_id": number}
            writer.write({"__key__": f"a/{number}", "flac": encoded(sound(number)), "json": known})
        writer.write({"__key__": "b", "wav": encoded(sound(3), "WAV"), "txt": "Three."})
        writer.write({"__key__": "c", "wav": b"no audio"})
        writer.write({"__key__": "d", "txt": "alone"})
    return tmp_path


@pytest.mark.parametrize("place", ["", "tars-{000..002}.tar"])
def test_webdataset_tars(tars: Path, place: str) -> None:
    rows = list(read_rows(tars / place, "speech"))
    items = [row for row in rows if isinstance(row, AudioItem)]
    assert [item.text for item in items] == ["Number 0.", "Number 1.", "Number 2.", "Three."]
    assert [item.speaker for item in items] == ["0", "1", "2", None]
    assert {item.domain for item in items} == {"speech"}
    for number, item in enumerate(items):
        assert np.array_equal(read_span(item, 100, 1_000), sound(number)[100:1_100])
    reasons = [row.reason for row in rows if isinstance(row, UnreadableFile)]
    assert ["c.wav" in reasons[0], "d.txt has no audio" in reasons[1], len(reasons)] == [True, True, 2]


def test_a_tar_that_is_cut_short_or_not_there(tars: Path) -> None:
    whole = tars / "tars-000.tar"
    whole.write_bytes(whole.read_bytes()[:3_000])
    for place in (whole, tars / "gone-{000..001}.tar", tars / "gone.tar"):
        with pytest.raises(DataError, match=str(place.stem.partition("{")[0])):
            list(read_rows(place))


@pytest.fixture
def rows_of_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    audio = [{"bytes": encoded(sound(number)), "path": f"{number}.flac"} for number in range(3)]
    return {"audio": [*audio, {"bytes": b"no audio", "path": "x.wav"}], "sentence": ["a", "b", "c", "d"], "n": [0] * 4}


@pytest.mark.parametrize("form", ["parquet", "folder", "saved"])
def test_datasets(rows_of_audio: dict[str, list[object]], tmp_path: Path, form: str) -> None:
    made = datasets.Dataset.from_dict(rows_of_audio, split="validation")
    made = made.cast_column("audio", datasets.Audio(decode=False))
    place = tmp_path / "made"
    if form == "saved":
        made.save_to_disk(place)
    else:
        place.mkdir()
        place = place / "validation-00000.parquet"
        made.to_parquet(place)
        place = place if form == "parquet" else place.parent
    for _ in range(2):  # the second time, the files are there
        rows = list(read_rows(f"hf:{place}", "speech"))
        items = [row for row in rows if isinstance(row, AudioItem)]
        assert [(item.text, item.samples, item.sample_rate) for item in items] == [(t, 1_600, 16_000) for t in "abc"]
        assert {item.split for item in items} == {"train" if form == "parquet" else "valid"}
        assert np.array_equal(read_span(items[2], 0, 1_600), sound(2))
        assert [row.reason.startswith("row 3 of ") for row in rows if isinstance(row, UnreadableFile)] == [True]
    assert len(list((tmp_path / "cache").rglob("*.flac"))) == 3


def test_a_dataset_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="has no column of audio, only text"):
        list(read_rows(f"hf:{tmp_path / 'text.parquet'}"))
    with pytest.raises(DataError, match="cannot open the dataset nobody/has-this"):
        list(read_rows("hf:nobody/has-this"))
