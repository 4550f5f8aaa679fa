"""The receptive field of a stack of convolutions, computed from its layers.

Long audio is encoded and decoded in chunks. A chunk gives what the whole would give where it has this much of its
neighbours on both sides, so every network of the codec states its own ``context_frames``.
"""

from __future__ import annotations

from torch import nn


def context_frames(stack: nn.Module, samples_in: int = 1, samples_out: int = 1) -> int:
    """Frames on either side of a frame of output that the frame depends on.

    Every convolution in the stack counts, in the order in which the modules were registered, which must be the order in
    which they are applied. A branch beside others that are longer (a skip connection) changes nothing.

    Args:
        stack: convolutions, transposed ones too, and pointwise layers.
        samples_in: positions per frame of what goes in, such as the hop for a waveform.
        samples_out: positions per frame of what comes out.

    >>> context_frames(nn.Sequential(nn.Conv1d(1, 1, 3, padding=1), nn.Conv1d(1, 1, 7, padding=3)))
    4
    """
    first, last = 0, samples_out - 1  # of the frame 0, followed from the output back to the input
    for layer in reversed(list(stack.modules())):
        if isinstance(layer, nn.Conv1d):
            (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
            padding = int(layer.padding[0])
            first, last = first * stride - padding, last * stride - padding + dilation * (kernel - 1)
        elif isinstance(layer, nn.ConvTranspose1d):
            (kernel,), (stride,), padding = layer.kernel_size, layer.stride, int(layer.padding[0])
            # Input i reaches the outputs from i · stride - padding to that plus kernel - 1.
            first, last = -((kernel - 1 - first - padding) // stride), (last + padding) // stride
    before, after = -first, last - (samples_in - 1)
    return max(-(-before // samples_in), -(-after // samples_in), 0)
