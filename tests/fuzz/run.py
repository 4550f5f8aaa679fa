"""Try random inputs until the time is up: `python -m tests.fuzz.run --minutes 10` (`make fuzz`).

Each target runs in processes of its own, so that a crash or a hang is told from a wrong result, and its input is known.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

from tests.fuzz import LAST


def batch_of(target: str) -> Callable[[int, Path, Counter[str]], None]:
    """What tries a batch of inputs: it takes a seed, a folder to work in, and the counts of outcomes to add to.

    It raises AssertionError for a wrong result.
    """
    if target == "containers":
        from tests.fuzz.containers import batch
    elif target == "manifests":
        from tests.fuzz.manifests import batch
    else:
        from tests.fuzz.texts import batch
    return batch


def work(target: str, seconds: float, seed: int) -> int:
    """Try one target in this process; prints what became of how many inputs, and every kind of failure once."""
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        folder = Path(name)
        attempt = batch_of(target)
        end = time.monotonic() + seconds  # after imports, which take their time
        while time.monotonic() < end:
            try:
                attempt(seed, folder, outcomes)
            except Exception as error:
                outcomes["failed"] += 1
                kind = re.sub(r"[0-9]+|0x[0-9a-f]+", "N", f"{type(error).__name__}: {error}")[:100]
                failures.setdefault(kind, f"{type(error).__name__}: {error}\n    {(folder / LAST).read_text()}")
            seed += 1
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{target}: {outcomes.total()} inputs: {counts}")
    for failure in failures.values():
        print(f"  {failure}")
    return int(bool(failures))


def main() -> int:
    """Divide the time among the targets, one after another, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=["containers", "manifests", "texts"])
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    if options.here:
        return work(options.only, 60 * options.minutes, options.seed)
    shares = {"containers": 0.7, "manifests": 0.15, "texts": 0.15}
    if options.only:
        shares = {options.only: 1.0}
    failed = 0
    for target, share in shares.items():

        def one(job: int, target: str = target, share: float = share) -> int:
            # Seeds far apart, so that no two jobs try the same.
            seed = str(options.seed + 10_000_000 * job)
            command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.run", "--here", "--only", target]
            done = run(
                [*command, "--minutes", str(share * options.minutes), "--seed", seed], text=True, capture_output=True
            )
            print(done.stdout, end="", flush=True)
            if done.returncode not in (0, 1) or not done.stdout:
                print(f"{target}: process ended with {done.returncode}\n{done.stderr[-3_000:]}", flush=True)
            return done.returncode

        with ThreadPoolExecutor(options.jobs) as pool:
            failed += sum(code != 0 for code in pool.map(one, range(options.jobs)))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
