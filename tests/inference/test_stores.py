"""Token tables in stores: in memory, and in a real server of the S3 protocol; and runs that share one out, and die."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.inference.conftest import CLIPS, codes_of
from xcodec.data.manifest import DataError
from xcodec.inference import locks
from xcodec.inference.corpus import tokenize
from xcodec.utils.stores import StoreError, found, open_folder

pytest.importorskip("upath")
RUN = (
    "import xcodec.inference.locks as locks; locks.RENEW_SECONDS, locks.ABANDONED_SECONDS = 0.5, 10;"
    "from xcodec.cli.main import main; main()"
)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket of moto's server, on loopback."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir("corpora")
        yield "s3://corpora"
    server.stop()


def names_in(place: str | Path) -> set[str]:
    folder = open_folder(place)
    return {path.name for path in [*found(folder, "*"), *found(folder, ".*")]}


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_a_table_in_a_store_is_that_of_a_folder(scene: Path, store: str, request: pytest.FixtureRequest) -> None:
    place = f"{'memory://' if store == 'memory' else request.getfixturevalue('bucket')}/same"
    options = {"model": str(scene / "model"), "shard_size": 10}
    made = tokenize(scene / "corpus", place, **options)  # type: ignore[arg-type]
    assert (made.rows, made.kept, len(made.skipped)) == (CLIPS + 1, CLIPS, 1)
    assert codes_of(place) == codes_of(scene / "whole")
    assert names_in(place) == {"skipped.jsonl", *(f"tokens-{number:05}.parquet" for number in range(3))}
    assert (open_folder(place) / "skipped.jsonl").read_text() == (scene / "whole" / "skipped.jsonl").read_text()
    assert tokenize(scene / "corpus", place, **options).kept == 0  # type: ignore[arg-type]
    with pytest.raises(DataError, match="name another folder"):
        tokenize(scene / "corpus", place, bandwidth=0.3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["local", "s3"])
def test_what_runs_that_were_killed_left_is_gone_on_with(
    scene: Path, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three processes share a corpus; each is killed at a random moment, and started again."""
    place = f"{tmp_path if store == 'local' else request.getfixturevalue('bucket')}/shared"
    command = [sys.executable, "-c", RUN, "tokenize", str(scene / "corpus"), place, "--model", str(scene / "model")]
    command += ["--shard-size", "2", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "3"}

    with ExitStack() as stack:

        def start(rank: int) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE)
            stack.callback(process.kill)  # should the test fail
            return process

        running = [start(rank) for rank in range(3)]
        moments = random.Random(store)
        deadline = time.monotonic() + 900
        while not any("tokens" in name for name in names_in(place)):  # until they are at work
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for process in moments.sample(running, 3):
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
        for process in running:
            process.communicate()
        again = [start(rank) for rank in range(3)]
        reports = [json.loads(process.communicate(timeout=900)[0]) for process in again]
        assert [process.returncode for process in again] == [0, 0, 0]
    assert codes_of(place) == codes_of(scene / "whole")
    assert sum(report["rows"] for report in reports) == CLIPS + 1
    assert not [name for name in names_in(place) if name.startswith(".")]


def test_who_may_be_at_work_at_once_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(locks, "ABANDONED_SECONDS", 0.5)
    folder = open_folder("memory://leases/t")
    with locks.alone(folder, (0, 3)), locks.alone(folder, (2, 3)):
        for other in ((0, 3), (0, 1), (1, 2)):
            with pytest.raises(DataError, match="another run"), locks.alone(folder, other):
                pass
    left = folder / ".lease-1-of-2"
    left.write_bytes(b"of a run that was killed 7")
    with locks.alone(folder, (1, 3)) as still_alone:
        still_alone()
        (folder / ".lease-1-of-3").write_bytes(b"of one that took it away 1")
        time.sleep(0.2)
        with pytest.raises(DataError, match="could not renew its lease"):
            still_alone()
    assert names_in(folder) == {".lease-1-of-3"}


def test_a_url_that_leads_nowhere_is_said_in_one_line() -> None:
    with pytest.raises(StoreError, match="cannot use nowhere://bucket/tokens"):
        open_folder("nowhere://bucket/tokens")
