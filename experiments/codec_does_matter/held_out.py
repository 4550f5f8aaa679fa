"""The test set, fixed by hash: sentences, music and captions that no model is trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xcodec.data.manifest import AudioItem, read_corpus

SHORTEST_PROMPT, LONGEST_PROMPT = 1.0, 10.0


WORDS = ("snare", "tom", "kick", "hat", "ride", "crash", "cowbell", "clap", "tambourine", "tabla", "bell", "splash")
WORDS += ("footsteps", "guitar", "bass", "rim", "djembe", "bullet")
"""Classes of sounds, if a caption has just one of them."""


@dataclass(frozen=True)
class Utterance:
    """A sentence to say, and the recordings around it."""

    name: str
    text: str
    real: AudioItem
    """A recording of it."""
    prompt: AudioItem
    """Another recording of the same speaker."""


def _order(item: AudioItem) -> str:
    return hashlib.sha256(item.path.name.encode() + str(item.speaker).encode()).hexdigest()


def held_out(corpus: Path, domain: str) -> list[AudioItem]:
    """The held-out part of the corpus."""
    return [item for item in read_corpus(corpus, None, (domain,)) if item.split in ("test", "valid")]


def utterances(corpus: Path, count: int) -> list[Utterance]:
    """Held-out English sentences, each with a held-out clip of the same voice; several prompts each if few."""
    items = held_out(corpus, "speech")
    spoken = sorted(
        (i for i in items if i.language == "en" and i.text and i.source.startswith("synthetic")), key=_order
    )
    of_voice: dict[str | None, list[AudioItem]] = defaultdict(list)
    for item in spoken:
        if SHORTEST_PROMPT <= item.seconds <= LONGEST_PROMPT:
            of_voice[item.speaker].append(item)
    found: list[Utterance] = []
    for turn in range(len(spoken)):
        for index, item in enumerate(spoken):
            others = [other for other in of_voice[item.speaker] if other.text != item.text]
            if turn >= len(others):
                continue
            prompt = others[(index + turn) % len(others)]
            found.append(Utterance(f"{item.path.stem}-{item.speaker}-{turn}", item.text or "", item, prompt))
            if len(found) == count:
                return found
    return found


def sounds(corpus: Path) -> list[AudioItem]:
    """Real sounds with captions, of all splits: the probe is trained on them."""
    return [item for item in read_corpus(corpus, None, ("sound",)) if item.text]


def music(corpus: Path, seconds: float, count: int) -> list[tuple[AudioItem, int]]:
    """Pieces of held-out music: recording and first sample, evenly spaced, each ``seconds`` long."""
    places = []
    for item in sorted(held_out(corpus, "music"), key=_order):
        size = round(seconds * item.sample_rate)
        places += [(item, first) for first in range(0, item.samples - size + 1, size)]
    step = max(1, len(places) // count)
    return places[::step][:count]


def keyword_classes(items: Sequence[AudioItem], least: int) -> dict[str, list[AudioItem]]:
    """Sounds by the one class whose word their caption has; classes of fewer than ``least`` are left out."""
    found: dict[str, list[AudioItem]] = defaultdict(list)
    for item in items:
        of = [word for word in WORDS if word in (item.text or "").split()]
        if len(of) == 1:
            found[of[0]].append(item)
    return {word: sorted(of, key=_order) for word, of in sorted(found.items()) if len(of) >= least}
