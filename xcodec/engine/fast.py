"""An XCodec in lower precision where the processor gains by it.

Beyond what `exact` does: fewer multiplications (Winograd's), int16 and half precision. Which of them is faster on a
processor is measured, since a CPU flag says what is supported and not what is faster; and what a trial shows to be no
longer near is not used.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.inputs import full_precision
from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher
from xcodec.engine import ops
from xcodec.engine.convnext import replace_blocks
from xcodec.engine.dac import KernelDac
from xcodec.engine.exact import sharing_weights
from xcodec.engine.semantic import KernelCodebook, KernelSemanticEncoder, replace_layers

_WORTHWHILE = 1.3
"""Minimum speed-up for which lower precision is used."""
_TURNS = 10
"""Timings of each way: with four, the slower one was sometimes chosen."""
_TOLERATED = 0.01
"""Of a signal's energy, as the error of less precision: 20 dB. Rounding to bfloat16 makes an error of some 40 dB."""


@dataclass(frozen=True)
class Abilities:
    """What makes computation on a device faster."""

    dtype: torch.dtype = torch.float32
    """float32, or a half precision that is clearly faster."""
    kernels: bool = False
    """Whether our own kernels (ops.py) are clearly faster than float32 in PyTorch."""


def fast(model: XCodec, able: Abilities | None = None) -> XCodec:
    """A network with nearly the model's codes and audio, as fast as the device can.

    Args:
        model: is left as it is.
        able: what to use; by default, as measured on its device.
    """
    network = sharing_weights(model)
    if model.prior.weight.dtype is not torch.float32:
        return network
    able = able or abilities(model.device)
    if model.config.acoustic.kind == "dac":
        for name in ("acoustic_encoder", "acoustic_decoder"):
            setattr(network, name, _fast_dac(getattr(network, name), able))
    elif able.kernels:
        replace_blocks(network.acoustic_decoder)  # the encoder is a filter bank and little else
    if network.teacher is not None:
        _speed_up_teacher(network.teacher, able)
        if able.kernels and KernelSemanticEncoder.supported(network.semantic_encoder):
            setattr(network, "semantic_encoder", KernelSemanticEncoder(network.semantic_encoder))  # noqa: B010, mypy knows its class
    if able.kernels:
        for level in network.quantizer.first(model.config.quantizer.codebooks):
            if KernelCodebook.supported(level.codebook.vectors):
                setattr(level, "codebook", KernelCodebook(level.codebook.vectors))  # noqa: B010
    return network


class HalfPrecision(nn.Module):
    """DAC's encoder or decoder in half precision, with float32 in and out."""

    def __init__(self, network: DacEncoder | DacDecoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = copy.deepcopy(network).to(dtype), dtype
        self.context_frames = network.context_frames

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T'], float32."""
        return self.network(x.to(self.dtype)).to(x.dtype)


class Autocast(nn.Module):
    """A teacher's network under autocast."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, wav: Tensor) -> tuple[Tensor, ...]:
        """[B, T] -> the hidden states [B, F, D]."""
        with torch.autocast(wav.device.type, self.dtype):
            return self.network(wav)


def _fast_dac(network: DacEncoder | DacDecoder, able: Abilities) -> nn.Module:
    if able.dtype is not torch.float32:
        half = HalfPrecision(network, able.dtype)
        first = network.layers[0]
        assert isinstance(first, nn.Conv1d)
        if _is_near(network, half, _noise(1, first.in_channels, 4_000 if first.in_channels == 1 else 12, like=first)):
            return half
    if able.kernels and KernelDac.supported(network):
        return KernelDac(network, winograd=True)
    return network


def _speed_up_teacher(teacher: Teacher, able: Abilities) -> None:
    if able.kernels:
        replace_layers(teacher)
    elif able.dtype is not torch.float32:
        half = Autocast(teacher.network, able.dtype)
        if _is_near(teacher.network, half, _noise(1, 8_000, like=teacher)):
            teacher.network = half


def _noise(*shape: int, like: nn.Module) -> Tensor:
    """Without moving the caller's random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(next(like.parameters()).device)


def _is_near(network: nn.Module, other: nn.Module, given: Tensor) -> bool:
    """Whether a network with less precision gives the same but for rounding.

    It does not always: where a processor has units for bfloat16 (AMX), PyTorch 2.13 computes some convolutions wrong,
    such as one from 8 to 16 channels with 8 taps and stride 4.
    """
    expected, made = network(given), other(given)
    if isinstance(expected, tuple):  # hidden states
        expected, made = torch.stack(expected), torch.stack(made)
    return bool((made - expected).square().sum() < _TOLERATED * expected.square().sum())


# --- what is faster on a device ---


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
