"""Random inputs for everything that reads what people have: audio files, manifests, text."""

from __future__ import annotations

LAST = "last.txt"
"""File in which a target keeps the input that it is trying."""


def check_message(error: Exception) -> None:
    """A refusal is one line with words in it."""
    message = str(error)
    assert message.strip(), f"{type(error).__name__} without a message"
    assert "\n" not in message, message
