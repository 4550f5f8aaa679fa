"""The wheel, in an environment that has nothing else, does what the README says. In CI; here it takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "english-not-in-service.flac"

pytestmark = pytest.mark.skipif(
    os.environ.get("XCODEC_TEST_WHEEL") != "required", reason="installs PyTorch anew: XCODEC_TEST_WHEEL=required"
)


def run(*command: str | Path, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]


def test_the_wheel_reconstructs_and_speaks_in_an_empty_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT, folder=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    programs = tmp_path / "empty" / "bin"
    run(
        programs / "python", "-m", "pip", "install", "-qq", "-c", ROOT / "constraints.txt", f"{wheel}[lm]",
        folder=tmp_path,
    )  # fmt: skip
    run(programs / "xcodec", "reconstruct", SAMPLE, "decoded.wav", folder=tmp_path)
    run(programs / "xcodec", "generate", "speech", "Good morning.", "--out", "speech.wav", folder=tmp_path)
    for name in ("decoded.wav", "speech.wav"):
        assert (tmp_path / name).stat().st_size > 10_000
    typed = "import xcodec; from pathlib import Path; assert Path(xcodec.__file__).with_name('py.typed').exists()"
    run(programs / "python", "-c", typed, folder=tmp_path)
