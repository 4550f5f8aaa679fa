"""What is said in the clips: transcripts that the packages carry, each in a format of its own."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

# festvox-ru marks stress by a plus before the vowel and phrase breaks by commas; only the marks are removed.
_FESTVOX_LINE = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)$')
_FILLETS_DIALOG = re.compile(
    r'dialogId\("(?P<id>[^"]+)",\s*"(?P<font>[^"]*)",\s*"(?P<english>(?:[^"\\]|\\.)*)"\)'
    r'(?:\s*dialogStr\("(?P<translated>(?:[^"\\]|\\.)*)"\))?'
)

# What sonic-pi's sample names abbreviate.
_ABBREVIATIONS = {
    "ambi": "ambient",
    "bd": "bass drum",
    "elec": "electronic",
    "guit": "guitar",
    "misc": "",
    "perc": "percussion",
    "sn": "snare",
}


def festvox(path: Path) -> dict[str, str]:
    """Utterance name → sentence, from a Festvox `txt.done.data`."""
    matches = (_FESTVOX_LINE.match(line.strip()) for line in path.read_text("utf-8").splitlines())
    return {match[1]: match[2].replace("+", "") for match in matches if match}


def asterisk(path: Path) -> dict[str, str]:
    """Prompt name → sentence, from `core-sounds-XX.txt.gz`; not those told by `[stage directions]`."""
    texts = {}
    for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(":")
        if colon and not line.startswith(";") and not text.strip().startswith(("[", "(")):
            texts[name.strip()] = text.strip()
    return texts


def tuxpaint(path: Path) -> dict[str, str]:
    """Language → phrase, from a stamp's `.txt`: English on the first line, then `LANG.utf8=phrase`."""
    first, *others = path.read_text("utf-8", "replace").splitlines() or [""]
    texts = {"en": first.strip()}
    for line in others:
        language, equals, phrase = line.partition(".utf8=")
        if equals:
            texts[language] = phrase.strip()
    return texts


def fillets(folder: Path, language: str) -> dict[str, str]:
    """Dialogue name → line, from the `*dialogs_LANG.lua` of one level of Fish Fillets."""
    texts = {}
    for script in sorted(folder.glob(f"*dialogs_{language}.lua")):
        for match in _FILLETS_DIALOG.finditer(script.read_text("utf-8", "replace")):
            spoken = match["english"] if language == "en" else match["translated"]
            if spoken:
                texts[match["id"]] = spoken.replace('\\"', '"')
    return texts


def caption(*names: str) -> str:
    """A caption from the names of a sound's folder and file: `SnareRim_hard02` → `snare rim hard`."""
    spaced = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names)
    words = re.sub(r"[^A-Za-z]+", " ", " ".join(spaced)).lower().split()
    words = " ".join(_ABBREVIATIONS.get(word, word) for word in words).split()
    return " ".join(word for i, word in enumerate(words) if i == 0 or word != words[i - 1])


def transcription(path: Path) -> dict[str, str]:
    """Utterance name → sentence, from a Sphinx `transcription`: `<s> words </s> (name)`, one per line."""
    texts = {}
    for line in path.read_text("utf-8").splitlines():
        match = re.match(r"^(.*)\((\S+)\)\s*$", line)
        if match:
            texts[match[2]] = re.sub(r"</?s>", "", match[1]).strip().lower()
    return texts
