"""A corpus to a token table: every row accounted for, resumable, by several processes or machines.

Processes give back whole clips; one process per run writes them, in shards that appear whole. What a killed run had
finished is in its shards, so a new run encodes what they lack (`corpus_rows.py` says how it knows). Where the table
holds rows of the corpus's files that are not rows of the corpus, because a file was replaced, or is cut into other
pieces, or described otherwise, a run refuses, or replaces them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xcodec.data.manifest import Choice, DataError
from xcodec.data.token_table import (
    TableInfo,
    TokenItem,
    read_ids,
    read_origins,
    read_shard,
    shards,
    write_shard,
)
from xcodec.engine.engine import Codec, Engine, load
from xcodec.inference.cluster import encode_on_ray
from xcodec.inference.corpus_encoding import ClipEncoder
from xcodec.inference.corpus_rows import (
    Clip,
    Skipped,
    Table,
    compare,
    read_clips,
)
from xcodec.inference.locks import Shard, alone
from xcodec.utils.json_lines import read_lines, write_lines
from xcodec.utils.parallel import WorkerDiedError, run_tasks
from xcodec.utils.signals import signals_deferred
from xcodec.utils.stores import found, open_folder


@dataclass(frozen=True)
class TokenizeReport:
    """What became of the rows of a corpus: ``rows == kept + len(skipped) + already``."""

    rows: int
    """Of the corpus, or of this run's shard of it; pieces, where long clips are cut."""
    kept: int
    """Put into the table by this run."""
    skipped: list[Skipped]
    """By this run."""
    already: int
    """In the table before, or named twice by the corpus."""
    clips: int
    """In the table now."""

    def __str__(self) -> str:
        """The account, in one line."""
        return f"{self.rows} rows in = {self.kept} kept + {len(self.skipped)} skipped + {self.already} already there"


