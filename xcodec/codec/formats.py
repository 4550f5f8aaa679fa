"""Checkpoints of other formats: the release's ``.pth``, and the ``XcodecModel`` of ``transformers``.

Three parts: a table of what each calls a module; what both have in common, a codec described by its bitrates; and how
each is read, and that of ``transformers`` written.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xcodec.codec.config import ConfigError, DacConfig, QuantizerConfig, SemanticConfig, TeacherConfig, XCodecConfig
from xcodec.codec.semantic import teacher_architecture
from xcodec.utils.checkpoint_io import CHECKPOINT, CONFIG, PREPROCESSOR, CheckpointError, read_tensors, write_checkpoint
from xcodec.utils.files import atomic_folder

# --- what each calls a module ----------------------------------------------------------------------------------------

TEACHER = "teacher.network.model"
NORM, DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
STATISTICS = ("codebook.usage", "codebook.sums")
"""Endings of the tensors that only training needs; a checkpoint may leave them out."""

# A codebook's tensors, in ours and in both others.
CODEBOOK = {"vectors": "embed", "usage": "cluster_size", "sums": "embed_avg", "updates": "inited"}

# A weight-normed tensor is a norm and a direction, under torch's older or newer names, or is already multiplied out.
OLDER, NEWER, MULTIPLIED = ("weight_g", "weight_v"), (NORM, DIRECTION), ("weight", "weight")

FileName = Callable[[str, Collection[str]], str]
"""(our name of a tensor, all names in a file) -> that file's name for the tensor."""


class ModuleNames(NamedTuple):
    """One module, as each of the three calls it."""

    ours: str
    release: str
    transformers: str


def module_names(config: XCodecConfig) -> Iterator[ModuleNames]:
    """Every module that holds tensors, for a codec that all three can hold."""
    last = len(config.strides) + 1

    yield ModuleNames("acoustic_encoder.layers.0", "encoder.block.0", "acoustic_encoder.conv1")
    for i in range(1, last):
        ours, release = f"acoustic_encoder.layers.{i}", f"encoder.block.{i}"
        theirs = f"acoustic_encoder.block.{i - 1}"
        yield from _residual_units(ours, release, theirs, first=0)
        yield ModuleNames(f"{ours}.3", f"{release}.block.3", f"{theirs}.snake1")
        yield ModuleNames(f"{ours}.4", f"{release}.block.4", f"{theirs}.conv1")
    yield ModuleNames(f"acoustic_encoder.layers.{last}", f"encoder.block.{last}", "acoustic_encoder.snake1")
    yield ModuleNames(f"acoustic_encoder.layers.{last + 1}", f"encoder.block.{last + 1}", "acoustic_encoder.conv2")

    yield ModuleNames("acoustic_decoder.layers.0", "decoder_2.model.0", "acoustic_decoder.conv1")
    for i in range(1, last):
        ours, release = f"acoustic_decoder.layers.{i}", f"decoder_2.model.{i}"
        theirs = f"acoustic_decoder.block.{i - 1}"
        yield ModuleNames(f"{ours}.0", f"{release}.block.0", f"{theirs}.snake1")
        yield ModuleNames(f"{ours}.1", f"{release}.block.1", f"{theirs}.conv_t1")
        yield from _residual_units(ours, release, theirs, first=2)
    yield ModuleNames(f"acoustic_decoder.layers.{last}", f"decoder_2.model.{last}", "acoustic_decoder.snake1")
    yield ModuleNames(f"acoustic_decoder.layers.{last + 1}", f"decoder_2.model.{last + 1}", "acoustic_decoder.conv2")

    yield ModuleNames("semantic_encoder.first", "encoder_semantic.conv.conv", "encoder_semantic.conv")
    yield ModuleNames("semantic_decoder.first", "decoder_semantic.conv1.conv", "decoder_semantic.conv1")
    yield ModuleNames("semantic_decoder.last", "decoder_semantic.conv2.conv", "decoder_semantic.conv2")
    for i in range(config.semantic.blocks if config.semantic else 0):
        encoder, decoder = f"encoder_semantic.conv_blocks.{i}", f"decoder_semantic.conv_blocks.{i}"
        for unit in range(2):
            for ours, theirs in (
                (f"semantic_encoder.blocks.{i}.{unit}", f"{encoder}.res_units.{unit}"),
                (f"semantic_decoder.blocks.{i}.{unit + 1}", f"{decoder}.res_units.{unit}"),
            ):
                yield ModuleNames(f"{ours}.conv1", f"{theirs}.conv1.conv", f"{theirs}.conv1")
                yield ModuleNames(f"{ours}.conv2", f"{theirs}.conv2", f"{theirs}.conv2")
        yield ModuleNames(f"semantic_encoder.blocks.{i}.2", f"{encoder}.conv.conv", f"{encoder}.conv")
        yield ModuleNames(f"semantic_decoder.blocks.{i}.0", f"{decoder}.conv.conv", f"{decoder}.conv")

    for k in range(config.quantizer.codebooks):
        yield ModuleNames(
            f"quantizer.levels.{k}.codebook",
            f"quantizer.vq.layers.{k}._codebook",
            f"quantizer.quantizers.{k}.codebook",
        )
    yield ModuleNames("prior", "fc_prior", "fc")
    yield ModuleNames("to_semantic", "fc_post1", "fc1")
    yield ModuleNames("to_acoustic", "fc_post2", "fc2")


