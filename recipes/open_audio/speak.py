"""Synthetic English speech with transcripts: which voice says which sentence, and saying it, resumably."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recipes.open_audio import voices
from recipes.open_audio.convert import SAMPLE_RATE, Converted, bandwidth, trim_silence, write_flac
from recipes.open_audio.corpus import Journal, split_of
from recipes.open_audio.processes import start_worker
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
    """Share out sentences among the voices of each engine, so that any beginning of the plan is balanced.

    Asking for more hours keeps the lines that there were, in another order.
    """
    casts = {
        "kokoro": [f"kokoro-{name}" for name in voices.KOKORO_VOICES],
        "piper": ["piper-joe"],
        "flite": [f"flite-{name}" for name in voices.FLITE_VOICES],
    }
    shares = []
    for engine, total in hours.items():
        lines = list(_take(sentences, engine, casts[engine], total))
        shares += [(place / len(lines), line) for place, line in enumerate(lines)]
    return [line for _, line in sorted(shares, key=lambda share: share[0])]


def _take(sentences: list[str], engine: str, cast: list[str], hours: float) -> Iterator[Line]:
    """Voices take turns; those held out, of which a little is enough, in every fourth round."""
    characters, said = 0, set()
    waiting, turns = iter(()), _turns(cast)
    passes = 0
    while characters < hours * 3600 * CHARACTERS_PER_SECOND:
        sentence = next(waiting, None)
        if sentence is None:  # all of them again, in another order
            if passes == len(cast) or not sentences:
                return
            order = f"{engine}/{passes}/"
            waiting = iter(sorted(sentences, key=lambda s: hashlib.sha256((order + s).encode()).digest()))
            passes += 1
            continue
        line = Line(sentence, engine, next(turns))
        if line.target not in said:
            said.add(line.target)
            characters += len(sentence)
            yield line


def _turns(cast: list[str]) -> Iterator[str]:
    for turn in itertools.count():
        yield from (speaker for speaker in cast if turn % 4 == 0 or speaker not in voices.HELD_OUT_VOICES)


def speak(
    lines: list[Line], out: Path, tables: Path, journal: Journal, workers: int, console: Console
) -> Iterator[int]:
    """Say the lines that are not there yet, in order, in several processes; yields how many it has said so far."""
    missing = [line for line in lines if line.target not in journal.done or not (out / line.target).exists()]
    if not missing:
        return
    # One voice of each kind is made first: that one is missing is better known now than after an hour of another.
    for speaker in {line.engine: line.speaker for line in missing}.values():
        voices.make(speaker, tables)
    columns = (TextColumn("speaking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker) as pool,
    ):
        task = progress.add_task("", total=len(lines), completed=len(lines) - len(missing))
        waiting, count = iter(missing), itertools.count(1)
        running = {pool.submit(_say, line, out, tables): line for line in itertools.islice(waiting, 2 * workers)}
        try:
            while running:
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    journal.add(running.pop(job).target, asdict(job.result()))
                    progress.advance(task)
                    yield next(count)
                    if line := next(waiting, None):
                        running[pool.submit(_say, line, out, tables)] = line
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_voice = cache(voices.make)


def _say(line: Line, out: Path, tables: Path) -> Converted:
    spoken, rate = _voice(line.speaker, tables)(line.sentence)
    samples = trim_silence(audio.resample(spoken[np.newaxis], rate, SAMPLE_RATE)[0])  # (1, T) -> (T,)
    write_flac(out / line.target, samples)
    return Converted(round(len(samples) / SAMPLE_RATE, 4), len(samples), rate, bandwidth(samples))


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
