"""Errors as people see them."""

from __future__ import annotations

import os


def one_line(error: BaseException) -> str:
    """An error as one line, without control characters that a hostile file name may hold.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "tune.wav"))
    'tune.wav: No such file or directory'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, ValueError | OSError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error} (XCODEC_DEBUG=1 shows where)"
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("XCODEC_DEBUG", "") not in ("", "0")
