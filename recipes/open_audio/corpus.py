"""A corpus folder: its journal, its manifest, its splits and its table.

The journal (`journal.jsonl`) gains a line the moment a clip is done, so that a killed run continues where it
was; the manifest (`manifest.jsonl`) is written whole at the end, in the order of the sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HELD_OUT = {"valid": 0.02, "test": 0.02}


def split_of(group: str) -> str:
    """The split of a group of clips, from a hash of its name: the same on every machine and in every run."""
    position = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    for split, share in HELD_OUT.items():
        if position < share:
            return split
        position -= share
    return "train"


class Journal:
    """What became of every clip so far, on disk."""

    def __init__(self, path: Path) -> None:
        """Read the journal at `path`, and keep others from writing to it while this process lives.

        Raises:
            BlockingIOError: Another run has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another run is at work in {path.parent}; wait for it to end") from None
        self.done: dict[str, dict[str, Any]] = {}
        self._file.seek(0)
        for line in self._file:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line a killed run was writing; its clip is simply done again
            self.done[entry.pop("key")] = entry
        self._file.truncate(0)
        self._file.writelines(self._line(*item) for item in self.done.items())
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, key: str, entry: dict[str, Any]) -> None:
        """Note that the clip `key` is done."""
        self.done[key] = entry
        self._file.write(self._line(key, entry))
        self._file.flush()

    @staticmethod
    def _line(key: str, entry: dict[str, Any]) -> str:
        return json.dumps({"key": key, **entry}, ensure_ascii=False) + "\n"


def write_manifest(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line; the file appears whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(partial, path)


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest, or none when it is not there yet."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def print_tables(console: Console, rows: list[dict[str, Any]]) -> None:
    """Hours per source with licences, and per domain, split and language."""
    table = Table(title="sources")
    for column in ("source", "domain", "clips", "hours", "kHz band", "licence"):
        table.add_column(column, justify="right" if column in ("clips", "hours", "kHz band") else "left")
    by_source = defaultdict(list)
    for row in rows:
        by_source[row["source"], row["domain"]].append(row)
    for (source, domain), clips in by_source.items():
        band = sorted(clip["bandwidth"] for clip in clips)[len(clips) // 2] / 1000
        table.add_row(source, domain, str(len(clips)), _hours(clips), f"{band:.1f}", clips[0]["licence"])
    console.print(table)

    for field in ("domain", "split", "language"):
        seconds: Counter[str] = Counter()
        for row in rows:
            if row[field]:
                seconds[row[field]] += row["seconds"]
        totals = (f"{value} {total / 3600:.2f} h" for value, total in seconds.most_common())
        console.print(f"[bold]{field}[/bold]: " + " · ".join(totals))
    console.print(f"[bold]all[/bold]: {len(rows)} clips, {_hours(rows)} h")


def _hours(rows: list[dict[str, Any]]) -> str:
    return f"{sum(row['seconds'] for row in rows) / 3600:.2f}"
