"""Which recordings there are: one small record per clip, read from whatever describes a corpus.

`read_corpus(path)` looks at what `path` is:

- a folder of audio files (symbolic links are followed), or one audio file,
- a text list, one path per line (the format of the official release),
- a `manifest.jsonl` as `recipes/open_audio` writes it,
- a NeMo manifest (`audio_filepath`, `duration`, `offset`, `text`),
- a Lhotse cut manifest (`cuts.jsonl`, `cuts.jsonl.gz`) or a Lhotse Shar folder, so that whatever
  `lhotse prepare` knows can be trained on. Each supervision of a cut is a clip of its own,
- WebDataset tar files: a folder of them, one, or a pattern (`speech-{000..099}.tar`),
- `hf:NAME`: a dataset with an Audio column, of the hub, in a folder, or in a Parquet file.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import math
import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from xcodec import audio
from xcodec.data.hub_datasets import is_dataset, read_dataset
from xcodec.data.webdataset_tars import read_tar, tars_of
from xcodec.utils.errors import one_line

logger = logging.getLogger(__name__)

MAX_BROKEN_FILES = 20
"""Missing or broken files of a corpus that are skipped unless told otherwise."""
_ROUNDING_SECONDS = 0.05
"""By how much a NeMo manifest's rounded durations may exceed a file."""

Header = Callable[[Path], tuple[int, int]]
"""Gives the sample rate of a file, in Hz, and its number of samples; raises what `audio.info` does."""


class DataError(ValueError):
    """A corpus that cannot be used, said in one line."""


class BrokenAudioError(OSError):
    """A recording that is missing, unreadable, shorter than its manifest says, or not finite."""

    def __init__(self, path: Path, message: str) -> None:
        """Keep the file beside the message, which names it too."""
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[type[BrokenAudioError], tuple[Path, str]]:
        """As it was made, so that another process can unpickle it."""
        return type(self), (self.path, str(self))


