"""The files of a checkpoint, of a codec or a language model: read with one clear error, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
REMOTE_CODE = "modeling_xcodec.py"
CHECKPOINT = frozenset({CONFIG, WEIGHTS, WEIGHTS_INDEX, PREPROCESSOR, CARD, REMOTE_CODE})


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written, said in one line."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: the file is missing, or is anything else.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object, but a {type(values).__name__}")
    return values


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of ``model.safetensors``, or of the shards that ``model.safetensors.index.json`` lists.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    names = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / WEIGHTS_INDEX).exists():
        shards = read_json(folder / WEIGHTS_INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise CheckpointError(f"{folder / WEIGHTS_INDEX} has no weight_map of file names")
        names = sorted(set(shards.values()))
    tensors: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(f"{folder} has no file {name}")
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged, or not a safetensors file: {error}") from error
    return tensors


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors`` into a folder that exists.

    Raises:
        OSError: the files cannot be written, as on a full disk.
    """
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    try:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"cannot write {folder / WEIGHTS}: {error}") from error
    # safetensors lets nobody but the owner read its files; what reads the one file must be able to read the other.
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)
