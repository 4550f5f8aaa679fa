"""Continuation of music, and sounds from captions: one autoregressive model each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xcodec.engine.engine import Codec
from xcodec.generate.codec_io import GenerateError, check_codec, check_options, encode_prompt
from xcodec.lm.checkpoint import load_autoregressive
from xcodec.lm.generation import LARGEST_SEED, Limits, Request, Sampling, generate, generate_frames
from xcodec.lm.layout import context
from xcodec.lm.text import CaptionEncoder

SHORTEST_PROMPT, LONGEST_PROMPT = 0.5, 1800.0
LONGEST = 3600.0
"""Seconds."""


@dataclass(frozen=True)
class MusicOptions:
    """How to continue."""

    seconds: float = 10.0
    sampling: Sampling = field(default_factory=lambda: Sampling(top_k=250))
    seed: int = 0

    def __post_init__(self) -> None:
        check_options(self.seed, seconds=self.seconds)


class MusicGenerator:
    """Continues a recording.

    Args:
        folder: of the language model.
        codec: the one on whose tokens it was trained.

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
        check_codec(self.model, codec)

    def read_prompt(self, path: Path) -> Tensor:
        """The codes of a recording, int64 [K, F].

        Raises:
            GenerateError: it is silent, or too short or long.
        """
        return encode_prompt(path, self.codec, self.model.config.codebooks, SHORTEST_PROMPT, LONGEST_PROMPT)

    def generate(self, prompt: Tensor, options: MusicOptions | None = None) -> Iterator[Tensor]:
        """New codes int64 [K, 1], frame by frame, after those of a prompt [K, F].

        A model is never asked for more than the clips of its training had: when its window is full, generation goes on
        from the second half of it.
        """
        options = options or MusicOptions()
        if not 0 < options.seconds <= LONGEST:
            raise GenerateError(f"cannot generate {options.seconds:g} s; up to {LONGEST:g} s are possible")
        model, window = self.model, self.model.config.longest
        before = context(model.vocabulary, model.pattern)
        wanted = round(options.seconds * self.codec.frame_rate)
        past = prompt[:, -(window // 2) :]
        number = 0
        while wanted > 0:
            limits = Limits(min(wanted, window - past.shape[1]), min(wanted, window - past.shape[1]))
            request = Request(before, past, limits, options.sampling, (options.seed + 1000 * number) % LARGEST_SEED)
            for frame in generate_frames(model, request):
                codes = frame.codes[0][:, None].cpu()
                past = torch.cat([past, codes], dim=1)
                yield codes
            wanted -= limits.maximum
            past = past[:, -(window // 2) :]
            number += 1


# --- sounds from captions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoundOptions:
    """How to generate a sound."""

    seconds: float | None = None
    """At most; None: as long as the longest clip of the training data."""
    sampling: Sampling = field(default_factory=lambda: Sampling(top_k=250))
    guidance: float = 3.0
    """Scale of classifier-free guidance by the caption; 1 is none."""
    seed: int = 0
    samples: int = 1
    """The likeliest is taken."""

    def __post_init__(self) -> None:
        check_options(self.seed, seconds=self.seconds, guidance=self.guidance)


class SoundGenerator:
    """Makes the sound of a caption.

    Args:
        folder: of the language model.
        codec: the one on whose tokens it was trained.

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
        check_codec(self.model, codec)
        self.encoder = CaptionEncoder(captions.encoder, captions.tokens)

    def generate(self, caption: str, options: SoundOptions | None = None) -> Tensor:
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
                maximum = 10 * self.model.config.longest / self.codec.frame_rate
                raise GenerateError(f"cannot make {options.seconds:g} s; up to {maximum:g} s are possible")
        embedded, present = self.encoder([caption])
        before = context(self.model.vocabulary, self.model.pattern)
        request = Request(
            before,
            torch.zeros(self.model.config.codebooks, 0, dtype=torch.int64),
            Limits(longest),
            options.sampling,
            options.seed,
            options.samples,
            condition=embedded[0][present[0]],
            guidance=options.guidance,
            unconditional=before,
        )
        return generate(self.model, request)[0].codes.cpu()
