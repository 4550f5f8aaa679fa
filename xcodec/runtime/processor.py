"""What a processor is good at, found by trying: a flag in its description says that it can, not that it is faster."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from xcodec.runtime import kernels

_WORTHWHILE = 1.3
"""How many times as fast less precision must be."""


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
    half = _bfloat16_pays()
    kernels_pay = not half and _kernels_pay()
    return Abilities(torch.bfloat16 if half else torch.float32, not kernels_pay and _int8_pays(), kernels_pay)


@torch.inference_mode()
def _bfloat16_pays() -> bool:
    conv = nn.Conv1d(128, 128, 7, padding=3)
    wav = torch.randn(1, 128, 2_000)
    half, half_wav = nn.Conv1d(128, 128, 7, padding=3).bfloat16(), wav.bfloat16()
    return _faster(lambda: conv(wav), lambda: half(half_wav))


@torch.inference_mode()
def _kernels_pay() -> bool:
    if not kernels.available():
        return False
    conv, wave = nn.Conv1d(128, 128, 7, padding=3), torch.randn(1, 128, 2_000)
    weight, snake = kernels.short_weight(conv.weight), kernels.SnakeValues.of(torch.ones(1, 128, 1))
    bias, made = torch.zeros(128), torch.empty(2_000, 128)
    last = torch.randn(kernels.AHEAD + 2_000 + kernels.BEHIND, 128)  # channels last
    ahead = last[kernels.AHEAD - 3 :]
    return _faster(lambda: conv(wave), lambda: kernels.short_filter(ahead, 2_000, 1, weight, bias, made, snake))


@torch.inference_mode()
def _int8_pays() -> bool:
    linear, frames = nn.Linear(768, 768), torch.randn(250, 768)
    if not hasattr(torch, "ao") or torch.backends.quantized.engine == "none":
        return False
    light = with_int8(nn.Sequential(linear))
    return _faster(lambda: linear(frames), lambda: light(frames))


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


def _faster(plain: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether the other is faster enough, by the best of a few turns each, in processor time: others may be at work."""
    times: list[list[float]] = [[], []]
    for _ in range(4):  # the first of which is a warm-up, and not the best
        for work, taken in zip((plain, other), times, strict=True):
            begin = time.process_time()
            work()
            taken.append(time.process_time() - begin)
            if taken[0] > 20 * min(times[0]):  # emulated, which takes a while
                return False
    return min(times[0]) > _WORTHWHILE * min(times[1])
