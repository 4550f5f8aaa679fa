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


class Journal:
    """`clips.jsonl` in a folder, and `settings.json` beside it: what all its lines were made with.

    Args:
        folder: is made if it does not exist.
        settings: anything that JSON holds.
        name: of another journal in the same folder, which then has `NAME.jsonl` and `NAME-settings.json`.

    Raises:
        ValueError: the folder has lines of other settings, or a line that is not JSON.
    """

    def __init__(self, folder: Path, settings: Record, name: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name or 'clips'}.jsonl"
        known = folder / f"{name}-settings.json".lstrip("-")
        if known.exists() and self.path.exists():
            before = json.loads(known.read_text("utf-8"))
            if changed := sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key)):
                raise ValueError(
                    f"{folder} was made with another {', '.join(changed)} "
                    f"({', '.join(repr(before.get(key)) for key in changed)}); choose another --out, or delete it"
                )
        write_json(known, settings)
        self.records = read_lines(self.path) if self.path.exists() else []
        if self.path.exists():
            # A run that was killed may have left half a line, which must not run into the next.
            write_lines(self.path, self.records)

    def add(self, records: list[Record]) -> None:
        """Append lines."""
        self.records += records
        append_lines(self.path, records)
