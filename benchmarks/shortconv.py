"""What `xcodec.engine.winograd` gains and loses: time and rounding against the plain convolution.

    python benchmarks/shortconv.py

The layers are those of the paper's decoder, for one second of audio, on one thread. Processor time, so that other work
on the machine hardly matters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xcodec.engine.winograd import ShortConv1d


def median_ms(work: Callable[[], object], repeats: int = 7) -> float:
    """Processor time of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times)


def snr(reference: Tensor, other: Tensor) -> float:
    """In dB."""
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


@torch.inference_mode()
def main() -> None:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    print("| channels | samples | dilation | plain | short | ratio | SNR plain | SNR short |")
    print("|---|---|---|---|---|---|---|---|")
    for channels, samples in ((64, 16_000), (128, 8_000), (256, 2_000), (512, 400)):
        for dilation in (1, 9):
            plain = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
            short = ShortConv1d(plain)
            x = torch.randn(1, channels, samples)
            truth = nn.functional.conv1d(
                x.double(), plain.weight.double(), plain.bias.double(), padding=3 * dilation, dilation=dilation
            )
            slow, fast = median_ms(lambda c=plain, x=x: c(x)), median_ms(lambda c=short, x=x: c(x))
            print(
                f"| {channels} | {samples} | {dilation} | {slow:.1f} ms | {fast:.1f} ms | {slow / fast:.2f} | "
                f"{snr(truth, plain(x)):.0f} dB | {snr(truth, short(x)):.0f} dB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
