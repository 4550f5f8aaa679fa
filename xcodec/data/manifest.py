"""Which recordings there are: one small record per clip, read from whatever describes a corpus.

`read_corpus(path)` looks at what `path` is:

- a folder of audio files,
- a text list, one path per line (the format of the official release),
- a `manifest.jsonl` as `recipes/open_audio` writes it,
- a Lhotse cut manifest (`cuts.jsonl`, `cuts.jsonl.gz`) or a Lhotse Shar folder, so that whatever
  `lhotse prepare` knows can be trained on.
"""

from __future__ import annotations

import gzip
import json
import logging
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xcodec import audio
import io
import numpy as np
import soundfile


logger = logging.getLogger(__name__)

MAX_BROKEN_FILES = 20
"""Missing or broken files of a corpus that are skipped unless told otherwise."""


class DataError(ValueError):
    """A corpus that cannot be used, said in one line."""


@dataclass(frozen=True, slots=True)
class AudioItem:
    """One recording, or a piece of one, and what is known about it."""

    path: Path
    """The audio file; inside it, the recording is `samples` long and starts at `start`."""
    sample_rate: int
    """Of the file, in Hz."""
    samples: int
    """Length at the file's own rate."""
    start: int = 0
    """First sample inside the file, for cuts of a longer recording."""
    stored: tuple[int, int] | None = None
    """Offset and size in bytes of the audio file inside `path`, when `path` is a tar archive of many."""
    domain: str = "unknown"
    """`speech`, `music`, `sound`, or whatever the corpus says."""
    source: str = ""
    """The corpus or folder it comes from."""
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    """What is said, or a caption."""
    licence: str | None = None
    split: str = "train"
    weight: float = 1.0
    """How often a second of it is drawn, against a second of the others."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate

    @property
    def voice(self) -> tuple[str, str]:
        """Short clips that share it may be joined: those of one speaker, else of one source."""
        return (self.domain, self.speaker or self.source)


def read_corpus(
    path: str | Path,
    split: str | None = None,
    domains: Sequence[str] = (),
    default_domain: str = "unknown",
    max_broken_files: int = MAX_BROKEN_FILES,
) -> list[AudioItem]:
    """Read the items of a corpus, in a stable order.

    Args:
        path: A folder, a text list, a `manifest.jsonl`, a Lhotse cut manifest or a Lhotse Shar folder.
        split: Keep the items of this split only; corpora without splits are all `train`.
        domains: Keep the items of these domains only; empty keeps all.
        default_domain: The domain of items whose corpus does not tell one.
        max_broken_files: How many missing or broken files of a folder or a text list are named and skipped. The
            other kinds of corpora are believed here; what is broken in them shows when it is read.

    Raises:
        DataError: Nothing readable is there, too much is broken, or nothing is left after the filters.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no corpus at {path}")
    items = [
        item
        for item in _read_any(path, default_domain, max_broken_files)
        if (split is None or item.split == split) and (not domains or item.domain in domains)
    ]
    if not items:
        wanted = " and ".join(
            ([f"of split {split!r}"] if split else []) + ([f"of domain {', '.join(domains)}"] if domains else [])
        )
        raise DataError(f"no audio {wanted or 'at all'} in {path}")
    return items


def _read_any(path: Path, default_domain: str, max_broken_files: int) -> Iterator[AudioItem]:
    if path.is_dir():
        if sorted(path.glob("cuts.*.jsonl.gz")):
            return _read_shar(path, default_domain)
        return _read_files(audio.find_audio(path), default_domain, max_broken_files)
    if path.suffixes[-2:] == [".jsonl", ".gz"] or path.suffix == ".jsonl":
        _, first = next(_json_lines(path), (0, {}))
        return _read_cuts(path, default_domain) if {"supervisions", "tracks"} & set(first) else _read_manifest(path)
    return _read_files(_listed(path), default_domain, max_broken_files)


# --- folders and lists -------------------------------------------------------------------------------------


