"""Two ways to run a codec: ``exact``, and ``fast``, which takes what the processor at hand is good at.

The arithmetic of the paper's codec is convolutions and the teacher's linear layers. What is to gain without losing a
digit: in PyTorch, convolutions run at half of the processor's peak or less, and the Snakes between them make five
passes over memory each (`remembered.py`, `channels_last.py`). What `fast` takes beyond that: fewer multiplications
(`shortconv.py`), and less precision, where the processor gains by it (`processor.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xcodec.codec.checkpoint import fingerprint
from xcodec.codec.dac import DacDecoder, DacEncoder, Snake
from xcodec.codec.model import XCodec
from xcodec.codec.quick_phases import QuickSpectrogram
from xcodec.codec.semantic import Teacher
from xcodec.codec.spectrogram import Spectrogram
from xcodec.engine import dac as channels_last
from xcodec.engine import ops as kernels
from xcodec.engine import semantic as hearing
from xcodec.engine.autotune import Abilities, abilities, with_int8
from xcodec.engine.winograd import ShortConv1d, suits

# What is computed from weights once, and again where they have changed.
#
# So a codec that was loaded to be used can still be trained, loaded anew and moved: it notices.

_LOOKED_AT = 500
"""Values of a weight."""


@dataclass
class Memory:
    """Something made from weights."""

    made: Any = None
    versions: list[object] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)

    def of(self, sources: list[Tensor], make: Callable[[], Any]) -> Any:
        """What ``make`` gave last, or gives now if the weights it is made from have changed."""
        versions: list[object] = [
            (each.dtype, each.device, 0 if each.is_inference() else each._version) for each in sources
        ]
        # What is written through `.data` counts as no new version, so some of the values are looked at, too.
        samples = [source.flatten()[:: max(1, source.numel() // _LOOKED_AT)] for source in sources]
        if self.made is None or self.versions != versions or not all(map(torch.equal, self.samples, samples)):
            self.made = make()
            self.versions, self.samples = versions, [sample.clone() for sample in samples]
        return self.made


class RememberedWeight(parametrize.ParametrizationList):
    """A weight under weight norm that is not computed for every clip.

    For a clip of a second, computing all weights of DAC takes a quarter of the time that decoding does.
    """

    memory: Memory | None = None

    def forward(self) -> Tensor:
        """The weight; where there are gradients, computed as ever."""
        if torch.is_grad_enabled():
            return super().forward()
        self.memory = self.memory or Memory()
        sources: list[Any] = [self.original0, self.original1]
        return self.memory.of(sources, super().forward)

    @classmethod
    def install(cls, network: nn.Module) -> None:
        """For all weight norms of a network."""
        for module in network.modules():
            if type(module) is parametrize.ParametrizationList and type(module[0]).__name__ == "_WeightNorm":
                module.__class__ = cls

    @classmethod
    def remove(cls, network: nn.Module) -> None:
        """As if they had never been installed."""
        for module in network.modules():
            if isinstance(module, cls):
                module.memory = None
                module.__class__ = parametrize.ParametrizationList  # type: ignore[assignment]


class KernelHalf(nn.Module):
    """A half of DAC that computes with our kernels where there are some, it suits them, and there are no gradients.

    In float32's own precision (`channels_last.py`), and each sample the same whatever is around it, on any number of
    threads.
    """

    memory: Memory | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T']."""
        rebuilt: channels_last.ChannelsLastHalf | None = None
        if x.dtype is torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            rebuilt = self._rebuilt()
        return super().forward(x) if rebuilt is None else rebuilt(x)

    def _rebuilt(self) -> channels_last.ChannelsLastHalf | None:
        """On the kernels; None where that cannot be."""
        if torch.is_grad_enabled():
            return None
        self.memory = self.memory or Memory()
        # In a tuple, since nothing made is nothing remembered.
        (rebuilt,) = self.memory.of(list(self.parameters()), lambda: (_on_kernels(self),))
        return rebuilt


class KernelDacEncoder(KernelHalf, DacEncoder):
    """Waveform -> acoustic features."""


class KernelDacDecoder(KernelHalf, DacDecoder):
    """Acoustic features -> waveform."""


