"""The ``XcodecModel`` of ``transformers``: its folders read, and ours written as one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from xcodec.storage import CONFIG, PREPROCESSOR, CheckpointError, read_tensors, whole_folder, write_checkpoint

from ..config import ConfigError, DacConfig, XCodecConfig
from ..model import XCodec
from .foreign import Checkpoint, codebook_counts, foreign_config
from .names import DIRECTION, NORM, split, transformers_name

FIELDS = (
    *("sample_rate", "target_bandwidths", "codebook_size", "acoustic_model_config", "semantic_model_config"),
    *("strides", "channel_ratios", "block_dilations", "kernel_size", "unit_kernel_size"),
)
"""What an ``XcodecConfig`` says about the network."""


def is_transformers(settings: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a ``transformers`` model."""
    return "model_type" in settings


def read_transformers(folder: Path, settings: dict[str, Any], name: str) -> Checkpoint:
    """A folder that ``XcodecModel.save_pretrained`` wrote.

    Raises:
        CheckpointError: it is another model, has parts that ours has not, or a file is missing or damaged.
    """
    if settings["model_type"] != "xcodec":
        raise CheckpointError(f"{folder} holds a transformers model of type {settings['model_type']}, not xcodec")
    config = _read_config(settings, name, folder / CONFIG)
    return Checkpoint(config, read_tensors(folder), transformers_name(config), str(folder))


def to_transformers(codec: XCodec, folder: str | os.PathLike[str]) -> None:
    """Write a codec so that ``XcodecModel.from_pretrained`` loads it, whole or not at all.

    Raises:
        CheckpointError: the codec has a part that ``XcodecModel`` cannot hold, or the folder holds other things.
        OSError: the files cannot be written.
    """
    from transformers import DacFeatureExtractor, XcodecConfig

    _check_exportable(codec)
    theirs = XcodecConfig(architectures=["XcodecModel"], **_settings(codec.config))
    extractor = DacFeatureExtractor(sampling_rate=codec.sample_rate, hop_length=codec.hop_length)
    with whole_folder(Path(folder)) as fresh:
        write_checkpoint(fresh, json.loads(theirs.to_json_string()), _tensors(codec))
        (fresh / PREPROCESSOR).write_text(extractor.to_json_string(), "utf-8")


