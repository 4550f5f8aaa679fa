"""Errors as people see them."""

from __future__ import annotations

import os
import re
import sys
import warnings
from importlib.metadata import PackageNotFoundError, requires

MODULES = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Packages whose module has another name; elsewhere only _ and - differ."""


def one_line(error: BaseException) -> str:
    """An error as one line, without control characters that a hostile file name may hold.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "tune.wav"))
    'tune.wav: No such file or directory'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, ValueError | OSError):
        text = str(error)
    elif isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):  # wherever PyTorch noticed it
        text = f"{error} It read the data; is there enough memory? --resume goes on from the last checkpoint"
    elif isinstance(error, ModuleNotFoundError) and (extras := _extras_with(error.name or "")):
        commands = " or ".join(f"pip install 'xcodec[{extra}]'" for extra in extras)
        text = f"{error.name} is not installed; get it with: {commands}"
    else:
        text = f"unexpected {type(error).__name__}: {error} (XCODEC_DEBUG=1 shows where)"
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)


def say_error(message: str) -> None:
    """Print the line that stands for a failure, on standard error."""
    print(f"error: {message}", file=sys.stderr)


def warn_in_one_line() -> None:
    """From now on, a warning is one line on standard error, without its place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show


def _extras_with(module: str) -> list[str]:
    """The extras of this package that install a module."""
    top = module.split(".")[0]
    package = MODULES.get(top, top).replace("_", "-").lower()
    try:
        known = requires("xcodec") or []
    except PackageNotFoundError:  # a checkout that was never installed
        return []
    found = [re.match(r"""([\w.-]+).*extra *== *["']([\w-]+)""", requirement) for requirement in known]
    extras = {match[2] for match in found if match and match[1].replace("_", "-").lower() == package}
    return sorted(extras - {"dev"})


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("XCODEC_DEBUG", "") not in ("", "0")
