"""What others call our modules and tensors: one table for the release and for ``transformers``, read both ways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from xcodec.storage import CheckpointError

from ..config import XCodecConfig

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


class Names(NamedTuple):
    """One module, as each of the three calls it."""

    ours: str
    release: str
    transformers: str


def module_names(config: XCodecConfig) -> Iterator[Names]:
    """Every module that holds tensors, for a codec that all three can hold."""
    last = len(config.strides) + 1
    parts = ("snake1", "conv1", "snake2", "conv2")

    yield Names("acoustic_encoder.layers.0", "encoder.block.0", "acoustic_encoder.conv1")
    for i in range(1, last):
        ours, release = f"acoustic_encoder.layers.{i}", f"encoder.block.{i}"
        theirs = f"acoustic_encoder.block.{i - 1}"
        for unit in range(3):
            for j, part in enumerate(parts):
                yield Names(
                    f"{ours}.{unit}.block.{j}",
                    f"{release}.block.{unit}.block.{j}",
                    f"{theirs}.res_unit{unit + 1}.{part}",
                )
        yield Names(f"{ours}.3", f"{release}.block.3", f"{theirs}.snake1")
        yield Names(f"{ours}.4", f"{release}.block.4", f"{theirs}.conv1")
    yield Names(f"acoustic_encoder.layers.{last}", f"encoder.block.{last}", "acoustic_encoder.snake1")
    yield Names(f"acoustic_encoder.layers.{last + 1}", f"encoder.block.{last + 1}", "acoustic_encoder.conv2")

    yield Names("acoustic_decoder.layers.0", "decoder_2.model.0", "acoustic_decoder.conv1")
    for i in range(1, last):
        ours, release = f"acoustic_decoder.layers.{i}", f"decoder_2.model.{i}"
        theirs = f"acoustic_decoder.block.{i - 1}"
        yield Names(f"{ours}.0", f"{release}.block.0", f"{theirs}.snake1")
        yield Names(f"{ours}.1", f"{release}.block.1", f"{theirs}.conv_t1")
        for unit in range(3):
            for j, part in enumerate(parts):
                yield Names(
                    f"{ours}.{unit + 2}.block.{j}",
                    f"{release}.block.{unit + 2}.block.{j}",
                    f"{theirs}.res_unit{unit + 1}.{part}",
                )
    yield Names(f"acoustic_decoder.layers.{last}", f"decoder_2.model.{last}", "acoustic_decoder.snake1")
    yield Names(f"acoustic_decoder.layers.{last + 1}", f"decoder_2.model.{last + 1}", "acoustic_decoder.conv2")

    yield Names("semantic_encoder.first", "encoder_semantic.conv.conv", "encoder_semantic.conv")
    yield Names("semantic_decoder.first", "decoder_semantic.conv1.conv", "decoder_semantic.conv1")
    yield Names("semantic_decoder.last", "decoder_semantic.conv2.conv", "decoder_semantic.conv2")
    for i in range(config.semantic.blocks if config.semantic else 0):
        encoder, decoder = f"encoder_semantic.conv_blocks.{i}", f"decoder_semantic.conv_blocks.{i}"
        for unit in range(2):
            for ours, theirs in (
                (f"semantic_encoder.blocks.{i}.{unit}", f"{encoder}.res_units.{unit}"),
                (f"semantic_decoder.blocks.{i}.{unit + 1}", f"{decoder}.res_units.{unit}"),
            ):
                yield Names(f"{ours}.conv1", f"{theirs}.conv1.conv", f"{theirs}.conv1")
                yield Names(f"{ours}.conv2", f"{theirs}.conv2", f"{theirs}.conv2")
        yield Names(f"semantic_encoder.blocks.{i}.2", f"{encoder}.conv.conv", f"{encoder}.conv")
        yield Names(f"semantic_decoder.blocks.{i}.0", f"{decoder}.conv.conv", f"{decoder}.conv")

    for k in range(config.quantizer.codebooks):
        yield Names(
            f"quantizer.levels.{k}.codebook",
            f"quantizer.vq.layers.{k}._codebook",
            f"quantizer.quantizers.{k}.codebook",
        )
    yield Names("prior", "fc_prior", "fc")
    yield Names("to_semantic", "fc_post1", "fc1")
    yield Names("to_acoustic", "fc_post2", "fc2")


def split(name: str) -> tuple[str, str]:
    """A tensor's module and its name within it.

    >>> split("acoustic_encoder.layers.0.parametrizations.weight.original0")
    ('acoustic_encoder.layers.0', 'parametrizations.weight.original0')
    """
    for leaf in (NORM, DIRECTION):
        if name.endswith(leaf):
            return name.removesuffix(f".{leaf}"), leaf
    module, _, leaf = name.rpartition(".")
    return module, leaf


def own_name(name: str, held: Collection[str]) -> str:
    """Our own files spell a tensor as the module does."""
    return name


def release_name(config: XCodecConfig) -> FileName:
    """How a ``.pth`` of the release spells our tensors."""
    return _file_name({names.ours: names.release for names in module_names(config)}, OLDER)


def transformers_name(config: XCodecConfig) -> FileName:
    """How an ``XcodecModel`` of ``transformers`` spells our tensors."""
    return _file_name({names.ours: names.transformers for names in module_names(config)}, MULTIPLIED)


def _file_name(modules: Mapping[str, str], acoustic_weight_norm: tuple[str, str]) -> FileName:
    def file_name(name: str, held: Collection[str]) -> str:
        module, leaf = split(name)
        if module.startswith(TEACHER):  # a module of transformers in all three, the newer spelling included
            theirs, usual = "semantic_model" + module.removeprefix(TEACHER), NEWER
        else:
            theirs, usual = modules[module], acoustic_weight_norm
        if leaf in (NORM, DIRECTION):
            in_use = (pair for pair in (OLDER, NEWER, MULTIPLIED) if any(f"{theirs}.{each}" in held for each in pair))
            norm, direction = next(in_use, usual)
            return f"{theirs}.{norm if leaf == NORM else direction}"
        return f"{theirs}.{CODEBOOK.get(leaf, leaf)}"

    return file_name


def arrange(
    held: dict[str, Tensor], wanted: Mapping[str, Tensor], file_name: FileName, where: str
) -> dict[str, Tensor]:
    """A file's tensors under our names, every one that a codec wants and no other.

    Args:
        held: the file's tensors under its own names.
        wanted: the codec's ``state_dict``, for its names and shapes.
        file_name: how the file spells them.
        where: the file, for the error.

    Raises:
        CheckpointError: tensors are missing, misshapen, or not part of the codec; they are named as the file does.
    """
    spelt = {name: file_name(name, held) for name in wanted}
    statistics = {name for name in wanted if name.endswith(STATISTICS)}
    if not any(spelt[name] in held for name in statistics):
        spelt = {name: spelling for name, spelling in spelt.items() if name not in statistics}
    missing = sorted({spelling for spelling in spelt.values() if spelling not in held})
    extra = sorted(held.keys() - set(spelt.values()))
    arranged, misshapen = {}, set()
    for name, spelling in spelt.items():
        if spelling not in held:
            continue
        tensor, shape = held[spelling], _shape_in_file(name, spelling, wanted)
        if tensor.shape != shape:
            misshapen.add(f"{spelling} {list(tensor.shape)} for {list(shape)}")
        else:
            arranged[name] = _convert(name, spelling, tensor, wanted[name])
    complaints = [
        f"{what}: {_first_few(names)}"
        for what, names in (("missing", missing), ("misshapen", sorted(misshapen)), ("unknown", extra))
        if names
    ]
    if complaints:
        raise CheckpointError(f"the tensors of {where} do not fit its config; {'; '.join(complaints)}")
    for name in statistics - spelt.keys():
        arranged[name] = _even_statistics(name, arranged)
    return arranged


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
    vectors = arranged[f"{split(name)[0]}.vectors"]
    return vectors if name.endswith("sums") else vectors.new_ones(len(vectors))


def _first_few(names: list[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