def _on_kernels(half: nn.Module) -> channels_last.ChannelsLastHalf | None:
    if not channels_last.suits(half) or not kernels.available():
        return None
    assert isinstance(half, DacEncoder | DacDecoder)
    return channels_last.ChannelsLastHalf(half, short=False)


_ON_KERNELS: dict[type[nn.Module], type[nn.Module]] = {DacEncoder: KernelDacEncoder, DacDecoder: KernelDacDecoder}


def with_kernels(half: nn.Module) -> None:
    """Let a half of DAC make use of the kernels; others stay what they are."""
    half.__class__ = _ON_KERNELS.get(type(half), type(half))


def without_kernels(half: nn.Module) -> None:
    """The contrary."""
    for plain, quick in _ON_KERNELS.items():
        if type(half) is quick:
            assert isinstance(half, KernelHalf)
            half.memory = None
            half.__class__ = plain  # type: ignore[assignment]


Network = TypeVar("Network", bound=nn.Module)

_BLOCK = 2**15
"""Values that a Snake works on at a time: 128 kB, which stay in a core's cache from one operation to the next."""


def exact(codec: XCodec) -> XCodec:
    """The same codec, sooner, and as precise. Its weights stay where and what they are."""
    RememberedWeight.install(codec)
    if codec.prior.weight.device.type == "cpu":
        with_block_snakes(codec)
        with_kernels(codec.acoustic_encoder)
        with_kernels(codec.acoustic_decoder)
    return codec


def plain(codec: XCodec) -> XCodec:
    """A copy of a codec, exact or not, with nothing in it but what graphs can be traced through."""
    copied = copy.deepcopy(codec)
    RememberedWeight.remove(copied)
    without_kernels(copied.acoustic_encoder)
    without_kernels(copied.acoustic_decoder)
    for module in copied.modules():
        if isinstance(module, BlockSnake):
            module.__class__ = Snake  # type: ignore[assignment]
        elif isinstance(module, QuickSpectrogram):
            module.__class__ = Spectrogram  # type: ignore[assignment]
    return copied


def accelerate(codec: XCodec, able: Abilities | None = None) -> XCodec:
    """The same codec, rebuilt to run fast; it can no longer be trained or saved.

    Args:
        codec: is changed.
        able: what to make use of; by default, what its device turns out to be good at.
    """
    able = able or abilities(codec.prior.weight.device)
    without_kernels(codec.acoustic_encoder)  # those that `exact` takes
    without_kernels(codec.acoustic_decoder)
    codec.loaded_as = fingerprint(codec)  # its codes and audio are the same but for rounding
    fold(codec)
    if codec.prior.weight.device.type == "cpu":
        with_block_snakes(codec)
    if codec.config.acoustic.kind == "dac":
        # Spectral halves run at frame rate, so there is little to gain, and their transforms need the digits.
        codec.acoustic_encoder = lighten_half(codec.acoustic_encoder, able)
        codec.acoustic_decoder = lighten_half(codec.acoustic_decoder, able)
    if codec.teacher is not None:
        lighten_teacher(codec.teacher, able)
        if able.kernels and hearing.ChannelsLastSemantic.suits(codec.semantic_encoder):
            codec.semantic_encoder = hearing.ChannelsLastSemantic(codec.semantic_encoder)  # type: ignore[assignment]
    if able.kernels:
        for level in codec.quantizer.first(codec.config.quantizer.codebooks):
            if hearing.KernelCodebook.suits(level.codebook.vectors):
                level.codebook = hearing.KernelCodebook(level.codebook.vectors)  # type: ignore[assignment]
    return codec.requires_grad_(False)


_TOLERATED = 0.01
"""Of a signal's energy, as the error of less precision: 20 dB. Rounding to bfloat16 makes an error of some 40 dB."""


