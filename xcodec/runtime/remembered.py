"""What is computed from weights once, and again where they have changed.

So a codec that was loaded to be used can still be trained, loaded anew and moved: it notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xcodec.codec.acoustic import DacDecoder, DacEncoder
from xcodec.runtime import channels_last, kernels

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
