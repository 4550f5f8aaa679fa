"""The semantic branch and the codebooks on our kernels: layers of any teacher, the semantic encoder, nearest entries.

Most multiply in int16, which AVX2 does twice as fast as in floats, and which is good to some 60 dB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.semantic import SemanticEncoder, SemanticUnit, Teacher
from xcodec.engine.ops import (
    COLUMNS,
    INT16_DEPTH,
    Int16Weight,
    flat_filter,
    gelu_,
    instance_norm_,
    int16_matmul,
    matmul,
    nearest,
    packed,
    packed_filter,
)


def replace_layers(teacher: Teacher) -> None:
    """Replace those layers of a teacher, on a CPU and in float32, that the kernels can compute."""
    for path, parent in list(teacher.network.named_modules()):
        for name, layer in parent.named_children():
            if KernelFeatureEncoder.supported(layer):
                setattr(parent, name, KernelFeatureEncoder(layer))
            elif KernelPositionalConv.supported(layer):
                setattr(parent, name, KernelPositionalConv(layer))
            elif type(layer) is nn.Linear and layer.out_features % COLUMNS == layer.in_features % COLUMNS == 0:
                # WavLM's attention reads the weights of its layers.
                if not (teacher.config.kind == "wavlm" and "attention" in path):
                    setattr(parent, name, KernelLinear(layer))
            elif teacher.config.kind == "whisper" and KernelConv1d.supported(layer):
                setattr(parent, name, KernelConv1d(layer))
            elif _is_gelu(layer):
                setattr(parent, name, KernelGelu())


def _is_gelu(layer: object) -> bool:
    return type(layer).__name__ == "GELUActivation"  # of transformers, by name: to import it takes seconds


def _bias(layer: nn.Linear | nn.Conv1d) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach()


class KernelLinear(nn.Module):
    """A linear layer, for inference, in int16."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.columns = linear.out_features
        self.weight, self.bias = Int16Weight.of(linear.weight), _bias(linear)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D']."""
        x = x.contiguous()
        out = x.new_empty(*x.shape[:-1], self.columns)
        depth = x.shape[-1]
        int16_matmul(x, x.numel() // depth, depth, depth, self.weight, self.bias, out)
        return out


class KernelGelu(nn.Module):
    """A GELU, for inference, where nothing else needs its input."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D], in its place."""
        return gelu_(x) if x.is_contiguous() and x.shape[-1] % COLUMNS == 0 else F.gelu(x)


class KernelConv1d(nn.Module):
    """A convolution of few taps over frames, for inference: the first two layers of Whisper."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.taps, self.stride, self.padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        self.weight, self.bias = packed_filter(conv.weight), _bias(conv)
        self.channels = conv.out_channels

    @staticmethod
    def supported(conv: nn.Module) -> bool:
        """Whether it is one, with channels that the kernels can take."""
        return type(conv) is nn.Conv1d and conv.groups == conv.dilation[0] == 1 and conv.out_channels % COLUMNS == 0

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> [B, C', F']."""
        x = F.pad(x.transpose(1, 2), (0, 0, self.padding, self.padding)).contiguous()  # (B, C, F) -> (B, F, C)
        batch, frames, channels = x.shape
        frames = (frames - self.taps) // self.stride + 1
        out = x.new_empty(batch, frames, self.channels)
        for clip, row in zip(x, out, strict=True):
            matmul(clip, frames, self.stride * channels, self.weight, self.bias, row)
        return out.transpose(1, 2)  # (B, F, C) -> (B, C, F)


class KernelPositionalConv(nn.Module):
    """The positional embedding of HuBERT and WavLM, for inference: a grouped convolution of many taps, and a GELU."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        conv = positions.conv
        assert isinstance(conv, nn.Conv1d)
        self.padding, self.groups = int(conv.padding[0]), conv.groups
        self.weights = [packed(part) for part in flat_filter(conv.weight).chunk(self.groups)]
        bias = _bias(conv)
        self.biases = (conv.weight.new_zeros(conv.out_channels) if bias is None else bias).chunk(self.groups)

    @staticmethod
    def supported(positions: nn.Module) -> bool:
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
        outs = []
        for clip in padded:
            for part, weight, bias in zip(clip.chunk(self.groups, dim=1), self.weights, self.biases, strict=True):
                group = part.contiguous()
                outs.append(group.new_empty(frames, group.shape[1]))
                matmul(group, frames, group.shape[1], weight, bias, outs[-1])
        return gelu_(
            torch.stack(outs).unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)
        )  # (B, g, F, C) -> (B, F, D)


class KernelFeatureEncoder(nn.Module):
    """The convolutions on the waveform with which HuBERT and WavLM of the base size begin, for inference.

    They have no padding; the first normalises each channel over time, and a GELU follows each. A signal [T, C] in
    memory is a matrix of overlapping rows already.
    """

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        layers = list(getattr(features, "conv_layers", ()))
        self.norm: nn.GroupNorm = layers[0].layer_norm
        self.convs: list[tuple[int, int, Int16Weight | Tensor, Tensor | None]] = []
        for layer in layers:
            conv = layer.conv
            in_int16 = conv.in_channels % INT16_DEPTH == 0  # a scale for every sample, of which a product takes so many
            weight = Int16Weight.of(flat_filter(conv.weight)) if in_int16 else packed_filter(conv.weight)
            self.convs.append((conv.kernel_size[0], conv.stride[0], weight, _bias(conv)))

    @staticmethod
    def supported(features: nn.Module) -> bool:
        """Whether these are such convolutions, with channels that the kernels can take."""
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

    def _clip(self, x: Tensor) -> Tensor:
        """[T, 1] -> [F, C]."""
        for index, (taps, stride, weight, bias) in enumerate(self.convs):
            samples, channels = (x.shape[0] - taps) // stride + 1, x.shape[1]
            x = x.contiguous()
            if isinstance(weight, Int16Weight):
                out = x.new_empty(samples, len(weight.scales))
                int16_matmul(x, samples, stride * channels, channels, weight, bias, out)
            else:
                out = x.new_empty(samples, weight.shape[0] * COLUMNS)
                matmul(x, samples, stride * channels, weight, bias, out)
            if index == 0:
                instance_norm_(out, self.norm.weight, self.norm.bias, self.norm.eps)
            x = gelu_(out)
        return x


class KernelSemanticEncoder(nn.Module):
    """A `SemanticEncoder`, for inference, in int16."""

    def __init__(self, encoder: SemanticEncoder) -> None:
        super().__init__()
        self.context_frames = encoder.context_frames
        self.first = _Int16Conv(encoder.first)
        self.parts: list[_Int16Conv | tuple[_Int16Conv, _Int16Conv]] = []
        for block in encoder.blocks:
            assert isinstance(block, nn.Sequential)
            for part in block:
                if isinstance(part, SemanticUnit):
                    self.parts.append((_Int16Conv(part.conv1), _Int16Conv(part.conv2)))
                else:
                    assert isinstance(part, nn.Conv1d)
                    self.parts.append(_Int16Conv(part))

    @staticmethod
    def supported(encoder: nn.Module) -> bool:
        """Whether it is one, with as many channels as the kernels can take."""
        return isinstance(encoder, SemanticEncoder) and all(
            layer.in_channels % INT16_DEPTH == 0 for layer in encoder.modules() if isinstance(layer, nn.Conv1d)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, width, F]."""
        return torch.stack([self._clip(clip.T) for clip in features]).transpose(1, 2)  # (B, F, D) -> (B, D, F)

    def _clip(self, x: Tensor) -> Tensor:
        """[F, D] -> [F, width]."""
        x = self.first(x)
        for part in self.parts:
            x = part(x) if isinstance(part, _Int16Conv) else x + part[1](F.elu(part[0](F.elu(x))))
        return x


class _Int16Conv:
    """A convolution that gives as many frames as it takes, of [F, C] and a multiple of 256 channels."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self.padding = int(conv.padding[0])
        self.weight, self.bias = Int16Weight.of(flat_filter(conv.weight)), _bias(conv)

    def __call__(self, x: Tensor) -> Tensor:
        frames, channels = x.shape
        out = x.new_empty(frames, len(self.weight.scales))
        x = F.pad(x, (0, 0, self.padding, self.padding)).contiguous()
        int16_matmul(x, frames, channels, channels, self.weight, self.bias, out)
        return out


class KernelCodebook(nn.Module):
    """A codebook of the quantiser, for inference."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors
        self.weight, self.squares = packed(-2 * vectors), vectors.square().sum(1)

    @staticmethod
    def supported(vectors: Tensor) -> bool:
        """Whether there are as many entries as the kernels can take."""
        return len(vectors) % COLUMNS == 0

    def nearest(self, points: Tensor) -> Tensor:
        """[M, D] -> int64 [M]: the entry at the smallest Euclidean distance."""
        return nearest(points.contiguous(), self.weight, self.squares)
