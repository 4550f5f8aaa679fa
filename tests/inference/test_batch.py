from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.inference.batch import Plan, Task, Work, run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_codec(teacher=None).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    made = []
    for number in range(4):
        audio.write(tmp_path / f"{number}.wav", np.full(1_000, 0.1 * number, dtype=np.float32), 16_000)
        made.append(Task(tmp_path / f"{number}.wav", tmp_path / "out" / f"{number}.xc"))
    return made


def test_one_failing_file_does_not_stop_the_others(model: str, tasks: list[Task]) -> None:
    tasks[1].source.write_bytes(b"")
    outcomes = list(run(Work("encode", model), Plan(tasks, into_folder=True)))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, True]
    assert outcomes[1].error is not None
    assert str(tasks[1].source) in outcomes[1].error
    assert sorted(path.name for path in tasks[0].target.parent.iterdir()) == ["0.xc", "2.xc", "3.xc"]


def test_wrong_model_or_bandwidth_is_refused_before_any_work(model: str, tasks: list[Task]) -> None:
    for work in (Work("encode", "no-such-model"), Work("encode", model, bandwidth=3)):
        with pytest.raises(ValueError, match="no"):
            list(run(work, Plan(tasks, into_folder=True), jobs=2))
    assert not tasks[0].target.parent.exists()


def test_processes_give_the_same_files_and_survive_a_death(model: str, tasks: list[Task]) -> None:
    expected = [outcome.task.target for outcome in run(Work("encode", model), Plan(tasks, into_folder=True))]
    contents = [target.read_bytes() for target in expected]
    for target in expected:
        target.unlink()

    outcomes = []
    with closing(run(Work("encode", model), Plan(tasks, into_folder=True), jobs=2)) as running:
        outcomes.append(next(running))
        for process in multiprocessing.active_children():  # as the kernel does when memory runs out
            os.kill(process.pid or 0, signal.SIGKILL)
        outcomes += running
    assert {outcome.task.source for outcome in outcomes} == {task.source for task in tasks}
    died = [outcome for outcome in outcomes if outcome.error is not None]
    assert all("died (exit code -9)" in str(outcome.error) for outcome in died)
    assert len(died) <= 2
    for target, content in zip(expected, contents, strict=True):
        if target not in {outcome.task.target for outcome in died}:
            assert target.read_bytes() == content
    assert not multiprocessing.active_children()
