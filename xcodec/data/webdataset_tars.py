"""WebDataset corpora: tar files in which the audio of a sample stands beside its `.json` or `.txt`.

The audio stays in the tars, where it is found by offset. What a sample's members are called is WebDataset's convention:
the name up to its first dot is the sample, the rest says what it is.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import soundfile

from xcodec.audio import AUDIO_SUFFIXES
from xcodec.utils.errors import one_line

ALIASES = {
    "text": ("text", "transcript", "transcription", "sentence", "caption"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "language": ("language", "lang", "locale"),
    "domain": ("domain",),
    "source": ("source",),
    "split": ("split",),
    "licence": ("licence", "license"),
}
"""What corpora call the fields of an `AudioItem`."""

Row = dict[str, Any]
"""Fields of an `AudioItem`; or `path` and `reason`, of what cannot be read."""


def labels(values: dict[str, Any]) -> Row:
    """What is known of a clip, from whatever names its corpus has for it; other types than text are left out."""
    found: Row = {}
    for field, names in ALIASES.items():
        value = next((values[name] for name in names if values.get(name) not in (None, "")), None)
        if isinstance(value, str) or type(value) is int:
            found[field] = str(value)
    return found


def tars_of(path: Path) -> list[Path]:
    """The tar files of a folder, of a pattern such as ``speech-{000..099}.tar``, or a tar file itself; in order."""
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.suffix != ".tar":
        return []
    if path.exists():
        return [path]
    if "{" not in path.name:
        return []
    from webdataset.shardlists import expand_urls

    return [Path(each) for each in expand_urls(str(path))]


def read_tar(tar: Path, domain: str) -> Iterator[Row]:
    """The samples of one tar file; of those without audio, only that they have none.

    Raises:
        ValueError: it is no tar file, or is cut short.
    """
    try:
        with tarfile.open(tar, "r:") as opened:
            files = ((member, *_parts(member.name)) for member in opened if member.isfile())
            for _, members in groupby(files, key=lambda each: each[1]):
                yield _sample(opened, tar, domain, [(member, kind) for member, _, kind in members])
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{tar} is no uncompressed tar file, or is damaged: {error}") from error


def _parts(name: str) -> tuple[str, str]:
    """`a/b.c.wav` → `a/b`, `c.wav`, as `webdataset.tariterators.base_plus_ext`."""
    folder, slash, file = name.rpartition("/")
    stem, _, kind = file.partition(".")
    return folder + slash + stem, kind.lower()


def _sample(opened: tarfile.TarFile, tar: Path, domain: str, members: list[tuple[tarfile.TarInfo, str]]) -> Row:
    values: dict[str, Any] = {}
    sound = None
    for member, kind in members:
        if f".{kind.rpartition('.')[2]}" in AUDIO_SUFFIXES:
            sound = sound or member
        elif kind in ("txt", "json"):
            file = opened.extractfile(member)
            assert file is not None  # it is a file
            content = file.read()
            try:
                found = json.loads(content) if kind == "json" else {"text": content.decode("utf-8").strip()}
            except ValueError as error:
                return {"path": tar, "reason": f"{tar}: {member.name} cannot be read: {error}"}
            values |= found if isinstance(found, dict) else {}
    if sound is None:
        return {"path": tar, "reason": f"{tar}: {members[0][0].name} has no audio beside it"}
    try:
        header = soundfile.info(opened.extractfile(sound))
    except (soundfile.LibsndfileError, OSError) as error:
        return {"path": tar, "reason": f"{tar}: {sound.name}: {one_line(ValueError(error))}"}
    return {
        "path": tar,
        "sample_rate": header.samplerate,
        "samples": header.frames,
        "stored": (sound.offset_data, sound.size),
        "domain": domain,
        "source": str(tar.parent),
        **labels(values),
    }
