"""Clips encoded on a cluster, by Ray Data: tasks read and resample, an autoscaling pool of actors encodes.

The process that started it has the rest: which rows are missing, the lock, and the table. Codes are a hundredth of the
audio, so that one writer keeps up with many actors, and a run on a cluster promises what a local one does. An actor or
a node that dies is replaced by Ray, and its batch done again.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from xcodec.data.manifest import DataError
from xcodec.data.token_table import TokenItem
from xcodec.engine.engine import Engine
from xcodec.inference.corpus_encoding import ClipEncoder, ClipReader
from xcodec.inference.corpus_rows import Clip, Skipped
from xcodec.utils.parallel import ATTEMPTS

BATCH = 8
"""Clips that an actor is given at a time."""
_LONGEST_SECONDS = 60.0
"""Longer clips are read by the actor itself, block by block, instead of being held in memory."""

Batch = dict[str, Any]
Model = tuple[str | None, str, Engine, float | None]
"""What `ClipEncoder.load` takes."""


def encode_on_ray(
    cluster: str, clips: Sequence[Clip], jobs: int, model: Model, sample_rate: int
) -> Generator[TokenItem | Skipped]:
    """Encode clips, in whatever order they are done.

    Args:
        cluster: ``ray`` for one on this machine, or ``ray:ADDRESS``.
        clips: to encode.
        jobs: actors, at most.
        model: each actor's.
        sample_rate: that of the model, in Hz.

    Raises:
        DataError: there is no such cluster, or Ray is not installed, or it gave up.
    """
    ray = _connect(cluster)
    try:
        todo = dict(enumerate(clips))
        for size in (BATCH, 1):  # what took its batch with it is tried once more, by itself
            for number, result in _encode(ray, dict(todo), size, jobs, model, sample_rate) if todo else ():
                del todo[number]
                yield result
        for clip in todo.values():
            yield clip.skipped(f"{clip.item.path}: the processes at work on it died; is there enough memory?")
    finally:
        ray.shutdown()


def _connect(cluster: str) -> Any:
    kind, _, address = cluster.partition(":")
    if kind != "ray" or cluster == "ray:":
        raise DataError(f"a cluster is written as ray or ray:ADDRESS, not {cluster!r}")
    try:
        import ray
        import ray.data
    except ImportError:
        raise DataError("a cluster needs Ray; get it with: pip install 'xcodec[scale]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # OSError, RuntimeError, and others of gRPC's
        reason = " ".join(str(error).split())
        raise DataError(f"no Ray cluster at {address or 'this machine'}: {reason:.200}") from error
    return ray


def _encode(
    ray: Any, clips: dict[int, Clip], size: int, jobs: int, model: Model, sample_rate: int
) -> Generator[tuple[int, TokenItem | Skipped]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # those are the ones that are tried again
    on_gpu = model[1] != "cpu"
    rows = ray.data.from_items(
        [{"clip": pickle.dumps(each)} for each in clips.items()], override_num_blocks=-(-len(clips) // size)
    )
    read = rows.map_batches(
        _read,
        fn_args=(sample_rate,),
        batch_size=size,
        batch_format="numpy",
        compute=ray.data.TaskPoolStrategy(size=2 * jobs),
        num_cpus=0,  # one core must do for an actor and for what reads its clips
    )
    encoded = read.map_batches(
        _Encoder,
        fn_constructor_args=(model,),
        batch_size=size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=jobs),
        num_cpus=0 if on_gpu else 1,
        num_gpus=1 if on_gpu else None,
        max_task_retries=ATTEMPTS - 1,
    )
    try:
        for row in encoded.iter_rows():
            yield pickle.loads(row["result"])
    except ray.exceptions.RayError as error:
        raise DataError(f"Ray gave up: {' '.join(str(error).split())[:300]}; run it again to go on") from error


def _read(batch: Batch, sample_rate: int) -> Batch:
    """Clips to what is known of them and their samples, which are empty if the actor is to read them."""
    read, found = ClipReader(sample_rate), []
    for pickled in batch["clip"]:
        number, clip = pickle.loads(pickled)
        blocks: list[Any] = []
        row: Any = clip
        if clip.item.seconds <= _LONGEST_SECONDS:
            row = read(clip, blocks.append)
        found.append(pickle.dumps((number, row, np.concatenate(blocks, axis=1)[0] if blocks else None)))
    return {"read": np.array(found, dtype=object)}


class _Encoder:
    """An actor: a codec on a core or a GPU."""

    def __init__(self, model: Model) -> None:
        self._encoder = ClipEncoder.load(*model)

    def __call__(self, batch: Batch) -> Batch:
        return {"result": np.array([pickle.dumps(self._row(*pickle.loads(each))) for each in batch["read"]], object)}

    def _row(self, number: int, found: Any, samples: Any) -> tuple[int, TokenItem | Skipped]:
        if isinstance(found, Clip):
            return number, self._encoder(found)
        if isinstance(found, Skipped):
            return number, found
        clip, origin = found
        return number, clip.row(self._encoder.encode(samples), origin)
