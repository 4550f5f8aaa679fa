"""More speech than a codec needs, because a language model needs hours: every voice says every sentence of open-audio.

The voices are those of `recipes/open_audio` that speak many times faster than real time. Sentences keep the split that
they have there, by their hash, so what is held out for the codecs is held out for the language models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from recipes.open_audio import corpus, packages, sentences, speak

if TYPE_CHECKING:
    from recipes.open_audio.speak import Line

VOICES = ("flite-slt", "flite-rms", "flite-awb", "piper-joe")
HELD_OUT_VOICE = "flite-awb"
"""The unseen speaker: held-out sentences only, so no language model is trained on it."""


def lines(spoken: list[str], hours: float, voices: tuple[str, ...] = VOICES) -> list[Line]:
    """Who says what: sentences in the order of their hash, each by all voices in turn, until the hours are full.

    Twice the hours begin with the same lines, so a corpus can be made longer later.
    """
    left = hours * 3600 * speak.CHARACTERS_PER_SECOND
    found = []
    for sentence in sorted(spoken, key=lambda each: hashlib.sha256(each.encode()).digest()):
        for voice in voices:
            line = speak.Line(sentence, voice.partition("-")[0], voice)
            if voice == HELD_OUT_VOICE and line.split == "train":
                continue
            left -= len(sentence)
            if left < 0:
                return found
            found.append(line)
    return found


def build(folder: Path, debs: Path, unpacked: Path, hours: float, say: Callable[[str], None]) -> Path:
    """Speak what has not been spoken yet, and write the manifest; gives its path.

    Raises:
        OSError: a package or a voice is not installed, or another run is at work in the folder.
    """
    console = Console(stderr=True)
    folders = {name: packages.unpack(name, debs, unpacked) for name in sentences.PACKAGES}
    todo = lines(sentences.sentences(folders), hours)
    say(f"{folder}: {len(todo)} clips of {len(VOICES)} voices, about {hours:g} h")
    with corpus.Journal(folder / "journal-synthetic.jsonl") as journal:
        speak.speak(todo, folder, journal, console)
        corpus.write_manifest(folder / "manifest.jsonl", speak.rows(todo, journal))
    return folder / "manifest.jsonl"
