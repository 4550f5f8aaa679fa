"""An XCodec on faster networks, in float32 as before.

The model stays as it is; a network is made beside it, some parts of which compute the same in another way. What is to
gain without losing a digit: weight norms multiplied out once, and on a CPU our own kernels for DAC, since PyTorch's
convolutions run at half of the processor's peak or less, and the Snakes between them make five passes over memory each.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from xcodec.codec.model import XCodec
from xcodec.engine import ops
from xcodec.engine.dac import KernelDac


def exact(model: XCodec) -> XCodec:
    """A network with the model's codes, and its audio but for float32's rounding."""
    network = sharing_weights(model)
    for name in ("acoustic_encoder", "acoustic_decoder"):
        part = getattr(network, name)
        if KernelDac.supported(part) and ops.available():
            setattr(network, name, KernelDac(part, winograd=False))
    return network


def sharing_weights(model: XCodec) -> XCodec:
    """A copy whose parts can be replaced; its weights are the model's own, but for weight norms, multiplied out."""
    network = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    without_weight_norms(network)
    return network.eval()


def without_weight_norms(network: nn.Module) -> None:
    """Replace convolutions under weight norms by plain ones."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if parametrize.is_parametrized(layer, "weight"):
                assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
                setattr(parent, name, _multiplied_out(layer))


def _multiplied_out(layer: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    """The same convolution with its weight computed once.

    A new layer, because `remove_parametrizations` would alter the class that the layer shares with its copies.
    """
    kind: type[nn.Module] = nn.Conv1d
    options: dict[str, Any] = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    if isinstance(layer, nn.ConvTranspose1d):
        kind, options["output_padding"] = nn.ConvTranspose1d, layer.output_padding
    options |= {"bias": layer.bias is not None, "device": layer.weight.device, "dtype": layer.weight.dtype}
    folded = nn.utils.skip_init(kind, layer.in_channels, layer.out_channels, layer.kernel_size, **options)
    folded.weight = nn.Parameter(layer.weight.detach(), requires_grad=False)
    folded.bias = layer.bias
    return folded
