"""Initialisation: the teacher's pre-trained weights, the semantic branch, the codebooks; what stays frozen; caches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xcodec.codec.config import ConfigError
from xcodec.codec.model import XCodec
from xcodec.codec.quantizer import QuantizerLevel
from xcodec.codec.semantic import SemanticUnit, Teacher, WhisperStates
from xcodec.data.crops import CorpusConfig, Crop, CropConfig, RandomCrops
from xcodec.utils.files import atomic_write


def load_teacher(teacher: Teacher, where: str = "model.semantic.teacher.source") -> None:
    """Load a teacher's pre-trained weights from its config's source; ``where`` names that field in errors.

    Raises:
        ConfigError: there is no source, or what is there is not this network.
    """
    source = teacher.config.source
    if source is None:
        raise ConfigError(
            f"{where} is not set: a teacher without pre-trained weights teaches noise; name a hub model or a folder"
        )
    network = teacher.network
    model: Any = network.encoder if isinstance(network, WhisperStates) else network.model
    try:
        loaded, report = type(model).from_pretrained(
            source, config=model.config, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"cannot load the teacher from {source}: {' '.join(str(error).split())}") from error
    if report["missing_keys"]:
        raise ConfigError(f"{source} lacks weights of the teacher: {', '.join(sorted(report['missing_keys'])[:5])}")
    model.load_state_dict(loaded.state_dict())


def codebooks_initialised(codec: XCodec) -> bool:
    """Whether every level has been initialised."""
    return all(int(level.codebook.updates) > 0 for level in cast(Iterable[QuantizerLevel], codec.quantizer.levels))


def read_directions(path: str | Path) -> Tensor:
    """Directions of the teacher's features [D, width], which a safetensors file has under this name.

    Raises:
        ConfigError: there is no such file, or no such tensor in it.
    """
    try:
        return load_file(path)["directions"].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise ConfigError(f"semantic_directions: cannot read `directions` from {path}: {error}") from None


@torch.no_grad()
def init_semantic_branch(codec: XCodec, clips: Tensor, directions: Tensor | None = None) -> None:
    """Initialise the semantic encoder with the principal directions of the teacher's features, or those that are given,
    the decoder with the way back from them, and their residual units with zero.

    A random branch takes thousands of steps to get there. After 500, narrowed to 48 channels of Whisper's 384, one
    explained 30 % of the variance of the features, and 48 principal directions explain 57 %.

    Args:
        codec: One with a teacher, whose semantic branch has not been trained.
        clips: [B, 1, T], for the directions.
        directions: [1 or 3 frames, teacher's width, at most the branch's].

    Raises:
        ConfigError: directions of another teacher, or more than the branch has channels.
    """
    assert codec.teacher is not None
    encoder, decoder = codec.semantic_encoder, codec.semantic_decoder
    features = codec.teacher(clips, clips.shape[2] // codec.hop_length).transpose(1, 2).flatten(0, 1)  # (B·F, D)
    if directions is None:
        # Not centred: the branch has no place for a mean, which so becomes a direction of its own.
        moments = features.double().T @ features.double()
        # The largest first.
        directions = torch.linalg.eigh(moments)[1].flip(1)[None, :, : encoder.first.out_channels].float()
    frames, channels, width = directions.shape if directions.dim() == 3 else (0, 0, 0)
    if frames not in (1, 3) or channels != features.shape[1] or width > encoder.first.out_channels:
        raise ConfigError(
            f"semantic_directions are {list(directions.shape)}, but must be [1 or 3, {features.shape[1]}, at most"
            f" {encoder.first.out_channels}]: the teacher's channels, and those of the semantic branch"
        )
    for branch in (encoder, decoder):
        for layer in branch.modules():
            if isinstance(layer, SemanticUnit):
                layer.conv2.weight.zero_()
        for layer in (branch.first, *(each for block in branch.blocks for each in block.children())):
            if isinstance(layer, nn.Conv1d):
                _pass_through(layer, torch.eye(layer.out_channels, layer.in_channels))
    encoder.first.weight.zero_()
    first_tap = 1 if frames == 1 else 0
    encoder.first.weight[:width, :, first_tap : first_tap + frames] = directions.permute(2, 1, 0)
    semantic = encoder.first(features.T)[:width].T.double()
    back = torch.linalg.lstsq(semantic, features.double()).solution
    _pass_through(decoder.last, back.T.float())


def _pass_through(layer: nn.Conv1d, matrix: Tensor) -> None:
    """Let a convolution apply a matrix [out, in] (less where it is narrower) to each position by itself."""
    layer.weight.zero_()
    layer.weight[: matrix.shape[0], : matrix.shape[1], layer.kernel_size[0] // 2] = matrix
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def scale_semantic_branch(codec: XCodec, clips: Tensor, share: float) -> None:
    """Scale the untrained semantic branch so that it makes up a given share of the variance of what is quantised.

    A codebook spends its entries where the variance is. The output variance of randomly initialised convolutions is
    arbitrary, and so would be the share of the first codebooks that codes the semantic features.

    Args:
        codec: One with a teacher, whose semantic branch has not been trained.
        clips: [B, 1, T], to measure on.
        share: of the semantic features, between 0 and 1.
    """
    assert codec.teacher is not None
    acoustic = codec.acoustic_encoder(clips)
    semantic = codec.semantic_encoder(codec.teacher(clips, acoustic.shape[2]))
    wanted = share / (1 - share) * _total_variance(acoustic)
    scale = (wanted / _total_variance(semantic)).sqrt()
    # The branch's first layer feeds units with a bend at zero, so its output is scaled where it leaves.
    codec.prior.weight[:, acoustic.shape[1] :] *= scale
    codec.prior.bias[acoustic.shape[1] :] *= scale
    codec.to_semantic.weight /= scale


def limit_semantic_levels(codec: XCodec, levels: int) -> None:
    """Let only the first levels of the quantiser code the semantic channels, and the others only acoustic ones.

    The residual of the semantic features after one codebook is mostly imperceptible, but has as much variance as any
    other channel, and later levels would spend their entries on it.
    """
    width = _semantic_width(codec)

    @torch.no_grad()
    def clear(level: QuantizerLevel, *_: Any) -> None:
        # At the same distance from every entry, these channels do not influence the search either.
        level.codebook.vectors[:, -width:] = 0

    for level in codec.quantizer.levels[levels:]:
        level.register_forward_hook(clear)


def keep_gain_invariant(codec: XCodec) -> None:
    """Let all entries of the first codebook have the same part in the direction of the mean spectrum, for good.

    At the same distance from every entry, this part of what is quantised does not influence the search, and it is what
    a gain changes most; the second codebook codes it.
    """
    level = cast(QuantizerLevel, codec.quantizer.levels[0])
    channels = codec.config.acoustic.width

    @torch.no_grad()
    def level_out(*_: Any) -> None:
        codebook = level.codebook
        acoustic = codebook.vectors[:, :channels]
        acoustic.copy_(without_gain(acoustic, (codebook.usage @ acoustic) / codebook.usage.sum()))

    level.register_forward_hook(level_out)


def without_gain(points: Tensor, mean: Tensor) -> Tensor:
    """Points [M, D] with their part in the direction of their mean [D] replaced by the mean's."""
    direction = mean / mean.norm()
    return points + ((mean - points) @ direction)[:, None] * direction


