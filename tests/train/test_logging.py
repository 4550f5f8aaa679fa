from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest

from xcodec.train.logging import Display, JsonLog

VALUES = {
    "total": 5.25,
    "mel": 3.125,
    "complex": 0.8125,
    "feature_matching": 0.0625,
    "discriminator_gradient": 1.5,
    "usage/1": 0.5,
    "audio_per_second": 12.5,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_losses_speed_and_time_left_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, output = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("sys.stdout", output)
    for name, value in {"COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    display = Display(first_step=100, steps=1000, seconds_per_step=16.0)
    display.advance(110)
    display.report(110, VALUES)
    display.close()
    shown = screen.getvalue()
    for part in ("110/1000", "12.5 s/s", "total 5.25", "mel 3.125", "discriminator_gradient 1.5"):
        assert part in shown, shown
    assert "usage" not in shown
    assert not output.getvalue()


def test_without_a_terminal_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(first_step=100, steps=1000, seconds_per_step=16.0)
    display.report(110, VALUES)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("step 110/1000 left 0:")
    assert line.endswith(
        "total 5.25 mel 3.125 complex 0.8125 feature_matching 0.0625 discriminator_gradient 1.5 audio_per_second 12.5"
    )


def test_the_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    log = JsonLog(path, first_step=0)
    for step in (10, 20, 30):
        log.write(step, {"total": 1 / 3, "gradient": math.inf})
    path.write_text(path.read_text() + '{"step": 40, "to')  # killed
    JsonLog(path, first_step=20).write(30, {"total": 2.0})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1:] == [{"step": 20, "total": 0.333333, "gradient": None}, {"step": 30, "total": 2.0}]
    assert [file.name for file in path.parent.iterdir()] == ["log.jsonl"]
