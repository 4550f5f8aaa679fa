"""An XCodec in lower precision where the processor gains by it.

Beyond what `exact` does: fewer multiplications (Winograd's), int16 and half precision, as the device can (autotune.py),
and only where a trial shows that the result is near.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher
from xcodec.engine.autotune import Abilities, abilities
from xcodec.engine.dac import KernelDac
from xcodec.engine.exact import sharing_weights
from xcodec.engine.semantic import KernelCodebook, KernelSemanticEncoder, replace_layers

_TOLERATED = 0.01
"""Of a signal's energy, as the error of less precision: 20 dB. Rounding to bfloat16 makes an error of some 40 dB."""


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
        # Spectral networks run at frame rate, so there is little to gain, and their transforms need the digits.
        for name in ("acoustic_encoder", "acoustic_decoder"):
            setattr(network, name, _fast_dac(getattr(network, name), able))
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