def _semantic_width(codec: XCodec) -> int:
    """How many of the quantiser's channels, the last ones, are semantic."""
    return codec.prior.in_features - codec.config.acoustic.width


def freeze_all_but_decoder(codec: XCodec) -> None:
    """Freeze everything that the tokens depend on, and the semantic decoder: train only what lies after them."""
    codec.requires_grad_(False)
    for part in (codec.to_acoustic, codec.acoustic_decoder):
        part.requires_grad_(True)
    codec.quantizer.register_forward_pre_hook(_stay_in_evaluation_mode)


def _stay_in_evaluation_mode(module: nn.Module, *_: Any) -> None:
    module.eval()


def _total_variance(features: Tensor) -> Tensor:
    """Of [B, D, F], summed over channels."""
    return features.transpose(1, 2).flatten(0, 1).var(0).sum()  # (B, D, F) -> (B·F, D)


@torch.no_grad()
def init_codebooks(
    codec: XCodec,
    batches: Iterable[Tensor],
    semantic_levels: int | None = None,
    gain_invariant: bool = False,
    known: Callable[[Tensor], dict[str, Tensor]] = lambda clips: {},
) -> None:
    """Initialise the codebooks by k-means, level by level, each on the residual of those before.

    One batch holds too few frames for 1024 entries: most would start on a single frame and die.

    Args:
        codec: Its encoder as trained so far.
        batches: clips [B, 1, T]; under several processes, as many of the same size on each rank.
        semantic_levels: how many of the first levels code semantic channels; all by default.
        gain_invariant: whether those of the first do not differ in how loud they are.
        known: what of clips need not be computed, as arguments of :meth:`XCodec.latents`.
    """
    training = codec.training
    codec.eval()
    latents = [codec.latents(clips, **known(clips)).values.float() for clips in batches]
    codec.train(training)
    residual = torch.cat(latents).transpose(1, 2).flatten(0, 1)  # (B, D, F) -> (B·F, D)
    for number, level in enumerate(cast(Iterable[QuantizerLevel], codec.quantizer.levels)):
        points = residual
        if semantic_levels is not None and number >= semantic_levels:
            points = nn.functional.pad(points[:, : -_semantic_width(codec)], (0, _semantic_width(codec)))
        if gain_invariant and number == 0:
            acoustic = points[:, : codec.config.acoustic.width]
            points = torch.cat([without_gain(acoustic, acoustic.mean(0)), points[:, acoustic.shape[1] :]], dim=1)
        codebook = level.codebook
        codebook.initialise(points)
        # The averages are per step, but k-means counted all batches.
        codebook.usage /= len(latents)
        codebook.sums /= len(latents)
        residual = residual - level.decode(codebook.nearest(points))


