"""The report's clips: a number of each domain, taking the sources of a domain in turn, each evenly spaced.

    python -m recipes.evaluation.choose data/open-audio-eval/manifest.jsonl --speech 24 --music 8 --sound 8

Speech is English with known words (the Spanish transcripts lack their accents, so every accent in the ASR output would
be an error) and lasts 2 to 6 s: most recordings are single words, too little context for ASR.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

SHORTEST, LONGEST = 2.0, 6.0
"""Of speech, in seconds."""


def spaced(rows: list[Any], most: int) -> list[Any]:
    """At most ``most`` of them, evenly spaced."""
    count = min(most, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def in_turn(rows: list[Any], most: int) -> list[Any]:
    """At most ``most``, balanced over sources as far as they have enough, in turn."""
    by_source = {row["source"]: [each for each in rows if each["source"] == row["source"]] for row in rows}
    counts = dict.fromkeys(by_source, 0)
    while sum(counts.values()) < min(most, len(rows)):
        open_still = [source for source in counts if counts[source] < len(by_source[source])]
        counts[min(open_still, key=lambda source: counts[source])] += 1
    queues = [spaced(by_source[source], counts[source]) for source in counts if counts[source]]
    return [queue[index] for index in range(max(map(len, queues), default=0)) for queue in queues if index < len(queue)]


def read(manifest: Path) -> list[dict[str, Any]]:
    """The rows, with paths that do not depend on where the manifest lies."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    return [row | {"path": str((manifest.parent / row["path"]).absolute())} for row in rows]


def spoken(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """English speech with transcripts."""
    speech = [row for row in rows if row["domain"] == "speech" and row["language"] == "en" and row["text"]]
    return [row for row in speech if SHORTEST <= row["seconds"] <= LONGEST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    for domain in ("speech", "music", "sound"):
        parser.add_argument(f"--{domain}", type=int, default=8)
    options = parser.parse_args()
    rows = read(options.manifest)
    chosen = in_turn(spoken(rows), options.speech)
    for domain in ("music", "sound"):
        own = [row for row in rows if row["domain"] == domain and row["seconds"] >= 1]
        chosen += in_turn(own, getattr(options, domain))
    for row in chosen:
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
