"""`tokenize` and `encode DIR`, ended at random moments: what is resumed is what an undisturbed run makes, and no more.

The suite tries a few moments; ``python -m tests.inference.test_kills 100 [COMMAND]`` tries a hundred.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.data.token_table import read_table

COMMAND = str(Path(sys.executable).with_name("xcodec"))
KINDS = ("SIGKILL", "SIGTERM", "SIGHUP", "a worker")
COMMANDS = ("tokenize", "encode")


class Scene:
    """A corpus, a model, and what a command makes of them."""

    def __init__(self, folder: Path, command: str, clips: int) -> None:
        self.folder, self.command, self.clips = folder, command, clips
        self.out, self.temporary = folder / "out", folder / "tmp"
        self.temporary.mkdir(parents=True)
        tiny_codec(teacher=None).save_pretrained(folder / "model")
        for number in range(clips):
            samples = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 8_000 + 10 * number)).astype(np.float32)
            (folder / "corpus" / f"{number % 7}").mkdir(parents=True, exist_ok=True)
            audio.write(folder / "corpus" / f"{number % 7}" / f"{number}.wav", samples, 16_000)
        began = time.monotonic()
        assert self.run(jobs=1).wait() == 0
        self.seconds = time.monotonic() - began
        self.expected = self.made()
        assert len(self.expected) == clips
        shutil.rmtree(self.out)

    def run(self, jobs: int) -> subprocess.Popen[bytes]:
        options = ["--shard-size", "5"] if self.command == "tokenize" else ["--skip-existing"]
        command = [COMMAND, self.command, str(self.folder / "corpus"), str(self.out), "--quiet", *options]
        command += ["--model", str(self.folder / "model"), "--jobs", str(jobs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)

    def made(self) -> dict[str, object]:
        if self.command == "tokenize":
            return {item.id: item.codes.tolist() for item in read_table(self.out).items}
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*.xc")}

    def check(self) -> None:
        """The output is what it is to be, and nothing else is there."""
        assert self.made() == self.expected
        files = [path for path in self.out.rglob("*") if path.is_file()]
        if self.command == "tokenize":
            assert {path.name.partition("-")[0] for path in files} == {"tokens", "skipped.jsonl"}
        else:
            assert len(files) == self.clips
        assert not [path for path in files if path.name.startswith(".")]
        assert not list(self.temporary.iterdir())

    def disturb(self, kind: str, moment: float, jobs: int = 2) -> bool:
        """Run, and end it so many seconds later; whether it was still at work."""
        process = self.run(jobs)
        try:
            process.wait(moment)
            return False
        except subprocess.TimeoutExpired:
            pass
        if kind == "a worker":
            found = workers(process.pid)
            if not found:
                process.kill()  # it has none yet
            else:
                os.kill(random.Random(moment).choice(found), signal.SIGKILL)
                assert process.wait(300) == 0
        else:
            process.send_signal(getattr(signal, kind))
        process.wait(300)
        deadline = time.monotonic() + 60
        while alive(process.pid):
            assert time.monotonic() < deadline, f"{kind} left processes"
            time.sleep(0.05)
        return True


def stat_of(process: str) -> list[str]:
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def workers(parent: int) -> list[int]:
    """The processes of its pool."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        stat = stat_of(process)
        if stat and int(stat[1]) == parent and stat[0] != "Z":
            try:
                if b"spawn_main" in Path("/proc", process, "cmdline").read_bytes():
                    found.append(int(process))
            except OSError:
                continue
    return found


def alive(session: int) -> list[str]:
    """The processes of a session, but for those that only wait to be noticed."""
    found = filter(str.isdigit, os.listdir("/proc"))
    return [each for each in found if (stat := stat_of(each)) and int(stat[3]) == session and stat[0] != "Z"]


@pytest.mark.parametrize(("command", "kinds"), [("tokenize", ("SIGKILL", "a worker")), ("encode", ("SIGHUP",))])
def test_what_was_ended_at_a_random_moment_is_resumed(tmp_path: Path, command: str, kinds: tuple[str, ...]) -> None:
    scene = Scene(tmp_path, command, clips=40)
    moments = random.Random(command)
    for kind in kinds:
        scene.disturb(kind, moments.uniform(0.5, 1.0) * scene.seconds, jobs=2 if kind == "a worker" else 1)
    assert scene.run(jobs=1).wait() == 0
    scene.check()


def main() -> None:
    """Try many moments, and say how many there were."""
    wanted, random_moments = int(sys.argv[1]), random.Random(0)
    for command in sys.argv[2:] or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            scene = Scene(Path(folder, "scene"), command, clips=60)
            print(f"{command}: {scene.clips} clips in {scene.seconds:.1f} s undisturbed", flush=True)
            tried: Counter[str] = Counter()
            resumed = 0
            while tried.total() < wanted:
                kind = KINDS[tried.total() % len(KINDS)]
                if scene.disturb(kind, random_moments.uniform(0.05, 1.2) * scene.seconds):
                    tried[kind] += 1
                    print(f"{command}: {tried.total()} of {wanted}", file=sys.stderr, flush=True)
                    if kind != "a worker":
                        continue
                assert scene.run(jobs=1).wait() == 0
                scene.check()
                resumed += 1
                shutil.rmtree(scene.out)
            assert scene.run(jobs=1).wait() == 0
            scene.check()
            print(f"{command}: {dict(tried)}; {resumed + 1} outputs, all as if undisturbed", flush=True)


if __name__ == "__main__":
    main()