def _residual_units(ours: str, release: str, theirs: str, first: int) -> Iterator[ModuleNames]:
    """The three of a DAC block, in which ``first`` is the number of the first one."""
    for unit in range(3):
        for j, part in enumerate(("snake1", "conv1", "snake2", "conv2")):
            inner = f"{first + unit}.block.{j}"
            yield ModuleNames(f"{ours}.{inner}", f"{release}.block.{inner}", f"{theirs}.res_unit{unit + 1}.{part}")


def module_and_leaf(name: str) -> tuple[str, str]:
    """A tensor's module and its name within it.

    >>> module_and_leaf("acoustic_encoder.layers.0.parametrizations.weight.original0")
    ('acoustic_encoder.layers.0', 'parametrizations.weight.original0')
    """
    for leaf in (NORM, DIRECTION):
        if name.endswith(leaf):
            return name.removesuffix(f".{leaf}"), leaf
    module, _, leaf = name.rpartition(".")
    return module, leaf


def release_name(config: XCodecConfig) -> FileName:
    """How a ``.pth`` of the release spells our tensors."""
    return _file_name({names.ours: names.release for names in module_names(config)}, OLDER)


def transformers_name(config: XCodecConfig) -> FileName:
    """How an ``XcodecModel`` of ``transformers`` spells our tensors."""
    return _file_name({names.ours: names.transformers for names in module_names(config)}, MULTIPLIED)


def _file_name(modules: Mapping[str, str], acoustic_weight_norm: tuple[str, str]) -> FileName:
    def file_name(name: str, in_file: Collection[str]) -> str:
        module, leaf = module_and_leaf(name)
        if module.startswith(TEACHER):  # a module of transformers in all three, the newer spelling included
            theirs, usual = "semantic_model" + module.removeprefix(TEACHER), NEWER
        else:
            theirs, usual = modules[module], acoustic_weight_norm
        if leaf in (NORM, DIRECTION):
            in_use = (
                pair for pair in (OLDER, NEWER, MULTIPLIED) if any(f"{theirs}.{each}" in in_file for each in pair)
            )
            norm, direction = next(in_use, usual)
            return f"{theirs}.{norm if leaf == NORM else direction}"
        return f"{theirs}.{CODEBOOK.get(leaf, leaf)}"

    return file_name


def _shape_in_file(name: str, spelling: str, wanted: Mapping[str, Tensor]) -> torch.Size:
    if spelling.endswith(".inited"):
        return torch.Size([1])
    if spelling.endswith(".weight") and name.endswith(NORM):
        return wanted[name.removesuffix(NORM) + DIRECTION].shape
    return wanted[name].shape


def _convert(name: str, spelling: str, tensor: Tensor, target: Tensor) -> Tensor:
    if spelling.endswith(".inited"):  # "yes" or "no"; ours counts the updates
        return (tensor != 0).to(target.dtype).reshape(target.shape)
    if spelling.endswith(".weight") and name.endswith(NORM):
        return _norm(tensor.float(), target)
    return tensor


