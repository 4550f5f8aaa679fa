"""The kernels' library: compiled where it can be, kept where that can be, and never loaded damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xcodec.engine import ops
from xcodec.engine.compile import library

pytestmark = pytest.mark.skipif(not ops.available(), reason="there is no C compiler with OpenMP")
compiled = library.__wrapped__


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and an empty place for temporary files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache" / "xcodec"


def counting_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of cc: writes a line for each time that it compiles, and is quick about it."""
    compiler, log = folder / "cc", folder / "log"
    compiler.write_text(
        f'#!/bin/sh\necho "$@" | grep -q -e -c && echo >> {log}\nexec {os.environ.get("CC", "cc")} "$@" -O0\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    log.touch()
    return log


def test_it_is_compiled_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = counting_compiler(tmp_path, monkeypatch)
    assert compiled() is not None
    assert [path.suffix for path in cache.iterdir()] == [".so"]
    assert compiled() is not None
    assert len(log.read_text().splitlines()) == 1
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "grown"])
def test_a_damaged_one_is_made_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    log = counting_compiler(tmp_path, monkeypatch)
    assert compiled() is not None
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.unlink()  # this process goes on with what it has loaded
    path.write_bytes(
        {
            "cut": whole[:middle],
            "empty": b"",
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "grown": whole + b"\0",
        }[damage]
    )
    assert compiled() is not None
    assert len(log.read_text().splitlines()) == 2
    (again,) = cache.iterdir()
    assert len(again.read_bytes()) == len(whole)
    assert compiled() is not None
    assert len(log.read_text().splitlines()) == 2


def test_without_a_compiler_there_are_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for compiler in ("false", "no-such-compiler", " "):
        monkeypatch.setenv("CC", compiler)
        assert compiled() is None
        assert list(cache.glob("*")) == []


def test_a_compiler_may_have_options(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{os.environ.get('CC', 'cc')} -DUNUSED=1")
    assert compiled() is not None


@pytest.mark.parametrize("home", ["", "/proc/nowhere"])
def test_without_a_home_nothing_is_left_behind(tmp_path: Path, home: str) -> None:
    """For a user of whom the system knows no home, and where none can be made."""
    code = """
import os, pathlib, sys
pathlib.Path.home = lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
os.path.expanduser = lambda path: path.replace("~", os.environ.get("HOME") or "~", 1)
from xcodec.engine import ops
assert ops.available()
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": "", "HOME": home}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[2], check=True)
    assert list(tmp_path.iterdir()) == []
