"""kernels.c as a library, compiled once for the processor at hand.

That takes two seconds. The library is then kept in the user's cache, under the hash of what it was made of (source,
compiler, processor) and the hash of itself: a file that was cut short or damaged there is never loaded, but made again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")

_LONG, _FLOAT, _POINTER = ctypes.c_long, ctypes.c_float, ctypes.c_void_p
SIGNATURES: dict[str, Sequence[type]] = {
    "matmul": [*[_LONG] * 5, _POINTER, _LONG, *[_POINTER] * 7, *[_LONG] * 3],
    "int16_matmul": [*[_LONG] * 3, _POINTER, *[_LONG] * 2, *[_POINTER] * 4, *[_LONG] * 3],
    "quantize": [*[_LONG] * 2, *[_POINTER] * 3, _FLOAT, _LONG],
    "winograd_conv": [*[_LONG] * 4, *[_POINTER] * 9, *[_LONG] * 2],
    "nearest": [*[_LONG] * 3, *[_POINTER] * 5, *[_LONG] * 2],
    "instance_norm": [*[_LONG] * 2, *[_POINTER] * 3, _FLOAT, _LONG],
    "depthwise_norm": [*[_LONG] * 3, *[_POINTER] * 5, _FLOAT, _POINTER, _LONG],
    "gelu": [_LONG, _POINTER, _LONG],
}


@cache
def library() -> ctypes.CDLL | None:
    """The library, compiled now or earlier; None where that does not work."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not compiler or shutil.which(compiler[0]) is None or os.name != "posix":
        return None
    try:
        loaded = _cached_or_compiled(compiler)
    except (OSError, subprocess.SubprocessError):
        return None
    for name, types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = types, None
    return loaded


def _cached_or_compiled(compiler: Sequence[str]) -> ctypes.CDLL:
    source = Path(__file__).with_name("kernels.c")
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    made_of = _hash(b"\0".join([source.read_bytes(), " ".join([*compiler, *FLAGS]).encode(), version, _processor()]))
    cache_folder = _cache_folder()
    for path in cache_folder.glob(f"kernels-{made_of}-*.so") if cache_folder else ():
        if path.stem == f"kernels-{made_of}-{_hash(path.read_bytes())}":
            return ctypes.CDLL(str(path))
        path.unlink(missing_ok=True)
    # Without a cache, the library lives as long as this process; its file can go once it is loaded.
    with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
        built = _compile(compiler, source, Path(folder))
        if cache_folder is not None:
            built = built.rename(cache_folder / f"kernels-{made_of}-{_hash(built.read_bytes())}.so")
        return ctypes.CDLL(str(built))


def _compile(compiler: Sequence[str], source: Path, folder: Path) -> Path:
    # Not linked with OpenMP: its functions are those that PyTorch has loaded, so both share their threads.
    for command in (
        [*compiler, *FLAGS, "-c", str(source), "-o", str(folder / "kernels.o")],
        [*compiler, "-shared", str(folder / "kernels.o"), "-o", str(folder / "kernels.so")],
    ):
        subprocess.run(command, capture_output=True, check=True, timeout=300)
    return folder / "kernels.so"


def _cache_folder() -> Path | None:
    """Where libraries are kept; None if there is no place that can be written to, such as a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    folder = Path(base, "xcodec")
    if not folder.is_absolute():  # a user who has no home
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _processor() -> bytes:
    """What `-march=native` looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)})).encode()
