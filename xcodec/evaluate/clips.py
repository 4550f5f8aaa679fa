"""The clips of an evaluation: chosen from a corpus by rule, not by hand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xcodec import audio
from xcodec.data.manifest import AudioItem, DataError, read_corpus, read_span
from xcodec.utils.files import printable

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Clip:
    """A piece of a recording."""

    name: str
    """Unique among the clips of a run, and the same whenever they are chosen again."""
    item: AudioItem
    first: int
    """Where it starts in the item, in samples at the file's own rate."""
    samples: int
    """How long it is, likewise."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.item.sample_rate

    @property
    def text(self) -> str | None:
        """Its transcript, if the whole recording is in it."""
        return self.item.text if self.samples == self.item.samples else None

    @property
    def key(self) -> str:
        """The name as part of a file name."""
        return f"{printable(self.item.path.stem[:40])}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    def read(self, sample_rate: int | None = None) -> NDArray[np.float32]:
        """`[T]` at a rate in Hz, by default the file's own.

        Raises:
            OSError: the file cannot give these samples.
        """
        wav = np.ascontiguousarray(read_span(self.item, self.first, self.samples), dtype=np.float32)
        if sample_rate is None:
            return wav
        return audio.resample(wav[np.newaxis], self.item.sample_rate, sample_rate)[0]


@dataclass(frozen=True)
class Selection:
    """Which clips to take.

    Raises:
        ValueError: lengths that leave nothing.
    """

    per_domain: int | None = None
    """How many of each domain, evenly spaced in the corpus's order; by default all."""
    shortest: float = 1.0
    """Seconds; shorter recordings are left out."""
    longest: float = 12.0
    """Seconds; of longer recordings, the middle is taken, whose transcript is then not known."""
    domain: str = "speech"
    """That of recordings whose corpus names none."""

    def __post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest:
            raise ValueError(f"clips of {self.shortest:g} to {self.longest:g} s: there are none")
        if self.per_domain is not None and self.per_domain < 1:
            raise ValueError(f"clips per domain must be at least 1, not {self.per_domain}")


def choose(paths: Sequence[Path], selection: Selection) -> list[Clip]:
    """Clips of audio files, folders and whatever else `xcodec.data` reads (manifests, lists, Lhotse).

    Raises:
        DataError: a path that holds nothing, or nothing long enough.
    """
    items = [item for path in paths for item in _items(path, selection.domain)]
    kept = [item for item in items if item.seconds >= selection.shortest]
    if not kept:
        raise DataError(f"none of {len(items)} recordings lasts {selection.shortest:g} s")
    clips = []
    for domain in sorted({item.domain for item in kept}):
        clips += _spaced([item for item in kept if item.domain == domain], selection)
    return _named(clips)


def _items(path: Path, domain: str) -> list[AudioItem]:
    if path.is_dir() and (path / MANIFEST).exists():
        path = path / MANIFEST
    if path.is_file() and path.suffix.lower() in audio.AUDIO_SUFFIXES:
        info = audio.info(path)
        return [AudioItem(path, info.sample_rate, info.samples, domain=domain, source=str(path.parent))]
    return read_corpus(path, default_domain=domain)


def _spaced(items: list[AudioItem], selection: Selection) -> list[tuple[AudioItem, int, int]]:
    """Evenly spaced recordings, whole ones first: those that must be cut serve only where there are too few."""
    wanted = len(items) if selection.per_domain is None else min(selection.per_domain, len(items))
    whole = [item for item in items if item.seconds <= selection.longest]
    pool = whole if len(whole) >= wanted else items
    picked = [pool[index * len(pool) // wanted] for index in range(wanted)]
    cut = []
    for item in picked:
        samples = min(item.samples, round(selection.longest * item.sample_rate))
        cut.append((item, (item.samples - samples) // 2, samples))
    return cut


def _named(cuts: list[tuple[AudioItem, int, int]]) -> list[Clip]:
    names = [
        printable("/".join(item.path.parts[-3:])) + (f"+{item.start}" if item.start else "") for item, _, _ in cuts
    ]
    often, seen = Counter(names), Counter[str]()
    clips = []
    for name, cut in zip(names, cuts, strict=True):
        seen[name] += 1
        clips.append(Clip(name if often[name] == 1 else f"{name} ({seen[name]})", *cut))
    return clips
