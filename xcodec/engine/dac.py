"""The halves of DAC on the kernels of `kernels.py`.

A wave is held as [AHEAD + T + BEHIND, C]: all channels of a sample beside each other, and zeros around it. So every
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
from xcodec.engine.ops import AHEAD, BEHIND, COLUMNS, SnakeValues, panels, product, short_filter, short_weight
from xcodec.engine.winograd import KERNEL


def suits(half: nn.Module) -> bool:
    """Whether a half is of DAC, with numbers of channels that the kernels can take, and in float32 on a CPU."""
    if not isinstance(half, DacEncoder | DacDecoder):
        return False
    layers = [layer for layer in half.modules() if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
    channels = {count for layer in layers for count in (layer.in_channels, layer.out_channels)} - {1}  # that of sound
    weights = [layer.weight for layer in layers]
    return all(count % COLUMNS == 0 for count in channels) and all(
        weight.dtype is torch.float32 and weight.device.type == "cpu" for weight in weights
    )


@dataclass
class _Wave:
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
        return torch.empty(samples, channels)


class ChannelsLastHalf(nn.Module):
    """A `DacEncoder` or `DacDecoder`, for inference.

    Args:
        half: one that `suits`; is not kept.
        short: whether filters of seven taps are computed in few multiplications, at 106 dB, or each tap by itself, in
            float32's own precision.
    """

    def __init__(self, half: DacEncoder | DacDecoder, short: bool = True) -> None:
        super().__init__()
        self.context_frames = half.context_frames
        flat = [module for layer in half.layers for module in (layer if isinstance(layer, nn.Sequential) else (layer,))]
        self.steps: list[_Unit | _Up | _Filter] = []
        for module, following in zip(flat, [*flat[1:], None], strict=True):
            if isinstance(module, ResidualUnit):
                self.steps.append(_Unit(module, following, short))
            elif isinstance(module, nn.ConvTranspose1d):
                self.steps.append(_Up(module, following))
            elif isinstance(module, nn.Conv1d):
                self.steps.append(_Filter(module, following))
            else:
                assert isinstance(module, Snake)  # which the layer before it does
        last = flat[-1]
        assert isinstance(last, nn.Conv1d)
        self.width = last.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T']."""
        return torch.stack([self._clip(clip) for clip in x])

    def _clip(self, clip: Tensor) -> Tensor:
        wave = _Wave(clip.shape[1], F.pad(clip.T, (0, 0, AHEAD, BEHIND)))  # (C, T) -> (T', C)
        for step in self.steps:
            wave = step(wave)
        assert wave.sums is not None
        return wave.sums[:, : self.width].T.contiguous()  # (T, C) -> (C, T)


class _Step:
    """A layer and the Snake after it."""

    def __init__(self, following: nn.Module | None, repeats: int = 1) -> None:
        snake = following.block[0] if isinstance(following, ResidualUnit) else following
        self.snake = SnakeValues.of(snake.alpha, repeats) if isinstance(snake, Snake) else None
        self.keeps = following is None or isinstance(following, ResidualUnit)

    def outputs(self, rows: int, columns: int) -> Tensor | None:
        """Room for the sums, where they are needed."""
        return torch.empty(rows, columns) if self.keeps else None

    def room(self, samples: int, channels: int) -> Tensor:
        """For a wave and its margins."""
        return torch.empty(AHEAD + samples + BEHIND if self.snake else 0, channels)