def _read_config(settings: dict[str, Any], name: str, path: Path) -> XCodecConfig:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import XcodecConfig

    try:
        # Configs in the wild have more fields, some of which transformers itself has come to trip over.
        theirs: Any = XcodecConfig.from_dict({field: settings[field] for field in FIELDS if field in settings})
        acoustic = theirs.acoustic_model_config
        blocks = len(theirs.strides)
        _check_semantic_layout(theirs, blocks)
        decoder_strides = tuple(acoustic.upsampling_ratios)
        return foreign_config(
            name,
            sample_rate=theirs.sample_rate,
            strides=acoustic.downsampling_ratios,
            bandwidths=theirs.target_bandwidths,
            codebook_size=theirs.codebook_size,
            code_bits=theirs.codebook_nbits,
            acoustic=DacConfig(
                acoustic.hidden_size,
                acoustic.encoder_hidden_size,
                acoustic.decoder_hidden_size,
                decoder_strides if decoder_strides != tuple(acoustic.downsampling_ratios) else None,
            ),
            architecture=_plain(theirs.semantic_model_config.to_dict()),
            blocks=blocks,
        )
    except (StrictDataclassError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error


def _check_semantic_layout(theirs: Any, blocks: int) -> None:
    """XcodecModel could vary its semantic encoder and decoder in ways that ours cannot; no known model does."""
    ours: dict[str, Any] = {
        "strides": [1] * blocks,
        "channel_ratios": [1] * blocks,
        "block_dilations": [1, 1],
        "kernel_size": 3,
        "unit_kernel_size": 3,
    }
    for field, only in ours.items():
        found = getattr(theirs, field)
        if (found if isinstance(found, int) else list(found)) != only:
            raise ConfigError(f"{field} is {found}, but xcodec has only {only}")


def _plain(architecture: dict[str, Any]) -> dict[str, Any]:
    """A config of ``transformers`` without what is not about the network, as JSON would give it back."""
    left_out = ("transformers_version", "architectures", "dtype", "torch_dtype")
    kept = {key: value for key, value in architecture.items() if key not in left_out and not key.startswith("_")}
    return dict(json.loads(json.dumps(kept)))


def _check_exportable(codec: XCodec) -> None:
    """Name the part of a codec that ``XcodecModel`` has no place for."""
    config, quantizer = codec.config, codec.config.quantizer
    if config.semantic is None or codec.teacher is None:
        raise CheckpointError("transformers cannot hold a codec without a teacher")
    teacher, width = config.semantic.teacher, codec.teacher.width
    mixed = config.acoustic.width + width
    for fits, part in (
        (config.acoustic.kind == "dac", f"{config.acoustic.kind} acoustic halves, only dac"),
        (
            config.semantic.width in (None, width),
            f"{config.semantic.width} semantic channels, only the teacher's {width}",
        ),
        (quantizer.width == mixed, f"a quantiser of width {quantizer.width}, only {mixed}: acoustic and semantic"),
        (quantizer.code_width is None, f"codes of width {quantizer.code_width}, only full width"),
        (teacher.kind != "whisper", "a Whisper teacher, only one that hears waveforms"),
        (teacher.layers == "mean", f"layer {teacher.layers} of a teacher, only the mean of all"),
        (teacher.window is None, f"a teacher with windows of {teacher.window} s, only one that hears the whole clip"),
        (teacher.sample_rate == config.sample_rate, f"a teacher at {teacher.sample_rate} Hz, only the codec's rate"),
        (codec.teacher.network.hop_length == config.hop_length, "a teacher of another frame rate than the codec's"),
        (teacher.padding == config.hop_length // 2, f"a teacher's padding of {teacher.padding}, only half a hop"),
        (_counts(config) == (quantizer.codebooks, config.bandwidth_codebooks), "these numbers of codebooks"),
    ):
        if not fits:
            raise CheckpointError(f"transformers cannot hold {part}")


def _counts(config: XCodecConfig) -> tuple[int, tuple[int, ...]]:
    """The numbers of codebooks that ``XcodecModel`` would make of our bandwidths."""
    size = config.quantizer.codebook_size
    return codebook_counts(config.bandwidths, config.sample_rate, config.hop_length, size, (size - 1).bit_length())


def _settings(config: XCodecConfig) -> dict[str, Any]:
    """The fields of an ``XcodecConfig``."""
    assert isinstance(config.acoustic, DacConfig)
    assert config.semantic is not None
    return {
        "target_bandwidths": list(config.bandwidths),
        "sample_rate": config.sample_rate,
        "codebook_size": config.quantizer.codebook_size,
        "strides": [1] * config.semantic.blocks,
        "channel_ratios": [1] * config.semantic.blocks,
        "acoustic_model_config": {
            "model_type": "dac",
            "hidden_size": config.acoustic.width,
            "encoder_hidden_size": config.acoustic.encoder_width,
            "decoder_hidden_size": config.acoustic.decoder_width,
            "downsampling_ratios": list(config.strides),
            "upsampling_ratios": list(config.acoustic.decoder_strides or config.strides),
            "sampling_rate": config.sample_rate,
        },
        "semantic_model_config": dict(config.semantic.teacher.architecture),
    }


def _tensors(codec: XCodec) -> dict[str, Tensor]:
    """Under the names of ``transformers``, which multiplies the weight norm of the acoustic halves out."""
    file_name = transformers_name(codec.config)
    tensors = {}
    for name, tensor in codec.state_dict().items():
        module, leaf = split(name)
        spelling = file_name(name, ())
        if leaf in (NORM, DIRECTION) and spelling.endswith(".weight"):
            tensor = getattr(codec.get_submodule(module), "weight")  # noqa: B009, where parametrised it is no attribute to mypy
        if leaf == "updates":
            tensor = (tensor > 0).float().reshape(1)
        tensors[spelling] = tensor.detach().cpu().contiguous()
    return tensors