@dataclass(frozen=True, slots=True)
class AudioItem:
    """One recording, or a piece of one, and what is known about it.

    Raises:
        DataError: a field is of a type, or has a value, that it cannot have.
    """

    path: Path
    """The audio file; inside it, the recording is `samples` long and starts at `start`."""
    sample_rate: int
    """Of the file, in Hz."""
    samples: int
    """Length at the file's own rate."""
    start: int = 0
    """First sample inside the file, for cuts of a longer recording."""
    channels: tuple[int, ...] | None = None
    """Those of the file whose mean it is, counted from 0; None stands for all."""
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

    def __post_init__(self) -> None:
        for name, minimum in (("sample_rate", 1), ("samples", 0), ("start", 0)):
            value = getattr(self, name)
            if type(value) is not int or not minimum <= value < 2**62:
                raise DataError(f"{name} must be a whole number from {minimum} on, not {value!r:.50}")
        for name in ("domain", "source", "split", "speaker", "language", "text", "licence"):
            value = getattr(self, name)
            if value is None and name not in ("domain", "source", "split"):
                continue
            if not isinstance(value, str):
                raise DataError(f"{name} must be a string, not {value!r:.50}")
            # The name of a folder may be any bytes.
            if name != "source" and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                raise DataError(f"{name} is not valid Unicode: {value!r:.50}")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0 <= self.weight < math.inf:
            raise DataError(f"weight must be a number from 0 on, not {self.weight!r:.50}")

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate

    @property
    def group(self) -> tuple[str, str]:
        """Short clips of one group may be joined: those of one speaker, else of one source."""
        return (self.domain, self.speaker or self.source)


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file of a corpus that is missing or no audio, so that it is no item."""

    path: Path
    reason: str


Row = AudioItem | UnreadableFile


@dataclass(frozen=True)
class Choice:
    """Which items of a corpus to take; None and empty take all."""

    split: str | None = None
    domains: Sequence[str] = ()
    sources: Sequence[str] = ()
    licences: Sequence[str] = ()

    def __call__(self, item: AudioItem) -> bool:
        """Whether an item is to be taken."""
        return (
            (self.split is None or item.split == self.split)
            and (not self.domains or item.domain in self.domains)
            and (not self.sources or item.source in self.sources)
            and (not self.licences or item.licence in self.licences)
        )

    def nothing_in(self, path: str | Path) -> DataError:
        """The error of a corpus of which nothing is to be taken."""
        wanted = [f"of split {self.split!r}"] if self.split else []
        wanted += [f"of domain {', '.join(self.domains)}"] if self.domains else []
        wanted += [f"of source {', '.join(self.sources)}"] if self.sources else []
        wanted += [f"under {' or '.join(self.licences)}"] if self.licences else []
        return DataError(f"no audio {' and '.join(wanted) or 'at all'} in {path}")


def read_corpus(
    path: str | Path,
    split: str | None = None,
    domains: Sequence[str] = (),
    default_domain: str = "unknown",
    max_broken_files: int = MAX_BROKEN_FILES,
    licences: Sequence[str] = (),
) -> list[AudioItem]:
    """Read the items of a corpus, in a stable order.

    Args:
        path: As :func:`read_rows` takes it.
        split: Keep the items of this split only; corpora without splits are all `train`.
        domains: Keep the items of these domains only; empty keeps all.
        default_domain: The domain of items whose corpus does not tell one.
        max_broken_files: How many missing or broken files are named and left out. Corpora that state the length of
            their clips are believed here; what is broken in them shows when it is read.
        licences: Keep the items under these licences only, as the manifest names them; empty keeps all.

    Raises:
        DataError: Nothing readable is there, too much is broken, or nothing is left after the filters.
    """
    rows = list(read_rows(path, default_domain))
    items = [row for row in rows if isinstance(row, AudioItem)]
    broken = [row for row in rows if isinstance(row, UnreadableFile)]
    for count, row in enumerate(broken[: max_broken_files + 1], start=1):
        logger.warning("left out broken audio (%d so far): %s", count, row.reason)
    if broken and (len(broken) > max_broken_files or not items):
        raise DataError(f"{len(broken)} of {len(rows)} audio files are broken; the last one: {broken[-1].reason}")
    choice = Choice(split, domains, licences=licences)
    chosen = [item for item in items if choice(item)]
    if not chosen:
        raise choice.nothing_in(path)
    return chosen


def read_rows(
    path: str | Path,
    default_domain: str = "unknown",
    header: Header | None = None,
    chosen: Callable[[Path], bool] = lambda file: True,
) -> Iterator[Row]:
    """Every row of a corpus, in a stable order: an item, or why it is none.

    Args:
        path: A folder, an audio file, a text list, a `manifest.jsonl`, a NeMo manifest, a Lhotse cut manifest, a
            Lhotse Shar folder, WebDataset tars, or `hf:` and a dataset.
        default_domain: The domain of items whose corpus does not tell one.
        header: How to find the length of a file, where the corpus does not tell it.
        chosen: Which files to take.

    Raises:
        DataError: There is no corpus, or it is not what it seems to be.
    """
    if is_dataset(path):
        described = _described(path, [partial(read_dataset, path, default_domain)])
        return (row for row in described if chosen(row.path))
    path, header = Path(path), header or read_header
    shar = path.is_dir() and any(path.glob("cuts.*.jsonl.gz"))
    if not shar and (tars := tars_of(path)):
        wanted = [partial(read_tar, tar, default_domain) for tar in tars if chosen(tar)]
        return _described(path, wanted)
    if not os.path.exists(path):
        raise DataError(f"no corpus at {path}")
    if shar:
        rows: Iterator[Row] = _read_shar(path, default_domain)
    elif path.is_file() and (path.suffix in (".jsonl", ".json") or path.suffixes[-2:] == [".jsonl", ".gz"]):
        rows = _read_json_lines(path, default_domain, header)
    else:
        files = audio.find_audio(path) if path.is_dir() or _is_audio(path) else _listed(path)
        return _read_files([file for file in files if chosen(file)], default_domain, header)
    return (row for row in rows if chosen(row.path))


def _described(corpus: str | Path, readers: Sequence[Callable[[], Iterator[dict[str, Any]]]]) -> Iterator[Any]:
    """Items of rows as the readers of other libraries' corpora give them."""
    try:
        for read in readers:
            for row in read():
                yield UnreadableFile(**row) if "reason" in row else AudioItem(**row)
    except (ValueError, OSError) as error:
        raise DataError(one_line(error)) from error


# --- folders and lists -------------------------------------------------------------------------------------


