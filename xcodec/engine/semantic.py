"""The semantic branch on the kernels of `kernels.py`: linear layers of any teacher, convolutions of HuBERT and WavLM,
and those of the semantic encoder.

All multiply whole numbers of 16 bits, which AVX2 does twice as fast as floats, and which are good to some 60 dB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.semantic import SemanticEncoder, SemanticUnit, Teacher
from xcodec.engine.ops import COLUMNS, WholeWeight, gelu_, nearest, panels, product, standardise_, whole_product


def lighten(teacher: Teacher) -> None:
    """Let a teacher on a CPU, in float32, make use of the kernels."""
    for path, parent in list(teacher.network.named_modules()):
        for name, layer in parent.named_children():
            if ChannelsLastFeatures.suits(layer):
                setattr(parent, name, ChannelsLastFeatures(layer))
            elif KernelPositions.suits(layer):
                setattr(parent, name, KernelPositions(layer))
            elif type(layer) is nn.Linear and layer.out_features % COLUMNS == layer.in_features % COLUMNS == 0:
                # WavLM's attention reads the weights of its layers.
                if not (teacher.config.kind == "wavlm" and "attention" in path):
                    setattr(parent, name, KernelLinear(layer))
            elif teacher.config.kind == "whisper" and KernelConv.suits(layer):
                setattr(parent, name, KernelConv(layer))
            elif _is_gelu(layer):
                setattr(parent, name, KernelGelu())


def _is_gelu(layer: object) -> bool:
    return type(layer).__name__ == "GELUActivation"  # of transformers, by name: to import it takes seconds


class KernelLinear(nn.Module):
    """A linear layer, for inference."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.columns = linear.out_features
        self.weight = WholeWeight.of(linear.weight)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D']."""
        x = x.contiguous()
        made = x.new_empty(*x.shape[:-1], self.columns)
        depth = x.shape[-1]
        whole_product(x, x.numel() // depth, depth, depth, self.weight, self.bias, made)
        return made


class KernelGelu(nn.Module):
    """A GELU, for inference, where nothing else needs its input."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D], in its place."""
        return gelu_(x) if x.is_contiguous() and x.shape[-1] % COLUMNS == 0 else F.gelu(x)


class KernelConv(nn.Module):
    """A convolution of few taps over frames, for inference: those that Whisper begins with."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.taps, self.stride, self.padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        self.weight = panels(conv.weight.detach().transpose(1, 2).flatten(1))  # (C', C, k) -> (C', k · C)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.channels = conv.out_channels

    @staticmethod
    def suits(conv: nn.Module) -> bool:
        """Whether it is one, with channels that the kernels can take."""
        return type(conv) is nn.Conv1d and conv.groups == conv.dilation[0] == 1 and conv.out_channels % COLUMNS == 0

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, C', F']."""
        wave = F.pad(x.transpose(1, 2), (0, 0, self.padding, self.padding)).contiguous()  # (B, C, F) -> (B, F, C)
        batch, frames, channels = wave.shape
        frames = (frames - self.taps) // self.stride + 1
        made = wave.new_empty(batch, frames, self.channels)
        for clip, out in zip(wave, made, strict=True):
            product(clip, frames, self.stride * channels, self.weight, self.bias, out)
        return made.transpose(1, 2)  # (B, F, C) -> (B, C, F)


class KernelPositions(nn.Module):
    """What HuBERT and WavLM know positions by, for inference: a convolution of many taps, in groups, and a GELU."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        conv = positions.conv
        assert isinstance(conv, nn.Conv1d)
        self.padding, self.groups = int(conv.padding[0]), conv.groups
        weight = conv.weight.detach().transpose(1, 2).flatten(1)  # (C', C, k) -> (C', k · C)
        self.weights = [panels(part) for part in weight.chunk(self.groups)]
        self.biases = (torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()).chunk(self.groups)

    @staticmethod
    def suits(positions: nn.Module) -> bool:
        """Whether these are such positions, with channels that the kernels can take."""
        conv = getattr(positions, "conv", None)
        return (
            type(positions).__name__.endswith("PositionalConvEmbedding")
            and isinstance(conv, nn.Conv1d)
            and type(conv) is nn.Conv1d  # its weight norm folded
            and getattr(positions, "batch_norm", None) is None
            and _is_gelu(positions.activation)
            and conv.in_channels == conv.out_channels
            and conv.out_channels // conv.groups % COLUMNS == 0
            and conv.padding[0] == conv.kernel_size[0] // 2
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, F, D] -> [B, F, D]."""
        batch, frames, _ = hidden.shape
        padded = F.pad(hidden, (0, 0, self.padding, self.padding))
        made = []
        for clip in padded:
            for part, weight, bias in zip(clip.chunk(self.groups, dim=1), self.weights, self.biases, strict=True):
                wave = part.contiguous()
                made.append(wave.new_empty(frames, wave.shape[1]))
                product(wave, frames, wave.shape[1], weight, bias, made[-1])
        return gelu_(
            torch.stack(made).unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)
        )  # (B, g, F, C) -> (B, F, D)


