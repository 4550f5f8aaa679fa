"""Of the entries of each codebook, how many occur in unseen recordings?

    python -m recipes.open_audio.prepare
    python -m experiments.xcodec_mini.codebook_usage data/open-audio/manifest.jsonl --codec xcodec-mini

The corpus's test split, in an order that no one picks: ten seconds of each recording, up to 400 s each of speech, music
and sounds. Entries that are rare by nature need many frames to occur: 1,024 of them, 24 for each, is little.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import torch

import xcodec
from xcodec import audio

SECONDS, OF_EACH = 10, 400


def main() -> None:
    """Count, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--codec", default="xcodec-mini")
    options = parser.parse_args()

    codec = xcodec.load(options.codec)
    rows = [json.loads(line) for line in options.manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "test"]
    random.Random(0).shuffle(rows)
    seconds: Counter[str] = Counter()
    seen: list[set[int]] = [set() for _ in range(codec.config.quantizer.codebooks)]
    frames = 0
    for row in rows:
        if seconds[row["domain"]] > OF_EACH:
            continue
        wav = audio.read(options.manifest.parent / row["path"], codec.sample_rate)[0][0]
        wav = wav[: SECONDS * codec.sample_rate]
        seconds[row["domain"]] += len(wav) / codec.sample_rate  # type: ignore[assignment]
        codes = codec.encode(torch.from_numpy(wav))[0]
        frames += codes.shape[1]
        for entries, level in zip(seen, codes, strict=True):
            entries.update(level.tolist())
    totals = ", ".join(f"{length:.0f} s of {domain}" for domain, length in seconds.items())
    print(f"{options.codec}: {frames} frames ({totals}); entries that occur, per codebook, in %:")
    print(" ".join(f"{100 * len(entries) / codec.codebook_size:.0f}" for entries in seen))


if __name__ == "__main__":
    main()
