"""What it costs, and what it saves, that `encode` passes each clip of a batch through the network by itself.

    python benchmarks/batching.py [--model xcodec-mini] [--clips 8] [--seconds 4]

Compares, on clips of equal length made of the recordings in samples/, encoding one by one (what `encode` does) with one
pass over the whole batch: time, and how many codes the batch's different rounding changes. Then, on clips of 2 to 10 s,
encoding one by one on all cores with encoding as many at a time as there are cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

import xcodec
from xcodec import audio
from xcodec.engine.engine import Codec

SAMPLES = Path(__file__).parent.parent / "samples"


def clips(sample_rate: int, count: int, seconds: float) -> Tensor:
    """Float [count, 1, T]: overlapping stretches of the shipped recordings."""
    wavs = [torch.from_numpy(audio.read(path, sample_rate)[0]) for path in audio.find_audio(SAMPLES)]
    joined = torch.cat(wavs, dim=1)
    length = round(seconds * sample_rate)
    starts = torch.linspace(0, joined.shape[1] - length, count).long()
    return torch.stack([joined[:, start : start + length] for start in starts])


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@torch.inference_mode()
def main() -> None:
    """Measure, and print two lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    codec = xcodec.load(options.model)
    codebooks = codec.config.quantizer.codebooks
    network = codec.network
    batch = network.pad_to_frames(clips(codec.sample_rate, options.clips, options.seconds))

    def at_once() -> Tensor:
        return network.quantizer.encode(codec.latents(batch).values, codebooks)

    def one_by_one() -> Tensor:
        return codec.encode(batch)

    changed = (at_once() != one_by_one()).float().mean(dim=(0, 2))  # of each codebook
    slow, fast = median_seconds(one_by_one), median_seconds(at_once)
    print(f"{codec.config.name}: {options.clips} clips of {options.seconds:g} s, {torch.get_num_threads()} threads")
    print(f"one by one {slow:.2f} s, in one batch {fast:.2f} s: one by one takes {slow / fast:.2f} times as long")
    print("codes that the batch changes, by codebook:", ", ".join(f"{share:.2%}" for share in changed.tolist()))
    compare_cores(codec, options.clips)


def encode_clips(codec: Codec, clips: Sequence[Tensor]) -> list[Tensor]:
    """Codes int64 [K, F] of every clip float [T], a core for each; the longest first, lest one is left for the end."""
    threads = torch.get_num_threads()
    order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
    # PyTorch's number of threads is that of the thread that sets it, and of those that begin after it.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            codes = dict(zip(order, pool.map(lambda index: codec.encode(clips[index])[0], order), strict=True))
    finally:
        torch.set_num_threads(threads)
    return [codes[index] for index in range(len(clips))]


def compare_cores(codec: Codec, count: int) -> None:
    """All cores for one clip against a core for each, on clips of 2 to 10 s, in turns."""
    lengths = torch.linspace(2, 10, count).tolist()
    unequal = [clips(codec.sample_rate, 1, seconds)[0, 0] for seconds in lengths]
    works: dict[str, Callable[[], list[Tensor]]] = {
        "one at a time": lambda: [codec.encode(clip)[0] for clip in unequal],
        "a core for each": lambda: encode_clips(codec, unequal),
    }
    codes = [work() for work in works.values()]  # which warms up, too
    equal = sum(int((one == other).sum()) for one, other in zip(*codes, strict=True))
    total = sum(each.numel() for each in codes[0])
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(5):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begin)
    slow, fast = (statistics.median(taken) for taken in times.values())
    print(
        f"{count} clips of 2 to 10 s: one at a time {slow:.2f} s, a core for each {fast:.2f} s: {slow / fast:.2f} times"
    )
    print(f"equal codes: {equal / total:.2%}")


if __name__ == "__main__":
    main()
