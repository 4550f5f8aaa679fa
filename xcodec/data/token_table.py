"""Token tables: a corpus as codes, in Parquet shards that any tool can read.

    tokens/
        tokens-00000.parquet    one row per clip: its codes, and what is known of it
        tokens-00001.parquet
        skipped.jsonl           the clips that could not be read, and why

`datasets.load_dataset("parquet", data_files="tokens/*.parquet")` reads them, as do pandas, DuckDB and Spark. The codes of
a clip are a list of frames, each of which is a fixed-width list of K codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcodec import audio
from xcodec.data.manifest import DataError

SHARDS = "tokens-*.parquet"
_META = b"xcodec"


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


@dataclass(frozen=True, eq=False)
class TokenItem:
    """One clip as codes."""

    id: str
    """Unique in its table: the path below the corpus, with the span if it is a piece of a longer recording."""
    codes: NDArray[np.uint16]
    """[K, F]."""
    text: str | None = None
    """What is said, or a caption."""
    speaker: str | None = None
    language: str | None = None
    domain: str = "unknown"
    source: str = ""
    split: str = "train"

    @property
    def frames(self) -> int:
        """F."""
        return int(self.codes.shape[1])


@dataclass(frozen=True)
class Skipped:
    """A clip that could not be tokenised."""

    id: str
    reason: str


@dataclass(frozen=True)
class TokenTable:
    """A whole table, in memory: an hour of eight codebooks takes 3 MB."""

    info: TableInfo
    """Of all codebooks, even if not all were read."""
    items: list[TokenItem] = field(default_factory=list)


def write_shard(path: Path, info: TableInfo, items: Sequence[TokenItem], skipped: Sequence[Skipped] = ()) -> None:
    """Write one shard, whole or not at all. The clips that were skipped are in its metadata."""
    pa, pq = _arrow()
    meta = {"info": vars(info), "skipped": [vars(each) for each in skipped]}
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
        **{
            name: pa.array([getattr(item, name) for item in items], pa.string())
            for name in ("text", "speaker", "language", "domain", "source", "split")
        },
        "model": pa.array([info.model] * len(items), pa.string()),
        "model_hash": pa.array([info.model_hash] * len(items), pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta)})
    with audio.atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def shards(folder: Path) -> list[Path]:
    """The shards of a table, in order."""
    return sorted(folder.glob(SHARDS))


def read_info(shard: Path) -> tuple[TableInfo, list[Skipped]]:
    """What a shard says of its table, and the clips that were skipped while it was made.

    Raises:
        DataError: it is damaged, or not a shard of ours.
    """
    _, pq = _arrow()
    try:
        meta = json.loads(pq.read_schema(shard).metadata[_META])
        return TableInfo(**meta["info"]), [Skipped(**each) for each in meta["skipped"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shard} is no shard of tokens: {' '.join(str(error).split())[:200]}") from error


def read_ids(shard: Path) -> list[str]:
    """The ids in a shard, without reading the codes."""
    _, pq = _arrow()
    ids: list[str] = pq.read_table(shard, columns=["id"])["id"].to_pylist()
    return ids


def read_table(
    path: str | Path,
    split: str | None = None,
    domains: Sequence[str] = (),
    sources: Sequence[str] = (),
    codebooks: int | None = None,
) -> TokenTable:
    """Read a table.

    Args:
        path: The folder of its shards.
        split: Keep the clips of this split only.
        domains: Keep the clips of these domains only; empty keeps all.
        sources: Keep the clips of these sources only; empty keeps all.
        codebooks: Keep so many of the codebooks, from the first on; a large corpus then fits into memory sooner.

    Returns:
        The clips in the order of their ids, which does not depend on how many processes made the table.

    Raises:
        DataError: there is no table, a shard is damaged or of another codec, or nothing is left after the filters.
    """
    found = shards(Path(path))
    if not found:
        raise DataError(f"no token table at {path}; make one with xcodec tokenize")
    info, _ = read_info(found[0])
    items: list[TokenItem] = []
    for shard in found:
        own, _ = read_info(shard)
        if own != info:
            raise DataError(f"{shard} is of another codec or bandwidth than {found[0].name}")
        items += [
            item
            for item in _read_shard(shard, info, codebooks)
            if (split is None or item.split == split)
            and (not domains or item.domain in domains)
            and (not sources or item.source in sources)
        ]
    if not items:
        wanted = [f"{name} {value!r}" for name, value in (("split", split), ("domains", domains)) if value]
        raise DataError(f"no clips {'of ' + ' and '.join(wanted) if wanted else 'at all'} in {path}")
    return TokenTable(info, sorted(items, key=lambda item: item.id))


def _read_shard(shard: Path, info: TableInfo, codebooks: int | None) -> Iterator[TokenItem]:
    _, pq = _arrow()
    try:
        table = pq.read_table(shard)
    except (OSError, ValueError) as error:
        raise DataError(f"{shard} is damaged: {' '.join(str(error).split())[:200]}") from error
    names = ("id", "text", "speaker", "language", "domain", "source", "split")
    columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in names}
    codes = table["codes"].combine_chunks()
    for index in range(table.num_rows):
        clip = codes[index].values  # F fixed-width lists
        flat = clip.flatten().to_numpy(zero_copy_only=False)
        if flat.size and int(flat.max()) >= info.codebook_size:
            raise DataError(f"{shard}: {columns['id'][index]} has codes beyond {info.codebook_size}")
        yield TokenItem(
            # [F · K] -> [F, K] -> [K, F]
            codes=np.ascontiguousarray(flat.reshape(-1, info.codebooks).T[:codebooks]),
            **{name: columns[name][index] for name in names},
        )


def write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    """One line of JSON per clip that was skipped."""
    with audio.atomic_write(path) as temporary:
        temporary.write_text("".join(json.dumps(vars(each)) + "\n" for each in skipped), "utf-8")


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError("token tables need pyarrow; install it with: pip install 'xcodec[lm]'") from None
    return pyarrow, pyarrow.parquet
