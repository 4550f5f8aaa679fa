"""Captions to sounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xcodec.codec.model import XCodec
from xcodec.lm.captions import CaptionEncoder
from xcodec.lm.checkpoint import load_autoregressive
from xcodec.lm.decoding import Limits, Request, generate
from xcodec.lm.sampling import Sampling
from xcodec.lm.sequences import context

from .pairing import GenerateError, check_pair


@dataclass(frozen=True)
class SoundOptions:
    """How it is to sound."""

    seconds: float | None = None
    """At most; null: as long as the longest clip that the model learnt from."""
    sampling: Sampling = field(default_factory=lambda: Sampling(top_k=250))
    guidance: float = 3.0
    """How much the caption is stressed; 1 is not at all."""
    seed: int = 0
    samples: int = 1
    """The likeliest is taken."""


class SoundGenerator:
    """The model, its text encoder and the codec.

    Raises:
        CheckpointError: there is no such model.
        TextError: its text encoder is not installed.
        GenerateError: another codec, or a model of another task.
    """

    def __init__(self, folder: Path, codec: XCodec) -> None:
        self.model = load_autoregressive(folder)
        self.codec = codec
        captions = self.model.config.captions
        if captions is None:
            raise GenerateError(f"{folder} holds a model that reads no captions")
        check_pair(self.model, codec)
        self.encoder = CaptionEncoder(captions.encoder, captions.tokens)

    def make(self, caption: str, options: SoundOptions | None = None) -> Tensor:
        """Codes int64 [K, F].

        Raises:
            TextError: the caption is empty.
            GenerateError: a length that cannot be.
        """
        options = options or SoundOptions()
        longest = self.model.config.longest
        if options.seconds is not None:
            longest = round(options.seconds * self.codec.frame_rate)
            if not 1 <= longest <= 10 * self.model.config.longest:
                most = 10 * self.model.config.longest / self.codec.frame_rate
                raise GenerateError(f"cannot make {options.seconds:g} s; up to {most:g} s are possible")
        embedded, there = self.encoder([caption])
        before = context(self.model.vocabulary, self.model.pattern)
        request = Request(
            before,
            torch.zeros(self.model.config.codebooks, 0, dtype=torch.int64),
            Limits(longest),
            options.sampling,
            options.seed,
            options.samples,
            condition=embedded[0][there[0]],
            guidance=options.guidance,
            unconditional=before,
        )
        return generate(self.model, request)[0].codes.cpu()
