"""The one pool of processes: tasks in, results out as they come, whatever happens to a process meanwhile.

    def encoder(model: str) -> Callable[[Path], Codes]:      # called once in each process
        codec = xcodec.load(model)
        return lambda path: codec.encode(read(path))

    with closing(run_tasks(partial(encoder, "xcodec-mini"), paths, jobs=4)) as results:
        for codes in results: ...

Each process has one task at a time and gets the next when its result has been taken: neither tasks nor results pile up.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from xcodec.utils.errors import debugging, warn_in_one_line
from xcodec.utils.signals import ENDING, raise_on_signals

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3
"""How many processes may die of a task. One may be the victim of another: when memory runs out, the kernel chooses."""
_PATIENCE = 10.0
"""Seconds that a process has to clear away what it was writing, before it is killed."""


class WorkerDiedError(OSError):
    """The processes that were given a task died, each without an exception."""


def run_tasks(
    setup: Callable[[], Callable[[Task], Result]],
    tasks: Iterable[Task],
    jobs: int,
    died: Callable[[Task, WorkerDiedError], Result] | None = None,
) -> Generator[Result]:
    """Do tasks in several processes, which share the cores.

    Processes are spawned, ignore Ctrl-C (their parent ends them), turn SIGTERM into SystemExit, by which half-written
    files go, and end when their parent does, even if that is killed. Closing the generator, or an exception of a task,
    ends them all and waits until they are gone.

    Args:
        setup: called once in each process; gives the function that does a task. Must be picklable, as must tasks and
            results: a function of a module, or a ``partial`` of one.
        tasks: taken one by one, only when a process is free.
        jobs: processes, at most. With one, everything happens in this one.
        died: gives the result of a task of which ``ATTEMPTS`` processes died; by default, that is raised.

    Yields:
        Results, in the order in which they come.

    Raises:
        WorkerDiedError: see ``died``.
        Exception: whatever ``setup`` or a task raised.
    """
    if jobs < 2:
        work = setup()
        for task in tasks:
            yield work(task)
        return
    pool = _Pool(setup, jobs, iter(tasks))
    try:
        yield from pool.results(died)
    finally:
        pool.close()


class _Pool:
    def __init__(self, setup: Callable[[], Any], jobs: int, tasks: Iterator[Any]) -> None:
        self._setup, self._jobs, self._tasks = setup, jobs, tasks
        self._again: deque[tuple[Any, int]] = deque()  # tasks whose process died, and how many did
        self._workers: list[_Worker] = []

    def results(self, died: Callable[[Any, WorkerDiedError], Any] | None) -> Iterator[Any]:
        while True:
            self._give_tasks()
            busy = {worker.connection: worker for worker in self._workers if worker.busy}
            if not busy:
                return
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                try:
                    raised, value = worker.take()
                except (EOFError, ConnectionError):
                    self._workers.remove(worker)
                    error = worker.death()
                    if worker.attempt < ATTEMPTS:
                        self._again.append((worker.task, worker.attempt + 1))
                    elif died is None:
                        raise error from None
                    else:
                        yield died(worker.task, error)
                    continue
                if raised:
                    raise value
                yield value

    def _give_tasks(self) -> None:
        """Let no process be idle while there are tasks; processes are started as they are needed."""
        for worker in self._workers:
            if not worker.busy and (task := self._next()) is not None:
                worker.give(*task)
        while len(self._workers) < self._jobs and (task := self._next()) is not None:
            self._workers.append(_Worker(self._setup, self._jobs))
            self._workers[-1].give(*task)

    def _next(self) -> tuple[Any, int] | None:
        if self._again:
            return self._again.popleft()
        for task in self._tasks:
            return task, 1
        return None

    def close(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
            worker.connection.close()  # ends it after its task, should the signal be lost in a library
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()


class _Worker:
    """A process that takes one task at a time."""

    def __init__(self, setup: Callable[[], Any], jobs: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-flight
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(_share_of_cores(jobs), theirs, setup), daemon=True)
        with _signals_blocked():
            self.process.start()
        theirs.close()  # so that the connection ends when the process does
        self.busy = False
        self.task: Any = None
        self.attempt = 0

    def give(self, task: Any, attempt: int) -> None:
        self.busy, self.task, self.attempt = True, task, attempt
        with suppress(ConnectionError):  # it died while it was idle; `take` finds that out
            self.connection.send(task)

    def take(self) -> tuple[bool, Any]:
        """Whether its task raised an exception, and that or the result.

        Raises:
            EOFError, ConnectionError: the process died.
        """
        raised, value = self.connection.recv()
        self.busy = False
        return raised, value

    def death(self) -> WorkerDiedError:
        self.process.join()
        code = self.process.exitcode
        return WorkerDiedError(f"the process at work on it died (exit code {code}); is there enough memory?")


def _serve(threads: int, connection: Connection, setup: Callable[[], Callable[[Any], Any]]) -> None:
    """What a worker process does."""
    raise_on_signals(exit_code=0)
    warn_in_one_line()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes tells the parent, which ends this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_threads(threads)
    work: Callable[[Any], Any] | None = None
    with suppress(EOFError, ConnectionError):  # the parent wants no more
        while True:
            task = connection.recv()
            try:
                work = work or setup()
                answer = (False, work(task))
            except Exception as error:
                if debugging():
                    traceback.print_exc()
                answer = (True, _picklable(error))
            connection.send(answer)


def _share_of_cores(jobs: int) -> int:
    cores = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else os.cpu_count() or 1
    return max(1, int(cores) // jobs)


def _limit_threads(threads: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    else:  # what imports it later will find this; not every task needs it, and it takes seconds
        os.environ["OMP_NUM_THREADS"] = str(threads)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Leave no process behind, even when the parent is killed; its own half-written files go first, if they can."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process started here never gets Ctrl-C, which a terminal sends to all, and other signals when it is ready.

    In this process, none comes between the start of that process and the note of what is to be ended.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- functions that need nothing set up -----------------------------------------------------------------------------


def parallel_map(
    work: Callable[..., Result],
    parts: Iterable[tuple[Any, ...]],
    jobs: int,
    start: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Generator[Result]:
    """``work(*part)`` for every part, by :func:`run_tasks`; each process first calls ``start(*given)``."""
    return run_tasks(partial(_starred, work, start, given), parts, jobs)


def run_all(work: Callable[..., None], parts: Iterable[tuple[Any, ...]], jobs: int) -> None:
    """:func:`parallel_map` of work whose results are on disk."""
    for _ in parallel_map(work, parts, jobs):
        pass


def _starred(
    work: Callable[..., Result], start: Callable[..., None] | None, given: tuple[Any, ...]
) -> Callable[[tuple[Any, ...]], Result]:
    if start is not None:
        start(*given)
    return lambda part: work(*part)
