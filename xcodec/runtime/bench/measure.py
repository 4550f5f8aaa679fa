"""Timing, interleaved: every candidate takes a turn before any takes its second, so all meet the same disturbances."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from xcodec.runtime.bench.candidates import Candidate


@dataclass(frozen=True)
class Condition:
    """What all candidates are given."""

    seconds: float
    batch: int
    threads: int


@dataclass(frozen=True)
class Timing:
    """One candidate under one condition."""

    name: str
    task: str
    """`encode` or `decode`."""
    seconds: float
    batch: int
    threads: int
    wall: float
    """Median seconds per second of audio (of all clips together)."""
    processor: float
    """Median seconds of processor time, of all threads together, per second of audio: what other work on the machine
    disturbs least."""
    spread: float
    """Slowest over fastest turn, in wall time."""

    @property
    def real_time(self) -> float:
        """How many times as fast as the audio lasts."""
        return 1 / self.wall


def conditions(seconds: Sequence[float], batches: Sequence[int], threads: Sequence[int]) -> list[Condition]:
    """All combinations, but long clips only one at a time."""
    return [
        Condition(length, batch, count)
        for length in seconds
        for batch in batches
        for count in threads
        if batch == 1 or length * batch <= 100
    ]


@torch.inference_mode()
def timings(found: Sequence[Candidate], condition: Condition, repeats: int) -> Iterator[Timing]:
    """Of every candidate, both ways."""
    torch.set_num_threads(condition.threads)
    works: dict[tuple[str, str], Callable[[], object]] = {}
    for each in found:
        wav = noise(each.sample_rate, condition.seconds, condition.batch)
        codes = each.encode(wav)
        works[each.name, "encode"] = lambda each=each, wav=wav: each.encode(wav)  # type: ignore[misc]
        works[each.name, "decode"] = lambda each=each, codes=codes: each.decode(codes)  # type: ignore[misc]
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in works}
    for turn in range(repeats + 1):
        for key, work in works.items():
            gc.collect()
            wall, processor = time.perf_counter(), time.process_time()
            work()
            if turn:  # the first one warms up
                taken[key].append((time.perf_counter() - wall, time.process_time() - processor))
    total = condition.seconds * condition.batch
    for (name, task), turns in taken.items():
        walls, processors = zip(*turns, strict=True)
        yield Timing(
            name,
            task,
            condition.seconds,
            condition.batch,
            condition.threads,
            statistics.median(walls) / total,
            statistics.median(processors) / total,
            max(walls) / min(walls),
        )


def noise(sample_rate: int, seconds: float, batch: int = 1) -> Tensor:
    """Float [B, 1, T]: as good as speech for timing."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(batch, 1, round(seconds * sample_rate), generator=generator)


@torch.inference_mode()
def peak_flops(threads: int, size: int = 2048) -> float:
    """Floating-point operations per second of processor time in a large matrix product, the best of five."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(6):
        begin = time.process_time()
        a @ b
        times.append(time.process_time() - begin)
    return 2 * size**3 / min(times[1:])


@torch.inference_mode()
def flops_per_second(candidate: Candidate) -> dict[str, float]:
    """Floating-point operations per second of audio, each way, in products and convolutions as PyTorch counts them."""
    seconds = 2.0
    wav = noise(candidate.sample_rate, seconds)
    counted = {}
    with FlopCounterMode(display=False) as counter:
        codes = candidate.encode(wav)
    counted["encode"] = counter.get_total_flops() / seconds
    with FlopCounterMode(display=False) as counter:
        candidate.decode(codes)
    counted["decode"] = counter.get_total_flops() / seconds
    return counted