# A cache of what is frozen, on disk: the teacher's features, or all codes where the tokens stay.
#
# They need be computed once for each crop. In an endless stream of random crops none is repeated, though; with
# ``data.distinct_crops`` the stream repeats, and from its second round on they cost a read. Each second of audio takes
# 38 kB for a teacher 384 wide, at half precision, and 1.6 kB for eight codebooks.


class RepeatedCrops(RandomCrops):
    """The first ``distinct`` crops of the stream, over and over; all of it if ``None``."""

    distinct: int | None = None

    @classmethod
    def among(
        cls, distinct: int | None, corpora: Sequence[CorpusConfig], config: CropConfig, seed: int
    ) -> RepeatedCrops:
        """Read the corpora and mix them."""
        crops = cls.from_config(corpora, config, seed)
        crops.distinct = distinct
        return crops

    def __getitem__(self, index: int) -> Crop:
        """Crop number ``index``, modulo ``distinct``."""
        return super().__getitem__(index if self.distinct is None else index % self.distinct)


class CropCache:
    """A frozen function of clips, computed once for each and then looked up in a folder."""

    def __init__(self, folder: Path, function: Callable[[Tensor], Tensor], stored_as: torch.dtype) -> None:
        """For a function of clips [B, 1, T]; results are rounded to ``stored_as`` whether they were found or not, so
        that a run does not depend on what was there."""
        self.folder = folder
        self.function = function
        self.stored_as = stored_as

    @torch.no_grad()
    def __call__(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> what the function gives, of the type in which it is stored."""
        names = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in wav.cpu().numpy()]
        paths = [self.folder / name[:2] / f"{name}.npy" for name in names]
        if missing := [index for index, path in enumerate(paths) if not path.exists()]:
            computed = self.function(wav[missing]).to(self.stored_as).cpu().numpy()
            for index, values in zip(missing, computed, strict=True):
                _write(paths[index], values)
        return torch.from_numpy(np.stack([np.load(path) for path in paths])).to(wav.device)


def cache_of_features(codec: XCodec, folder: Path) -> CropCache:
    """Of the teacher's features, half precision [B, D, F], in a folder of this teacher's own."""
    teacher = codec.teacher
    assert teacher is not None
    digest = hashlib.sha256(repr(teacher.config).encode())
    for value in teacher.state_dict().values():
        digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return CropCache(
        folder / digest.hexdigest()[:16], lambda wav: teacher(wav, wav.shape[2] // codec.hop_length), torch.float16
    )


def cache_of_codes(codec: XCodec, folder: Path) -> CropCache:
    """Of all codes, int32 [B, K, F], in a folder of this tokeniser's own."""

    def encode(wav: Tensor) -> Tensor:
        return codec.quantizer.encode(codec.latents(wav).values.float(), codec.config.quantizer.codebooks)

    return CropCache(folder / codec.fingerprint.tokens, encode, torch.int32)


def _write(path: Path, features: np.ndarray) -> None:
    """Whole or not at all, though several ranks may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, features)
