"""Work that falls into independent parts, done by several processes that share the cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch


def side_by_side(work: Callable[..., None], parts: Sequence[tuple[Any, ...]], jobs: int) -> None:
    """Call `work(*part)` for every part, the first ones first.

    The first error of a part is raised here, and parts that have not begun are dropped: what the others made is kept
    on disk, and the same step goes on from there.
    """
    if jobs == 1:
        for part in parts:
            work(*part)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-flight
    with ProcessPoolExecutor(jobs, context, initializer=_share_cores, initargs=(jobs,)) as pool:
        try:
            for done in as_completed([pool.submit(work, *part) for part in parts]):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _share_cores(jobs: int) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
