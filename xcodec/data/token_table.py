"""Token tables: a corpus as codes, in Parquet shards that any tool can read.

    tokens/
        tokens-00000.parquet    one row per clip: its codes, and what is known of it
        tokens-00001.parquet
        skipped.jsonl           the clips that could not be read, and why

`datasets.load_dataset("parquet", data_files="tokens/*.parquet")` reads them, as do pandas, DuckDB and Spark. The codes
of a clip are a list of frames, each of which is a fixed-width list of K codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcodec.data.manifest import DataError
from xcodec.utils.files import atomic_write
from xcodec.utils.stores import found, open_folder

SHARDS = "tokens-*.parquet"
_META = b"xcodec"
_LABELS = ("text", "speaker", "language", "domain", "source", "split")


@dataclass(frozen=True)
class TableInfo:
    """What all rows of a table have in common; it is in every shard."""

    model: str
    """Name of the codec that made the codes."""
    model_hash: str
    """Of what makes its tokens, as `codec.fingerprint.tokens` gives it."""
    codebooks: int
    codebook_size: int
    sample_rate: int
    """Of the audio, in Hz."""
    hop_length: int
    """Samples per frame."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


@dataclass(frozen=True, slots=True)
class Origin:
    """Which audio a row is made from."""

    path: str
    """Of the file, absolute; bytes that are not UTF-8 are written as `\\xe9`."""
    stamp: str
    """Size and times of the file when it was read: while they are the same, so is the file."""
    content: str
    """SHA-256 of the file's bytes, in hexadecimal; of the archive member's, if the file is an archive."""
    file_rate: int
    """Sample rate of the file, in Hz."""
    file_samples: int
    """In the whole file, or 0 if its corpus did not need to know."""
    start: int
    """First sample in the file."""
    samples: int
    """How many."""
    channels: tuple[int, ...] | None
    """Those of the file whose mean it is; None stands for all."""

    @property
    def audio(self) -> tuple[str, int, int, tuple[int, ...] | None]:
        """Which samples they are, wherever the file is."""
        return self.content, self.start, self.samples, self.channels

    def overlaps(self, other: Origin) -> bool:
        """Whether both have some samples of the same content in common."""
        shared = self.channels is None or other.channels is None or set(self.channels) & set(other.channels)
        together = self.start < other.start + other.samples and other.start < self.start + self.samples
        return self.content == other.content and together and bool(shared)


@dataclass(frozen=True, eq=False)
class TokenItem:
    """One clip as codes."""

    id: str
    """Unique in its table."""
    codes: NDArray[np.uint16]
    """[K, F]."""
    text: str | None = None
    """What is said, or a caption."""
    speaker: str | None = None
    language: str | None = None
    domain: str = "unknown"
    source: str = ""
    split: str = "train"
    origin: Origin | None = None
    """None in tables of earlier versions."""

    @property
    def frames(self) -> int:
        """F."""
        return int(self.codes.shape[1])


@dataclass(frozen=True)
class TokenTable:
    """A whole table, in memory: an hour of eight codebooks takes 3 MB."""

    info: TableInfo
    """Of all codebooks, even if not all were read."""
    items: list[TokenItem] = field(default_factory=list)


def write_shard(path: Path, info: TableInfo, items: Sequence[TokenItem]) -> None:
    """Write one shard, whole or not at all."""
    pa, pq = _arrow()
    frames = np.array([item.frames for item in items], np.int32)
    # [K, F] -> [F, K], all clips one after another
    stacked = [np.ascontiguousarray(item.codes.T, np.uint16).ravel() for item in items]
    flat = pa.array(np.concatenate(stacked) if stacked else np.zeros(0, np.uint16))
    codes = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(frames)]).astype(np.int32)),
        pa.FixedSizeListArray.from_arrays(flat, info.codebooks),
    )
    columns = {
        "id": pa.array([item.id for item in items], pa.string()),
        "codes": codes,
        "frames": pa.array(frames),
        **{name: pa.array([getattr(item, name) for item in items], pa.string()) for name in _LABELS},
        **{
            name: pa.array([getattr(item.origin, name, None) for item in items], kind)
            for name, kind in _origin_columns(pa).items()
        },
        "model": pa.array([info.model] * len(items), pa.string()),
        "model_hash": pa.array([info.model_hash] * len(items), pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps({"info": vars(info)})})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def shards(folder: Path) -> list[Path]:
    """The shards of a table, in order."""
    return found(folder, SHARDS)