def _listed(path: Path) -> list[Path]:
    """Paths of a text list; relative ones count from the list's folder, or from here as in the release."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if b"\0" in content:
        raise DataError(f"{path} is no list of paths: it holds bytes 0; save it as UTF-8, one path per line")
    # The names of files are bytes, whatever they mean.
    lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).replace("\r\n", "\n").split("\n")
    return [file for line in lines if (file := _listed_file(line, path.parent)) is not None]


def _listed_file(line: str, folder: Path) -> Path | None:
    for name in (line, line.strip()):  # a name may begin with # or end with a space
        for file in (folder / name, Path(name)):
            if name.strip() and os.path.exists(file):
                return file
    return None if not line.strip() or line.lstrip().startswith("#") else folder / line.strip()


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in audio.AUDIO_SUFFIXES


def _read_files(files: list[Path], domain: str, header: Header) -> Iterator[Row]:
    """Items of bare files, by their headers. A folder usually holds one speaker, so it stands in for one."""
    for path in files:
        try:
            rate, samples = header(path)
        except (audio.AudioError, OSError) as error:
            yield UnreadableFile(path, one_line(error))
        else:
            yield AudioItem(path, rate, samples, domain=domain, source=sys.intern(str(path.parent)))


def read_header(path: Path, exact: bool = False) -> tuple[int, int]:
    """Sample rate and number of samples of a file, as it states them, unless they are to be `exact`."""
    found = audio.info(path, stated=not exact)
    return found.sample_rate, found.samples


# --- manifests of JSON lines -------------------------------------------------------------------------------


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line that is not blank, with its number from 1; one at a time, because a corpus has millions."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                if b"\0" in line:  # UTF-16, which is cut up at the wrong places here
                    raise DataError(f"{path}, line {number}: holds bytes 0; save it as UTF-8")
                row = json.loads(os.fsdecode(line))  # the names of files may be any bytes
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: no JSON object, but {line.strip()[:50]!r}")
                yield number, row
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also whole numbers of too many digits
        raise DataError(f"cannot read {path}, line {number}: not a line of JSON ({error})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _read_json_lines(path: Path, domain: str, header: Header) -> Iterator[Row]:
    _, first = next(_json_lines(path), (0, {}))
    if {"supervisions", "tracks"} & set(first):
        return _read_cuts(path, domain)
    return _read_nemo(path, domain, header) if "audio_filepath" in first else _read_manifest(path)


def _items(path: Path, item: Callable[[dict[str, Any]], Row]) -> Iterator[Row]:
    """What `item` makes of each line; an error names the line."""
    for number, row in _json_lines(path):
        try:
            yield item(row)
        except KeyError as error:
            raise DataError(f"{path}, line {number}: no {error.args[0]!r}") from None
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None


def _read_manifest(path: Path) -> Iterator[Row]:
    def item(row: dict[str, Any]) -> AudioItem:
        return AudioItem(
            path=path.parent / _file_name(row, "path"),
            sample_rate=_whole(row["sample_rate"]),
            samples=_whole(row["samples"]),
            start=_whole(row.get("start", 0)),
            domain=_interned(row["domain"]),
            source=_interned(row["source"]),
            speaker=_named(row, "speaker"),
            language=_named(row, "language"),
            text=row.get("text"),
            licence=_named(row, "licence"),
            split=_interned(row.get("split", "train")),
            weight=row.get("weight", 1.0),
        )

    return _items(path, item)


def _read_nemo(path: Path, domain: str, header: Header) -> Iterator[Row]:
    """Items of a NeMo manifest, whose durations and offsets are seconds, often rounded."""
    cached = lru_cache(maxsize=256)(header)  # many rows of one file follow each other

    def item(row: dict[str, Any]) -> Row:
        name = _file_name(row, "audio_filepath")
        file = path.parent / name if os.path.exists(path.parent / name) else Path(name)
        offset, duration = (_seconds(row, key) for key in ("offset", "duration"))
        try:
            rate, total = cached(file)
        except (audio.AudioError, OSError) as error:
            return UnreadableFile(file, one_line(error))
        start = round((offset or 0) * rate)
        end = total if duration is None else start + round(duration * rate)
        if abs(end - total) <= _ROUNDING_SECONDS * rate:
            end = total
        if not start < end <= total:
            span = f"{offset or 0:g} to {end / rate:g} s"
            return UnreadableFile(file, f"{file}: lasts {total / rate:g} s; its manifest says {span}")
        return AudioItem(
            path=file,
            sample_rate=rate,
            samples=end - start,
            start=start,
            domain=_interned(row.get("domain", domain)),
            source=_interned(row.get("source", str(file.parent))),
            speaker=_named(row, "speaker"),
            language=_named(row, "lang") or _named(row, "language"),
            text=row.get("text"),
            split=_interned(row.get("split", "train")),
        )

    return _items(path, item)


def _file_name(row: dict[str, Any], key: str) -> str:
    name = row[key]
    try:
        if not isinstance(name, str) or not name or b"\0" in os.fsencode(name):
            raise DataError(f"{key} must name a file, not {name!r:.50}")
    except UnicodeEncodeError:
        raise DataError(f"{key} is not valid Unicode: {name!r:.50}") from None
    return name


def _whole(value: Any) -> Any:
    """A whole number, which some programs write as 16000.0; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seconds(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**31:
        raise DataError(f"{key} must be a number of seconds, not {value!r:.50}")
    return float(value)


def _named(row: dict[str, Any], key: str) -> Any:
    return _as_name(row.get(key))


def _as_name(value: Any) -> Any:
    """A name, which may be a number."""
    return _interned(str(value) if type(value) is int else value)


def _interned(value: Any) -> Any:
    """One string for all rows that say the same: a corpus has millions of rows and few of these values."""
    return sys.intern(value) if type(value) is str else value


# --- Lhotse ------------------------------------------------------------------------------------------------


def _cuts(path: Path, clips: Callable[[Any], Iterator[Row]]) -> Iterator[Row]:
    """What `clips` makes of each cut of a manifest."""
    try:
        import lhotse
    except ImportError:
        raise DataError("Lhotse corpora need lhotse; install it with: pip install 'xcodec[train]'") from None
    try:
        for cut in lhotse.CutSet.from_file(path):
            yield from clips(cut)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # what is wrong in a manifest, Lhotse finds out in many ways, or not at all
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"cannot read {path} as Lhotse cuts: {reason:.200}") from error


