"""Synthetic English speech with transcripts: which voice says which sentence, and saying it, resumably."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recipes.open_audio import voices
from recipes.open_audio.convert import SAMPLE_RATE, Converted, bandwidth, trim_silence, write_flac
from recipes.open_audio.corpus import Journal, split_of
from xcodec import audio

CHARACTERS_PER_SECOND = 14.0
"""Roughly how fast all the voices speak; the plan is made from it, before anything is spoken."""


@dataclass(frozen=True)
class Line:
    """One sentence, for one voice."""

    sentence: str
    engine: str
    speaker: str

    @property
    def identity(self) -> str:
        """The sentence's name, the same for every voice."""
        return hashlib.sha256(self.sentence.encode()).hexdigest()[:12]

    @property
    def source(self) -> str:
        """The manifest's source: it says that the speech is synthetic."""
        return f"synthetic-{self.engine}"

    @property
    def target(self) -> str:
        """The clip's path inside the corpus."""
        return f"speech/{self.source}/{self.speaker}/{self.identity}.flac"

    @property
    def split(self) -> str:
        """By sentence, so that no voice has said a held-out one; some voices are held out as a whole."""
        return voices.HELD_OUT_VOICES.get(self.speaker) or split_of(f"sentence/{self.identity}")


def plan(sentences: list[str], hours: dict[str, float]) -> list[Line]:
    """Share out sentences, in the order of their hash, among the voices of each engine.

    The plan of an engine depends on the hours of those before it, so change the hours of the last one freely.
    """
    casts = {
        "piper": ["piper-joe"],
        "flite": [f"flite-{name}" for name in voices.FLITE_VOICES],
        "kokoro": [f"kokoro-{name}" for name in voices.KOKORO_VOICES],
    }
    shuffled = sorted(sentences, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
    waiting = iter(shuffled)
    return [
        line
        for engine, total in hours.items()
        for line in _take(waiting, engine, casts[engine], total * 3600 * CHARACTERS_PER_SECOND)
    ]


def _take(waiting: Iterator[str], engine: str, cast: list[str], characters: float) -> Iterator[Line]:
    """Voices take turns, so that a run that stops early has spoken with all of them."""
    spoken, turn = 0, 0
    while spoken < characters and (sentence := next(waiting, None)):
        yield Line(sentence, engine, cast[turn % len(cast)])
        spoken, turn = spoken + len(sentence), turn + 1


def _cast(speakers: set[str]) -> dict[str, voices.Voice]:
    """The voices of these speakers.

    Raises:
        OSError: What makes a voice is not installed.
    """
    makers: dict[str, Callable[[], voices.Voice]] = {"piper-joe": voices.piper_voice}
    makers |= {f"flite-{name}": partial(voices.flite_voice, name) for name in voices.FLITE_VOICES}
    makers |= {f"kokoro-{name}": partial(voices.kokoro_voice, mix) for name, mix in voices.KOKORO_VOICES.items()}
    try:
        return {speaker: makers[speaker]() for speaker in sorted(speakers)}
    except ImportError as error:
        raise OSError(
            f"a voice needs {error.name}: install what the recipe's README names, or ask for 0 hours of it"
        ) from error


def speak(lines: list[Line], out: Path, journal: Journal, console: Console) -> None:
    """Say the lines that are not there yet."""
    missing = [line for line in lines if line.target not in journal.done or not (out / line.target).exists()]
    if not missing:
        return
    os.nice(15)
    # All voices are made first: that one is missing is better known now than after an hour of another.
    cast = _cast({line.speaker for line in missing})
    columns = (TextColumn("speaking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(lines), completed=len(lines) - len(missing))
        for line in missing:
            spoken, rate = cast[line.speaker](line.sentence)
            samples = trim_silence(audio.resample(spoken[np.newaxis], rate, SAMPLE_RATE)[0])  # (1, T) -> (T,)
            write_flac(out / line.target, samples)
            done = Converted(round(len(samples) / SAMPLE_RATE, 4), len(samples), rate, bandwidth(samples))
            journal.add(line.target, asdict(done))
            progress.advance(task)


def rows(lines: list[Line], journal: Journal) -> list[dict[str, Any]]:
    """The manifest's lines for what has been spoken so far."""
    return [
        {
            "path": line.target,
            "seconds": journal.done[line.target]["seconds"],
            "samples": journal.done[line.target]["samples"],
            "sample_rate": SAMPLE_RATE,
            "domain": "speech",
            "source": line.source,
            "speaker": line.speaker,
            "language": "en",
            "text": line.sentence,
            "licence": voices.LICENCES[line.engine],
            "weight": 1.0,
            "bandwidth": journal.done[line.target]["bandwidth"],
            "split": line.split,
        }
        for line in lines
        if line.target in journal.done
    ]
