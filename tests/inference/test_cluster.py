"""A corpus tokenised on a real Ray cluster of two nodes, one of which is lost in the middle."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.conftest import CLIPS, codes_of
from xcodec.data.manifest import Choice, DataError
from xcodec.data.token_table import read_info, read_table, shards
from xcodec.inference import cluster
from xcodec.inference.corpus import tokenize
from xcodec.inference.corpus_rows import Table, read_clips

pytest.importorskip("ray")


def node() -> dict[str, int]:
    """One core. Ports are chosen here: a node that leaves the choice to its agent gives up when that starts slowly."""
    names = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
    return {"num_cpus": 1, "object_store_memory": 80 * 2**20, **ports}


STARTS = 3
"""Attempts to start a cluster."""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes, of one core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine
    for attempt in range(STARTS):
        started = Cluster()
        try:
            started.add_node(**node())  # the head
            started.add_node(**node())
            started.wait_for_nodes()
            break
        except Exception:  # a node's agent has 15 s, whatever else the machine does; then the node gives up
            started.shutdown()
            if attempt == STARTS - 1:
                raise
    yield started
    started.shutdown()


@pytest.mark.parametrize("longest", [60.0, 0.0])
def test_what_tasks_and_actors_do_gives_the_rows_of_one_process(
    scene: Path, tmp_path: Path, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by turns, without a cluster; also where the actor is to read the clips itself."""
    monkeypatch.setattr(cluster, "_LONGEST_SECONDS", longest)
    expected = {item.id: item for item in read_table(scene / "whole").items}
    info = read_info(shards(scene / "whole")[0])
    clips, _ = read_clips(scene / "corpus", Table(tmp_path, info), Choice(), None)
    batch = {"clip": np.array([pickle.dumps(each) for each in enumerate(clips)], object)}
    encoded = cluster._Encoder((str(scene / "model"), "cpu", "exact", None))(cluster._read(batch, info.sample_rate))
    rows = [pickle.loads(each) for each in encoded["result"]]
    assert [number for number, _ in rows] == list(range(CLIPS))
    for _, row in rows:
        assert np.array_equal(row.codes, expected[row.id].codes)


def test_a_cluster_that_loses_a_node_makes_the_table_of_one_process(scene: Path, nodes: Any, tmp_path: Path) -> None:
    lost: list[int] = []

    def lose_a_node(done: int, total: int) -> None:
        if not lost:
            (worker,) = nodes.worker_nodes
            nodes.remove_node(worker, allow_graceful=False)
            lost.append(done)

    options: dict[str, Any] = {"model": str(scene / "model"), "cluster": f"ray:{nodes.address}", "jobs": 2}
    made = tokenize(scene / "corpus", tmp_path / "t", shard_size=10, progress=lose_a_node, **options)
    assert lost[0] < CLIPS
    assert (made.rows, made.kept, len(made.skipped)) == (CLIPS + 1, CLIPS, 1)
    assert codes_of(tmp_path / "t") == codes_of(scene / "whole")
    assert (tmp_path / "t" / "skipped.jsonl").read_text() == (scene / "whole" / "skipped.jsonl").read_text()
    (tmp_path / "t" / "tokens-00001.parquet").unlink()  # as if it had been killed before
    assert tokenize(scene / "corpus", tmp_path / "t", **options).kept == 10
    assert codes_of(tmp_path / "t") == codes_of(scene / "whole")


@pytest.mark.parametrize(
    ("name", "message"),
    [("slurm", "written as ray or ray:ADDRESS"), ("ray:", "written as"), ("ray:127.0.0.1:9", "no Ray cluster at 127")],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(scene: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tokenize(scene / "corpus", tmp_path / "t", model=str(scene / "model"), cluster=name)
    assert not (tmp_path / "t").exists()
