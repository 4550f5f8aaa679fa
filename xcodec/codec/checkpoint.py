"""Checkpoints: where a codec is kept, how it is read and written, and which one it is.

A checkpoint of ours is a folder of two files: ``config.json`` says how to build the network, ``model.safetensors`` has
its weights, the teacher's included. Those of the release and of ``transformers`` (formats.py) are read too. Nothing is
ever unpickled beyond ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xcodec.codec.config import XCodecConfig
from xcodec.codec.formats import (
    PICKLED,
    STATISTICS,
    Checkpoint,
    is_transformers,
    read_release,
    read_transformers,
)
from xcodec.codec.hub import write_hub_files
from xcodec.utils.checkpoint_io import (
    CHECKPOINT,
    CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    CheckpointError,
    read_json,
    read_tensors,
    write_checkpoint,
)
from xcodec.utils.files import atomic_folder

FORMAT_VERSION = 1
"""Raised when a file of ours changes so that older releases would misread it."""

SHIPPED = "xcodec-mini"
SHIPPED_FOLDER = Path(__file__).parents[1] / "assets" / SHIPPED

# The official models, as hub repositories that hold safetensors and no pickle.
OFFICIAL = {
    name: f"hf-audio/{name}"
    for name in (
        "xcodec-hubert-librispeech",
        "xcodec-wavlm-mls",
        "xcodec-wavlm-more-data",
        "xcodec-hubert-general",
        "xcodec-hubert-general-balanced",
    )
}
RELEASE_REPOSITORY = "ZhenYe234/xcodec"

AFTER_TOKENS = ("acoustic_decoder.", "to_acoustic.")
"""How the names of the weights begin that make audio of codes, and have no say in which codes they are."""
TRAINING_ONLY_MODULES = ("semantic_decoder.", "to_semantic.")
TRAINING_ONLY_TENSORS = (*STATISTICS, "codebook.updates")


# --- reading ---------------------------------------------------------------------------------------------------------


def read(source: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Whatever a source names.

    Args:
        source: as :func:`xcodec.load` takes it.

    Raises:
        CheckpointError: nothing there, or it is no checkpoint.
    """
    path = locate(source)
    # A downloaded folder is called by its commit, so the hub's name is the better one.
    name = short_name(path if source is None else source)
    if path.name in (CONFIG, WEIGHTS):
        path = path.parent
    if path.is_file() and path.suffix not in PICKLED:
        raise CheckpointError(f"{path} is no checkpoint; name a folder, or a file that ends with .pth")
    if path.is_file() or not (path / CONFIG).exists():
        return read_release(path, name)
    settings = read_json(path / CONFIG)
    if is_transformers(settings):
        return read_transformers(path, settings, name)
    return Checkpoint(_own_config(settings, path / CONFIG), read_tensors(path), str(path))


