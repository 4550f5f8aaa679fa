"""DAC's encoder and decoder on our kernels.

A signal is held as [AHEAD + T + BEHIND, C]: all channels of a sample beside each other, and zeros around it. So every
convolution is a product of matrices whose rows overlap in memory:

    seven taps     row t is the samples t - 3 … t + 3 (in residual units dilated, and in few multiplications if wished)
    down by s      row f is the 2s samples from s · f - padding
    up by s        row f is the samples f - 1 and f, and gives s samples, two taps each

What follows is a Snake in every case, which the kernel does as well; a residual unit needs the sum before it, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.dac import DacDecoder, DacEncoder, ResidualUnit, Snake
from xcodec.engine import ops
from xcodec.engine.ops import AHEAD, BEHIND, COLUMNS, KERNEL, SnakeParameters, matmul, packed, packed_filter


class KernelDac(nn.Module):
    """A `DacEncoder` or `DacDecoder`, for inference.

    Args:
        network: one that is `supported`; is not kept.
        winograd: whether filters of seven taps are computed in few multiplications, at 106 dB, or each tap by itself,
            in float32's own precision.
    """

    def __init__(self, network: DacEncoder | DacDecoder, winograd: bool) -> None:
        super().__init__()
        self.context_frames = network.context_frames
        layers = [
            module for layer in network.layers for module in (layer if isinstance(layer, nn.Sequential) else (layer,))
        ]
        self.steps: list[_ResidualUnit | _ConvTranspose | _Conv] = []
        for module, following in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(module, ResidualUnit):
                self.steps.append(_ResidualUnit(module, following, winograd))
            elif isinstance(module, nn.ConvTranspose1d):
                self.steps.append(_ConvTranspose(module, following))
            elif isinstance(module, nn.Conv1d):
                self.steps.append(_Conv(module, following))
            else:
                assert isinstance(module, Snake)  # which the layer before it does
        last = layers[-1]
        assert isinstance(last, nn.Conv1d)
        self.width = last.out_channels

    @staticmethod
    def supported(network: nn.Module) -> bool:
        """Whether it is DAC, with numbers of channels that the kernels can take, and in float32 on a CPU."""
        if not isinstance(network, DacEncoder | DacDecoder):
            return False
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
        channels = {count for layer in layers for count in (layer.in_channels, layer.out_channels)} - {1}  # the audio's
        return all(count % COLUMNS == 0 for count in channels) and all(
            layer.weight.dtype is torch.float32 and layer.weight.device.type == "cpu" for layer in layers
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T']."""
        return torch.stack([self._clip(clip) for clip in x])

    def _clip(self, clip: Tensor) -> Tensor:
        signal = _Signal(clip.shape[1], F.pad(clip.T, (0, 0, AHEAD, BEHIND)))  # (C, T) -> (T', C)
        for step in self.steps:
            signal = step(signal)
        assert signal.sums is not None
        return signal.sums[:, : self.width].T.contiguous()  # (T, C) -> (C, T)


@dataclass
class _Signal:
    """One clip between two layers."""

    samples: int
    snaked: Tensor
    """[AHEAD + samples + BEHIND, C]: what the next layer takes in; of the first, the input itself."""
    sums: Tensor | None = None
    """[samples, C]: the same before the Snake, where a residual unit follows, or nothing."""
    spare: list[Tensor] = field(default_factory=list)
    """Memory that was used before: fresh one costs as much as a Snake."""

    def room(self, samples: int, channels: int) -> Tensor:
        """Some of it, or else new: [samples, channels]."""
        for index, each in enumerate(self.spare):
            if each.numel() == samples * channels:
                return self.spare.pop(index).view(samples, channels)
        return self.snaked.new_empty(samples, channels)

    def clear_margins(self) -> _Signal:
        """With zeros around it."""
        self.snaked[:AHEAD] = 0
        self.snaked[AHEAD + self.samples :] = 0
        return self


class _Step:
    """A layer and the Snake after it."""

    def __init__(self, following: nn.Module | None, repeats: int = 1) -> None:
        snake = following.block[0] if isinstance(following, ResidualUnit) else following
        self.snake = SnakeParameters.of(snake.alpha, repeats) if isinstance(snake, Snake) else None
        self.keeps_sums = following is None or isinstance(following, ResidualUnit)

    def room(self, signal: _Signal, rows: int, samples: int, channels: int) -> tuple[Tensor | None, Tensor]:
        """For the sums [rows, C], where they are needed, and for the signal after the Snake, with its margins."""
        sums = signal.snaked.new_empty(rows, channels) if self.keeps_sums else None
        return sums, signal.snaked.new_empty(AHEAD + samples + BEHIND if self.snake else 0, channels)