class _Filter(_Step):
    """A convolution of any stride."""

    def __init__(self, conv: nn.Conv1d, following: nn.Module | None) -> None:
        super().__init__(following)
        self.stride, self.padding = conv.stride[0], int(conv.padding[0])
        self.channels = -(-conv.out_channels // COLUMNS) * COLUMNS  # one, of sound, is made sixteen
        missing = self.channels - conv.out_channels
        self.weight = _filter_panels(F.pad(conv.weight, (0, 0, 0, 0, 0, missing)))
        assert conv.bias is not None
        self.bias = F.pad(conv.bias.detach(), (0, missing))

    def __call__(self, wave: _Wave) -> _Wave:
        samples, stride = wave.samples // self.stride, self.stride * wave.snaked.shape[1]
        made = _Wave(samples, self.room(samples, self.channels), self.outputs(samples, self.channels))
        product(
            wave.snaked[AHEAD - self.padding :],
            samples,
            stride,
            self.weight,
            self.bias,
            made.sums,
            made.snaked[AHEAD:] if self.snake else None,
            self.snake,
        )
        return _in_silence(made)


class _Up(_Step):
    """A transposed convolution of 2s taps: each output is made of two inputs."""

    def __init__(self, conv: nn.ConvTranspose1d, following: nn.Module | None) -> None:
        self.stride, self.padding, self.channels = conv.stride[0], int(conv.padding[0]), conv.out_channels
        super().__init__(following, self.stride)
        # (C, C', 2s) -> (2 taps, C, s, C'); the later tap hears the input before.
        taps = conv.weight.detach().unflatten(2, (2, self.stride)).permute(2, 0, 3, 1)
        self.weight = panels(taps.flip(0).flatten(2).flatten(0, 1).T)  # (2 · C, s · C') -> (s · C', 2 · C)
        assert conv.bias is not None
        self.bias = conv.bias.detach().repeat(self.stride)

    def __call__(self, wave: _Wave) -> _Wave:
        rows, samples = wave.samples + 1, wave.samples * self.stride
        sums = self.outputs(rows * self.stride, self.channels)
        made = _Wave(samples, self.room(samples, self.channels))
        product(
            wave.snaked[AHEAD - 1 :],
            rows,
            wave.snaked.shape[1],
            self.weight,
            self.bias,
            sums,
            made.snaked[AHEAD - self.padding :] if self.snake else None,
            self.snake,
        )
        if sums is not None:
            made.sums = sums[self.padding : self.padding + samples]
        return _in_silence(made)


class _Unit(_Step):
    """A residual unit, but for its first Snake."""

    def __init__(self, unit: ResidualUnit, following: nn.Module | None, short: bool) -> None:
        super().__init__(following)
        _, filter_, snake, mix = unit.block
        assert isinstance(filter_, nn.Conv1d)
        assert isinstance(snake, Snake)
        assert isinstance(mix, nn.Conv1d)
        assert filter_.bias is not None
        assert mix.bias is not None
        self.dilation, self.inner = filter_.dilation[0], SnakeValues.of(snake.alpha)
        self.short = short
        self.filter = short_weight(filter_.weight) if short else _filter_panels(filter_.weight)
        self.filter_bias = filter_.bias.detach()
        self.mix, self.mix_bias = panels(mix.weight[:, :, 0]), mix.bias.detach()

    def __call__(self, wave: _Wave) -> _Wave:
        samples, channels = wave.samples, wave.snaked.shape[1]
        filtered = wave.room(samples, channels)
        ahead = wave.snaked[AHEAD - 3 * self.dilation :]
        if self.short:
            short_filter(ahead, samples, self.dilation, self.filter, self.filter_bias, filtered, self.inner)
        else:
            product(
                ahead,
                samples,
                channels,
                self.filter,
                self.filter_bias,
                None,
                filtered,
                self.inner,
                taps=KERNEL,
                jump=self.dilation * channels,
            )
        sums = wave.room(samples, channels) if self.keeps else None
        product(
            filtered,
            samples,
            channels,
            self.mix,
            self.mix_bias,
            sums,
            wave.snaked[AHEAD:],  # which has been heard and can be written over
            self.snake,
            wave.sums,
        )
        assert wave.sums is not None
        return _Wave(samples, wave.snaked, sums, [*wave.spare, filtered, wave.sums])


def _filter_panels(weight: Tensor) -> Tensor:
    """Of a filter [C', C, k]."""
    return panels(weight.detach().transpose(1, 2).flatten(1))  # (C', C, k) -> (C', k · C)


def _in_silence(wave: _Wave) -> _Wave:
    """With zeros around it."""
    wave.snaked[:AHEAD] = 0
    wave.snaked[AHEAD + wave.samples :] = 0
    return wave
