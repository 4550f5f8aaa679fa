from __future__ import annotations

import csv
import io

import pytest

from xcodec.evaluate.report.tables import Cell, Column, build, to_csv, to_markdown


def table(better: str = "higher") -> object:
    cells = {"original": Cell(4.6), "a@1": Cell(2.0, 1.8, 2.2), "b@1": Cell(3.0), "c@1": Cell(2.9), "d@1": Cell()}
    tests = [
        {"first": "a@1", "second": "b@1", "p_corrected": 0.01},
        {"first": "b@1", "second": "c@1", "p_corrected": 0.6},
        {"first": "a@1", "second": "c@1", "p_corrected": 0.9},
    ]
    return build("Speech", list(cells), [Column("PESQ", better, "MOS", cells)], {"PESQ": tests})


def marks(built: object) -> dict[str, str]:
    rows = built.rows  # type: ignore[attr-defined]
    return {label: "best" if cell.best else "alike" if cell.alike else "" for label, (cell,) in rows}


def test_the_best_is_marked_and_what_cannot_be_told_from_it() -> None:
    # The original is out of the contest; "a" is like "c" but not like the best.
    assert marks(table()) == {"original": "", "a@1": "", "b@1": "best", "c@1": "alike", "d@1": ""}
    assert marks(table("lower"))["a@1"] == "best"
    assert marks(table("lower"))["original"] == ""
    assert set(marks(table("neither")).values()) == {""}


def test_markdown_has_the_best_in_bold() -> None:
    assert to_markdown([table()]) == (  # type: ignore[list-item]
        "## Speech\n\n| | PESQ (MOS) ↑ |\n|---|---:|\n"
        "| original | 4.6 |\n| a@1 | 2 |\n| b@1 | **3** |\n| c@1 | 2.9 ≈ |\n| d@1 | – |\n"
    )


def test_csv_has_a_line_per_number() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([table()]))))  # type: ignore[list-item]
    assert [row["codec"] for row in rows] == ["original", "a@1", "b@1", "c@1"]
    assert (float(rows[1]["value"]), float(rows[1]["low"]), float(rows[1]["high"])) == pytest.approx((2, 1.8, 2.2))
    assert [row["best"] for row in rows] == ["0", "0", "1", "0"]
