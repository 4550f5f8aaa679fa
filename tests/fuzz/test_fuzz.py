"""Half a minute of what `make fuzz` does for ten."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize("target", ["containers", "manifests", "texts"])
def test_random_inputs(target: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.run", "--minutes", str(1 / 6), "--jobs", "1", "--only", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(rf"{target}: [1-9]\d* inputs", done.stdout)
