"""A language model's folder: ``config.json`` and ``model.safetensors``, as a codec's. Nothing is pickled."""

from __future__ import annotations

from pathlib import Path

import torch

from xcodec.lm.config import LMConfig
from xcodec.lm.model import AutoregressiveLM, CodeLM, NonAutoregressiveLM, build_model
from xcodec.utils.checkpoint_io import CHECKPOINT, CONFIG, CheckpointError, read_json, read_tensors, write_checkpoint
from xcodec.utils.files import atomic_folder

FORMAT = "xcodec-lm"
VERSION = 1
_RENAMED = {
    "reader.": "text_encoder.",
    "timing.": "duration_model.",
    "aligner.scores": "aligner.log_emission",
    "aligner.stays": "aligner.log_stay",
    "aligner.goes": "aligner.log_leave",
}
"""Beginnings of tensors' names in checkpoints of version 0.1, and what they are now."""


def is_language_model(folder: str | Path) -> bool:
    """Whether a folder says that it holds one."""
    path = Path(folder)
    return (path / CONFIG).exists() and read_json(path / CONFIG).get("format") == FORMAT


def save(model: CodeLM, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a folder, whole or not at all.

    Args:
        model: any.
        folder: to write.
        dtype: of the weights on disk, those in memory by default; loading makes float32 of it.

    Raises:
        CheckpointError: the folder holds other things.
        OSError: the files cannot be written.
    """
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(Path(folder), CHECKPOINT) as fresh:
        write_checkpoint(fresh, {"format": FORMAT, "format_version": VERSION, **model.config.to_dict()}, tensors)


def load(folder: str | Path) -> CodeLM:
    """A model in evaluation mode.

    Raises:
        CheckpointError: there is none, or it is damaged, or of another kind.
    """
    path = Path(folder)
    if not (path / CONFIG).exists():
        raise CheckpointError(f"no language model at {path}")
    values = read_json(path / CONFIG)
    if values.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path} holds no language model of xcodec's")
    if (version := values.pop("format_version", None)) != VERSION:
        raise CheckpointError(f"{path} has format version {version}; this release of xcodec reads {VERSION}")
    try:
        model = build_model(LMConfig.from_dict(values))
        model.load_state_dict({_current_key(name): value for name, value in read_tensors(path).items()})
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:300]}") from error
    return model.eval()


def _current_key(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def load_autoregressive(folder: str | Path) -> AutoregressiveLM:
    """An autoregressive model.

    Raises:
        CheckpointError: as :func:`load`, or it is a non-autoregressive one.
    """
    model = load(folder)
    if not isinstance(model, AutoregressiveLM):
        raise CheckpointError(f"{folder} holds a non-autoregressive model, not an autoregressive one")
    return model


def load_nonautoregressive(folder: str | Path) -> NonAutoregressiveLM:
    """A non-autoregressive model.

    Raises:
        CheckpointError: as :func:`load`, or it is an autoregressive one.
    """
    model = load(folder)
    if not isinstance(model, NonAutoregressiveLM):
        raise CheckpointError(f"{folder} holds an autoregressive model, not a non-autoregressive one")
    return model