def tokenize(
    corpus: str | Path,
    folder: str | Path,
    *,
    model: str | None = None,
    engine: Engine = "exact",
    bandwidth: float | None = None,
    split: str | None = None,
    domains: Sequence[str] = (),
    sources: Sequence[str] = (),
    max_seconds: float | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    shard: Shard = (0, 1),
    shard_size: int = 1000,
    update: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TokenizeReport:
    """Encode every clip of a corpus that is not in the table yet.

    Args:
        corpus: A folder, file, list, manifest, CutSet or Shar folder: whatever :func:`read_rows` reads.
        folder: Of the table; a path, or a URL such as ``s3://bucket/tokens``.
        model: The codec, as :func:`xcodec.load` takes it.
        engine: As :func:`xcodec.load` takes it.
        bandwidth: In kbps; the highest by default.
        split: Of the corpus; all of it by default.
        domains: Of the corpus; all by default.
        sources: Of the corpus; all by default.
        max_seconds: Longer clips become pieces of this length, as music for a language model has to be.
        jobs: Processes, each with a codec of its own; of a cluster, at most.
        cluster: ``"ray"`` encodes on a Ray cluster that is started here, ``"ray:ADDRESS"`` on one that is there; every
            node sees the corpus and the model under the same paths. What is written is the same.
        shard: (i, n): do only part i, from 0, of a corpus that n runs share, on one machine or on many.
        shard_size: Clips per Parquet file; a run that is killed (not one that is interrupted) loses at most so many.
        update: Replace rows of the corpus's audio that are not, or no longer, its own; by default, they are an error.
        device: Where to compute.
        progress: Told after each clip how many are done, and of how many.

    Raises:
        DataError: there is no such corpus or shard; or the folder holds tokens of another codec or bandwidth, or rows
            that would have to be replaced (see ``update``), or another run is at work in it.
    """
    if not 0 <= shard[0] < shard[1]:
        raise DataError(f"there is no shard {shard[0]} of {shard[1]}; they are counted from 0")
    if update and shard[1] > 1:
        raise DataError("rows are replaced in all of a table: update it without --shard first")
    corpus, folder, choice = Path(corpus), open_folder(folder), Choice(split, domains, sources)
    codec = load(model, device=device, engine=engine)
    info = _info(codec, bandwidth)
    with alone(folder, shard) as still_alone:
        table = Table(folder, info)
        clips, skipped = read_clips(corpus, table, choice, max_seconds, shard)
        compared = compare(clips, table, shard)
        if compared.foreign and not update:
            name, reason = next(iter(compared.foreign.items()))
            raise DataError(
                f"{folder} holds {len(compared.foreign)} rows that this corpus contradicts (first {name}: {reason});"
                " replace them with --update, or name another folder"
            )
        missing = [clip for clip in compared.missing if choice(clip.item)]
        already = sum(choice(clip.item) for clip in compared.there)
        rows = len(missing) + already + len(skipped)
        if not rows and shard == (0, 1):
            raise choice.nothing_in(corpus)
        kept = _replace(folder, info, set(compared.foreign), missing)
        todo = [clip for clip in missing if clip.content is None or clip.id(clip.content) not in kept]
        jobs = min(jobs, len(todo))
        if cluster is not None:
            encoded = encode_on_ray(cluster, todo, jobs, (model, device, engine, bandwidth), codec.sample_rate)
        elif jobs > 1:
            encoded = run_tasks(partial(ClipEncoder.load, model, device, engine, bandwidth), todo, jobs, _died)
        else:
            encoded = run_tasks(partial(ClipEncoder, codec, bandwidth), todo, 1)
        writer = _Writer(folder, info, shard, shard_size, still_alone)
        with closing(encoded) as results:
            try:
                for done, result in enumerate(results, start=1):
                    if isinstance(result, Skipped):
                        skipped.append(result)
                    else:
                        kept.add(result.id)
                        writer.add(result)
                    progress(done, len(todo))
            finally:
                writer.flush()  # an interrupted run keeps what it has
        _write_skipped(folder, shard, skipped, {clip.path for clip in clips if choice(clip.item)})
        present = [name for each in shards(folder) for name in read_ids(each)]
        report = TokenizeReport(rows, len(kept & set(present)), skipped, already, len(present))
    doubles = len(present) - len(set(present))
    if report.rows != report.kept + len(skipped) + report.already or doubles:
        raise DataError(f"{folder}: the rows do not add up: {report}; {doubles} ids are in the table twice")
    return report


def shard_from(option: str | None, environment: Mapping[str, str]) -> Shard:
    """The shard that is asked for as ``i/n``, or by whoever started this process as one of many.

    Raises:
        DataError: that is no shard.
    """
    if option is None:
        for index, shares in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if index in environment and shares in environment:
                option = f"{environment[index]}/{environment[shares]}"
                break
        else:
            return 0, 1
    numbers = option.split("/")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise DataError(f"a shard is written as i/n, such as 0/8, not {option!r}")
    return int(numbers[0]), int(numbers[1])


def _info(codec: Codec, bandwidth: float | None) -> TableInfo:
    return TableInfo(
        model=codec.config.name,
        model_hash=codec.fingerprint.tokens,
        codebooks=codec.config.codebooks_for(bandwidth),
        codebook_size=codec.codebook_size,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
    )


def _died(clip: Clip, error: WorkerDiedError) -> Skipped:
    return clip.skipped(f"{clip.item.path}: {error}")


# --- the folder ----------------------------------------------------------------------------------------------------


class _Writer:
    """Writes rows as shards, numbered on from those that are there.

    A run that shares a corpus with others has shards of its own: ``tokens-0003of0008-00000.parquet``.
    """

    def __init__(self, folder: Path, info: TableInfo, shard: Shard, size: int, still_alone: Callable[[], None]) -> None:
        self._folder, self._info, self._size, self._still_alone = folder, info, size, still_alone
        self._prefix = f"tokens-{_suffix(shard)}"
        before = found(folder, f"{self._prefix}{'[0-9]' * 5}.parquet")
        self._next = int(before[-1].stem[-5:]) + 1 if before else 0
        self._held: list[TokenItem] = []

    def add(self, item: TokenItem) -> None:
        self._held.append(item)
        if len(self._held) >= self._size:
            self.flush()

    def flush(self) -> None:
        with signals_deferred():  # between the writing and the forgetting
            if self._held:
                self._still_alone()
                write_shard(self._folder / f"{self._prefix}{self._next:05d}.parquet", self._info, self._held)
                self._next += 1
                self._held = []


def _suffix(shard: Shard) -> str:
    return "" if shard[1] == 1 else f"{shard[0]:04d}of{shard[1]:04d}-"


def _replace(folder: Path, info: TableInfo, foreign: set[str], missing: Sequence[Clip]) -> set[str]:
    """Take rows out of a table; where the same audio has become another row, that keeps the codes.

    Returns:
        Ids of the rows that were put in.
    """
    heirs: dict[Any, list[Clip]] = defaultdict(list)
    for clip in missing:
        if clip.content is not None:
            heirs[clip.origin(clip.content, "").audio].append(clip)
    made = set()
    for shard in shards(folder) if foreign else []:
        origins = read_origins(shard)
        if foreign.isdisjoint(origins):
            continue
        items = []
        for item in read_shard(shard, info):
            origin = origins[item.id]
            if item.id not in foreign:
                items.append(replace(item, origin=origin))
                continue
            for clip in heirs.pop(origin.audio, ()):
                # The stamp is that of another file if the clip's has moved: that costs a hash in the next run.
                items.append(clip.row(item.codes, clip.origin(origin.content, origin.stamp)))
                made.add(items[-1].id)
        if items:
            write_shard(shard, info, items)
        else:
            shard.unlink()
    return made


def _write_skipped(folder: Path, shard: Shard, skipped: Sequence[Skipped], paths: set[str]) -> None:
    """Say what was skipped, beside what earlier runs skipped of other files."""
    target = folder / f"skipped{'-' + _suffix(shard)[:-1] if shard[1] > 1 else ''}.jsonl"
    others = found(folder, "skipped*.jsonl") if shard[1] == 1 else [target] if target.exists() else []
    paths = paths | {each.path for each in skipped}
    rows = [row for each in others for row in read_lines(each)]
    write_lines(target, [row for row in rows if row["path"] not in paths] + [asdict(each) for each in skipped])
    for each in others:
        if each != target:
            each.unlink()
