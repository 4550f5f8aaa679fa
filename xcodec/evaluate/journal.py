"""A file of JSON lines that a run adds to and a later run goes on with."""

from __future__ import annotations

import json
from pathlib import Path

from xcodec.utils.json_lines import Record, append_lines, read_lines, write_json, write_lines


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
