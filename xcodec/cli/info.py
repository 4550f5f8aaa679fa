"""The subcommand `info`: what a file of tokens, an audio file or a model is, for people and programs."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from xcodec.audio import AUDIO_SUFFIXES
from xcodec.audio import info as audio_info
from xcodec.cli.coding import Track
from xcodec.inference.batch import TOKEN_SUFFIX
from xcodec.tokens import stream, xc_file
from xcodec.utils.errors import one_line, say_error

MODEL_SUFFIXES = {".pth", ".safetensors", ".json", ".yaml", ".yml"}


def info(
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="An .xc file, audio, or a model.")],
    track: Track = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per item, on a line.")] = False,
) -> None:
    """Say what a file of tokens, an audio file or a model is.

    Example: xcodec info speech.xc

    A model, by name or folder: xcodec info xcodec-mini
    """
    failed = False
    for index, item in enumerate(items):
        try:
            facts = describe(item, track)
        except (ValueError, OSError) as error:
            say_error(one_line(error))
            failed = True
            continue
        if as_json:
            print(json.dumps(facts))
        else:
            lines = [f"{name:<19}{_readable(value)}" for name, value in facts.items()]
            print("\n" * (index > 0) + "\n".join(lines))
    raise typer.Exit(int(failed))


def describe(item: str, track: int | None = None) -> dict[str, object]:
    """Facts about a file (of audio, about a ``track``), folder or model name, each with its unit where it has one.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or there is no such model.
    """
    path = Path(item)
    suffix = path.suffix.lower()
    if not path.exists() and suffix in AUDIO_SUFFIXES | {TOKEN_SUFFIX}:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), item)
    if not path.is_file() or suffix in MODEL_SUFFIXES:
        return _describe_model(item)
    with path.open("rb") as file:
        tokens = file.read(3) in (xc_file.MAGIC, stream.MAGIC) or suffix == TOKEN_SUFFIX
    return _describe_tokens(path) if tokens else _describe_audio(path, track)


def _describe_tokens(path: Path) -> dict[str, object]:
    with stream.open_tokens(path) as reader:
        header = reader.header
    return {
        "file": str(path),
        "kind": "tokens",
        "model": header.model,
        "tokens": header.model_hash.hex(),
        "sample_rate": header.sample_rate,
        "samples": header.samples,
        "seconds": header.samples / header.sample_rate,
        "channels": header.channels,
        "codebooks": header.codebooks,
        "codebook_size": header.codebook_size,
        "frames": header.frames,
        "frame_rate": header.sample_rate / header.hop_length,
        "kbps": header.frame_bits * header.sample_rate / header.hop_length / 1000,
        "bytes": path.stat().st_size,
    }


def _describe_audio(path: Path, track: int | None) -> dict[str, object]:
    facts = audio_info(path, track)
    return {
        "file": str(path),
        "kind": "audio",
        "format": facts.format,
        "sample_rate": facts.sample_rate,
        "samples": facts.samples,
        "seconds": facts.samples / facts.sample_rate,
        "channels": facts.channels,
        "bytes": path.stat().st_size,
    }


def _describe_model(name: str) -> dict[str, object]:
    from xcodec.codec.checkpoint import locate
    from xcodec.codec.model import XCodec
    from xcodec.lm.checkpoint import is_language_model

    if is_language_model(name):
        return _describe_language_model(name)
    codec = XCodec.from_pretrained(name)
    config = codec.config
    teacher = 0 if codec.teacher is None else sum(each.numel() for each in codec.teacher.parameters())
    return {
        "model": config.name,
        "kind": "model",
        "tokens": codec.fingerprint.tokens,
        "weights": codec.fingerprint.weights,
        "sample_rate": config.sample_rate,
        "frame_rate": config.frame_rate,
        "bandwidths": list(config.bandwidths),
        "codebooks": config.quantizer.codebooks,
        "codebook_size": config.quantizer.codebook_size,
        "acoustic": config.acoustic.kind,
        "teacher": "none" if config.semantic is None else config.semantic.teacher.kind,
        "parameters": sum(each.numel() for each in codec.parameters()),
        "teacher_parameters": teacher,
        **_terms(locate(name)),
    }


def _terms(folder: Path) -> dict[str, object]:
    """What the model card beside the weights says of their licence, and of those of what they were trained on."""
    from huggingface_hub import ModelCard

    from xcodec.utils.checkpoint_io import CARD

    card = folder / CARD
    if not card.is_file():
        return {"licence": "not stated", "trained_on": "not stated"}
    data = ModelCard.load(card).data
    return {"licence": data.license or "not stated", "trained_on": data.get("trained_on") or "not stated"}


def _describe_language_model(folder: str) -> dict[str, object]:
    from xcodec.lm.checkpoint import load

    model = load(folder)
    config = model.config
    return {
        "model": folder,
        "kind": "language model",
        "stage": "non-autoregressive" if config.non_autoregressive else "autoregressive",
        "codebooks": config.codebooks,
        "pattern": config.pattern,
        "text": "none" if config.text is None else config.text.front_end,
        "captions": "none" if config.captions is None else config.captions.encoder,
        "codec": config.codec.model,
        "codec_tokens": config.codec.model_hash,
        "longest_seconds": config.longest / config.codec.frame_rate,
        "parameters": sum(each.numel() for each in model.parameters()),
        **_terms(Path(folder)),
    }


def _readable(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_readable, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
