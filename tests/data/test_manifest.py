from __future__ import annotations

import dataclasses
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xcodec import audio
from xcodec.data.manifest import (
    AudioItem,
    BrokenAudioError,
    DataError,
    UnreadableFile,
    read_corpus,
    read_rows,
    read_span,
    stream_item,
)


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
    assert first.group != second.group, "files of different folders are not joined"


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


def test_a_list_with_a_byte_order_mark_and_ends_of_lines_as_windows_writes_them(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_tone(tmp_path / name)
    listed = tmp_path / "train.txt"
    listed.write_bytes(b"\xef\xbb\xbfa.wav\r\nb.wav\r\n")
    assert [item.path.name for item in read_corpus(listed)] == ["a.wav", "b.wav"]


def test_names_in_a_list_are_bytes_and_may_look_like_anything(tmp_path: Path) -> None:
    names = [b"caf\xe9.wav", b"#1.wav", b" 2 .wav ", b"a\x0bb\xc2\x85c.wav"]
    sound = write_tone(tmp_path / "sound.wav").read_bytes()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(sound)
    listed = tmp_path / "train.txt"
    listed.write_bytes(b"\n".join([*names, b"# a comment", b""]))
    assert [os.fsencode(item.path.name) for item in read_corpus(listed)] == names


def test_every_row_of_a_list_is_an_item_or_says_why_not(tmp_path: Path) -> None:
    write_tone(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_text("not audio")
    listed = tmp_path / "train.txt"
    listed.write_text(f"missing.wav\ngood.wav\nbad.wav\n{tmp_path}\n{'x' * 300}.wav\n")
    missing, good, bad, folder, long = read_rows(listed)
    assert isinstance(good, AudioItem)
    for row, reason in ((missing, "No such file"), (bad, "not"), (folder, "directory"), (long, "too long")):
        assert isinstance(row, UnreadableFile)
        assert reason in row.reason
        assert str(row.path) in row.reason


def test_a_list_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.wav\n", "utf-16")
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_corpus(tmp_path / "train.txt")


def test_an_audio_file_is_a_corpus_of_one(tmp_path: Path) -> None:
    (item,) = read_corpus(write_tone(tmp_path / "one.wav"))
    assert item.samples == 8000


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", ["a.flac"]),
        ("path", ""),
        ("path", "a\0.flac"),
        ("samples", "16000"),
        ("samples", 16000.5),
        ("samples", -1),
        ("samples", True),
        ("samples", 1e300),
        ("samples", None),
        ("sample_rate", 0),
        ("sample_rate", float("nan")),
        ("text", ["a", "b"]),
        ("text", float("nan")),
        ("text", "\ud83d"),
        ("domain", None),
        ("source", {"name": "s"}),
        ("speaker", [1]),
        ("speaker", True),
        ("language", 1.5),
        ("split", None),
        ("weight", "1"),
        ("weight", -1),
        ("weight", float("inf")),
    ],
)
def test_a_value_that_cannot_be_is_an_error_with_its_line_before_any_work(
    tmp_path: Path, field: str, value: object
) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [manifest_row("b.flac"), manifest_row("a.flac") | {field: value}])
    with pytest.raises(DataError, match=rf"line 2: {field} (must|is)"):
        read_corpus(manifest)


def test_numbers_as_other_programs_write_them(tmp_path: Path) -> None:
    row = manifest_row("a.flac", speaker=17, start=320.0) | {"samples": 16000.0, "sample_rate": 16000.0}
    (item,) = read_corpus(write_manifest(tmp_path / "m.jsonl", [row]))
    assert (item.samples, item.sample_rate, item.start, item.speaker) == (16000, 16000, 320, "17")
    assert all(type(value) is int for value in (item.samples, item.sample_rate, item.start))


def test_the_name_of_a_file_in_a_manifest_may_be_any_bytes(tmp_path: Path) -> None:
    line = json.dumps(manifest_row("caf?.flac")).encode()
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + line.replace(b"?", b"\xe9") + b"\n")
    (item,) = read_corpus(tmp_path / "m.jsonl")
    assert os.fsencode(item.path.name) == b"caf\xe9.flac"


def test_a_nemo_manifest_counts_in_seconds(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 2.0)
    rows = [
        {"audio_filepath": "a.wav", "duration": 2.0, "text": "whole", "lang": "en", "speaker": 3},
        {"audio_filepath": str(tmp_path / "a.wav"), "duration": 0.5, "offset": 0.25, "text": "a piece"},
        {"audio_filepath": "a.wav", "duration": 1.76, "offset": 0.25, "text": "rounded up"},
        {"audio_filepath": "a.wav", "text": "without its duration"},
        {"audio_filepath": "a.wav", "duration": 9.0},
        {"audio_filepath": "gone.wav", "duration": 1.0},
    ]
    *items, too_long, gone = read_rows(write_manifest(tmp_path / "train_manifest.json", rows))
    assert [(item.start, item.samples) for item in items] == [(0, 32000), (4000, 8000), (4000, 28000), (0, 32000)]
    assert (items[0].text, items[0].language, items[0].speaker) == ("whole", "en", "3")
    assert "lasts 2 s; its manifest says 0 to 9 s" in too_long.reason
    assert "No such file" in gone.reason
    with pytest.raises(DataError, match="line 1: duration must be a number of seconds"):
        read_corpus(write_manifest(tmp_path / "wrong.json", [{"audio_filepath": "a.wav", "duration": "2"}]))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_manifest_that_is_no_utf_8_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(json.dumps(manifest_row("a.flac")).encode(encoding))
    with pytest.raises(DataError, match="line 1: holds bytes 0; save it as UTF-8"):
        read_corpus(tmp_path / "manifest.jsonl")


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


