"""Timing, interleaved: every candidate takes a turn before any takes its second, so all meet the same disturbances."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.engines.codecs import Candidate

_WARM_UP = 2.0
"""Seconds of audio."""


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
    wavs = {each.name: noise(each.sample_rate, condition.seconds, condition.batch) for each in found}
    codes: dict[str, Any] = {}
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {
        (each.name, task): [] for each in found for task in ("encode", "decode")
    }
    for each in found:  # to warm up, on as little as will do: of long clips, the first is as fast as the others
        short = wavs[each.name][:1, :, : round(_WARM_UP * each.sample_rate)]
        each.decode(each.encode(short))
    for _ in range(repeats):
        for each in found:
            with _timed(taken[each.name, "encode"]):
                codes[each.name] = each.encode(wavs[each.name])
            with _timed(taken[each.name, "decode"]):
                each.decode(codes[each.name])
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


@contextmanager
def _timed(turns: list[tuple[float, float]]) -> Iterator[None]:
    """Adds the wall and the processor time of what is done within."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    yield
    turns.append((time.perf_counter() - wall, time.process_time() - processor))


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