class BlockSnake(Snake):
    """A Snake that goes through its input in blocks that fit into a core's cache: the same operations and bits."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        if torch.is_grad_enabled() or x.shape[0] > 1:
            return super().forward(x)
        alpha, scale = self.alpha[0], (self.alpha[0] + 1e-9).reciprocal()  # [C, 1]
        wave = x[0]
        made = torch.empty_like(wave)
        channels = max(1, _BLOCK // wave.shape[1])
        samples = _BLOCK // channels
        for first in range(0, wave.shape[0], channels):
            rows = slice(first, first + channels)
            for start in range(0, wave.shape[1], samples):
                here = wave[rows, start : start + samples]
                there = made[rows, start : start + samples]
                torch.mul(alpha[rows], here, out=there)
                there.sin_().square_().mul_(scale[rows]).add_(here)
        return made[None]


class LowPrecision(nn.Module):
    """A half of the codec that computes in half precision behind the same float32 face."""

    def __init__(self, half: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.half_precision = half.to(dtype)
        self.dtype = dtype
        self.context_frames = half.context_frames

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T'], float32."""
        return self.half_precision(x.to(self.dtype)).to(x.dtype)


def with_block_snakes(network: Network) -> Network:
    """The same network, changed, for a CPU."""
    for module in network.modules():
        if type(module) is Snake:
            module.__class__ = BlockSnake
    return network


def fold(network: nn.Module) -> None:
    """Replace convolutions with weight norms by plain ones."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if parametrize.is_parametrized(layer, "weight"):
                assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
                setattr(parent, name, _folded(layer))


def _folded(layer: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    """The same convolution with its normalised weight as it is, computed once.

    A new layer, because `remove_parametrizations` would alter the class that the layer shares with its copies.
    """
    kind: type[nn.Module] = nn.Conv1d
    options: dict[str, Any] = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    if isinstance(layer, nn.ConvTranspose1d):
        kind, options["output_padding"] = nn.ConvTranspose1d, layer.output_padding
    options |= {"bias": layer.bias is not None, "device": layer.weight.device, "dtype": layer.weight.dtype}
    folded = nn.utils.skip_init(kind, layer.in_channels, layer.out_channels, layer.kernel_size, **options)
    folded.weight = nn.Parameter(layer.weight.detach())
    folded.bias = layer.bias
    return folded


def lighten_half(half: nn.Module, able: Abilities) -> nn.Module:
    """A half of DAC, its weight norms folded, with less of what the processor is slow at."""
    if able.convolutions is not torch.float32:
        first = next(layer for layer in half.modules() if isinstance(layer, nn.Conv1d))
        noise = torch.randn(1, first.in_channels, 4_000 if first.in_channels == 1 else 12, device=first.weight.device)
        light = LowPrecision(copy.deepcopy(half), able.convolutions)
        if _near(half, light, noise):
            return light
    if able.kernels and channels_last.suits(half):
        assert isinstance(half, DacEncoder | DacDecoder)
        return channels_last.ChannelsLastHalf(half)
    for parent in list(half.modules()):
        for name, layer in parent.named_children():
            if suits(layer):
                assert isinstance(layer, nn.Conv1d)
                setattr(parent, name, ShortConv1d(layer))
    return half


def lighten_teacher(teacher: Teacher, able: Abilities) -> None:
    """Let the teacher's transformer compute in what the processor is fastest at."""
    if able.kernels:
        hearing.lighten(teacher)
    elif able.int8:
        # WavLM's attention reads the weights of its layers, which then are none.
        kept = "attention" if teacher.config.kind == "wavlm" else None
        teacher.network = with_int8(teacher.network, kept)  # type: ignore[assignment]  # a copy, of the same class
    elif able.convolutions is not torch.float32:
        light = copy.copy(teacher)
        light.autocast = able.convolutions
        noise = torch.randn(1, 1, 8_000, device=next(teacher.parameters()).device)
        if _near(teacher, light, noise, 25):
            teacher.autocast = able.convolutions


@torch.inference_mode()
def _near(plain: nn.Module, light: nn.Module, *given: Any) -> bool:
    """Whether a network with less precision gives the same but for rounding.

    It does not always: where a processor has units for bfloat16 (AMX), PyTorch 2.13 computes some convolutions wrong,
    such as one from 8 to 16 channels with 8 taps and stride 4.
    """
    expected = plain(*given)
    return bool((light(*given) - expected).square().sum() < _TOLERATED * expected.square().sum())
