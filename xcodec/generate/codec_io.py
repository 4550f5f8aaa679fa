"""What speech, music and sound have in common: the models in the package, prompts, and codes to audio as they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xcodec import audio
from xcodec.engine.engine import Codec
from xcodec.inference.batch import TOKEN_SUFFIX
from xcodec.inference.streaming import StreamingDecoder
from xcodec.lm.generation import LARGEST_SEED
from xcodec.lm.model import CodeLM
from xcodec.tokens.xc_file import read_tokens

ASSETS = Path(__file__).parent.parent / "assets"
SILENCE = 1e-3
"""Root mean square of a silent prompt: -60 dB."""


class GenerateError(ValueError):
    """What cannot be generated from, said in one line."""


def check_options(seed: int, **finite: float | None) -> None:
    """Check what no generation can do with.

    Raises:
        GenerateError: a seed that the random generator cannot take, or a number that is none.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise GenerateError(f"seed must be within 0 and {LARGEST_SEED}, not {seed}")
    for name, value in finite.items():
        if value is not None and not math.isfinite(value):
            raise GenerateError(f"{name} must be finite, not {value}")


def default_model(task: str) -> Path:
    """The model for a task that is inside the package.

    Raises:
        GenerateError: there is none.
    """
    folder = ASSETS / f"xcodec-mini-{task}"
    if not folder.is_dir():
        raise GenerateError(f"no language model for {task} is installed; name one with --model")
    return folder


def check_codec(model: CodeLM, codec: Codec) -> None:
    """Check that the codec is the one that the model was trained on.

    Raises:
        GenerateError: it is another; to it, the model's tokens would mean other sounds.
    """
    spec, own = model.config.codec, codec.fingerprint.tokens
    if spec.model_hash != own:
        raise GenerateError(
            f"the language model predicts tokens of {spec.model} (tokens {spec.model_hash}), but this codec is"
            f" {codec.config.name} (tokens {own}); name the right one with --codec"
        )


def encode_prompt(path: Path, codec: Codec, codebooks: int, shortest: float, longest: float) -> Tensor:
    """The codes of a recording, int64 [K, F].

    Args:
        path: of the recording, or of an ``.xc`` file of it, which has them already.
        codec: for the codes.
        codebooks: K, from the first on.
        shortest: in seconds.
        longest: in seconds.

    Raises:
        GenerateError: it is too short, too long, or silent.
        AudioError: it is damaged or no audio.
        TokenFileError: it is damaged, or made by another codec.
        OSError: it cannot be read.
    """
    if path.suffix.lower() == TOKEN_SUFFIX:
        return _read_prompt(path, codec, codebooks, shortest, longest)
    facts = audio.info(path)
    seconds = facts.samples / facts.sample_rate
    if not shortest <= seconds <= longest:
        raise GenerateError(f"{path} lasts {seconds:.2f} s; a prompt must last {shortest:g} to {longest:g} s")
    wav, _ = audio.read(path, codec.sample_rate)
    if float(np.sqrt(np.mean(wav**2))) < SILENCE:
        raise GenerateError(f"{path} is silent; a prompt must have a sound")
    return codec.encode(torch.from_numpy(wav)[None])[0, :codebooks].clone()


def _read_prompt(path: Path, codec: Codec, codebooks: int, shortest: float, longest: float) -> Tensor:
    tokens = read_tokens(path)
    header = tokens.header
    header.expect(codec.config.name, bytes.fromhex(codec.fingerprint.tokens), path)
    seconds = header.samples / header.sample_rate
    if not shortest <= seconds <= longest:
        raise GenerateError(f"{path} lasts {seconds:.2f} s; a prompt must last {shortest:g} to {longest:g} s")
    if header.codebooks < codebooks:
        raise GenerateError(
            f"{path} has {header.codebooks} of the {codebooks} codebooks that a prompt needs; encode it at"
            f" {codec.bandwidths[-1]:g} kbps"
        )
    return torch.from_numpy(tokens.codes[0, :codebooks])


def decode_stream(codec: Codec, codes: Iterable[Tensor], block: int = 25) -> Iterator[Tensor]:
    """Audio, float32 [1, t] at a time, of codes [K, f] as they come.

    Args:
        codec: for the audio.
        codes: any number of frames at a time.
        block: frames that are gathered before they are decoded: the more, the less work, and the later.
    """
    decoder, started = StreamingDecoder(codec, block), False
    for piece in codes:
        if piece.shape[1]:
            started = True
            yield from _unless_empty(decoder.decode(piece))
    if started:
        yield from _unless_empty(decoder.finish())


def _unless_empty(wav: Tensor) -> Iterator[Tensor]:
    if wav.shape[2]:
        yield wav[0].cpu()


def write_stream(path: Path, sample_rate: int, pieces: Iterable[Tensor]) -> float:
    """Write audio as it comes; the file appears when it is whole. Gives its length in seconds.

    Raises:
        GenerateError: nothing came.
        OSError: it cannot be written.
    """
    samples = 0
    with audio.Writer(path, sample_rate, 1) as writer:
        for piece in pieces:
            writer.write(piece.numpy())
            samples += piece.shape[1]
        if not samples:
            raise GenerateError("the language model ended at once; try another --seed")
    return samples / sample_rate
