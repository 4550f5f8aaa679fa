"""Random inputs for everything that reads what people have: audio files, manifests, text."""

from __future__ import annotations

import faulthandler
import time
from pathlib import Path

LAST = "last.txt"
"""File in which a target keeps the input that it is trying."""


_HANG_SECONDS = 60
_armed = 0.0


def about_to_try(folder: Path, what: str) -> None:
    """Keep an input for the case that it takes the process with it, or never ends."""
    global _armed
    (folder / LAST).write_text(what)
    if time.monotonic() > _armed + 5:  # the clock is a thread, which costs more than most inputs
        _armed = time.monotonic()
        faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)


def check_message(error: Exception) -> None:
    """A refusal is one line with words in it."""
    message = str(error)
    assert message.strip(), f"{type(error).__name__} without a message"
    assert "\n" not in message, message
