"""A language model's folder: ``config.json`` and ``model.safetensors``, as a codec's. Nothing is pickled."""

from __future__ import annotations

from pathlib import Path

import torch

from xcodec.storage import CONFIG, CheckpointError, read_json, read_tensors, whole_folder, write_checkpoint

from .config import LMConfig
from .model import AutoregressiveLM, CodeLM, RefiningLM, build_model

FORMAT = "xcodec-lm"
VERSION = 1


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
    with whole_folder(Path(folder)) as fresh:
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
        model.load_state_dict(read_tensors(path))
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:300]}") from error
    return model.eval()


def load_autoregressive(folder: str | Path) -> AutoregressiveLM:
    """A model that says frame after frame.

    Raises:
        CheckpointError: as :func:`load`, or it refines.
    """
    model = load(folder)
    if not isinstance(model, AutoregressiveLM):
        raise CheckpointError(f"{folder} holds a model that refines, not one that says frame after frame")
    return model


def load_refining(folder: str | Path) -> RefiningLM:
    """A model that adds codebooks.

    Raises:
        CheckpointError: as :func:`load`, or it does not refine.
    """
    model = load(folder)
    if not isinstance(model, RefiningLM):
        raise CheckpointError(f"{folder} holds a model that says frame after frame, not one that refines")
    return model
