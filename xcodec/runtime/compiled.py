"""Our library in C, compiled once for the processor at hand.

That takes about two seconds. The library is then kept in the user's cache, by what it was made of, with what, and for
which processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """Compiled now or earlier; None where that does not work. With the types of what its functions take."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or os.name != "posix":
        return None
    try:
        # Not linked with OpenMP: its functions are those that PyTorch has loaded, so both share their threads.
        made = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None
    number: Any = ctypes.c_long
    pointer: Any = ctypes.c_void_p
    made.product.argtypes = [number] * 5 + [pointer, number] + [pointer] * 7 + [number] * 3
    made.nearest.argtypes = [number] * 3 + [pointer] * 5 + [number] * 2
    made.quantise.argtypes = [number] * 2 + [pointer] * 3 + [ctypes.c_float, number]
    made.whole_product.argtypes = [number] * 3 + [pointer, number] * 2 + [pointer] * 4 + [number] * 3
    made.standardise.argtypes = [number] * 2 + [pointer] * 3 + [ctypes.c_float, number]
    made.gelu.argtypes = [number, pointer, number]
    made.short_filter.argtypes = [number] * 4 + [pointer] * 9 + [number] * 2
    for function in (
        made.product,
        made.nearest,
        made.quantise,
        made.whole_product,
        made.standardise,
        made.gelu,
        made.short_filter,
    ):
        function.restype = None
    return made


def loaded() -> ctypes.CDLL:
    """The library, where it is known that there is one."""
    made = library()
    assert made is not None
    return made


def _compiled(compiler: str) -> Path:
    source = Path(__file__).with_name("kernels.c")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    made_of = b"\0".join([source.read_bytes(), " ".join(FLAGS).encode(), version, _processor()])
    name = f"kernels-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xcodec"
    if (folder / name).exists():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder))
    except OSError:  # a home that cannot be written: then for this process alone
        folder = work = Path(tempfile.mkdtemp())
    try:
        for command in (
            [compiler, *FLAGS, "-c", str(source), "-o", str(work / "kernels.o")],
            [compiler, "-shared", str(work / "kernels.o"), "-o", str(work / name)],
        ):
            subprocess.run(command, capture_output=True, check=True, timeout=300)
        return (work / name).rename(folder / name)
    finally:
        if work != folder:
            shutil.rmtree(work)


def _processor() -> bytes:
    """What `-march=native` looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)})).encode()
