"""English sentences to be spoken: from the `fortunes` package and the dialogues of `fillets-ng-data`."""

from __future__ import annotations

import re
from pathlib import Path

from recipes.open_audio import texts

PACKAGES = ("fortunes", "fillets-ng-data")
_MIN_WORDS, _MAX_WORDS = 4, 30
# Digits, abbreviations in capitals and markup are read differently by every voice, so they are left out.
_SPEAKABLE = re.compile(r"^[A-Z][A-Za-z',;: -]*[.!?]$")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")


def sentences(folders: dict[str, Path]) -> list[str]:
    """All usable sentences, each once, in a stable order."""
    found = {sentence: None for text in _texts(folders) for sentence in _split(text) if _is_usable(sentence)}
    return list(found)


def _texts(folders: dict[str, Path]) -> list[str]:
    fortunes = sorted((folders["fortunes"] / "usr/share/games/fortunes").iterdir())
    cookies = []
    for path in fortunes:
        if path.suffix not in {".dat", ".u8"} and path.is_file():
            cookies += path.read_text("utf-8", "replace").split("\n%\n")
    # A line that starts with dashes names the author of what stands above it.
    spoken = [re.split(r"\n\s*--", cookie)[0] for cookie in cookies]
    scripts = folders["fillets-ng-data"] / "usr/share/games/fillets-ng/script"
    for level in sorted(scripts.iterdir()):
        spoken += texts.fillets(level, "en").values()
    return spoken


def _split(text: str) -> list[str]:
    joined = re.sub(r"\s+", " ", text).replace("--", ", ").strip()
    return [part.strip(" \"'") for part in re.split(r"(?<=[.!?])\s+", joined)]


def _is_usable(sentence: str) -> bool:
    words = len(sentence.split())
    return bool(_MIN_WORDS <= words <= _MAX_WORDS and _SPEAKABLE.match(sentence) and not _CAPITALS.search(sentence))
