"""Work by several processes: none of it lost, none of it left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from xcodec.utils.parallel import ATTEMPTS, WorkerDiedError, parallel_map, run_tasks


def squares(offset: int) -> Callable[[int], tuple[int, int]]:
    return lambda number: (number**2 + offset, os.getpid())


def fail_to_set_up() -> Callable[[int], int]:
    raise ValueError("there is no such model")


def mortal(folder: Path, deaths: int) -> Callable[[int], int]:
    """Of task 1, the first ``deaths`` processes die."""

    def work(number: int) -> int:
        if number == 1 and len(list(folder.iterdir())) < deaths:
            (folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    return work


class UnpicklableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(folder: Path, name: str) -> None:
    """Write until stopped, or fail once another is writing."""
    if name == "fails":
        while not list(folder.glob("*.part")):
            time.sleep(0.02)
        raise ValueError("this part failed")
    part = folder / f"{os.getpid()}.part"
    try:
        part.touch()
        time.sleep(60)
    finally:
        part.unlink()


def raise_unpicklable(number: int) -> None:
    raise UnpicklableError(number, number)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").exists() and ") Z " in Path(f"/proc/{process}/stat").read_text()


def wait_until(fact: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_same_results_in_one_process_and_in_several() -> None:
    here = list(run_tasks(partial(squares, 1), range(7), 1))
    there = list(run_tasks(partial(squares, 1), range(7), 2))
    assert [value for value, _ in here] == [1, 2, 5, 10, 17, 26, 37]
    assert sorted(value for value, _ in there) == [1, 2, 5, 10, 17, 26, 37]
    assert {process for _, process in here} == {os.getpid()}
    assert os.getpid() not in {process for _, process in there}
    assert not multiprocessing.active_children()


def test_tasks_are_taken_only_when_a_process_is_free() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    with closing(run_tasks(partial(squares, 0), tasks(), 2)) as results:
        for done, _ in enumerate(results, start=1):
            assert taken <= done + 2


def test_no_more_processes_than_tasks() -> None:
    with closing(run_tasks(partial(squares, 0), [1], 8)) as results:
        next(results)
        assert len(multiprocessing.active_children()) == 1


def test_what_setup_or_a_task_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="there is no such model"):
        list(run_tasks(fail_to_set_up, range(3), 2))
    with pytest.raises(RuntimeError, match="UnpicklableError: 1 and 1"):
        list(parallel_map(raise_unpicklable, [(1,)], 2))
    assert not multiprocessing.active_children()


def test_the_first_error_ends_the_others_and_they_clear_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this part failed"):
        list(parallel_map(fail, [(tmp_path, "writes"), (tmp_path, "fails")], 2))
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_a_task_whose_process_dies_is_given_to_another(tmp_path: Path) -> None:
    results = run_tasks(partial(mortal, tmp_path, ATTEMPTS - 1), range(5), 2)
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == ATTEMPTS - 1


def test_a_task_that_kills_whoever_does_it_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    def died(task: int, error: WorkerDiedError) -> int:
        assert "exit code -9" in str(error)
        return -task

    results = run_tasks(partial(mortal, tmp_path, 1_000), range(5), 2, died)
    assert sorted(results) == [-1, 0, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == ATTEMPTS
    with pytest.raises(WorkerDiedError, match="enough memory"):
        list(run_tasks(partial(mortal, tmp_path, 1_000), range(5), 2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(tmp_path: Path, number: int) -> None:
    """And none leaves a half-written file, unless it is killed itself."""
    program = (
        "import sys, pathlib\n"
        "from tests.utils.test_parallel import fail\n"
        "from xcodec.utils.parallel import parallel_map\n"
        "from xcodec.utils.signals import raise_on_signals\n"
        "if __name__ == '__main__':\n"
        "    raise_on_signals(143)\n"
        "    list(parallel_map(fail, [(pathlib.Path(sys.argv[1]), 'writes')] * 2, 2))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    parts = tmp_path / "parts"
    parts.mkdir()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, str(script), str(parts)], env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(parts.iterdir())) == 2)
    workers = [int(part.stem) for part in parts.iterdir()]
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: all(map(gone, workers)))
    assert not list(parts.iterdir())
