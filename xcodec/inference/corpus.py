"""A corpus to a token table: resumable, each clip exactly once, by several processes.

Processes give back whole clips; one process writes them, in shards that appear whole. What a killed run had finished
is in its shards, so a new run asks the shards which clips are missing. A clip that was added to the corpus in between
is simply missing too.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from xcodec import audio
from xcodec.data.manifest import AudioItem, BrokenAudioError, DataError, read_corpus, read_span
from xcodec.data.token_table import (
    Skipped,
    TableInfo,
    TokenItem,
    read_ids,
    read_info,
    shards,
    write_shard,
    write_skipped,
)
from xcodec.engine.engine import Codec, load


@dataclass(frozen=True)
class TokenizeReport:
    """What became of a corpus."""

    clips: int
    """In the table now."""
    new: int
    """Of them, made by this run."""
    skipped: list[Skipped]
    """By this run and those before it."""


Result = TokenItem | Skipped


def tokenize(
    corpus: str | Path,
    folder: str | Path,
    *,
    model: str | None = None,
    bandwidth: float | None = None,
    split: str | None = None,
    domains: Sequence[str] = (),
    sources: Sequence[str] = (),
    max_seconds: float | None = None,
    jobs: int = 1,
    shard_size: int = 1000,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TokenizeReport:
    """Encode every clip of a corpus that is not in the table yet.

    Args:
        corpus: A folder, list, manifest, CutSet or Shar folder: whatever :func:`read_corpus` reads.
        folder: Of the table.
        model: The codec, as :func:`xcodec.load` takes it.
        bandwidth: In kbps; the highest by default.
        split: Of the corpus; all of it by default.
        domains: Of the corpus; all by default.
        sources: Of the corpus; all by default.
        max_seconds: Longer clips become pieces of this length, as music for a language model has to be.
        jobs: Processes, each with a codec of its own.
        shard_size: Clips per shard; a run that is killed loses at most the shard that it was filling.
        device: Where to compute.
        progress: Told after each clip how many are done, and of how many.

    Raises:
        DataError: there is no such corpus, or the folder holds the tokens of another codec or bandwidth.
    """
    root = _root(Path(corpus))
    found = read_corpus(corpus, split, domains, max_broken_files=sys.maxsize)
    items = [item for item in found if not sources or item.source in sources]
    if not items:
        raise DataError(f"no audio of sources {', '.join(sources)} in {corpus}")
    todo = {item_id(item, root): item for whole in items for item in pieces(whole, max_seconds)}
    codec = load(model, device=device)
    info = _info(codec, bandwidth)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        present, skipped = _already(folder, info)
        unreadable = _unreadable(Path(corpus), found) if root == Path(corpus) else []
        done = present | {each.id for each in skipped}
        missing = [(name, item) for name, item in todo.items() if name not in done]
        held: list[TokenItem] = []
        bad: list[Skipped] = []
        new, next_shard = 0, _next_number(folder)
        encode = partial(_encode, codec, bandwidth)
        for number, result in enumerate(_results(missing, encode, model, bandwidth, device, jobs), start=1):
            if isinstance(result, TokenItem):
                held.append(result)
            else:
                bad.append(result)
            progress(number, len(missing))
            if len(held) + len(bad) >= shard_size or number == len(missing):
                write_shard(folder / f"tokens-{next_shard:05d}.parquet", info, held, bad)
                new, next_shard, skipped = new + len(held), next_shard + 1, skipped + bad
                held, bad = [], []
        skipped += unreadable
        write_skipped(folder / "skipped.jsonl", skipped)
    return TokenizeReport(len(present) + new, new, skipped)


def item_id(item: AudioItem, root: Path) -> str:
    """What a clip is called in a table: its path, and its place in the file if it is not all of it."""
    name = os.path.relpath(item.path, root)
    if item.stored is not None:
        name += f"@{item.stored[0]}"
    return f"{name}#{item.start}+{item.samples}"


def pieces(item: AudioItem, max_seconds: float | None) -> list[AudioItem]:
    """A clip as pieces of at most ``max_seconds``; a rest shorter than a tenth of that is dropped."""
    if max_seconds is None or item.seconds <= max_seconds:
        return [item]
    size = round(max_seconds * item.sample_rate)
    spans = [(first, min(size, item.samples - first)) for first in range(0, item.samples, size)]
    return [replace(item, start=item.start + first, samples=count) for first, count in spans if count >= size // 10]


def _root(corpus: Path) -> Path:
    return corpus if corpus.is_dir() else corpus.parent


def _unreadable(folder: Path, items: Sequence[AudioItem]) -> list[Skipped]:
    """The files of a folder that are so broken that they are no clips at all."""
    known = {item.path for item in items}
    found = []
    for path in audio.find_audio(folder):
        if path not in known:
            try:
                audio.info(path)
            except (audio.AudioError, OSError) as error:
                found.append(Skipped(os.path.relpath(path, folder), " ".join(str(error).split())))
    return found


def _info(codec: Codec, bandwidth: float | None) -> TableInfo:
    return TableInfo(
        model=codec.config.name,
        model_hash=codec.fingerprint.tokens,
        codebooks=codec.config.codebooks_for(bandwidth),
        codebook_size=codec.codebook_size,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
    )


def _already(folder: Path, info: TableInfo) -> tuple[set[str], list[Skipped]]:
    """Ids that are in the table, and the clips that earlier runs skipped."""
    ids: set[str] = set()
    skipped: list[Skipped] = []
    for shard in shards(folder):
        own, bad = read_info(shard)
        if own != info:
            raise DataError(
                f"{folder} holds tokens of {own.model} (tokens {own.model_hash}, {own.codebooks} codebooks), not of"
                f" {info.model} (tokens {info.model_hash}, {info.codebooks} codebooks); name another folder"
            )
        ids.update(read_ids(shard))
        skipped += bad
    return ids, skipped


def _next_number(folder: Path) -> int:
    found = shards(folder)
    return int(found[-1].stem.rpartition("-")[2]) + 1 if found else 0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else makes what is missing in a folder meanwhile.

    Raises:
        DataError: another run does.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another run is at work in {folder}; wait for it to end") from None
        yield


# --- encoding ----------------------------------------------------------------------------------------------


def _encode(codec: Codec, bandwidth: float | None, name: str, item: AudioItem) -> Result:
    try:
        samples = read_span(item, 0, item.samples)
    except BrokenAudioError as error:
        return Skipped(name, " ".join(str(error).split()))
    # [T] -> [1, T] -> [T] at the codec's rate
    heard = audio.resample(samples[None], item.sample_rate, codec.sample_rate)[0]
    codes = codec.encode(heard, bandwidth)[0].cpu().numpy()
    return TokenItem(
        name,
        codes.astype("uint16"),
        text=item.text,
        speaker=item.speaker,
        language=item.language,
        domain=item.domain,
        source=item.source,
        split=item.split,
    )


def _results(
    missing: list[tuple[str, AudioItem]],
    encode: Callable[[str, AudioItem], Result],
    model: str | None,
    bandwidth: float | None,
    device: str,
    jobs: int,
) -> Iterator[Result]:
    """Results in the order of the clips, whoever made them."""
    if jobs == 1 or len(missing) < 2:
        for name, item in missing:
            yield encode(name, item)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-flight
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(model, bandwidth, device, jobs)
    ) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for name, item in missing:
                waiting.append(pool.submit(_encode_in_worker, name, item))
                if len(waiting) > 4 * jobs:  # so that results do not pile up before they are written
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_worker: Callable[[str, AudioItem], Result]


def _start_worker(model: str | None, bandwidth: float | None, device: str, jobs: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    _worker = partial(_encode, load(model, device=device), bandwidth)


def _end_with_parent() -> None:
    """Even when the parent is killed, no worker stays behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode_in_worker(name: str, item: AudioItem) -> Result:
    return _worker(name, item)