def locate(source: str | os.PathLike[str] | None) -> Path:
    """The file or folder that a source names, downloaded if need be.

    Raises:
        CheckpointError: there is no such thing, or it can be neither downloaded nor found in the cache.
    """
    if source is None or (source == SHIPPED and not Path(SHIPPED).exists()):
        if not SHIPPED_FOLDER.exists():
            raise CheckpointError(f"this installation has lost its model: there is no {SHIPPED_FOLDER}")
        return SHIPPED_FOLDER
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if name == RELEASE_REPOSITORY:
        raise CheckpointError(f"{name} holds several models; name one of {', '.join(OFFICIAL)}")
    repository = OFFICIAL.get(name, name)
    if isinstance(source, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        return _download(repository)
    known = ", ".join([SHIPPED, *OFFICIAL])
    raise CheckpointError(f"there is no file or folder {name}, nor a model of that name; known: {known}")


def short_name(source: str | os.PathLike[str]) -> str:
    """What to call a model whose checkpoint does not say: the last part of where it came from.

    Cut to the 31 bytes that a file of codes has for it.

    >>> short_name("hf-audio/xcodec-wavlm-mls")
    'xcodec-wavlm-mls'
    >>> short_name("old/xcodec_speech_hubert_librispeech.pth")
    'xcodec_speech_hubert_librispeec'
    """
    name = Path(source).expanduser().absolute().name.removesuffix(".pth")
    return name.encode()[:31].decode(errors="ignore") or "xcodec"


def _download(repository: str) -> Path:
    """The folder of a hub repository, with safetensors if there are any, or else with what the release's format has."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for patterns in ([CONFIG, WEIGHTS_INDEX, "model*.safetensors"], ["*.pth", "*.yaml", "*.yml"]):
        try:
            folder = Path(snapshot_download(repository, allow_patterns=patterns))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise CheckpointError(
                f"{repository} is no file or folder here, is not in the hub's cache, and cannot be downloaded "
                f"({type(error).__name__})"
            ) from error
        if (folder / WEIGHTS).exists() or (folder / WEIGHTS_INDEX).exists():
            break
    return folder


def _own_config(settings: dict[str, Any], where: Path) -> XCodecConfig:
    settings.pop("auto_map", None)  # for transformers.AutoModel
    version = settings.pop("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{where} has format version {version}; this release of xcodec reads {FORMAT_VERSION}")
    try:
        return XCodecConfig.from_dict(settings)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


class without_initialisation(TorchFunctionMode):  # noqa: N801, used as a function
    """``with`` this, weights are left uninitialised, as they are about to be loaded: most of the time of a load."""

    # By name, because transformers replaces those of torch while it builds a model.
    FILLS = frozenset({"kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in self.FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


# --- writing ---------------------------------------------------------------------------------------------------------


def write(
    config: XCodecConfig,
    state: dict[str, Tensor],
    folder: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    *,
    statistics: bool = True,
    hub: Mapping[str, Any] | None = None,
) -> None:
    """Write ``config.json`` and ``model.safetensors``, as :meth:`XCodec.save_pretrained` says.

    Args:
        config: of the codec.
        state: its ``state_dict``.
        folder: where to.
        dtype: to store floating-point tensors as.
        statistics: whether to store the codebooks' moving averages.
        hub: if it is to be published, what `write_hub_files` takes beside the config.

    Raises:
        CheckpointError: a tensor overflows ``dtype``.
        NotReplaceableError: ``folder`` is a file or holds other things.
        OSError: the files cannot be written.
    """
    tensors = {
        name: _stored(name, tensor, dtype)
        for name, tensor in state.items()
        if statistics or not name.endswith(STATISTICS)
    }
    with atomic_folder(Path(folder), CHECKPOINT) as fresh:
        write_checkpoint(fresh, {"format_version": FORMAT_VERSION, **config.to_dict()}, tensors)
        if hub is not None:
            write_hub_files(fresh, config, **hub)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    stored = tensor.detach().cpu().contiguous()
    if dtype is None or not stored.is_floating_point():
        return stored
    stored = stored.to(dtype)
    if not stored.isfinite().all():
        raise CheckpointError(f"{name} overflows {dtype}".replace("torch.", ""))
    return stored


# --- which codec it is -----------------------------------------------------------------------------------------------


class Fingerprint(NamedTuple):
    """Two SHA-256 hashes, eight bytes each, as hexadecimal, over name, shape and float32 values of tensors."""

    tokens: str
    """Of those on the way from audio to codes: codecs that share it make, and understand, the same codes. Decoders are
    left out: one that has been trained on decodes its predecessor's codes, and language models need not learn anew."""
    weights: str
    """Of those on the way back, too: codecs that share it also make the same audio. The semantic decoder and the
    codebooks' statistics do not count; only training uses them."""


def fingerprint(state: dict[str, Tensor]) -> Fingerprint:
    """Of a codec's ``state_dict``."""
    tensors = {
        name: tensor
        for name, tensor in sorted(state.items())
        if not name.startswith(TRAINING_ONLY_MODULES) and not name.endswith(TRAINING_ONLY_TENSORS)
    }
    digest, tokens = hashlib.sha256(), ""
    for after in (False, True):  # the hash of the tokens is that of all, half way
        for name, tensor in tensors.items():
            if name.startswith(AFTER_TOKENS) == after:
                digest.update(f"{name} {list(tensor.shape)}\n".encode())
                digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
        tokens = tokens or digest.hexdigest()[:16]
    return Fingerprint(tokens, digest.hexdigest()[:16])
