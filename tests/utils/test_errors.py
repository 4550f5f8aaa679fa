from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xcodec.utils.errors import one_line

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("accelerate", "pip install 'xcodec[train]'"),
        ("faster_whisper", "pip install 'xcodec[evaluate]'"),
        ("PIL", "pip install 'xcodec[evaluate]'"),
        ("pyarrow.parquet", "pip install 'xcodec[lm]'"),
    ],
)
def test_a_missing_module_is_one_line_that_names_its_extra(module: str, command: str) -> None:
    line = one_line(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert line.startswith(f"{module} is not installed; get it with: ")
    assert command in line
    assert "unexpected" in one_line(ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("accelerate", ["train", str(ROOT / "configs" / "xcodec-mini.yaml")]),
        ("jinja2", ["evaluate", "report", ".", "--out", "report.html"]),
    ],
)
def test_a_command_without_its_extra_says_how_to_get_it(missing: str, arguments: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from xcodec.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {missing} is not installed; get it with: pip install 'xcodec[")


def test_a_killed_reader_of_a_training_says_how_to_go_on() -> None:
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert one_line(error).startswith("DataLoader worker (pid 7) is killed by signal: Killed. It read the data;")
