"""What a processor is good at, found by trying: a flag in its description says that it can, not that it is faster."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from xcodec.codec.dac import Snake
from xcodec.engine import ops as kernels

_WORTHWHILE = 1.3
"""How many times as fast less precision must be."""
_TURNS = 10
"""Of each way: with four, a trial was seen to take the slower."""


@dataclass(frozen=True)
class Abilities:
    """In what precision a processor computes fastest."""

    convolutions: torch.dtype
    """float32, or a half precision that is clearly faster."""
    int8: bool
    """Whether linear layers with 8-bit weights are clearly faster."""
    kernels: bool = False
    """Whether there are kernels of our own (`kernels.py`), and they are clearly faster."""


@cache
def abilities(device: torch.device) -> Abilities:
    """Those of a device; measured once, in a fraction of a second."""
    if device.type != "cpu":
        return Abilities(torch.float16, int8=False)
    way = _fastest_filter()
    if way == "kernels":
        return Abilities(torch.float32, int8=False, kernels=True)
    return Abilities(torch.bfloat16 if way == "bfloat16" else torch.float32, _int8_pays())


@torch.inference_mode()
def _fastest_filter() -> str:
    """How a filter of seven taps and the Snake after it are computed fastest.

    With the Snake, because halves of DAC have as many of those, and units for products in bfloat16 do not help them.
    """
    conv, snake, wave = nn.Conv1d(128, 128, 7, padding=3), Snake(128), torch.randn(1, 128, 2_000)
    half, half_wave = copy.deepcopy(nn.Sequential(conv, snake)).bfloat16(), wave.bfloat16()
    ways: dict[str, Callable[[], object]] = {"float32": lambda: snake(conv(wave))}
    if kernels.available():
        weight, values = kernels.short_weight(conv.weight), kernels.SnakeValues.of(snake.alpha)
        bias, made = torch.zeros(128), torch.empty(2_000, 128)
        last = torch.randn(kernels.AHEAD + 2_000 + kernels.BEHIND, 128)  # channels last
        ahead = last[kernels.AHEAD - 3 :]
        ways["kernels"] = lambda: kernels.short_filter(ahead, 2_000, 1, weight, bias, made, values)
    ways["bfloat16"] = lambda: half(half_wave)
    return _fastest(ways)


@torch.inference_mode()
def _int8_pays() -> bool:
    linear, frames = nn.Linear(768, 768), torch.randn(250, 768)
    if not hasattr(torch, "ao") or torch.backends.quantized.engine == "none":
        return False
    light = with_int8(nn.Sequential(linear))
    return _fastest({"float32": lambda: linear(frames), "int8": lambda: light(frames)}) == "int8"


def with_int8(network: nn.Module, kept: str | None = None) -> nn.Module:
    """A copy of the network whose linear layers multiply in 8 bits, but for those with ``kept`` in their name."""
    names = {
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and (kept is None or kept not in name)
    }
    with warnings.catch_warnings():  # deprecated in favour of a package of its own, which has nothing for this
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(network, names, dtype=torch.qint8)


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
