"""The installed command, as people and scripts run it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec import __version__, audio, load
from xcodec.inference.files import FileCodec
from xcodec.tokens.xc_file import read_header

COMMAND = str(Path(sys.executable).with_name("xcodec"))
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def xcodec(*arguments: str | Path, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, env=ONE_THREAD, preexec_fn=before
    )


def error_of(done: subprocess.CompletedProcess[str], exit_code: int = 1) -> str:
    """The one line that a failed command says, and says only there."""
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def record(path: Path, samples: int = 8_000, rate: int = 16_000, channels: int = 1, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(samples).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)
    audio.write(path, sound, rate, subtype)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_codec(teacher=None).save_pretrained(folder)
    return folder


# --- without a model: quick -------------------------------------------------------------------------------------------


def test_version() -> None:
    done = xcodec("--version")
    assert (done.returncode, done.stdout) == (0, f"xcodec {__version__}\n")
    module = subprocess.run([sys.executable, "-m", "xcodec", "--version"], capture_output=True, text=True, timeout=60)
    assert module.stdout == done.stdout


def test_help_is_quick_because_it_loads_no_torch() -> None:
    script = (
        "import sys, xcodec.cli.main; sys.argv = ['xcodec', 'encode', '--help']; sys.exit(xcodec.cli.main._exit_code())"
    )
    probe = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {script}"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "OUTPUT" in done.stdout
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    "command", ["reconstruct", "encode", "decode", "info", "convert", "export", "tokenize", "train"]
)
def test_help_has_an_example(command: str) -> None:
    assert f"Example: xcodec {command} " in xcodec(command, "--help").stdout


def test_without_arguments_it_shows_the_help() -> None:
    done = xcodec()
    assert done.returncode == 2
    assert "reconstruct" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["encode", "a.wav"],
        ["encode", "a.wav", "b.xc", "--channels", "left"],
        ["encode", "a", "b", "-j", "0"],
        ["tokenize", "a", ""],
    ],
)
def test_wrong_command_line(arguments: list[str]) -> None:
    assert "--help" in error_of(xcodec(*arguments), exit_code=2)


def test_completion_can_be_shown() -> None:
    done = subprocess.run(
        [COMMAND],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "_XCODEC_COMPLETE": "complete_bash", "COMP_WORDS": "xcodec enc", "COMP_CWORD": "1"},
    )
    assert "encode" in done.stdout


def test_plans_that_cannot_be(tmp_path: Path) -> None:
    here = record(tmp_path / "a.wav")
    assert "no.wav: No such file" in error_of(xcodec("encode", tmp_path / "no.wav", tmp_path / "a.xc"))
    assert "No such file" in error_of(xcodec("encode", here, tmp_path / "no" / "a.xc"))
    assert "writes .xc" in error_of(xcodec("encode", here, tmp_path / "b.wav"))
    assert "is an input" in error_of(xcodec("reconstruct", here, here))
    assert "would both become" in error_of(xcodec("encode", here, record(tmp_path / "a.flac"), tmp_path / "out"))
    assert "no folder" in error_of(xcodec("encode", tmp_path, tmp_path / "out.xc"))
    assert files_below(tmp_path) == ["a.flac", "a.wav"]


def test_info_of_audio(tmp_path: Path) -> None:
    first, second = record(tmp_path / "a.wav", 100, 44_100, 2), record(tmp_path / "b.flac", 50)
    done = xcodec("info", first, second, "--json")
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["samples"], each["channels"], each["sample_rate"]) for each in facts] == [
        (100, 2, 44_100),
        (50, 1, 16_000),
    ]
    assert "44100" in xcodec("info", first).stdout


def test_info_of_nothing(tmp_path: Path) -> None:
    assert "no.xc: No such file" in error_of(xcodec("info", tmp_path / "no.xc"))
    (tmp_path / "bad.xc").write_text("not tokens")
    assert "not an .xc file" in error_of(xcodec("info", tmp_path / "bad.xc"))


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    command = f"{COMMAND} info {'a.wav ' * 2_000} | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("file")
    assert done.stderr == ""


# --- with a model -----------------------------------------------------------------------------------------------------


def test_one_file_there_and_back(model: Path, tmp_path: Path) -> None:
    source = record(tmp_path / "a.wav", 10_000, 44_100, channels=2)
    done = xcodec("encode", source, tmp_path / "a.xc", "--model", model, "--bandwidth", "0.3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["samples"], facts["channels"], facts["kbps"]) == (3_628, 1, 0.3)
    assert facts["bytes"] == (tmp_path / "a.xc").stat().st_size

    shown = json.loads(xcodec("info", tmp_path / "a.xc", "--json").stdout)
    assert (shown["samples"], shown["codebooks"], shown["kbps"]) == (3_628, 1, 0.3)

    done = xcodec("decode", tmp_path / "a.xc", tmp_path / "b.flac", "--model", model)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # quiet, as stderr is no terminal
    assert audio.info(tmp_path / "b.flac").samples == 3_628


def test_pipes(model: Path, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 10_001)
    sound = audio.read(tmp_path / "a.wav")[0][0]
    pcm = np.rint(sound * 2**15).astype("<i2").tobytes()
    pipe = f"{COMMAND} encode - - -b 0.6 --look-ahead 0.5 --model {model} | {COMMAND} decode - - --model {model}"
    done = subprocess.run(["bash", "-c", pipe], input=pcm, capture_output=True, timeout=300, env=ONE_THREAD)
    assert done.stderr == b""
    assert len(done.stdout) == 2 * 10_001
    FileCodec(load(model), 0.6).reconstruct(tmp_path / "a.wav", tmp_path / "b.wav")
    expected = audio.read(tmp_path / "b.wav")[0][0]
    np.testing.assert_allclose(np.frombuffer(done.stdout, "<i2") / 2**15, expected, atol=2**-14)
    assert "both ends" in error_of(xcodec("encode", "-", tmp_path / "a.xc"))
    assert "is for pipes" in error_of(xcodec("encode", tmp_path / "a.wav", tmp_path / "a.xc", "--look-ahead", "1"))


def test_a_folder_is_mirrored_and_lengths_are_kept(model: Path, tmp_path: Path) -> None:
    lengths = {"one": 1, "x/319": 319, "x/320": 320, "x/y/321": 321}
    for name, samples in lengths.items():
        record(tmp_path / "in" / f"{name}.wav", samples, channels=2)
    done = xcodec("encode", tmp_path / "in", tmp_path / "xc", "--model", model, "--channels", "keep", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "xc") == sorted(f"{name}.xc" for name in lengths)
    assert read_header(tmp_path / "xc" / "one.xc").channels == 2

    done = xcodec("decode", tmp_path / "xc", tmp_path / "out", "--model", model, "--format", "flac")
    assert done.returncode == 0, done.stderr
    for name, samples in lengths.items():
        made = audio.info(tmp_path / "out" / f"{name}.flac")
        assert (made.samples, made.channels) == (samples, 2)


def hostile_audio(folder: Path) -> None:
    record(folder / "nan.wav", subtype="FLOAT")
    content = bytearray((folder / "nan.wav").read_bytes())
    content[-400:-396] = np.float32(np.nan).tobytes()
    (folder / "nan.wav").write_bytes(content)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("This is no sound at all.\n" * 50)
    record(folder / "short.flac", 50_000)
    (folder / "short.flac").write_bytes((folder / "short.flac").read_bytes()[:-20_000])


def test_hostile_audio_fails_alone(model: Path, tmp_path: Path) -> None:
    hostile_audio(tmp_path / "in")
    record(tmp_path / "in" / "blocked.wav")
    (tmp_path / "out" / "blocked.wav").mkdir(parents=True)
    record(tmp_path / "in" / "good.wav")
    done = xcodec("reconstruct", tmp_path / "in", tmp_path / "out", "--model", model, "--json")
    assert done.returncode == 1
    *errors, summary = done.stderr.splitlines()
    assert summary == "error: 5 of 6 files failed"
    for name in ("blocked.wav", "nan.wav", "empty.wav", "text.wav", "short.flac"):
        assert sum(line.startswith("error: ") and name in line for line in errors) == 1
    assert len(errors) == 5
    outcomes = {Path(each["source"]).name: each for each in map(json.loads, done.stdout.splitlines())}
    assert [name for name, each in outcomes.items() if "error" not in each] == ["good.wav"]
    assert files_below(tmp_path / "out") == ["good.wav"]


def test_hostile_tokens_fail_alone(model: Path, tmp_path: Path) -> None:
    source = record(tmp_path / "a.wav")
    FileCodec(load(model), make_folders=True).encode(source, tmp_path / "in" / "a.xc")
    good = (tmp_path / "in" / "a.xc").read_bytes()
    (tmp_path / "in" / "flipped.xc").write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    (tmp_path / "in" / "cut.xc").write_bytes(good[:-1])
    (tmp_path / "in" / "empty.xc").touch()
    FileCodec(tiny_codec(teacher=None, seed=1)).encode(source, tmp_path / "in" / "foreign.xc")
    done = xcodec("decode", tmp_path / "in", tmp_path / "out", "--model", model)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 5
    for reason in ("checksum", "truncated", "not an .xc file", "was made by model", "4 of 5 files failed"):
        assert reason in done.stderr
    assert files_below(tmp_path / "out") == ["a.wav"]


def test_full_disk(model: Path, tmp_path: Path) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav").write_text("made before")
    source = record(tmp_path / "a.wav")
    done = xcodec("reconstruct", source, tmp_path / "out" / "b.wav", "--model", model, before=small_files_only)
    assert "b.wav: File too large" in error_of(done)
    assert files_below(tmp_path / "out") == ["b.wav"]
    assert (tmp_path / "out" / "b.wav").read_text() == "made before"


def test_target_that_may_not_be_written(model: Path, tmp_path: Path) -> None:
    target = Path("/proc/b.wav")  # where not even root may
    assert "/proc/b.wav" in error_of(xcodec("reconstruct", record(tmp_path / "a.wav"), target, "--model", model))


def test_model_that_cannot_be_used(model: Path, tmp_path: Path) -> None:
    source = record(tmp_path / "a.wav")
    arguments = ("encode", source, tmp_path / "a.xc", "--model")
    assert "no-such" in error_of(xcodec(*arguments, "no-such"))
    assert "it has 0.3, 0.6, 1.2" in error_of(xcodec(*arguments, model, "--bandwidth", "4"))
    assert "cannot compute on device quantum" in error_of(xcodec(*arguments, model, "--device", "quantum"))
    assert files_below(tmp_path) == ["a.wav"]


def test_skip_existing_resumes(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        record(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.xc").write_text("made before")
    done = xcodec("encode", tmp_path / "in", tmp_path / "out", "--model", model, "--skip-existing")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.xc").read_text() == "made before"
    assert read_header(tmp_path / "out" / "b.xc").samples == 8_000


def test_convert_and_info_of_a_model(model: Path, tmp_path: Path) -> None:
    done = xcodec("convert", model, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    ours, copy = (json.loads(line) for line in xcodec("info", model, tmp_path / "copy", "--json").stdout.splitlines())
    assert ours["weights"] == copy["weights"]
    assert ours["bandwidths"] == [0.3, 0.6, 1.2]
    assert "is a file" in error_of(xcodec("convert", model, record(tmp_path / "a.wav")))


@pytest.mark.parametrize(("sent", "exit_code", "jobs"), [("SIGINT", 130, 1), ("SIGINT", 130, 2), ("SIGTERM", 143, 1)])
def test_interrupted(model: Path, tmp_path: Path, sent: str, exit_code: int, jobs: int) -> None:
    record(tmp_path / "in" / "0.wav", 1_000_000)
    for number in range(1, 60):
        os.link(tmp_path / "in" / "0.wav", tmp_path / "in" / f"{number}.wav")
    arguments: Sequence[str | Path] = ("reconstruct", tmp_path / "in", tmp_path / "out", "--model", model)
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments), "--jobs", str(jobs)], stderr=subprocess.PIPE, text=True, env=ONE_THREAD
    )
    deadline = time.monotonic() + 300
    while not any((tmp_path / "out").glob("[0-9]*.wav")):  # a first one is done, so others are under way
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(getattr(signal, sent))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert "Traceback" not in errors
    made = list((tmp_path / "out").iterdir())
    assert len(made) < 60
    assert all(audio.info(path).samples == 1_000_000 for path in made)  # whole, and nothing half-written beside them


# --- closed standard streams ------------------------------------------------------------------------------------------


def closed(command: str, *redirections: str) -> subprocess.CompletedProcess[str]:
    """A command line of the shell, started without some of its standard streams."""
    line = f"{COMMAND} {command} {' '.join(redirections)}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=300, env=ONE_THREAD)


def test_a_file_is_encoded_as_always_whatever_stream_is_closed(model: Path, tmp_path: Path) -> None:
    recording = record(tmp_path / "a.wav")
    assert closed(f"encode {recording} {tmp_path}/0.xc --model {model}").returncode == 0
    for index, redirection in enumerate((">&-", "<&-", "2>&-", "<&- >&- 2>&-"), 1):
        assert closed(f"encode {recording} {tmp_path}/{index}.xc --model {model}", redirection).returncode == 0
        assert (tmp_path / f"{index}.xc").read_bytes() == (tmp_path / "0.xc").read_bytes()


def test_results_that_cannot_be_printed_are_an_error(tmp_path: Path) -> None:
    done = closed(f"info {record(tmp_path / 'a.wav')}", ">&-")
    assert "standard output is closed" in error_of(done)


def test_a_pipe_that_is_closed_is_named(model: Path) -> None:
    assert "standard input is closed" in error_of(closed(f"encode - - --model {model}", "<&-"))
    assert "standard output is closed" in error_of(closed(f"decode - - --model {model}", ">&-", "< /dev/null"))
