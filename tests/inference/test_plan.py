from __future__ import annotations

import os
from pathlib import Path

import pytest

from xcodec.inference.batch import PlanError, plan


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def planned(operation: str, sources: list[str], target: str, suffix: str = ".xc") -> dict[str, str]:
    made = plan(operation, [Path(source) for source in sources], target, suffix)  # type: ignore[arg-type]
    return {str(task.source): str(task.target) for task in made.tasks}


def test_file_to_file() -> None:
    touch("a.wav")
    assert planned("encode", ["a.wav"], "b.xc") == {"a.wav": "b.xc"}
    assert not plan("encode", [Path("a.wav")], "b.xc", ".xc").into_folder


@pytest.mark.parametrize("target", ["out", "out/", "old", "v1.5/", "x.xc/"])
def test_files_into_a_folder(target: str) -> None:
    touch("a.wav", "x/b.take2.MP3", "old/other.txt")
    made = planned("encode", ["a.wav", "x/b.take2.MP3"], target)
    assert made == {"a.wav": str(Path(target, "a.xc")), "x/b.take2.MP3": str(Path(target, "b.take2.xc"))}


@pytest.mark.parametrize("target", ["new/", "old"])
def test_one_file_into_a_folder(target: str) -> None:
    touch("a.wav", "old/other.txt")
    assert planned("encode", ["a.wav"], target) == {"a.wav": str(Path(target, "a.xc"))}


def test_folder_is_mirrored() -> None:
    touch("in/a.wav", "in/x/y/b.flac", "in/notes.txt", "in/.hidden/c.wav", "in/tokens.xc")
    assert planned("encode", ["in"], "out") == {"in/a.wav": "out/a.xc", "in/x/y/b.flac": "out/x/y/b.xc"}
    assert planned("decode", ["in"], "out", ".flac") == {"in/tokens.xc": "out/tokens.flac"}


def test_what_an_earlier_run_made_is_not_input() -> None:
    touch("a.wav", "out/a.wav")
    assert planned("reconstruct", ["."], "out", ".wav") == {"a.wav": "out/a.wav"}


def test_folder_below_its_target() -> None:
    touch("data/raw/a.wav")
    assert planned("encode", ["data/raw"], "data") == {"data/raw/a.wav": "data/a.xc"}


@pytest.mark.parametrize(
    ("operation", "sources", "target", "message"),
    [
        ("encode", ["a.wav", "a.mp3"], "out", "a.wav and a.mp3 would both become out/a.xc"),
        ("encode", ["a.wav", "x/a.wav"], "out", "would both become out/a.xc"),
        ("encode", ["a.wav", "b.wav"], "c.wav", "c.wav: is no folder"),
        ("encode", ["a.wav", "b.wav"], "a.mp3", "a.mp3: is a file"),
        ("encode", ["x"], "out.xc", "out.xc: is no folder"),
        ("encode", ["a.wav"], "b.wav", "b.wav: encode writes .xc"),
        ("encode", ["a.wav"], "b", "b: encode writes .xc"),
        ("decode", ["t.xc"], "b.mp3", "b.mp3: decode writes .wav, .flac, .ogg, .opus"),
        ("encode", ["empty"], "out", "empty: holds no audio files"),
        ("decode", ["x"], "out", "x: holds no .xc files"),
        ("reconstruct", ["a.wav"], "a.wav", "a.wav: is an input"),
        ("reconstruct", ["a.wav"], "x/../a.wav", "is an input"),
        ("reconstruct", ["x"], "x", "x/a.wav: is an input"),
    ],
)
def test_refused(operation: str, sources: list[str], target: str, message: str) -> None:
    touch("a.wav", "b.wav", "a.mp3", "x/a.wav", "t.xc")
    Path("empty").mkdir()
    with pytest.raises(PlanError) as refused:
        planned(operation, sources, target, ".wav" if operation == "reconstruct" else ".xc")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("sources", "target"), [(["no.wav"], "b.xc"), (["a.wav", "no.wav"], "out"), (["a.wav"], "no/b.xc")]
)
def test_missing(sources: list[str], target: str) -> None:
    touch("a.wav")
    with pytest.raises(FileNotFoundError):
        planned("encode", sources, target)


def test_a_pipe_is_refused_rather_than_waited_for() -> None:
    os.mkfifo("pipe.xc")
    with pytest.raises(PlanError, match="not a regular file"):
        planned("decode", ["pipe.xc"], "a.wav")


def test_folders_are_searched_for_tokens_at_decoding() -> None:
    touch("in/b.xc", "in/a/c.XC", "in/.b.xc", "in/d.wav")
    assert list(planned("decode", ["in"], "out", ".wav")) == ["in/a/c.XC", "in/b.xc"]


def test_an_output_without_a_name_is_not_this_folder() -> None:
    touch("a.wav")
    with pytest.raises(PlanError, match="name of the output is empty"):
        plan("encode", [Path("a.wav")], "", ".xc")
    assert planned("encode", ["a.wav"], ".") == {"a.wav": "a.xc"}
