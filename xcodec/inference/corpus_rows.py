"""Which rows a corpus has, which of them a token table has already, and which of the table's are not the corpus's.

A row is a clip: a span of channels of the content of a file, with what the corpus says of it. Its id is

    speaker/7.flac#48000+16000:1@0f3c9a6b2d51e874

    speaker/7.flac      the file, below the corpus; of an archive's member, archive@offset
    48000+16000         first sample + samples, at the file's own rate
    :1                  channels, counted from 0, if not all
    0f3c9a6b2d51e874    digest of all that makes it this row: the file's content, the span, the channels, and what the
                        corpus says (text, speaker, language, domain, split)

The table keeps the SHA-256 of each file's content beside its path, size and times. A file that is as it was is neither
decoded nor read again; one that was touched or moved is hashed, and what it holds is known by that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from xcodec.data.hub_datasets import folder_of, is_dataset
from xcodec.data.manifest import AudioItem, Choice, DataError, UnreadableFile, read_header, read_rows
from xcodec.data.token_table import Origin, TableInfo, TokenItem, read_info, read_origins, shards
from xcodec.inference.locks import Shard
from xcodec.utils.files import printable


@dataclass(frozen=True)
class Skipped:
    """A clip that could not be tokenised."""

    id: str
    """As that of its row, but without the digest: its content is not known."""
    reason: str
    path: str
    """Of the file, absolute."""


@dataclass(frozen=True)
class Clip:
    """What is to become a row."""

    item: AudioItem
    name: str
    """Id but for the digest."""
    path: str
    """As in `Origin`; of an archive's member, with its offset."""
    file_samples: int
    """As in `Origin`."""
    content: str | None = None
    """As in `Origin`, where it is known already."""

    @property
    def labels(self) -> tuple[str | None, ...]:
        """What the corpus says of it."""
        item = self.item
        return item.text, item.speaker, item.language, item.domain, item.split

    def id(self, content: str) -> str:
        """Of its row, if its file has this content."""
        facts = [content, self.item.start, self.item.samples, self.item.channels, *self.labels]
        return f"{self.name}@{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"

    def origin(self, content: str, stamp: str) -> Origin:
        """That of its row, if its file has this content and stamp."""
        item = self.item
        return Origin(
            self.path, stamp, content, item.sample_rate, self.file_samples, item.start, item.samples, item.channels
        )

    def row(self, codes: Any, origin: Origin) -> TokenItem:
        """The row, with its codes [K, F]."""
        item = self.item
        source = printable(item.source)
        known = (item.text, item.speaker, item.language, item.domain, source, item.split)
        return TokenItem(self.id(origin.content), codes, *known, origin)

    def lasting(self, samples: int) -> Clip:
        """The same of a whole file that turned out to be longer than it states."""
        item = replace(self.item, samples=samples)
        return replace(self, item=item, name=self.name.removesuffix(span(self.item)) + span(item), file_samples=samples)

    def skipped(self, reason: str) -> Skipped:
        """It cannot be read."""
        return Skipped(self.name, reason, self.path)


class Table:
    """The rows that a table has already.

    Raises:
        DataError: a shard is damaged, or holds tokens of another codec or bandwidth, or comes from an earlier version.
    """

    def __init__(self, folder: Path, info: TableInfo) -> None:
        self.folder = folder
        self.origins: dict[str, Origin] = {}
        self.by_path: dict[str, list[tuple[str, Origin]]] = defaultdict(list)
        for shard in shards(folder):
            own = read_info(shard)
            if own != info:
                raise DataError(
                    f"{folder} holds tokens of {own.model} (tokens {own.model_hash}, {own.codebooks} codebooks), not of"
                    f" {info.model} (tokens {info.model_hash}, {info.codebooks} codebooks); name another folder"
                )
            origins = read_origins(shard)
            if double := next((name for name in origins if name in self.origins), None):
                raise DataError(
                    f"{shard} holds rows that another file of the table has, too, such as {double}; delete it"
                )
            self.origins |= origins
        for name, origin in self.origins.items():
            self.by_path[origin.path].append((name, origin))

    def known(self, path: str, file: Path) -> Origin | None:
        """An origin of this file as it is now; a file that is gone has not changed."""
        rows = self.by_path.get(path)
        if not rows:
            return None
        try:
            stamp = file_stamp(file)
        except OSError:
            return rows[-1][1]
        return next((origin for _, origin in rows if origin.stamp == stamp), None)


def read_clips(
    corpus: Path, table: Table, choice: Choice, max_seconds: float | None, shard: Shard = (0, 1)
) -> tuple[list[Clip], list[Skipped]]:
    """All clips of a shard of a corpus, and what of its choice is none.

    Raises:
        DataError: as :func:`read_rows` does.
    """
    root = folder_of(corpus) if is_dataset(corpus) else corpus if corpus.is_dir() else corpus.parent
    absolute = lru_cache(maxsize=1024)(lambda path: printable(os.path.abspath(path)))
    relative = lru_cache(maxsize=1024)(lambda path: printable(os.path.relpath(path, root)))
    lengths: dict[Path, int] = {}

    def header(path: Path) -> tuple[int, int]:
        known = table.known(absolute(path), path)
        if known and known.file_samples:
            found = known.file_rate, known.file_samples
        else:
            found = read_header(path, exact=max_seconds is not None)  # pieces are to reach to the end
        lengths[path] = found[1]
        return found

    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for row in read_rows(corpus, header=header, chosen=lambda path: in_shard(relative(path), shard)):
        name, path = relative(row.path), absolute(row.path)
        if isinstance(row, UnreadableFile):
            skipped.append(Skipped(name, row.reason, path))
            continue
        if row.stored is not None:
            name, path = f"{name}@{row.stored[0]}", f"{path}@{row.stored[0]}"
        whole, rests = pieces(row, max_seconds)
        clips += [Clip(item, name + span(item), path, lengths.get(row.path, 0)) for item in whole]
        skipped += [
            Skipped(name + span(rest), f"a rest of {rest.seconds:g} s, less than a tenth of a piece", path)
            for rest in rests
            if choice(row)
        ]
    return clips, skipped


