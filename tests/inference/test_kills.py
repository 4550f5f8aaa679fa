"""Commands ended at random moments, or out of disk: what is resumed is what an undisturbed run makes, and no more.

The suite tries a few moments; ``python -m tests.inference.test_kills 100 [COMMAND]`` tries a hundred of each
command. As root it has a small disk of its own, which it fills.
"""

from __future__ import annotations

import getpass
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import tiny_codec
from tests.train.conftest import TINY
from xcodec import audio
from xcodec.data.token_table import read_table

KINDS = ("SIGKILL", "SIGTERM", "SIGHUP", "a worker", "a full disk")
COMMANDS = ("tokenize", "encode", "train", "evaluate")


class Scene:
    """A corpus, a model, and what a command makes of them in `out`, which may be a disk of its own."""

    def __init__(self, folder: Path, command: str, clips: int) -> None:
        self.folder, self.command, self.clips = folder, command, clips
        self.out, self.temporary = folder / "disk" / "out", folder / "tmp"
        self.torch_cache = f"torchinductor_{getpass.getuser()}"
        self.errors = folder / "errors.txt"
        self.saved_early = 0
        self.temporary.mkdir(parents=True)
        self.out.parent.mkdir(exist_ok=True)
        tiny_codec(teacher=None).save_pretrained(folder / "model")
        config = {**TINY, "runs": str(self.out), "name": "run", "steps": 40, "checkpoint_every": 8, "log_every": 4}
        config["data"] = {**TINY["data"], "workers": 1, "train": [{"path": str(folder / "corpus")}]}
        (folder / "train.yaml").write_text(yaml.safe_dump(config))
        rate = 16_000 if command != "train" else TINY["model"]["sample_rate"]
        for number in range(clips):
            samples = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 8_000 + 10 * number)).astype(np.float32)
            (folder / "corpus" / f"{number % 7}").mkdir(parents=True, exist_ok=True)
            audio.write(folder / "corpus" / f"{number % 7}" / f"{number}.wav", samples, rate)
        first = FORKS.Process(target=int)  # starts what the others are forked from, which imports all there is
        first.start()
        first.join()
        began = time.monotonic()
        self.ended(self.run(jobs=1), 0)
        self.seconds = time.monotonic() - began
        self.expected, self.files = self.made(), self.names()
        self.bytes = max(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        shutil.rmtree(self.out)

    def run(self, jobs: int, largest: int | None = None) -> ForkServerProcess:
        """Begin, and let no file become larger than that."""
        corpus, model = str(self.folder / "corpus"), str(self.folder / "model")
        coding = ["--quiet", "--jobs", str(jobs)]
        measuring = ["--metrics", "si_sdr,log_mel", "--shortest", "0.1", "--no-cost"]
        arguments = {
            "tokenize": [corpus, str(self.out), "--model", model, "--shard-size", "5", *coding],
            "encode": [corpus, str(self.out), "--model", model, "--skip-existing", *coding],
            "train": [str(self.folder / "train.yaml"), "--resume"],
            "evaluate": ["reconstruction", corpus, "-c", model, "-o", str(self.out), *measuring, *coding],
        }
        process = FORKS.Process(
            target=_command, args=([self.command, *arguments[self.command]], self.temporary, self.errors, largest)
        )
        process.start()
        return process

    def made(self) -> dict[str, object]:
        """The results, without what is of one run, such as its speed."""
        if self.command == "tokenize":
            return {item.id: item.codes.tolist() for item in read_table(self.out).items}
        if self.command == "train":
            weights = load_file(self.out / "run/model/model.safetensors")
            return {name: value.tolist() for name, value in weights.items()}
        if self.command == "evaluate":
            records = map(json.loads, (self.out / "clips.jsonl").read_text().splitlines())
            return {each["clip"]: (each["scores"], each["undefined"]) for each in records}
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*.xc")}

    def names(self) -> set[str]:
        """All files, but for the numbers of shards and checkpoints, which a run that ends early makes more of."""
        names = {str(path.relative_to(self.out)) for path in self.out.rglob("*")}
        return {re.sub(r"(tokens|step)-\d+", r"\1", name) for name in names}

    def check(self) -> None:
        """The output is what it is to be, and nothing else is there."""
        assert self.made() == self.expected
        assert not self.names() ^ self.files, self.names() ^ self.files
        left = {path.name for path in self.temporary.iterdir()} - {self.torch_cache}
        # Of a process that is killed outright, nobody clears away what `multiprocessing` made for its sockets.
        assert not {name for name in left if not (self.command == "train" and name.startswith("pymp-"))}, left
        if self.command == "evaluate":
            assert len((self.out / "clips.jsonl").read_text().splitlines()) == self.clips
        if self.command == "train":
            log = (self.out / "run/log.jsonl").read_text().splitlines()
            steps = [json.loads(line)["step"] for line in log]
            early = set(steps) - set(range(4, 41, 4))  # a run that is asked to end logs its last step
            assert steps == sorted({*range(4, 41, 4), *early})
            assert len(early) <= self.saved_early

    def ended(self, process: ForkServerProcess, code: int | None = None) -> int:
        """With what code it ends, which may have to be a certain one; none of its processes is left."""
        process.join(300)
        deadline = time.monotonic() + 60
        while alive(process.pid):
            assert time.monotonic() < deadline, "processes are left"
            time.sleep(0.05)
        errors = self.errors.read_text()
        assert "Traceback" not in errors, errors
        assert "unexpected" not in errors, errors
        assert process.exitcode is not None, "hangs"
        assert code in (None, process.exitcode), errors
        return process.exitcode

    def finish(self) -> None:
        """Resume undisturbed, and check."""
        self.ended(self.run(jobs=1), 0)
        self.check()

    def disturb(self, kind: str, moment: float) -> bool:
        """Run, and end it so many seconds later; whether it was still at work."""
        if kind == "a full disk":
            return self.fill(moment)
        process = self.run(jobs=2 if kind == "a worker" else 1)
        found: list[int] = []
        if kind == "a worker":
            while process.is_alive() and not (found := workers(process.pid)):
                time.sleep(0.01)
        process.join(moment)
        found = [each for each in found if stat_of(str(each))]
        if not process.is_alive() or (kind == "a worker" and not found):
            self.ended(process, 0)
            return False
        os.kill(
            *((random.Random(moment).choice(found), signal.SIGKILL) if found else (process.pid, getattr(signal, kind)))
        )
        self.saved_early += not found and kind != "SIGKILL"
        # A training ends with an error, and is resumed.
        self.ended(process, 0 if found and self.command != "train" else None)
        return True

    def fill(self, moment: float) -> bool:
        """Run out of disk: of our own, or (its errors are alike) of what a file may hold."""
        random_size = random.Random(moment)
        balloon, own_disk = self.out.parent / "balloon", os.path.ismount(self.out.parent)
        if own_disk:
            free = shutil.disk_usage(self.out.parent).free
            balloon.write_bytes(bytes(max(0, free - random_size.randint(0, 4 * self.bytes))))
        before = set(self.out.rglob(".*"))
        process = self.run(1, None if own_disk else random_size.randint(0, self.bytes - 1))
        code = self.ended(process, None if own_disk else 1)
        balloon.unlink(missing_ok=True)
        assert set(self.out.rglob(".*")) <= before, "debris"
        return code != 0


FORKS = multiprocessing.get_context("forkserver")
_PARTS = (
    "cli.main inference.corpus inference.batch inference.files train.codec evaluate.reconstruction evaluate.summary"
)
FORKS.set_forkserver_preload([f"xcodec.{part}" for part in _PARTS.split()])
"""Of what `xcodec` imports: a moment before there is any work is of no interest."""


def _command(arguments: list[str], temporary: Path, errors: Path, largest: int | None) -> None:
    """`xcodec ARGUMENTS` in a session of its own."""
    from xcodec.cli.main import main

    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # that of programs, not that of what a forkserver forks
    os.environ |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    torch.set_num_threads(1)
    tempfile.tempdir = None
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = ["xcodec", *arguments]
    main()


def stat_of(process: str) -> list[str]:
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def workers(parent: int) -> list[int]:
    """Its processes, but for that which watches over them."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        stat = stat_of(process)
        if stat and int(stat[1]) == parent and stat[0] != "Z":
            try:
                if b"resource_tracker" not in Path("/proc", process, "cmdline").read_bytes():
                    found.append(int(process))
            except OSError:
                continue
    return found


def alive(session: int) -> list[str]:
    """The processes of a session, but for those that only wait to be noticed."""
    found = filter(str.isdigit, os.listdir("/proc"))
    return [each for each in found if (stat := stat_of(each)) and int(stat[3]) == session and stat[0] != "Z"]


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("tokenize", ("SIGKILL", "a worker")),
        ("encode", ("SIGHUP", "a full disk")),
        ("train", ("a full disk", "a worker")),
        ("evaluate", ("SIGKILL", "a full disk")),
    ],
)
def test_what_was_ended_at_a_random_moment_is_resumed(tmp_path: Path, command: str, kinds: tuple[str, ...]) -> None:
    scene = Scene(tmp_path, command, clips=40 if command in ("tokenize", "encode") else 10)
    moments = random.Random(command)
    for kind in kinds:
        scene.disturb(kind, moments.uniform(0.2, 0.9) * scene.seconds)
    scene.finish()


def main() -> None:
    """Try many moments, and say how many there were."""
    wanted, random_moments = int(sys.argv[1]), random.Random(0)
    for command in sys.argv[2:] or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            disk = Path(folder, "scene", "disk")
            disk.mkdir(parents=True)
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=False)
            try:
                _try(Scene(disk.parent, command, clips=40), wanted, random_moments)
            finally:
                if mounted.returncode == 0:
                    subprocess.run(["umount", disk], check=True)


def _try(scene: Scene, wanted: int, random_moments: random.Random) -> None:
    print(f"{scene.command}: {scene.clips} clips in {scene.seconds:.1f} s undisturbed", flush=True)
    tried: Counter[str] = Counter()
    resumed = 0
    while tried.total() < wanted:
        kind = KINDS[tried.total() % len(KINDS)]
        if scene.disturb(kind, random_moments.uniform(0.05, 1.2) * scene.seconds):
            tried[kind] += 1
            print(f"{scene.command}: {tried.total()} of {wanted}", file=sys.stderr, flush=True)
            if kind != "a worker":
                continue
        scene.finish()
        resumed += 1
        shutil.rmtree(scene.out)
    scene.finish()
    print(f"{scene.command}: {dict(tried)}; {resumed + 1} outputs, all as if undisturbed", flush=True)


if __name__ == "__main__":
    main()
