"""Write a codec in our own format: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from xcodec.storage import CheckpointError, whole_folder, write_checkpoint

from ..model import XCodec
from .names import STATISTICS

FORMAT_VERSION = 1
"""Raised when a file of ours changes so that older releases would misread it."""


def save(
    codec: XCodec,
    folder: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    *,
    statistics: bool = True,
) -> None:
    """Write ``config.json`` and ``model.safetensors``, whole or not at all; a checkpoint already there is replaced.

    Args:
        codec: the codec.
        folder: where to; its parents are created.
        dtype: what to store floating-point tensors as; half precision halves the file, and loading makes float32 of it.
        statistics: whether to store the codebooks' moving averages. Without them the file is smaller, and training
            goes on from it as if every entry had been in even use.

    Raises:
        CheckpointError: the codec was loaded to run fast, ``folder`` is a file or holds other things, or a tensor
            overflows ``dtype``.
        OSError: the files cannot be written.
    """
    if codec.loaded_as is not None:
        raise CheckpointError(f"{codec.config.name} was loaded to run fast, and cannot be saved; load it as 'exact'")
    tensors = {
        name: _stored(name, tensor, dtype)
        for name, tensor in codec.state_dict().items()
        if statistics or not name.endswith(STATISTICS)
    }
    with whole_folder(Path(folder)) as fresh:
        write_checkpoint(fresh, {"format_version": FORMAT_VERSION, **codec.config.to_dict()}, tensors)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    stored = tensor.detach().cpu().contiguous()
    if dtype is None or not stored.is_floating_point():
        return stored
    stored = stored.to(dtype)
    if not stored.isfinite().all():
        raise CheckpointError(f"{name} overflows {dtype}".replace("torch.", ""))
    return stored
