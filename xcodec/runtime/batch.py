"""The same work on many files, in one process or several."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from xcodec.runtime.errors import debugging, one_line
from xcodec.runtime.plan import Operation, Plan, Task
from xcodec.runtime.signals import raise_on_signals

if TYPE_CHECKING:
    from xcodec.runtime.files import FileReport
    from xcodec.runtime.load import Engine
    from xcodec.runtime.recording import Channels, Progress


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a report, or an error in one line."""

    task: Task
    report: FileReport | None = None
    error: str | None = None


@dataclass(frozen=True)
class Work:
    """What is to be done to each file, in a form that another process can be given."""

    operation: Operation
    model: str | None = None
    """As `xcodec.load` takes it."""
    device: str = "cpu"
    bandwidth: float | None = None
    channels: Channels = "mix"
    engine: Engine = "exact"

    def start(self, make_folders: bool) -> Callable[[Path, Path, Progress | None], FileReport]:
        """Load the model; gives the function that makes a target from a source, and says how far it is.

        Raises:
            ValueError: the model cannot be loaded, or lacks the bandwidth, or there is no such device.
        """
        from xcodec.runtime.files import FileCodec
        from xcodec.runtime.load import load

        _check_device(self.device)
        codec = load(self.model, device=self.device, engine=self.engine)
        files = FileCodec(codec, self.bandwidth, self.channels, make_folders)
        return {"encode": files.encode, "decode": files.decode, "reconstruct": files.reconstruct}[self.operation]


def run(work: Work, plan: Plan, jobs: int = 1, progress: Progress | None = None) -> Generator[Outcome]:
    """Do the work on every file. A file that fails does not stop the others.

    Args:
        work: what to do.
        plan: on which files.
        jobs: in how many processes; each loads the model and takes its share of the cores.
        progress: is told, where there is one process, what share of the file at hand is done.

    Yields:
        Outcomes, in the order in which they come. Closing the iterator ends the work, and leaves no debris.

    Raises:
        ValueError: as `Work.start` does; nothing has been done then.
    """
    # In any case, so that what would fail in every process is refused before there is any.
    operate = work.start(plan.into_folder)
    jobs = min(jobs, len(plan.tasks))
    if jobs > 1:
        yield from _run_in_processes(work, plan, jobs)
        return
    for task in plan.tasks:
        yield _attempt(operate, task, progress)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on device {name}: {str(error).splitlines()[0]}") from error


def _attempt(
    operate: Callable[[Path, Path, Progress | None], FileReport], task: Task, progress: Progress | None = None
) -> Outcome:
    try:
        return Outcome(task, report=operate(task.source, task.target, progress))
    except Exception as error:
        if debugging():
            traceback.print_exc()
        message = one_line(error)
        if str(task.source) not in message and str(task.target) not in message:
            message = f"{task.source}: {message}"
        return Outcome(task, error=message)


class _Worker:
    """A process that takes one task at a time."""

    def __init__(self, work: Work, make_folders: bool, jobs: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-flight
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, make_folders, jobs), daemon=True)
        with _interrupts_blocked():
            self.process.start()
        theirs.close()  # so that the connection ends when the process does
        self.task: Task | None = None

    def give(self, task: Task | None) -> None:
        self.task = task
        if task is not None:
            self.connection.send(task)

    def result(self) -> Outcome:
        """The outcome of its task.

        Raises:
            EOFError, ConnectionError: the process died of it.
        """
        outcome: Outcome = self.connection.recv()
        return outcome


def _run_in_processes(work: Work, plan: Plan, jobs: int) -> Generator[Outcome]:
    waiting = iter(plan.tasks)
    workers: list[_Worker] = []
    try:
        for task in islice(waiting, jobs):
            workers.append(_Worker(work, plan.into_folder, jobs))
            workers[-1].give(task)
        while busy := [worker for worker in workers if worker.task is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection not in ready:
                    continue
                try:
                    outcome = worker.result()
                except (EOFError, ConnectionError):
                    outcome = _died(worker)
                    workers.remove(worker)
                    worker = _Worker(work, plan.into_folder, jobs)
                    workers.append(worker)
                worker.give(next(waiting, None))
                yield outcome
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.connection.close()  # ends it after its task, should the signal be lost in a library
        for worker in workers:
            worker.process.join()  # until it has cleared away what it was writing


def _died(worker: _Worker) -> Outcome:
    assert worker.task is not None
    worker.process.join()
    error = f"the process at work on it died (exit code {worker.process.exitcode}); is there enough memory?"
    return Outcome(worker.task, error=f"{worker.task.source}: {error}")


def _serve(connection: Connection, work: Work, make_folders: bool, jobs: int) -> None:
    """What a worker process does."""
    raise_on_signals(exit_code=0)
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    operate = work.start(make_folders)
    with suppress(EOFError, ConnectionError):  # the parent wants no more, or is gone
        while True:
            connection.send(_attempt(operate, connection.recv()))


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which a terminal sends to all: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
