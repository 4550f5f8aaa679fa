"""Work by several processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from xcodec.utils.parallel import finish, side_by_side

OWN: list[int] = []


def square(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def begin(value: int) -> None:
    OWN.append(value)


def what_began() -> list[int]:
    return OWN


def leave_a_mark(folder: Path, name: str, seconds: float) -> None:
    (folder / f"{name} began").touch()
    time.sleep(seconds)
    (folder / f"{name} ended").touch()


def fail(folder: Path) -> None:
    while not list(folder.glob("* began")):  # until another part is at work
        time.sleep(0.05)
    raise ValueError("this part failed")


def die() -> None:
    os._exit(1)


def either(folder: Path, name: str) -> None:
    fail(folder) if name == "fails" else leave_a_mark(folder, name, 60)


def test_every_part_is_done_by_one_process_or_by_several() -> None:
    parts = [(number,) for number in range(5)]
    here = list(side_by_side(square, parts, 1))
    there = list(side_by_side(square, parts, 2))
    assert [value for value, _ in here] == [0, 1, 4, 9, 16]
    assert sorted(value for value, _ in there) == [0, 1, 4, 9, 16]
    assert {process for _, process in here} == {os.getpid()}
    assert os.getpid() not in {process for _, process in there}


def test_other_processes_start_with_what_they_are_given() -> None:
    assert list(side_by_side(what_began, [()], 2, begin, (7,))) == [[7]]
    assert OWN == []


def test_the_first_error_ends_it_without_waiting_for_the_others(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="this part failed"):
        finish(either, [(tmp_path, "waits"), (tmp_path, "fails")], 2)
    assert time.monotonic() - began < 50  # the other one would have slept for longer
    assert [path.name for path in tmp_path.iterdir()] == ["waits began"]


def test_a_process_that_dies_is_said() -> None:
    with pytest.raises(ValueError, match="a process at work died"):
        finish(die, [(), ()], 2)
