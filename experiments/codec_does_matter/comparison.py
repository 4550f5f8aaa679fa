"""What is compared: codecs, seeds, models; and where each step keeps its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs" / "lm"
MODELS = {
    "speech": ("speech-ar-mini", "speech-nar-mini"),
    "music": ("music-mini", "music-mini-4"),
    "sound": ("sound-mini",),
}
PIECES = {"speech": None, "music": 30.0, "sound": None}
"""Longest clips of the token tables, in seconds."""
SOURCES: dict[str, tuple[str, ...]] = {
    "speech": ("synthetic-piper", "synthetic-flite", "synthetic-kokoro"),
    "music": ("wesnoth-1.16-music", "hedgewars-data", "singularity-music", "colobot-common-sounds"),
    "sound": (),
}
"""Training data: English, which Whisper transcribes; as much music as these models can use; all sounds."""

SPEECH_KINDS: dict[str, tuple[int, ...]] = {
    "continuation-ar": (),
    "continuation-ar+nar": (),
    "resynthesis-1": (0,),
    "resynthesis-8": (0,),
    "voice-ar": (),
    "voice-ar+nar": (),
}
"""What is scored, in this order, and its seeds; without any, the comparison's. Resynthesis samples nothing."""
MUSIC_RESYNTHESIS = {"music-resynthesis-1": 1, "music-resynthesis-4": 4}
"""The true continuation, resynthesised from as many codebooks as the models have: their topline."""


@dataclass(frozen=True)
class ComparedCodec:
    """A codec under its name in the tables."""

    name: str
    source: str | None
    """As `xcodec.load` takes it; None is the codec in the package."""


@dataclass(frozen=True)
class Comparison:
    """One run of the whole experiment."""

    codecs: tuple[ComparedCodec, ...]
    seeds: tuple[int, ...]
    corpus: Path
    """A manifest of open-audio's kind: music and sounds."""
    speech: Path
    """One of the same kind: speech."""
    out: Path
    """Everything that is made goes here."""
    tasks: tuple[str, ...] = ("speech", "music", "sound")

    def manifest(self, task: str) -> Path:
        """Training data of a task."""
        return self.speech if task == "speech" else self.corpus

    def table(self, codec: ComparedCodec, task: str) -> Path:
        """Of tokens."""
        return self.out / "tokens" / codec.name / task

    def run_name(self, codec: ComparedCodec, model: str, seed: int) -> str:
        """Of a training."""
        return f"{codec.name}-{model}-{seed}"

    @property
    def runs(self) -> Path:
        """Folder of all trainings."""
        return self.out / "runs"

    def model(self, codec: ComparedCodec, model: str, seed: int) -> Path:
        """A trained model."""
        return self.runs / self.run_name(codec, model, seed) / "model"

    def made(self, codec: ComparedCodec, what: str, seed: int) -> Path:
        """Folder of audio that was generated."""
        return self.out / "made" / f"{codec.name}-{what}-{seed}"

    @property
    def scores(self) -> Path:
        """Folder of JSON lines, one file per kind of audio."""
        return self.out / "scores"
