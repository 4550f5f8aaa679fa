"""Music that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xcodec.engine.engine import Codec
from xcodec.generate.common import GenerateError, check_pair, read_prompt
from xcodec.lm.checkpoint import load_autoregressive
from xcodec.lm.generation import Limits, Request, Sampling, frames, generate
from xcodec.lm.layout import context
from xcodec.lm.text import CaptionEncoder

SHORTEST_PROMPT, LONGEST_PROMPT = 0.5, 1800.0
LONGEST = 3600.0
"""Seconds."""


@dataclass(frozen=True)
class MusicOptions:
    """How to go on."""

    seconds: float = 10.0
    sampling: Sampling = field(default_factory=lambda: Sampling(top_k=250))
    seed: int = 0


class MusicGenerator:
    """The model and the codec.

    Raises:
        CheckpointError: there is no such model.
        GenerateError: another codec, or a model of another task.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self.model = load_autoregressive(folder)
        self.codec = codec
        config = self.model.config
        if config.text is not None or config.captions is not None:
            raise GenerateError(f"{folder} holds a model that reads text, not one that continues music")
        check_pair(self.model, codec)

    def read_prompt(self, path: Path) -> Tensor:
        """The codes of a recording, int64 [K, F].

        Raises:
            GenerateError: it is silent, or too short or long.
        """
        return read_prompt(path, self.codec, self.model.config.codebooks, SHORTEST_PROMPT, LONGEST_PROMPT)

    def go_on(self, prompt: Tensor, options: MusicOptions | None = None) -> Iterator[Tensor]:
        """New codes int64 [K, 1], frame by frame, after those of a prompt [K, F].

        A model that has learnt from pieces of some length is never asked for more at once: when its window is full, it
        goes on from the second half of it.
        """
        options = options or MusicOptions()
        if not 0 < options.seconds <= LONGEST:
            raise GenerateError(f"cannot go on for {options.seconds:g} s; up to {LONGEST:g} s are possible")
        model, window = self.model, self.model.config.longest
        before = context(model.vocabulary, model.pattern)
        wanted = round(options.seconds * self.codec.frame_rate)
        heard = prompt[:, -(window // 2) :]
        number = 0
        while wanted > 0:
            limits = Limits(min(wanted, window - heard.shape[1]), min(wanted, window - heard.shape[1]))
            request = Request(before, heard, limits, options.sampling, options.seed + 1000 * number)
            for frame in frames(model, request):
                codes = frame.codes[0][:, None].cpu()
                heard = torch.cat([heard, codes], dim=1)
                yield codes
            wanted -= limits.most
            heard = heard[:, -(window // 2) :]
            number += 1


# Captions to sounds.


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

    def __init__(self, folder: Path, codec: Codec) -> None:
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
