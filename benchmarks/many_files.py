"""What a corpus of many small files costs besides the network: CPU time per file, and memory.

    python benchmarks/many_files.py --files 10000

Times are CPU time of one process with a network of a few thousand weights, whose share is taken out.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.inference import batch, corpus
from xcodec.inference.streaming import StreamingEncoder

SECONDS = 0.5


class Network:
    """The time that the network takes, of all that is encoded here."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("encode", "finish"):
            setattr(StreamingEncoder, name, self._timed(getattr(StreamingEncoder, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            began = time.process_time()
            result = method(*given)
            self.seconds += time.process_time() - began
            return result

        return timed


def main() -> None:
    """Measure, and print a line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    network = Network()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_codec(teacher=None).save_pretrained(folder / "model")
        rng = np.random.default_rng(0)
        for number in range(count):
            path = folder / "corpus" / f"{number % 100:02d}" / f"{number}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, rng.uniform(-0.5, 0.5, round(16_000 * SECONDS)).astype(np.float32), 16_000)

        def tokenize() -> None:
            print(corpus.tokenize(folder / "corpus", folder / "table", model=str(folder / "model")), file=sys.stderr)

        def encode() -> None:
            todo = batch.plan("encode", [folder / "corpus"], str(folder / "out"), ".xc")
            outcomes = batch.run(batch.Work("encode", str(folder / "model")), todo)
            assert all(outcome.error is None for outcome in outcomes)

        for title, step in (("tokenize", tokenize), ("tokenize, all there", tokenize), ("encode", encode)):
            network.seconds, began = 0.0, time.process_time()
            step()
            other = time.process_time() - began - network.seconds
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            facts = {"step": title, "files": count, "ms per file": round(1000 * other / count, 3)}
            facts |= {"network ms": round(1000 * network.seconds / count, 2), "peak MB": round(memory)}
            print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