def _read_cuts(path: Path, domain: str) -> Iterator[Row]:
    """Items of a cut manifest. Each cut must be one piece of one recording in one file."""

    def clips(cut: Any) -> Iterator[Row]:
        source = _source(cut)
        if source.type != "file" or cut.recording.transforms:
            raise _no_piece(cut)
        file = Path(source.source)
        # Recordings keep the paths they were prepared with; relative ones may count from the manifest.
        if not os.path.exists(file) and os.path.exists(path.parent / file):
            file = path.parent / file
        return _clips_of_cut(cut, file, round(cut.start * cut.sampling_rate), domain)

    return _cuts(path, clips)


def _read_shar(folder: Path, domain: str) -> Iterator[Row]:
    """Items of a Shar folder: the audio stays inside its tar files, where it is found by offset."""
    for cuts in sorted(folder.glob("cuts.*.jsonl.gz")):
        archive = folder / cuts.name.replace("cuts.", "recording.", 1).replace(".jsonl.gz", ".tar")
        if not archive.exists():
            raise DataError(f"{cuts} has no {archive.name} beside it")
        yield from _cuts(cuts, partial(_clips_in_archive, archive, _tar_members(archive), domain))


def _clips_in_archive(archive: Path, members: dict[str, tuple[int, int]], domain: str, cut: Any) -> Iterator[Row]:
    if cut.id not in members:
        raise DataError(f"{archive.name} has no audio for cut {cut.id}")
    # Each cut has its own audio, whatever its place in the recording was.
    return _clips_of_cut(cut, archive, 0, domain, members[cut.id])


def _tar_members(archive: Path) -> dict[str, tuple[int, int]]:
    """Cut id → offset and size in bytes of its audio, of an uncompressed tar."""
    import tarfile

    with tarfile.open(archive, "r:") as opened:
        return {
            str(Path(member.name).with_suffix("")): (member.offset_data, member.size)
            for member in opened
            if member.isfile() and not member.name.endswith((".json", ".nodata", ".nometa"))
        }


def _as_tuple(channels: int | Sequence[int]) -> tuple[int, ...]:
    return (channels,) if isinstance(channels, int) else tuple(channels)


def _source(cut: Any) -> Any:
    """The file of its recording that holds the channels of a cut."""
    recording = getattr(cut, "recording", None)  # a mix has several
    sources = [] if recording is None else recording.sources
    sources = [each for each in sources if set(_as_tuple(cut.channel)) & set(each.channels)]
    if len(sources) != 1:
        raise _no_piece(cut)
    return sources[0]


def _no_piece(cut: Any) -> DataError:
    return DataError(f"cut {cut.id} is not a piece, as it was recorded, of one audio file")


