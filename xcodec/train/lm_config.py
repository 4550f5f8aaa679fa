"""What the training of a language model depends on. See `config.py` for what it shares with that of a codec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xcodec.data.token_table import TableInfo
from xcodec.lm.alignment import CODEBOOKS as ALIGNED_BY
from xcodec.lm.config import CodecSpec, LMConfig
from xcodec.train.config import RunConfig
from xcodec.utils.config import require

TASKS = ("speech", "music", "sound")


@dataclass(frozen=True)
class TokenDataConfig:
    """What is read, and how it becomes examples."""

    table: str = ""
    """Folder that `xcodec tokenize` made."""
    sources: tuple[str, ...] = ()
    """Clips of these sources only; empty takes all."""
    domains: tuple[str, ...] = ()
    """Clips of these domains only; empty takes those of the task's name."""
    min_seconds: float = 0.3
    """Shorter clips are left out."""
    max_seconds: float = 15.0
    """Longer clips are left out; of music, a random piece of this length is taken."""
    batch_positions: int = 6000
    """Positions of a batch of each rank in one pass, padding included."""
    validation_batches: int = 4
    """Always the same ones."""
    prompt_seconds: tuple[float, float] = (1.0, 3.0)
    """Speech: length of the prompts, drawn from this range."""
    prompt_share: float = 0.5
    """Speech: how many clips come with another clip of the same voice before them. The others begin by themselves, or
    (for a non-autoregressive model) with a prompt cut from their own beginning."""
    unconditional_share: float = 0.1
    """How many examples are learnt without their text or caption, for classifier-free guidance."""
    codec: str | None = None
    """With which validation is made audible, as :func:`xcodec.load` takes it; null: the codec in the package."""

    def __post_init__(self) -> None:
        for name in ("sources", "domains", "prompt_seconds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # YAML gives lists
        low, high = self.prompt_seconds
        require(0 < low <= high, f"data.prompt_seconds must go from low to high, not from {low} to {high}")
        require(0 <= self.min_seconds < self.max_seconds, "data.min_seconds must lie below data.max_seconds")
        for name in ("prompt_share", "unconditional_share"):
            require(0 <= getattr(self, name) <= 1, f"data.{name} must lie in [0, 1], not {getattr(self, name)}")
        for name in ("batch_positions", "validation_batches"):
            require(getattr(self, name) > 0, f"data.{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True)
class LMTrainConfig(RunConfig):
    """A whole training run of a language model."""

    task: str = "speech"
    """``speech`` (text to codes), ``music`` (codes go on) or ``sound`` (captions to codes)."""
    model: dict[str, Any] = field(default_factory=dict)
    """The model, as :class:`~xcodec.lm.config.LMConfig` writes itself, without ``codec``: the table knows that."""
    data: TokenDataConfig = field(default_factory=TokenDataConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.task in TASKS, f"task is {self.task!r}; known: {', '.join(TASKS)}")
        sketch = self.language_model(CodecSpec("unknown", "0" * 16, codebooks=64))
        require((self.task == "speech") == (sketch.text is not None), "model.text is for task speech, and only for it")
        require(
            (self.task == "sound") == (sketch.captions is not None),
            "model.captions is for task sound, and only for it",
        )

    def language_model(self, codec: CodecSpec) -> LMConfig:
        """The model to train, on the codes of a codec."""
        longest = round(self.data.max_seconds * codec.frame_rate)
        return LMConfig.from_dict({**self.model, "codec": vars(codec), "longest": longest})

    @property
    def codebooks_read(self) -> int:
        """How many codebooks of the table are needed: those of the model, and those that clips are aligned by."""
        aligned = (self.model.get("text") or {}).get("aligned", False)
        return max(self.model.get("codebooks", 1), ALIGNED_BY if aligned else 1)

    @property
    def domains(self) -> tuple[str, ...]:
        """Whose clips are read."""
        return self.data.domains or (self.task,)


def codec_spec_of(info: TableInfo) -> CodecSpec:
    """The codec of a table, as a language model keeps it."""
    return CodecSpec(**vars(info))