class KernelCodebook(nn.Module):
    """A codebook of the quantiser, for inference."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors
        self.weight, self.squares = panels(-2 * vectors), vectors.square().sum(1)

    @staticmethod
    def suits(vectors: Tensor) -> bool:
        """Whether there are as many entries as the kernels can take."""
        return len(vectors) % COLUMNS == 0

    def nearest(self, points: Tensor) -> Tensor:
        """[M, D] -> int64 [M]: the entry at the smallest Euclidean distance."""
        return nearest(points.contiguous(), self.weight, self.squares)


class ChannelsLastSemantic(nn.Module):
    """A `SemanticEncoder`, for inference."""

    def __init__(self, encoder: SemanticEncoder) -> None:
        super().__init__()
        self.context_frames = encoder.context_frames
        self.first = _Conv(encoder.first)
        self.parts: list[_Conv | tuple[_Conv, _Conv]] = []
        for block in encoder.blocks:
            assert isinstance(block, nn.Sequential)
            for part in block:
                if isinstance(part, SemanticUnit):
                    self.parts.append((_Conv(part.conv1), _Conv(part.conv2)))
                else:
                    assert isinstance(part, nn.Conv1d)
                    self.parts.append(_Conv(part))

    @staticmethod
    def suits(encoder: SemanticEncoder) -> bool:
        """Whether it has as many channels as the kernels can take."""
        return all(layer.in_channels % 256 == 0 for layer in encoder.modules() if isinstance(layer, nn.Conv1d))

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, width, F]."""
        return torch.stack([self._clip(clip.T) for clip in features]).transpose(1, 2)  # (B, F, D) -> (B, D, F)

    def _clip(self, wave: Tensor) -> Tensor:
        """[F, D] -> [F, width]."""
        wave = self.first(wave)
        for part in self.parts:
            wave = part(wave) if isinstance(part, _Conv) else wave + part[1](F.elu(part[0](F.elu(wave))))
        return wave


class _Conv:
    """A convolution that gives as many frames as it takes, of [F, C] and a multiple of 256 channels."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self.padding = int(conv.padding[0])
        self.weight = WholeWeight.of(conv.weight.detach().transpose(1, 2).flatten(1))  # (C', C, k) -> (C', k · C)
        self.bias = None if conv.bias is None else conv.bias.detach()

    def __call__(self, wave: Tensor) -> Tensor:
        frames, channels = wave.shape
        made = wave.new_empty(frames, len(self.weight.scales))
        wave = F.pad(wave, (0, 0, self.padding, self.padding)).contiguous()
        whole_product(wave, frames, channels, channels, self.weight, self.bias, made)
        return made


class ChannelsLastFeatures(nn.Module):
    """What HuBERT and WavLM of the base size hear sound with, for inference.

    Convolutions without padding, of which the first normalises each channel over time, with a GELU after each. A wave
    of [T, C] in memory is a matrix of overlapping rows already.
    """

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        layers = list(getattr(features, "conv_layers", ()))
        self.norm: nn.GroupNorm = layers[0].layer_norm
        self.convs: list[tuple[int, int, WholeWeight | Tensor, Tensor | None]] = []
        for layer in layers:
            conv = layer.conv
            weight = conv.weight.detach().transpose(1, 2).flatten(1)  # (C', C, k) -> (C', k · C)
            bias = None if conv.bias is None else conv.bias.detach()
            whole = conv.in_channels % 256 == 0  # a scale for every sample, of which a product takes in so many
            made = WholeWeight.of(weight) if whole else panels(weight)
            self.convs.append((conv.kernel_size[0], conv.stride[0], made, bias))

    @staticmethod
    def suits(features: nn.Module) -> bool:
        """Whether these are such features, with channels that the kernels can take."""
        layers = list(getattr(features, "conv_layers", ()))
        norms = [getattr(layer, "layer_norm", None) for layer in layers]
        return (
            bool(layers)
            and isinstance(norms[0], nn.GroupNorm)
            and norms[0].num_groups == norms[0].num_channels
            and not any(norms[1:])
            and all(_is_gelu(layer.activation) for layer in layers)
            and all(layer.conv.out_channels % COLUMNS == 0 for layer in layers)
        )

    def forward(self, wav: Tensor) -> Tensor:
        """[B, T] -> [B, C, F]."""
        return torch.stack([self._clip(clip[:, None]) for clip in wav]).transpose(1, 2)  # (B, F, C) -> (B, C, F)

    def _clip(self, wave: Tensor) -> Tensor:
        """[T, 1] -> [F, C]."""
        for index, (taps, stride, weight, bias) in enumerate(self.convs):
            samples, channels = (wave.shape[0] - taps) // stride + 1, wave.shape[1]
            wave = wave.contiguous()
            if isinstance(weight, WholeWeight):
                made = torch.empty(samples, len(weight.scales))
                whole_product(wave, samples, stride * channels, channels, weight, bias, made)
            else:
                made = torch.empty(samples, weight.shape[0] * COLUMNS)
                product(wave, samples, stride * channels, weight, bias, made)
            if index == 0:
                standardise_(made, self.norm.weight, self.norm.bias, self.norm.eps)
            wave = gelu_(made)
        return wave
