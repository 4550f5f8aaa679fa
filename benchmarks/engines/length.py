"""How time and memory of `xcodec encode` and `xcodec decode` grow with a file: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xcodec import audio


@dataclass(frozen=True)
class LengthCost:
    """Of one command on one file."""

    task: str
    minutes: float
    wall: float
    """Seconds."""
    processor: float
    """Seconds, of all threads together."""
    peak_bytes: int
    """Resident memory at its highest, all that Python and PyTorch take included."""


def length_costs(minutes: Sequence[float], model: str | None, sample_rate: int = 16_000) -> Iterator[LengthCost]:
    """Of files of noise that last so long.

    Raises:
        OSError: the command failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for length in minutes:
            source, coded, back = folder / "long.flac", folder / "long.xc", folder / "back.flac"
            _write_noise(source, length, sample_rate)
            yield _cost("encode", source, coded, length, model)
            yield _cost("decode", coded, back, length, model)


def _write_noise(path: Path, minutes: float, sample_rate: int) -> None:
    generator = np.random.default_rng(0)
    with audio.Writer(path, sample_rate) as writer:
        for _ in range(round(minutes * 60)):
            writer.write(0.1 * generator.standard_normal(sample_rate, dtype=np.float32))


def _cost(task: str, source: Path, target: Path, minutes: float, model: str | None) -> LengthCost:
    command = [sys.executable, "-m", "xcodec", task, str(source), str(target)]
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--model", model] if model else command)
    _, status, used = os.wait4(process.pid, 0)  # of this child alone, where getrusage would mix them all
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise OSError(f"xcodec {task} failed on {minutes:g} minutes (exit code {process.returncode})")
    return LengthCost(
        task, minutes, time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * _rss_unit()
    )


def _rss_unit() -> int:
    """Bytes that the kernel counts resident memory in."""
    return 1 if sys.platform == "darwin" else 1024
