"""What is compared: our engines, and the codecs of ``transformers`` at their usual sizes.

Speed does not depend on the weights, so all but xcodec-mini have random ones, and nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xcodec.codec.config import XCodecConfig
from xcodec.codec.model import XCodec
from xcodec.engine.engine import Codec
from xcodec.evaluate.codecs import TransformersTokenizer

REFERENCES = {
    "xcodec-mini exact": "EnCodec 24 kHz",
    "xcodec-mini fast": "xcodec-mini exact",
    "X-Codec exact": "X-Codec transformers",
    "X-Codec fast": "X-Codec transformers",
}
"""What each of ours is measured against in the report."""


@dataclass(frozen=True)
class Candidate:
    """A codec that can be timed."""

    name: str
    sample_rate: int
    encode: Callable[[Tensor], Any]
    """Audio [B, 1, T] at its rate -> codes, as it likes them."""
    decode: Callable[[Any], Tensor]
    """Those codes -> audio [B, 1, T']."""
    codec: Codec | None = None
    """Ours, for what only ours can be asked."""


def candidates(names: list[str] | None = None) -> list[Candidate]:
    """Those whose name begins with one of ``names``; all by default.

    Raises:
        ValueError: there is none of that name; those that are, are listed.
    """
    known: dict[str, Callable[[], list[Candidate]]] = {
        "xcodec-mini": _mini,
        "X-Codec": _paper,
        "EnCodec": lambda: [_encodec()],
        "DAC": lambda: [_dac()],
        "Mimi": lambda: [_mimi()],
    }
    for name in names or ():
        if name not in known:
            raise ValueError(f"there is nothing called {name!r} to compare; choose from {', '.join(known)}")
    return [candidate for name, make in known.items() if names is None or name in names for candidate in make()]


def _mini() -> list[Candidate]:
    model = XCodec.from_pretrained()
    return [_ours("xcodec-mini exact", Codec(model)), _ours("xcodec-mini fast", Codec(model, "fast"))]


def _paper() -> list[Candidate]:
    from transformers import XcodecModel

    torch.manual_seed(0)
    model = XCodec(XCodecConfig(name="x-codec")).eval()
    place_codebooks(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, file_format="transformers")
        theirs = XcodecModel.from_pretrained(folder).eval().requires_grad_(False)  # or its operations cannot be counted
    return [
        _ours("X-Codec exact", Codec(model)),
        _ours("X-Codec fast", Codec(model, "fast")),
        _theirs("X-Codec transformers", theirs),
    ]


@torch.no_grad()
def place_codebooks(codec: XCodec) -> None:
    """Give an untrained codec codebooks that its latents come near to."""
    residual = codec.latents(0.3 * torch.randn(1, 1, 32 * codec.hop_length)).values
    for level in codec.quantizer.first(codec.config.quantizer.codebooks):
        vectors = level.codebook.vectors
        vectors.copy_(residual.mean() + residual.std() * torch.randn_like(vectors))
        residual = residual - level.decode(level.encode(residual[0].T)).T


def _ours(name: str, codec: Codec) -> Candidate:
    return Candidate(name, codec.sample_rate, codec.encode, codec.decode, codec)


def _theirs(name: str, model: Any, bandwidth: float | None = None) -> Candidate:
    tokenizer = TransformersTokenizer(model, name)
    return Candidate(name, tokenizer.sample_rate, lambda wav: tokenizer.encode(wav, bandwidth), tokenizer.decode)


def _encodec() -> Candidate:
    from transformers import EncodecConfig, EncodecModel

    return _theirs("EnCodec 24 kHz", EncodecModel(EncodecConfig()), 6.0)


def _dac() -> Candidate:
    from transformers import DacConfig, DacModel

    # As descript's model for 16 kHz.
    config = DacConfig(sampling_rate=16_000, downsampling_ratios=[2, 4, 5, 8], n_codebooks=12)
    return _theirs("DAC 16 kHz", DacModel(config))


def _mimi() -> Candidate:
    from transformers import MimiConfig, MimiModel

    return _theirs("Mimi 24 kHz", MimiModel(MimiConfig()), 1.1)