def pieces(item: AudioItem, max_seconds: float | None) -> tuple[list[AudioItem], list[AudioItem]]:
    """A clip as pieces of at most ``max_seconds``, and a rest that is shorter than a tenth of that, if there is one."""
    if max_seconds is None or item.seconds <= max_seconds:
        return [item], []
    size = round(max_seconds * item.sample_rate)
    spans = [(first, min(size, item.samples - first)) for first in range(0, item.samples, size)]
    cut = [replace(item, start=item.start + first, samples=count) for first, count in spans]
    return [each for each in cut if each.samples >= size // 10], [each for each in cut if each.samples < size // 10]


def span(item: AudioItem) -> str:
    """Where a clip is in its file, as part of an id."""
    channels = "" if item.channels is None else ":" + ",".join(map(str, item.channels))
    return f"#{item.start}+{item.samples}{channels}"


def in_shard(name: str, shard: Shard) -> bool:
    """Whether a file, by its name below the corpus, is in a shard: all clips of a file are in one."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % shard[1] == shard[0]


# --- against a table -----------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """A corpus beside a table."""

    missing: list[Clip] = field(default_factory=list)
    """Clips that the table lacks, each once."""
    there: list[Clip] = field(default_factory=list)
    """Clips that the table has, or that were named before."""
    foreign: dict[str, str] = field(default_factory=dict)
    """Id → reason of the table's rows which are of the same audio, but not, or no longer, rows of the corpus."""


def compare(clips: Sequence[Clip], table: Table, shard: Shard = (0, 1)) -> Comparison:
    """What of a corpus a table has.

    A row is known by its id; one that was made from a file of another name (the corpus was moved, or is listed in
    another way) by all that its digest stands for, once for each such row.
    """
    own_paths = {clip.path for clip in clips}
    elsewhere = {
        name: origin
        for name, origin in table.origins.items()
        if origin.path not in own_paths and in_shard(_file_of(name), shard)
    }
    # Without rows from elsewhere, a path that the table does not know is new, and need not be hashed now.
    clips = _identified([clip for clip in clips if elsewhere or clip.path in table.by_path], table) + [
        clip for clip in clips if not elsewhere and clip.path not in table.by_path
    ]
    own_ids = {clip.id(clip.content) for clip in clips if clip.content}
    unclaimed: dict[str, list[str]] = defaultdict(list)
    for name in elsewhere:
        if name not in own_ids:
            unclaimed[_digest(name)].append(name)
    result = Comparison()
    claimed, seen = set(own_ids), set()
    for clip in clips:
        name = clip.id(clip.content or "")
        same = unclaimed.get(_digest(name))
        if name in seen or name in table.origins:
            result.there.append(clip)
        elif same:
            claimed.add(same.pop())
            result.there.append(clip)
        else:
            result.missing.append(clip)
        seen.add(name)
    result.foreign = _foreign(clips, table, elsewhere, claimed)
    return result


def _identified(clips: Iterable[Clip], table: Table) -> list[Clip]:
    """The same clips, with the content of their files, where these can be read."""
    content: dict[str, str | None] = {}
    for clip in clips:
        if clip.path not in content:
            known = table.known(clip.path, clip.item.path)
            try:
                content[clip.path] = known.content if known else content_hash(clip.item)
            except OSError:
                content[clip.path] = None
    return [replace(clip, content=content[clip.path]) for clip in clips]


def _foreign(clips: Sequence[Clip], table: Table, elsewhere: dict[str, Origin], claimed: set[str]) -> dict[str, str]:
    by_path: dict[str, list[Origin]] = defaultdict(list)
    by_content: dict[str, list[Origin]] = defaultdict(list)
    for clip in clips:
        if clip.content:
            origin = clip.origin(clip.content, "")
            by_path[clip.path].append(origin)
            by_content[clip.content].append(origin)
    found = {}
    for path, own in by_path.items():
        for name, origin in table.by_path.get(path, ()):
            if name in claimed:
                continue
            if origin.content != own[0].content:
                found[name] = "its file has changed"
            elif any(origin.audio == each.audio for each in own):
                found[name] = "the corpus says something else of it now"
            elif any(origin.overlaps(each) for each in own):
                found[name] = "the corpus cuts its file into other pieces"
    for name, origin in elsewhere.items():
        own = by_content.get(origin.content, [])
        if name not in claimed and any(origin.overlaps(each) and origin.audio != each.audio for each in own):
            found[name] = "the corpus cuts its file into other pieces"
    return found


def _file_of(name: str) -> str:
    """The file of a row, from its id."""
    return re.sub(r"@\d+$", "", name.rpartition("#")[0])  # without the offset in an archive


def _digest(name: str) -> str:
    return name.rpartition("@")[2]


# --- files -----------------------------------------------------------------------------------------------------------


def file_stamp(path: Path) -> str:
    """Size and times of a file, which change whenever its content does.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(path)
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def content_hash(item: AudioItem) -> str:
    """SHA-256 of an item's file, or of its member of an archive, as `sha256sum` prints it.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with item.path.open("rb") as file:
        offset, left = item.stored or (0, os.fstat(file.fileno()).st_size)
        file.seek(offset)
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
