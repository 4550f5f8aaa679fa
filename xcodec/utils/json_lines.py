"""Files of JSON, and of JSON lines that a run adds to and a later run continues."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xcodec.utils.files import atomic_write

Record = dict[str, Any]


def read_lines(path: Path) -> list[Record]:
    """The whole lines of a file; half a line at its end, left by a killed run, is dropped.

    Raises:
        ValueError: any other line is not JSON.
    """
    records = []
    lines = path.read_text("utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            records += [json.loads(line)] if line else []
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: {error}") from None
    return records


def write_lines(path: Path, records: Sequence[Record]) -> None:
    """Replace a file, whole or not at all."""
    with atomic_write(path) as temporary:
        append_lines(temporary, records)


def append_lines(path: Path, records: Sequence[Record]) -> None:
    """Add to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(each, ensure_ascii=False, allow_nan=False) + "\n" for each in records))


def write_json(path: Path, value: object) -> None:
    """Write a file for people and programs, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
