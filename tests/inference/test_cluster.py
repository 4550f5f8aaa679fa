"""A corpus tokenised on a real Ray cluster of two nodes, one of which is lost in the middle."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.inference.conftest import CLIPS, codes_of
from xcodec.data.manifest import DataError
from xcodec.inference.corpus import tokenize

pytest.importorskip("ray")


def node() -> dict[str, int]:
    """One core. Ports are chosen here: a node that leaves the choice to its agent gives up when that starts slowly."""
    names = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
    return {"num_cpus": 1, "object_store_memory": 80 * 2**20, **ports}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes, of one core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine
    cluster = Cluster(initialize_head=True, head_node_args=node())
    cluster.add_node(**node())
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


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
    ("cluster", "message"),
    [("slurm", "written as ray or ray:ADDRESS"), ("ray:", "written as"), ("ray:127.0.0.1:9", "no Ray cluster at 127")],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(
    scene: Path, tmp_path: Path, cluster: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        tokenize(scene / "corpus", tmp_path / "t", model=str(scene / "model"), cluster=cluster)
    assert not (tmp_path / "t").exists()