def call_cuts(folder: Path) -> tuple[object, np.ndarray]:
    """Cuts of one call of two channels, 2 s long, and its samples [2, T]."""
    lhotse = pytest.importorskip("lhotse")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 32000)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "call.wav", samples.T, 16000, "FLOAT")
    recording = lhotse.Recording.from_file(folder / "call.wav")

    def said(name: str, start: float, seconds: float, channel: int | list[int]) -> object:
        return lhotse.SupervisionSegment(name, recording.id, start, seconds, channel, text=name)

    def mono(name: str, channel: int, *supervisions: object) -> object:
        return lhotse.MonoCut(name, 0.5, 1.0, channel, supervisions=list(supervisions), recording=recording)

    cuts = [
        mono("first", 0, said("A speaks", 0, 1.0, 0)),
        mono("second", 1, said("B speaks", 0, 1.0, 1)),
        mono("halves", 0, said("one half", -0.25, 0.5, 0), said("other half", 0.5, 0.75, 0)),
        lhotse.MultiCut(
            "both",
            0.5,
            1.0,
            [0, 1],
            [said("on the right", 0, 0.5, 1), said("together", 0, 1.0, [0, 1])],
            recording=recording,
        ),
        mono("nothing said", 1),
    ]
    return lhotse.CutSet.from_cuts(cuts), samples


CALL = [
    # text, start and samples within the cut, channels
    ("A speaks", 0, 16000, [0]),
    ("B speaks", 0, 16000, [1]),
    ("one half", 0, 4000, [0]),
    ("other half", 8000, 8000, [0]),
    ("on the right", 0, 8000, [1]),
    ("together", 0, 16000, [0, 1]),
    (None, 0, 16000, [1]),
]


@pytest.mark.parametrize("shar", [False, True])
def test_each_supervision_of_a_cut_has_its_own_audio_and_channel(tmp_path: Path, shar: bool) -> None:
    cuts, samples = call_cuts(tmp_path / "wav")
    path = tmp_path / ("shar" if shar else "cuts.jsonl")
    if shar:
        path.mkdir()
        cuts.to_shar(path, fields={"recording": "wav"}, shard_size=10)
    else:
        cuts.to_file(path)
    items = read_corpus(path)
    assert [item.text for item in items] == [text for text, *_ in CALL]
    for item, (_, start, count, channels) in zip(items, CALL, strict=True):
        expected = samples[channels, 8000 + start : 8000 + start + count].mean(axis=0)
        np.testing.assert_allclose(read_span(item, 0, item.samples), expected, atol=1e-4)
        streamed = np.concatenate(list(stream_item(item, 16000)), axis=1)
        np.testing.assert_allclose(streamed[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "seconds", "channel"), [(1.5, 1, 0), (-2, 1, 0), (0.2, 0, 0), (0.2, -0.1, 0), (0, 1, 1)]
)
def test_a_supervision_outside_of_its_cut_is_no_clip_and_says_so(
    tmp_path: Path, start: float, seconds: float, channel: int
) -> None:
    cuts, _ = call_cuts(tmp_path)
    cut = next(iter(cuts))
    (said,) = cut.supervisions
    said.start, said.duration, said.channel, said.speaker = start, seconds, channel, 7
    inside = dataclasses.replace(said, id="inside", start=0, duration=1, channel=0)
    cut.supervisions = [said, inside]
    type(cuts).from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    outside, item = read_rows(tmp_path / "cuts.jsonl")
    assert isinstance(outside, UnreadableFile)
    assert "is outside the cut's 1 s of channel 0" in outside.reason
    assert (item.text, item.speaker) == ("A speaks", "7")


def test_a_channel_or_a_rate_that_a_file_lacks_is_an_error(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav")
    for item, message in (
        (AudioItem(path, 16000, 8000, channels=(1,)), "has 1 channels, none of them number 1"),
        (AudioItem(path, 8000, 8000), "has 16000 Hz, not 8000 Hz"),
        (AudioItem(path, 16000, 9000), "cannot read 0 to 9000"),
    ):
        with pytest.raises(BrokenAudioError, match=message):
            read_span(item, 0, item.samples)
        with pytest.raises(BrokenAudioError, match=message):
            list(stream_item(item, 16000))


def test_a_whole_file_is_streamed_as_it_is_read(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", seconds=25, rate=44100)
    (item,) = read_corpus(path)
    blocks = list(stream_item(item, 16000))
    assert [block.shape for block in blocks] == [(1, 160000), (1, 160000), (1, 80000)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio.read(path, 16000)[0])


def test_a_number_of_too_many_digits_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"path": "a.wav", "sample_rate": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match="line 1: not a line of JSON"):
        list(read_rows(manifest))