def _norm(weight: Tensor, target: Tensor) -> Tensor:
    """The norm of a multiplied-out weight over all axes but the one that the target keeps.

    It must be to the last bit what torch divides by when it puts the weight together again; then the weight comes
    out as it went in, and no code that is nearly tied is flipped.
    """
    kept = next((axis for axis, size in enumerate(target.shape) if size > 1), 0)
    _, norm = torch._weight_norm_interface(weight.contiguous(), torch.ones_like(target), kept)
    return norm


def _even_statistics(name: str, arranged: Mapping[str, Tensor]) -> Tensor:
    """Moving averages as if every entry had been used once per step, for a checkpoint that left them out."""
    vectors = arranged[f"{module_and_leaf(name)[0]}.vectors"]
    return vectors if name.endswith("sums") else vectors.new_ones(len(vectors))


def _first_few(names: list[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


# --- a codec described by its bitrates -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was found."""

    config: XCodecConfig
    tensors: dict[str, Tensor]
    """Under the names of the file."""
    where: str
    """What to call it in an error."""
    file_name: FileName = lambda name, in_file: name
    """How the file spells our names; by default, as we do."""

    def state_dict(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its tensors under our names, every one that a codec wants and no other.

        Args:
            wanted: the codec's own ``state_dict``, for its names and shapes.

        Raises:
            CheckpointError: tensors are missing, misshapen, or not part of the codec; they are named as the file does.
        """
        held = self.tensors
        spelt = {name: self.file_name(name, held) for name in wanted}
        statistics = {name for name in wanted if name.endswith(STATISTICS)}
        if not any(spelt[name] in held for name in statistics):
            spelt = {name: spelling for name, spelling in spelt.items() if name not in statistics}
        missing = sorted({spelling for spelling in spelt.values() if spelling not in held})
        extra = sorted(held.keys() - set(spelt.values()))
        found, misshapen = {}, set()
        for name, spelling in spelt.items():
            if spelling not in held:
                continue
            tensor, shape = held[spelling], _shape_in_file(name, spelling, wanted)
            if tensor.shape != shape:
                misshapen.add(f"{spelling} {list(tensor.shape)} for {list(shape)}")
            else:
                found[name] = _convert(name, spelling, tensor, wanted[name])
        complaints = [
            f"{what}: {_first_few(names)}"
            for what, names in (("missing", missing), ("misshapen", sorted(misshapen)), ("unknown", extra))
            if names
        ]
        if complaints:
            raise CheckpointError(f"the tensors of {self.where} do not fit its config; {'; '.join(complaints)}")
        for name in statistics - spelt.keys():
            found[name] = _even_statistics(name, found)
        return found


def foreign_config(
    name: str,
    *,
    sample_rate: int,
    strides: Sequence[int],
    bandwidths: Sequence[float],
    codebook_size: int,
    code_bits: int,
    acoustic: DacConfig,
    architecture: dict[str, Any],
    blocks: int = 2,
) -> XCodecConfig:
    """Our config for a codec of the release or of ``transformers``.

    Raises:
        ConfigError: a codec that cannot be, or whose teacher has another frame rate than its codes.
    """
    hop_length = math.prod(strides)
    codebooks, counts = codebook_counts(bandwidths, sample_rate, hop_length, codebook_size, code_bits)
    _check_frames(architecture, hop_length)
    config = XCodecConfig(
        name=name,
        sample_rate=sample_rate,
        strides=tuple(strides),
        acoustic=acoustic,
        semantic=SemanticConfig(
            TeacherConfig(architecture, sample_rate=sample_rate, padding=hop_length // 2), blocks=blocks
        ),
        quantizer=QuantizerConfig(codebooks, codebook_size, width=acoustic.width + architecture["hidden_size"]),
        bandwidth_codebooks=counts,
        nominal_bandwidths=tuple(bandwidths),
    )
    exact = dataclasses.replace(config, nominal_bandwidths=None)
    return exact if exact.bandwidths == config.bandwidths else config


def codebook_counts(
    bandwidths: Sequence[float], sample_rate: int, hop_length: int, codebook_size: int, code_bits: int
) -> tuple[int, tuple[int, ...]]:
    """Number of all codebooks, and of those that each bandwidth in kbit/s has room for.

    >>> codebook_counts([0.5, 1, 1.5, 2, 4], 16000, 320, 1024, 10)
    (8, (1, 2, 3, 4, 8))
    """
    frame_rate = math.ceil(sample_rate / hop_length)
    codebooks = int(1000 * bandwidths[-1] // (frame_rate * code_bits))
    per_codebook = math.log2(codebook_size) * frame_rate / 1000
    return codebooks, tuple(min(max(1, math.floor(bandwidth / per_codebook)), codebooks) for bandwidth in bandwidths)


def _check_frames(architecture: dict[str, Any], hop_length: int) -> None:
    """Both others pad when their two branches disagree on the number of frames; ours is built so that they agree."""
    for frames in (1, 50):
        length = frames * hop_length + 2 * (hop_length // 2)
        for kernel, stride in zip(architecture["conv_kernel"], architecture["conv_stride"], strict=True):
            length = (length - kernel) // stride + 1
        if length != frames:
            raise ConfigError(f"{frames} frames of {hop_length} samples are {length} frames to its teacher")


# --- transformers ----------------------------------------------------------------------------------------------------

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
    return Checkpoint(config, read_tensors(folder), str(folder), transformers_name(config))


def write_transformers(config: XCodecConfig, state: Mapping[str, Tensor], folder: str | os.PathLike[str]) -> None:
    """Write a codec so that ``XcodecModel.from_pretrained`` loads it, whole or not at all.

    Args:
        config: of the codec.
        state: its ``state_dict``.
        folder: where to.

    Raises:
        CheckpointError: the codec has a part that ``XcodecModel`` cannot hold.
        NotReplaceableError: ``folder`` is a file or holds other things.
        OSError: the files cannot be written.
    """
    from transformers import DacFeatureExtractor, XcodecConfig

    _check_exportable(config)
    theirs = XcodecConfig(architectures=["XcodecModel"], **_settings(config))
    extractor = DacFeatureExtractor(sampling_rate=config.sample_rate, hop_length=config.hop_length)
    with atomic_folder(Path(folder), CHECKPOINT) as fresh:
        write_checkpoint(fresh, json.loads(theirs.to_json_string()), _tensors(config, state))
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


def _check_exportable(config: XCodecConfig) -> None:
    """Name the part of a codec that ``XcodecModel`` has no place for."""
    quantizer = config.quantizer
    if config.semantic is None:
        raise CheckpointError("transformers cannot hold a codec without a teacher")
    teacher = config.semantic.teacher
    architecture = teacher_architecture(teacher)
    width, hop_length = architecture.hidden_size, math.prod(getattr(architecture, "conv_stride", ()))
    mixed = config.acoustic.width + width
    for fits, part in (
        (config.acoustic.kind == "dac", f"{config.acoustic.kind} acoustic networks, only dac"),
        (
            config.semantic.width in (None, width),
            f"{config.semantic.width} semantic channels, only the teacher's {width}",
        ),
        (quantizer.width == mixed, f"a quantiser of width {quantizer.width}, only {mixed}: acoustic and semantic"),
        (teacher.kind != "whisper", "a Whisper teacher, only one that takes waveforms"),
        (teacher.layers == "mean", f"layer {teacher.layers} of a teacher, only the mean of all"),
        (teacher.window is None, f"a teacher with windows of {teacher.window} s, only one that takes the whole clip"),
        (teacher.sample_rate == config.sample_rate, f"a teacher at {teacher.sample_rate} Hz, only the codec's rate"),
        (hop_length == config.hop_length, "a teacher of another frame rate than the codec's"),
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


def _tensors(config: XCodecConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of ``transformers``, which multiplies out the weight norm of the acoustic networks."""
    file_name = transformers_name(config)
    tensors = {}
    for name, tensor in state.items():
        module, leaf = module_and_leaf(name)
        spelling = file_name(name, ())
        if leaf in (NORM, DIRECTION) and spelling.endswith(".weight"):
            tensor = torch._weight_norm(state[f"{module}.{DIRECTION}"], state[f"{module}.{NORM}"], 0)
        if leaf == "updates":
            tensor = (tensor > 0).float().reshape(1)
        tensors[spelling] = tensor.detach().cpu().contiguous()
    return tensors


# --- the release: a ``.pth`` that carries its teacher, and a YAML config beside it -----------------------------------

# The numbers here are facts about the release, which its code fixes and its YAML does not say.

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
    config = _read_release_config(_yaml_beside(weights), name)
    return Checkpoint(config, _read_tensors(weights), str(weights), release_name(config))


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


def _read_release_config(path: Path, name: str) -> XCodecConfig:
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
