"""Checkpoints of the release: a ``.pth`` that carries its teacher, and a YAML config beside it.

The numbers here are facts about the release, which its code fixes and its YAML does not say.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcodec.storage import CheckpointError

from ..config import DacConfig, XCodecConfig
from .foreign import Checkpoint, foreign_config
from .names import release_name

# Both base-size teachers: seven convolutions, then twelve transformer layers.
_BASE_SIZE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "mask_time_prob": 0.05,  # unused, but it brings a tensor that the files have
}
_HUBERT = {"model_type": "hubert", **_BASE_SIZE}
_WAVLM = {"model_type": "wavlm", **_BASE_SIZE, "num_buckets": 320, "max_bucket_distance": 800}
TEACHERS = {"hubert_base": _HUBERT, "hubert_base_general": _HUBERT, "wavlm_base_plus": _WAVLM}

PICKLED = (".pth", ".pt", ".ckpt")
"""What the name of a file must end with to be read as a checkpoint of the release."""

# Where a state dict may lie inside what was saved.
_NESTED = ("state_dict", "model", "generator", "codec_model")


def read_release(path: Path, name: str) -> Checkpoint:
    """An official ``.pth`` with its YAML beside it, or the folder that holds the two.

    Raises:
        CheckpointError: a file is missing, damaged, or could only be unpickled by running what it says.
    """
    weights = path if path.is_file() else _only(path, ("*.pth",), "checkpoint: neither a config.json nor a .pth")
    config = _read_config(_yaml_beside(weights), name)
    return Checkpoint(config, _read_tensors(weights), release_name(config), str(weights))


def _only(folder: Path, patterns: Sequence[str], missing: str) -> Path:
    """The one file of a folder that fits."""
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not found:
        raise CheckpointError(f"{folder} has no {missing}")
    if len(found) > 1:
        raise CheckpointError(f"{folder} has more than one: {', '.join(path.name for path in found)}")
    return found[0]


def _yaml_beside(weights: Path) -> Path:
    for candidate in (weights.with_suffix(".yaml"), weights.with_name("config.yaml")):
        if candidate.exists():
            return candidate
    return _only(weights.parent, ("*.yaml", "*.yml"), f"YAML config for {weights.name}")


def _read_config(path: Path, name: str) -> XCodecConfig:
    """What the YAML leaves out has the defaults of the release's ``SoundStream``."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        settings = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise CheckpointError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    generator = settings.get("generator") if isinstance(settings, dict) else None
    values = generator.get("config") if isinstance(generator, dict) else None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is no config of the release: it has no generator.config")
    teacher = values.get("semantic_techer", "hubert_base_general")  # spelt so
    if teacher not in TEACHERS:
        raise CheckpointError(f"{path}: semantic_techer is {teacher!r}; known: {', '.join(TEACHERS)}")
    try:
        return foreign_config(
            name,
            sample_rate=int(values.get("sample_rate", 16000)),
            strides=[int(ratio) for ratio in values.get("ratios", (8, 5, 4, 2))],
            bandwidths=[float(bandwidth) for bandwidth in values.get("target_bandwidths", (1, 1.5, 2, 4, 6))],
            codebook_size=int(values.get("bins", 1024)),
            code_bits=10,  # whatever ``bins`` is
            acoustic=DacConfig(width=int(values.get("D", 128))),
            architecture=TEACHERS[teacher],
        )
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.pth``; nothing in the file is run."""
    try:
        # Some official files hold a BytesIO among their tensors: mere bytes, which are left out below.
        with torch.serialization.safe_globals([io.BytesIO]):
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except PermissionError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a damaged or hostile pickle can fail in any way
        raise CheckpointError(f"{path} is damaged, or holds more than tensors and is not trusted") from error
    for _ in _NESTED:  # no deeper, for a dictionary may hold itself
        if isinstance(saved, dict) and not any(isinstance(value, Tensor) for value in saved.values()):
            saved = next((saved[key] for key in _NESTED if key in saved), None)
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path} holds no state dict")
    return {str(name).removeprefix("module."): value for name, value in saved.items() if isinstance(value, Tensor)}
