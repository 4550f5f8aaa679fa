"""Work that falls into independent parts, done by several processes that share the cores."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Result = TypeVar("Result")


def side_by_side(
    work: Callable[..., Result],
    parts: Sequence[tuple[Any, ...]],
    jobs: int,
    start: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """What `work(*part)` gives for every part, as they are done; begun in their order.

    Whoever stops, by an interrupt, an error of a part, or by asking for no more, waits for nobody: parts that are half
    done are lost, and what others keep on disk has to be whole at any moment.

    Args:
        work: a function of a module, which other processes can import.
        parts: what it is given.
        jobs: processes. With one, everything happens in this one.
        start: called once in each other process, with `given`.
        given: to `start`.

    Raises:
        ValueError: a process died.
    """
    if jobs == 1:
        for part in parts:
            yield work(*part)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-flight
    others = set(multiprocessing.active_children())
    processes = max(1, min(jobs, len(parts)))
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(processes, start, given)) as pool:
        futures = [pool.submit(work, *part) for part in parts]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ValueError("a process at work died; is there enough memory? Run again to go on") from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def finish(work: Callable[..., None], parts: Sequence[tuple[Any, ...]], jobs: int) -> None:
    """The same, of work that keeps on disk what it makes."""
    for _ in side_by_side(work, parts, jobs):
        pass


def _begin(processes: int, start: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    import torch

    # A Ctrl-C reaches every process of a terminal; the one that started the others ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    if start is not None:
        start(*given)
