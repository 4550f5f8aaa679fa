"""The fastest arithmetic of a processor, by measurement: a CPU flag says what is supported, not what is faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from xcodec.codec.inputs import full_precision
from xcodec.engine import ops

_WORTHWHILE = 1.3
"""Minimum speed-up for which lower precision is used."""
_TURNS = 10
"""Timings of each way: with four, the slower one was sometimes chosen."""


@dataclass(frozen=True)
class Abilities:
    """What makes computation on a device faster."""

    dtype: torch.dtype = torch.float32
    """float32, or a half precision that is clearly faster."""
    kernels: bool = False
    """Whether our own kernels (ops.py) are clearly faster than float32 in PyTorch."""


@cache
def abilities(device: torch.device) -> Abilities:
    """Those of a device; measured once, in a fraction of a second."""
    if device.type != "cpu":
        return Abilities(torch.float16)
    with full_precision(device), torch.no_grad():
        fastest = _fastest(_ways_to_convolve())
    return {
        "kernels": Abilities(kernels=True),
        "bfloat16": Abilities(torch.bfloat16),
        "float32": Abilities(),
    }[fastest]


def _ways_to_convolve() -> dict[str, Callable[[], object]]:
    """A convolution of seven taps and the Snake after it.

    With the Snake, because DAC has as many of those, and units for products in bfloat16 do not help them.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 128, 2_000, generator=generator), torch.randn(128, 128, 7, generator=generator) / 30
    bias, alpha = torch.zeros(128), torch.ones(1, 128, 1)

    def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        y = torch.conv1d(x, weight, bias, padding=3)
        return y + (alpha + 1e-9).reciprocal() * torch.sin(alpha * y).square()

    ways: dict[str, Callable[[], object]] = {"float32": lambda: convolve(x, weight, bias, alpha)}
    if ops.available():
        ahead = torch.randn(ops.AHEAD + 2_000 + ops.BEHIND, 128, generator=generator)[ops.AHEAD - 3 :]
        packed, snake, out = ops.winograd_weight(weight), ops.SnakeParameters.of(alpha), torch.empty(2_000, 128)
        ways["kernels"] = lambda: ops.winograd_conv(ahead, 2_000, 1, packed, bias, out, snake)
    in_bfloat16 = [each.bfloat16() for each in (x, weight, bias, alpha)]
    ways["bfloat16"] = lambda: convolve(*in_bfloat16)
    return ways


def _fastest(ways: dict[str, Callable[[], object]]) -> str:
    """The first of the ways, unless another is faster enough; and of those the first, unless a later one is, again.

    By the best of its turns each, in processor time: others may be at work.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    fastest = next(iter(ways))
    for _ in range(_TURNS):  # the first of which is a warm-up, and not the best
        for name, work in ways.items():
            if times[name] and times[name][0] > 20 * min(times[fastest]):  # emulated, which takes a while
                continue
            begin = time.process_time()
            work()
            times[name].append(time.process_time() - begin)
    for name in ways:
        if min(times[fastest]) > _WORTHWHILE * min(times[name]):
            fastest = name
    return fastest
