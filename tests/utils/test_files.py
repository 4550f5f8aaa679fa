"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xcodec.utils.files import atomic_write

KILLED = """
import os, signal, sys
from xcodec.utils.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half of what was meant to be written")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_used_up_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    died = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert not target.exists()
    with atomic_write(target) as temporary:
        temporary.write_bytes(b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"whole"}


def test_two_writers_of_one_target_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as first:
        first.write_bytes(b"first")
        with atomic_write(target) as second:
            second.write_bytes(b"second")
        assert target.read_bytes() == b"second"
        with pytest.raises(FileNotFoundError), atomic_write(target) as third:
            third.rename(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"first"}


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".bin")
    with atomic_write(target) as temporary:
        temporary.write_bytes(b"whole")
    assert os.listdir(tmp_path) == [target.name]