def read_info(shard: Path) -> TableInfo:
    """What a shard says of its table.

    Raises:
        DataError: it is damaged, or not a shard of ours.
    """
    _, pq = _arrow()
    try:
        with shard.open("rb") as file:
            return TableInfo(**json.loads(pq.read_schema(file).metadata[_META])["info"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shard} is no shard of tokens: {' '.join(str(error).split())[:200]}") from error


def read_ids(shard: Path) -> list[str]:
    """The ids in a shard, without reading the codes."""
    ids: list[str] = _read(shard, ["id"])["id"].to_pylist()
    return ids


def read_origins(shard: Path) -> dict[str, Origin]:
    """Id → origin of the rows of a shard, without reading the codes.

    Raises:
        DataError: the shard was made by an earlier version, which did not keep them.
    """
    pa, pq = _arrow()
    names = list(_origin_columns(pa))
    with shard.open("rb") as file:
        stored = set(pq.read_schema(file).names)
    if not set(names) <= stored:
        raise DataError(
            f"{shard} was made by an earlier version, which did not keep from which audio each row is made; it can be"
            " read, but not added to: name another folder"
        )
    table = _read(shard, ["id", *names])
    rows = zip(table["id"].to_pylist(), *(table[name].to_pylist() for name in names), strict=True)
    return {row: _origin(dict(zip(names, values, strict=True)), shard) for row, *values in rows}


def read_table(
    path: str | Path,
    split: str | None = None,
    domains: Sequence[str] = (),
    sources: Sequence[str] = (),
    codebooks: int | None = None,
) -> TokenTable:
    """Read a table.

    Args:
        path: The folder of its shards, or its URL.
        split: Keep the clips of this split only.
        domains: Keep the clips of these domains only; empty keeps all.
        sources: Keep the clips of these sources only; empty keeps all.
        codebooks: Keep so many of the codebooks, from the first on; a large corpus then fits into memory sooner.

    Returns:
        The clips, without their origins, in the order of their ids, which does not depend on how many processes made
        the table.

    Raises:
        DataError: there is no table, a shard is damaged or of another codec, or nothing is left after the filters.
    """
    files = shards(open_folder(path))
    if not files:
        raise DataError(f"no token table at {path}; make one with xcodec tokenize")
    info = read_info(files[0])
    items: list[TokenItem] = []
    for shard in files:
        if read_info(shard) != info:
            raise DataError(f"{shard} is of another codec or bandwidth than {files[0].name}")
        items += [
            item
            for item in read_shard(shard, info, codebooks)
            if (split is None or item.split == split)
            and (not domains or item.domain in domains)
            and (not sources or item.source in sources)
        ]
    if not items:
        wanted = [f"{name} {value!r}" for name, value in (("split", split), ("domains", domains)) if value]
        raise DataError(f"no clips {'of ' + ' and '.join(wanted) if wanted else 'at all'} in {path}")
    return TokenTable(info, sorted(items, key=lambda item: item.id))


def read_shard(shard: Path, info: TableInfo, codebooks: int | None = None) -> Iterator[TokenItem]:
    """The clips of a shard, without their origins.

    Raises:
        DataError: the shard is damaged.
    """
    table = _read(shard, ["id", *_LABELS, "codes"])
    columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in ("id", *_LABELS)}
    codes = table["codes"].combine_chunks()
    for index in range(table.num_rows):
        clip = codes[index].values  # F fixed-width lists
        flat = clip.flatten().to_numpy(zero_copy_only=False)
        if flat.size and int(flat.max()) >= info.codebook_size:
            raise DataError(f"{shard}: {columns['id'][index]} has codes beyond {info.codebook_size}")
        yield TokenItem(
            # [F · K] -> [F, K] -> [K, F]
            codes=np.ascontiguousarray(flat.reshape(-1, info.codebooks).T[:codebooks]),
            **{name: column[index] for name, column in columns.items()},
        )


def _read(shard: Path, columns: list[str]) -> Any:
    _, pq = _arrow()
    try:
        with shard.open("rb") as file:
            return pq.read_table(file, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{shard} is damaged: {' '.join(str(error).split())[:200]}") from error


def _origin_columns(pa: Any) -> dict[str, Any]:
    text, number = pa.string(), pa.int64()
    return {
        "path": text,
        "stamp": text,
        "content": text,
        "file_rate": number,
        "file_samples": number,
        "start": number,
        "samples": number,
        "channels": pa.list_(pa.int32()),
    }


def _origin(values: dict[str, Any], shard: Path) -> Origin:
    channels = values.pop("channels")
    if None in values.values():
        raise DataError(f"{shard} does not say of all rows from which audio they are made; name another folder")
    return Origin(**values, channels=None if channels is None else tuple(channels))


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError("token tables need pyarrow; install it with: pip install 'xcodec[lm]'") from None
    return pyarrow, pyarrow.parquet
