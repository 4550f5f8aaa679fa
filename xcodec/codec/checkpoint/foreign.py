"""What the release and ``transformers`` have in common: a codec described by its bitrates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..config import ConfigError, DacConfig, QuantizerConfig, SemanticConfig, TeacherConfig, XCodecConfig
from .names import FileName


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was found."""

    config: XCodecConfig
    tensors: dict[str, Tensor]
    """Under the names of the file."""
    file_name: FileName
    """How the file spells our names."""
    where: str
    """What to call it in an error."""


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