class _Conv(_Step):
    """A convolution of any stride."""

    def __init__(self, conv: nn.Conv1d, following: nn.Module | None) -> None:
        super().__init__(following)
        self.stride, self.padding = conv.stride[0], int(conv.padding[0])
        self.channels = -(-conv.out_channels // COLUMNS) * COLUMNS  # the audio's one is made sixteen
        missing = self.channels - conv.out_channels
        self.weight = packed_filter(F.pad(conv.weight, (0, 0, 0, 0, 0, missing)))
        assert conv.bias is not None
        self.bias = F.pad(conv.bias.detach(), (0, missing))

    def __call__(self, signal: _Signal) -> _Signal:
        samples, stride = signal.samples // self.stride, self.stride * signal.snaked.shape[1]
        sums, snaked = self.room(signal, samples, samples, self.channels)
        matmul(
            signal.snaked[AHEAD - self.padding :],
            samples,
            stride,
            self.weight,
            self.bias,
            sums,
            snaked[AHEAD:] if self.snake else None,
            self.snake,
        )
        return _Signal(samples, snaked, sums).clear_margins()


class _ConvTranspose(_Step):
    """A transposed convolution of 2s taps: each output is made of two inputs."""

    def __init__(self, conv: nn.ConvTranspose1d, following: nn.Module | None) -> None:
        self.stride, self.padding, self.channels = conv.stride[0], int(conv.padding[0]), conv.out_channels
        super().__init__(following, self.stride)
        # (C, C', 2s) -> (2 taps, C, s, C'); the later tap takes the input before.
        taps = conv.weight.detach().unflatten(2, (2, self.stride)).permute(2, 0, 3, 1)
        self.weight = packed(taps.flip(0).flatten(2).flatten(0, 1).T)  # (2 · C, s · C') -> (s · C', 2 · C)
        assert conv.bias is not None
        self.bias = conv.bias.detach().repeat(self.stride)

    def __call__(self, signal: _Signal) -> _Signal:
        rows, samples = signal.samples + 1, signal.samples * self.stride
        sums, snaked = self.room(signal, rows * self.stride, samples, self.channels)
        matmul(
            signal.snaked[AHEAD - 1 :],
            rows,
            signal.snaked.shape[1],
            self.weight,
            self.bias,
            sums,
            snaked[AHEAD - self.padding :] if self.snake else None,
            self.snake,
        )
        kept = None if sums is None else sums[self.padding : self.padding + samples]
        return _Signal(samples, snaked, kept).clear_margins()


class _ResidualUnit(_Step):
    """A residual unit, but for its first Snake."""

    def __init__(self, unit: ResidualUnit, following: nn.Module | None, winograd: bool) -> None:
        super().__init__(following)
        _, conv, snake, pointwise = unit.block
        assert isinstance(conv, nn.Conv1d)
        assert isinstance(snake, Snake)
        assert isinstance(pointwise, nn.Conv1d)
        assert conv.bias is not None
        assert pointwise.bias is not None
        self.dilation, self.inner_snake = conv.dilation[0], SnakeParameters.of(snake.alpha)
        self.winograd = winograd
        self.weight = ops.winograd_weight(conv.weight) if winograd else packed_filter(conv.weight)
        self.bias = conv.bias.detach()
        self.pointwise_weight, self.pointwise_bias = packed(pointwise.weight[:, :, 0]), pointwise.bias.detach()

    def __call__(self, signal: _Signal) -> _Signal:
        samples, channels = signal.samples, signal.snaked.shape[1]
        inner = signal.room(samples, channels)
        ahead = signal.snaked[AHEAD - 3 * self.dilation :]
        if self.winograd:
            ops.winograd_conv(ahead, samples, self.dilation, self.weight, self.bias, inner, self.inner_snake)
        else:
            matmul(
                ahead,
                samples,
                channels,
                self.weight,
                self.bias,
                None,
                inner,
                self.inner_snake,
                taps=KERNEL,
                jump=self.dilation * channels,
            )
        sums = signal.room(samples, channels) if self.keeps_sums else None
        matmul(
            inner,
            samples,
            channels,
            self.pointwise_weight,
            self.pointwise_bias,
            sums,
            signal.snaked[AHEAD:],  # no longer needed, and can be written over
            self.snake,
            signal.sums,
        )
        assert signal.sums is not None
        return _Signal(samples, signal.snaked, sums, [*signal.spare, inner, signal.sums])
