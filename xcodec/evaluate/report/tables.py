"""Tables of results, and their three forms: HTML, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xcodec.utils.json_lines import Record

ANCHOR = "original"
"""Is in the tables, but never the best: nothing was coded."""
ALPHA = 0.05


@dataclass(frozen=True)
class Cell:
    """One number, and what is known about it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    best: bool = False
    alike: bool = False
    """Not the best, but the paired test cannot tell it from that."""
    note: str = ""

    @property
    def text(self) -> str:
        """Three significant digits; a dash for what has no value."""
        return "–" if self.value is None else significant(self.value)

    @property
    def interval(self) -> str:
        """What to show beside the number."""
        return "" if self.low is None or self.high is None else f"{significant(self.low)} … {significant(self.high)}"


@dataclass(frozen=True)
class Table:
    """Rows of codecs, columns of measures."""

    title: str
    columns: tuple[str, ...]
    """Headings, with unit and an arrow that points to the better end."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    note: str = ""


@dataclass(frozen=True)
class Column:
    """How to read one measure from the record of a codec."""

    title: str
    better: str
    unit: str = ""
    values: dict[str, Cell] = field(default_factory=dict)
    """By codec."""

    @property
    def heading(self) -> str:
        """Title, unit, arrow."""
        arrow = {"higher": " ↑", "lower": " ↓"}.get(self.better, "")
        return f"{self.title}{f' ({self.unit})' if self.unit else ''}{arrow}"


def significant(value: float) -> str:
    """Three significant digits, without exponents.

    >>> significant(1234.5), significant(12.345), significant(0.012345), significant(0.0)
    ('1234', '12.3', '0.0123', '0')
    """
    if value == 0 or abs(value) < 1e-6:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text


def build(
    title: str, labels: Sequence[str], columns: Sequence[Column], paired: Record | None = None, note: str = ""
) -> Table:
    """A table of columns, the best of each marked.

    Args:
        title: its heading.
        labels: the codecs, in order.
        columns: what to show of them.
        paired: tests by column title, as in `summary.json`.
        note: below it.
    """
    marked = [_marked(column, (paired or {}).get(column.title, [])) for column in columns]
    rows = tuple((label, tuple(column.get(label, Cell()) for column in marked)) for label in labels)
    return Table(title, tuple(column.heading for column in columns), rows, note)


def _marked(column: Column, tests: Sequence[Record]) -> dict[str, Cell]:
    rivals = {label: cell.value for label, cell in column.values.items() if label != ANCHOR and cell.value is not None}
    if column.better not in ("higher", "lower") or len(rivals) < 2:
        return column.values
    best = (max if column.better == "higher" else min)(rivals, key=lambda label: rivals[label])
    alike = {
        label
        for test in tests
        for label in (test["first"], test["second"])
        if best in (test["first"], test["second"]) and test["p_corrected"] >= ALPHA
    }
    return {
        label: Cell(
            cell.value,
            cell.low,
            cell.high,
            # Whatever is equal to the best is the best, too.
            best=label in rivals and cell.value == rivals[best],
            alike=label in rivals and label in alike and cell.value != rivals[best],
            note=cell.note,
        )
        for label, cell in column.values.items()
    }


def to_markdown(tables: Sequence[Table]) -> str:
    """GitHub's tables; the best in bold, what cannot be told from it with ≈."""
    parts = []
    for table in tables:
        lines = [f"## {table.title}", "", "| | " + " | ".join(table.columns) + " |"]
        lines.append("|---|" + "---:|" * len(table.columns))
        lines += [f"| {label} | " + " | ".join(map(_markdown_cell, cells)) + " |" for label, cells in table.rows]
        parts.append("\n".join(lines + (["", table.note] if table.note else [])))
    return "\n\n".join(parts) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else f"{cell.text} ≈" if cell.alike else cell.text
    return f"{text} {cell.note}".strip()


def to_csv(tables: Sequence[Table]) -> str:
    """One line per number, for programs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "codec", "measure", "value", "low", "high", "best"])
    for table in tables:
        for label, cells in table.rows:
            for heading, cell in zip(table.columns, cells, strict=True):
                if cell.value is not None:
                    writer.writerow(
                        [table.title, label, heading, *map(_plain, (cell.value, cell.low, cell.high)), int(cell.best)]
                    )
    return file.getvalue()


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"
