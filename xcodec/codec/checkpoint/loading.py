"""Load a codec from wherever it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xcodec.storage import CONFIG, WEIGHTS, CheckpointError, read_json, read_tensors

from ..config import XCodecConfig
from ..model import XCodec
from .foreign import Checkpoint
from .interchange import is_transformers, read_transformers
from .names import arrange, own_name
from .release import PICKLED, read_release
from .saving import FORMAT_VERSION
from .sources import locate, short_name


def load(source: str | os.PathLike[str] | None = None, *, device: str | torch.device = "cpu") -> XCodec:
    """A codec, ready to encode and decode (in evaluation mode, float32).

    Args:
        source: as :func:`xcodec.load` takes it, which also chooses how to run the codec.
        device: where to put it.

    Raises:
        CheckpointError: nothing there, or nothing that fits: every missing, misshapen or unknown tensor is named.
    """
    path = locate(source)
    # A downloaded folder is called by its commit, so the hub's name is the better one.
    checkpoint = _read(path, short_name(path if source is None else source))
    with torch.inference_mode(False), _Unfilled():
        codec = XCodec(checkpoint.config)
        state = codec.state_dict()
        codec.load_state_dict(arrange(checkpoint.tensors, state, checkpoint.file_name, checkpoint.where))
    return codec.to(device).eval()


def _read(path: Path, name: str) -> Checkpoint:
    """Whatever is at a path, by what it looks like."""
    if path.name in (CONFIG, WEIGHTS):
        path = path.parent
    if path.is_file() and path.suffix not in PICKLED:
        raise CheckpointError(f"{path} is no checkpoint; name a folder, or a file that ends with .pth")
    if path.is_file() or not (path / CONFIG).exists():
        return read_release(path, name)
    settings = read_json(path / CONFIG)
    if is_transformers(settings):
        return read_transformers(path, settings, name)
    return Checkpoint(_own_config(settings, path / CONFIG), read_tensors(path), own_name, str(path))


def _own_config(settings: dict[str, Any], where: Path) -> XCodecConfig:
    version = settings.pop("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{where} has format version {version}; this release of xcodec reads {FORMAT_VERSION}")
    try:
        return XCodecConfig.from_dict(settings)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


class _Unfilled(TorchFunctionMode):
    """Leaves out the random initialisation of weights that are about to be loaded: most of the time of a load."""

    # By name, because transformers replaces those of torch while it builds a model.
    FILLS = frozenset({"kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in self.FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
