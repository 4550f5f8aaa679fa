"""What a codec costs: seconds and memory, in a process that does nothing else."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from xcodec import audio
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import open_codecs

Cost = dict[str, float]


def measure(spec: str, clips: Sequence[Clip]) -> dict[str, Cost]:
    """Of each codec that a spec names, on one thread, the median over clips.

    Returns:
        By label: `encode_speed` and `decode_speed` in seconds of audio per second, `load_seconds`, and `peak_mb`, the
        most memory that the process held while it worked, of which `base_mb` is Python with torch alone.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measure, spec, list(clips)).result()


def _measure(spec: str, clips: list[Clip]) -> dict[str, Cost]:
    import torch

    torch.set_num_threads(1)
    base = peak_memory()
    start = time.perf_counter()
    codecs = open_codecs([spec])
    loaded = time.perf_counter() - start
    result = {}
    for codec in codecs:
        encode, decode = [], []
        for clip in clips:
            wav = audio.resample(clip.read()[None], clip.item.sample_rate, codec.sample_rate)[0]
            coded = codec(wav)
            if coded.bits is not None:
                encode.append(clip.seconds / coded.encode_seconds)
                decode.append(clip.seconds / coded.decode_seconds)
        if encode:
            result[codec.label] = {
                "encode_speed": statistics.median(encode),
                "decode_speed": statistics.median(decode),
                "load_seconds": loaded,
                "base_mb": base,
                "peak_mb": peak_memory(),
            }
    return result


def peak_memory() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which on Linux starts at what the parent held when it made this process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
