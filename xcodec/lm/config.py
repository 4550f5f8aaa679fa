"""What a language model is made of, as frozen dataclasses that check themselves and travel in its checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xcodec.utils.config import build, require

PATTERNS = ("flat", "delay")
FRONT_ENDS = ("espeak", "characters")
ALIGNED_CODEBOOKS = 4
"""Codebooks, at most, by whose codes clips are aligned with their texts."""


@dataclass(frozen=True)
class TransformerConfig:
    """A stack of Llama's layers: RMS norm before each block, rotary positions, gated feed-forward, no biases."""

    GONE: ClassVar[dict[str, Any]] = {"rope_theta": 10_000.0}

    width: int = 256
    """Channels (D)."""
    layers: int = 6
    heads: int = 4
    inner: int = 688
    """Channels of the feed-forward block; Llama takes 8/3 of the width."""
    dropout: float = 0.1
    """Of the output of each block, in training."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "inner"):
            require(getattr(self, name) > 0, f"transformer.{name} must be positive, not {getattr(self, name)}")
        require(
            self.width % (2 * self.heads) == 0,
            f"transformer.width = {self.width} must be a multiple of twice the {self.heads} heads",
        )
        require(0 <= self.dropout < 1, f"transformer.dropout must lie in [0, 1), not {self.dropout}")


@dataclass(frozen=True)
class CodecSpec:
    """The codec whose codes a model predicts; those of another codec are other sounds, though they look the same."""

    model: str
    model_hash: str
    """Of what makes its tokens, as `codec.fingerprint.tokens` gives it."""
    codebooks: int = 8
    codebook_size: int = 1024
    sample_rate: int = 16_000
    """In Hz."""
    hop_length: int = 320
    """Samples per frame."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


@dataclass(frozen=True)
class TextConfig:
    """The text front end."""

    front_end: str = "espeak"
    """``espeak`` (phonemes, by espeak-ng) or ``characters``."""
    language: str = "en-us"
    """For espeak-ng."""
    aligned: bool = False
    """Clips are aligned with their texts before training, and each frame is conditioned on its symbol: see
    `text_encoder.py`. The text does not stand before the codes then, and the model cannot be exported as a Llama."""

    def __post_init__(self) -> None:
        require(self.front_end in FRONT_ENDS, f"text.front_end is {self.front_end!r}; known: {', '.join(FRONT_ENDS)}")


@dataclass(frozen=True)
class Durations:
    """Mean durations of symbols in the training data, in frames, where the text is not aligned. Measured, not set."""

    usual: float = 5.0
    """Of all symbols, and of one that is not in the table."""
    silence: float = 0.0
    """Before and after the text together."""
    symbols: dict[str, float] = field(default_factory=dict)
    """Of each symbol."""


@dataclass(frozen=True)
class CaptionConfig:
    """How captions are embedded (see `text.CaptionEncoder`)."""

    encoder: str = "minilm"
    """``minilm``, a folder, or a name on the hub."""
    tokens: int = 0
    """0: one embedding per caption; n: one for each of its first n tokens."""
    width: int = 384
    """Channels of the embeddings."""

    def __post_init__(self) -> None:
        require(self.tokens >= 0, f"captions.tokens must not be negative, not {self.tokens}")
        require(self.width > 0, f"captions.width must be positive, not {self.width}")


@dataclass(frozen=True)
class LMConfig:
    """A language model on codes."""

    codec: CodecSpec
    codebooks: int = 1
    """How many of the codec's codebooks it predicts, from the first on."""
    pattern: str = "flat"
    """Codebook pattern of an autoregressive model: ``flat`` or ``delay`` (see `layout.py`)."""
    non_autoregressive: bool = False
    """True: VALL-E's NAR model, which is given the first codebook of all frames and predicts the others."""
    text: TextConfig | None = None
    """The text front end; null: the model has no text."""
    captions: CaptionConfig | None = None
    """The encoder of captions; null: the model has none."""
    durations: Durations = field(default_factory=Durations)
    """For the length to expect of a text."""
    longest: int = 750
    """Frames of the longest clips in the training data: beyond, positions are new to the model."""
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        require(
            1 <= self.codebooks <= self.codec.codebooks,
            f"codebooks must be within 1 and the codec's {self.codec.codebooks}, not {self.codebooks}",
        )
        require(self.pattern in PATTERNS, f"pattern is {self.pattern!r}; known: {', '.join(PATTERNS)}")
        require(self.longest > 1, f"longest must be at least 2 frames, not {self.longest}")
        require(
            not self.non_autoregressive or self.codebooks > 1, "a non-autoregressive model needs more than one codebook"
        )
        require(self.captions is None or not self.non_autoregressive, "a non-autoregressive model takes no captions")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LMConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigError: an unknown field, or a value that cannot be.
        """
        values = dict(values)
        if "refines" in values:  # as checkpoints of version 0.1 have it
            values["non_autoregressive"] = values.pop("refines")
        return build(cls, values)
