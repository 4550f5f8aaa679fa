"""The installed command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_main import error_of, xcodec
from xcodec import audio
from xcodec.evaluate.metrics import Signal


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, speech: Signal) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    audio.write(path, speech[:32_000], 16_000)
    return path


def test_from_a_clip_to_a_report(clip: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "results", tmp_path / "report.html"
    codecs = ("-c", "original", "-c", "opus@12", "-c", "codec2")
    done = xcodec("evaluate", "reconstruction", clip, *codecs, "--metrics", "log_mel", "--no-cost", "--out", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    summary = json.loads((out / "summary.json").read_text())
    assert [codec["label"] for codec in summary["codecs"]] == ["original", "opus@12", "codec2@3.2"]
    assert (out / "clips.jsonl").read_text().count("\n") == 3
    done = xcodec("evaluate", "report", out, "--out", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert page.read_text().count("<audio") == 3


def test_metrics_may_be_repeated_and_listed(clip: Path, tmp_path: Path) -> None:
    named = ("--metrics", "log_mel", "--metrics", "stft,si_sdr", "--metrics", "stft")
    done = xcodec("evaluate", "reconstruction", clip, "-c", "original", *named, "--no-cost", "--out", tmp_path / "out")
    assert done.returncode == 0
    # What has no value is counted and said: the original is a perfect copy of itself.
    assert done.stderr == (
        "si_sdr is undefined 1 times: the decoded signal is the original itself, whose SI-SDR is infinite\n"
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["measures"]) == ["si_sdr", "log_mel", "stft"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "opus@2"), "opus takes 6 to 256 kbps, not 2"),
        (("-c", "opus", "--metrics", "loudness"), "no metric is called loudness"),
        (("-c", "opus", "--shortest", "5"), "none of 1 recordings lasts 5 s"),
    ],
)
def test_what_cannot_be_done_is_one_line(clip: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = xcodec("evaluate", "reconstruction", clip, *arguments, "--out", tmp_path / "results")
    assert message in error_of(done)
    assert not (tmp_path / "results").exists()