def _clips_of_cut(
    cut: Any, path: Path, start: int, domain: str, stored: tuple[int, int] | None = None
) -> Iterator[Row]:
    """A cut of `path`, from sample `start` on: each supervision with its own audio and channels, or all of it."""
    custom = cut.custom or {}
    rate, samples = cut.sampling_rate, round(cut.duration * cut.sampling_rate)
    file_channels = _source(cut).channels
    in_cut = _as_tuple(cut.channel)
    for supervision in cut.supervisions or [None]:
        first, last, wanted = 0, samples, in_cut
        if supervision is not None:
            first = max(0, round(supervision.start * rate))
            last = min(samples, round(supervision.end * rate))
            wanted = tuple(each for each in _as_tuple(supervision.channel) if each in in_cut)
            if first >= last or not wanted:
                said = f"{supervision.start:g} to {supervision.end:g} s of channel {supervision.channel}"
                where = f"outside the cut's {cut.duration:g} s of channel {cut.channel}"
                yield UnreadableFile(path, f"cut {cut.id}: its supervision {supervision.id}, {said}, is {where}")
                continue
        in_file = tuple(sorted(file_channels.index(each) for each in wanted))
        yield AudioItem(
            path=path,
            sample_rate=rate,
            samples=last - first,
            start=start + first,
            channels=None if len(in_file) == len(file_channels) else in_file,
            stored=stored,
            domain=custom.get("domain", domain),
            source=custom.get("source", str(path.parent)),
            speaker=_as_name(supervision.speaker) if supervision else None,
            language=supervision.language if supervision else None,
            text=supervision.text if supervision else None,
            split=custom.get("split", "train"),
        )


# --- samples -----------------------------------------------------------------------------------------------


def read_span(item: AudioItem, first: int, count: int) -> np.ndarray:
    """Samples `first` to `first + count` of `item`, at the file's own rate: a crop of an hour costs what a crop of a
    minute does.

    Returns:
        float32 [count], the mean of the item's channels.

    Raises:
        BrokenAudioError: The file cannot give these samples.
    """
    try:
        if item.stored is None:
            mono = item.channels is None
            samples, rate = audio.read(item.path, mono=mono, start=item.start + first, samples=count)  # [C, T]
        else:
            samples, rate = _read_stored(item.path, *item.stored, item.start + first, count)
    except (audio.AudioError, soundfile.LibsndfileError, OSError) as error:
        raise BrokenAudioError(item.path, one_line(error)) from error
    if rate != item.sample_rate:
        raise _wrong_rate(item, rate)
    return _mixed(samples, item)[0]


def stream_item(item: AudioItem, sample_rate: int, file_samples: int = 0) -> Generator[np.ndarray]:
    """An item at another rate, as blocks float32 [1, t]; of a whole file, those that `audio.stream` gives.

    Args:
        item: what to read.
        sample_rate: of the blocks, in Hz.
        file_samples: in the whole file, if that is known from the file itself, as the item's rate is then, too.

    Raises:
        BrokenAudioError: The file cannot give these samples.
    """
    if item.stored is not None:
        yield audio.resample(read_span(item, 0, item.samples)[None], item.sample_rate, sample_rate)
        return
    try:
        if not file_samples:
            rate, file_samples = read_header(item.path)
            if rate != item.sample_rate:
                raise _wrong_rate(item, rate)
        if item.channels is None and (item.start, item.samples) == (0, file_samples):
            yield from audio.stream(item.path, sample_rate)
        else:
            mono = item.channels is None
            samples, _ = audio.read(item.path, sample_rate, mono, item.start, item.samples)
            yield _mixed(samples, item)
    except audio.AudioError as error:
        raise BrokenAudioError(item.path, one_line(error)) from error


def _wrong_rate(item: AudioItem, rate: int) -> BrokenAudioError:
    return BrokenAudioError(item.path, f"{item.path}: has {rate} Hz, not {item.sample_rate} Hz as its manifest says")


def _mixed(samples: np.ndarray, item: AudioItem) -> np.ndarray:
    """The mean of an item's channels, [C, t] -> [1, t].

    Raises:
        BrokenAudioError: The file lacks one of them.
    """
    if item.channels is None:
        return samples.mean(axis=0, keepdims=True) if len(samples) > 1 else samples
    if max(item.channels) >= len(samples):
        lacking = f"{item.path}: has {len(samples)} channels, none of them number {max(item.channels)}"
        raise BrokenAudioError(item.path, lacking)
    return samples[list(item.channels)].mean(axis=0, keepdims=True)


def _read_stored(path: Path, offset: int, size: int, first: int, count: int) -> tuple[np.ndarray, int]:
    """[C, count] from an audio file inside a tar archive, which has no path for `audio.read` to open."""
    with path.open("rb") as archive:
        archive.seek(offset)
        content = io.BytesIO(archive.read(size))
    with soundfile.SoundFile(content) as file:
        file.seek(first)
        samples = file.read(count, dtype="float32", always_2d=True).T  # [T, C] -> [C, T]
        if samples.shape[1] != count or not np.isfinite(samples).all():
            raise audio.AudioError(f"{path}: holds a clip that is cut short or not finite")
        return samples, file.samplerate