def _listed(path: Path) -> list[Path]:
    """Paths of a text list; relative ones count from the list's folder, or from here as in the release."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    listed = [Path(line) for line in lines if line and not line.startswith("#")]
    return [beside if (beside := path.parent / file).exists() else file for file in listed]


def _read_files(files: list[Path], domain: str, max_broken_files: int) -> Iterator[AudioItem]:
    """Items of bare files, by their headers. A folder usually holds one speaker, so it stands in for one."""
    broken = 0
    for path in files:
        try:
            header = audio.info(path)
        except (audio.AudioError, OSError) as error:
            broken += 1
            logger.warning("left out broken audio (%d so far): %s", broken, error)
            if broken > max_broken_files or broken == len(files):
                raise DataError(f"{broken} of {len(files)} audio files are broken; the last one: {error}") from error
            continue
        yield AudioItem(path, header.sample_rate, header.samples, domain=domain, source=str(path.parent))


# --- our manifest ------------------------------------------------------------------------------------------


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line that is not blank, with its number from 1; one at a time, because a corpus has millions."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _read_manifest(path: Path) -> Iterator[AudioItem]:
    for number, row in _json_lines(path):
        try:
            yield AudioItem(
                path=path.parent / row["path"],
                sample_rate=row["sample_rate"],
                samples=row["samples"],
                domain=sys.intern(row["domain"]),
                source=sys.intern(row["source"]),
                speaker=_interned(row.get("speaker")),
                language=_interned(row.get("language")),
                text=row.get("text"),
                licence=_interned(row.get("licence")),
                split=sys.intern(row.get("split", "train")),
                weight=row.get("weight", 1.0),
            )
        except KeyError as error:
            raise DataError(f"{path}, line {number}: no {error.args[0]!r}") from None
        except TypeError as error:
            raise DataError(f"{path}, line {number}: {error}") from None


def _interned(value: str | None) -> str | None:
    """One string for all rows that say the same: a corpus has millions of rows and few of these values."""
    return None if value is None else sys.intern(value)


# --- Lhotse ------------------------------------------------------------------------------------------------


def _lhotse() -> Any:
    try:
        import lhotse
    except ImportError:
        raise DataError("Lhotse corpora need lhotse; install it with: pip install 'xcodec[train]'") from None
    return lhotse


def _read_cuts(path: Path, domain: str) -> Iterator[AudioItem]:
    """Items of a cut manifest. Each cut must be one piece of one recording in one file."""
    for cut in _lhotse().CutSet.from_file(path):
        recording = getattr(cut, "recording", None)  # a mix has several
        sources = [] if recording is None or recording.transforms else recording.sources
        if len(sources) != 1 or sources[0].type != "file":
            raise DataError(f"{path}: cut {cut.id} is not a piece, as it was recorded, of one audio file")
        file = Path(sources[0].source)
        # Recordings keep the paths they were prepared with; relative ones may count from the manifest.
        if not file.exists() and (path.parent / file).exists():
            file = path.parent / file
        yield _from_cut(cut, file, domain)


def _read_shar(folder: Path, domain: str) -> Iterator[AudioItem]:
    """Items of a Shar folder: the audio stays inside its tar files, where it is found by offset."""
    lhotse = _lhotse()
    for cuts in sorted(folder.glob("cuts.*.jsonl.gz")):
        archive = folder / cuts.name.replace("cuts.", "recording.", 1).replace(".jsonl.gz", ".tar")
        if not archive.exists():
            raise DataError(f"{cuts} has no {archive.name} beside it")
        members = _tar_members(archive)
        for cut in lhotse.CutSet.from_file(cuts):
            if cut.id not in members:
                raise DataError(f"{archive} has no audio for cut {cut.id}")
            yield _from_cut(cut, archive, domain, members[cut.id])


def _tar_members(archive: Path) -> dict[str, tuple[int, int]]:
    """Cut id → offset and size in bytes of its audio, of an uncompressed tar."""
    import tarfile

    with tarfile.open(archive, "r:") as opened:
        return {
            str(Path(member.name).with_suffix("")): (member.offset_data, member.size)
            for member in opened
            if member.isfile() and not member.name.endswith((".json", ".nodata", ".nometa"))
        }


def _from_cut(cut: Any, path: Path, domain: str, stored: tuple[int, int] | None = None) -> AudioItem:
    supervision = cut.supervisions[0] if cut.supervisions else None
    custom = cut.custom or {}
    rate = cut.sampling_rate
    return AudioItem(
        path=path,
        sample_rate=rate,
        samples=round(cut.duration * rate),
        # In a Shar folder each cut has its own audio, whatever its place in the recording was.
        start=0 if stored else round(cut.start * rate),
        stored=stored,
        domain=custom.get("domain", domain),
        source=custom.get("source", str(path.parent)),
        speaker=supervision.speaker if supervision else None,
        language=supervision.language if supervision else None,
        text=supervision.text if supervision else None,
        split=custom.get("split", "train"),
    )


# Read a span of a recording by seeking to it: a crop of an hour costs what a crop of a minute does.

class BrokenAudioError(OSError):
    """A recording that is missing, unreadable, shorter than its manifest says, or not finite."""

    def __init__(self, path: Path, message: str) -> None:
        """Keep the file beside the message, which names it too."""
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[type[BrokenAudioError], tuple[Path, str]]:
        """As it was made: an exception that another process cannot unpickle ends the whole pool of processes."""
        return type(self), (self.path, str(self))


def read_span(item: AudioItem, first: int, count: int) -> np.ndarray:
    """Samples `first` to `first + count` of `item`, at the file's own rate.

    Returns:
        float32 [count], channels averaged.

    Raises:
        BrokenAudioError: The file cannot give these samples.
    """
    try:
        if item.stored is None:
            samples, rate = audio.read(item.path, start=item.start + first, samples=count)
            samples = samples[0]  # (1, T) -> (T,)
        else:
            samples, rate = _read_stored(item.path, *item.stored, item.start + first, count)
    except (audio.AudioError, soundfile.LibsndfileError, OSError) as error:
        raise BrokenAudioError(item.path, str(error)) from error
    if rate != item.sample_rate:
        raise BrokenAudioError(item.path, f"{item.path}: has {rate} Hz, not {item.sample_rate} Hz as its manifest says")
    return samples


def _read_stored(path: Path, offset: int, size: int, first: int, count: int) -> tuple[np.ndarray, int]:
    """The same from an audio file inside a tar archive, which has no path for `audio.read` to open."""
    with path.open("rb") as archive:
        archive.seek(offset)
        content = io.BytesIO(archive.read(size))
    with soundfile.SoundFile(content) as file:
        file.seek(first)
        samples = file.read(count, dtype="float32", always_2d=True).mean(axis=1)  # (T, C) -> (T,)
        if len(samples) != count or not np.isfinite(samples).all():
            raise audio.AudioError(f"{path}: holds a clip that is cut short or not finite")
        return samples, file.samplerate
