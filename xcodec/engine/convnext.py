"""ConvNeXt blocks on our kernels: what spectral encoders, decoders and vocoders are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.convnext import ConvNeXtBlock
from xcodec.engine.ops import COLUMNS, Int16Weight, depthwise_norm, gelu_, int16_matmul


def replace_blocks(network: nn.Module) -> None:
    """Replace those blocks of a network, on a CPU and in float32, that the kernels can compute."""
    for parent in list(network.modules()):
        for name, block in parent.named_children():
            if KernelConvNeXtBlock.supported(block):
                setattr(parent, name, KernelConvNeXtBlock(block))


class KernelConvNeXtBlock(nn.Module):
    """A `ConvNeXtBlock`, for inference: convolution and norm in one pass, and products in int16."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, ConvNeXtBlock)
        self.padding = (0, 0, block.KERNEL - 1 - block.lookahead, block.lookahead)
        self.filters = block.depthwise.weight.detach()[:, 0].T.contiguous()  # (C, 1, k) -> (k, C)
        self.bias, self.norm = block.depthwise.bias, block.norm
        self.expand, self.expand_bias = Int16Weight.of(block.expand.weight), block.expand.bias.detach()
        self.contract = Int16Weight.of(block.scale[:, None] * block.contract.weight)
        self.contract_bias = (block.scale * block.contract.bias).detach()

    @staticmethod
    def supported(block: nn.Module) -> bool:
        """Whether it is one, with as many channels as the kernels can take."""
        return type(block) is ConvNeXtBlock and len(block.scale) % COLUMNS == 0

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, C] -> [B, F, C]."""
        return torch.stack([self._clip(clip) for clip in x])

    def _clip(self, x: Tensor) -> Tensor:
        """[F, C] -> [F, C]."""
        assert self.bias is not None
        y = depthwise_norm(F.pad(x, self.padding).contiguous(), self.filters, self.bias, self.norm)
        hidden = x.new_empty(len(x), len(self.expand_bias))
        int16_matmul(y, len(x), y.shape[1], y.shape[1], self.expand, self.expand_bias, hidden)
        int16_matmul(gelu_(hidden), len(x), hidden.shape[1], hidden.shape[1], self.contract, self.contract_bias, y)
        return y.add_(x)
