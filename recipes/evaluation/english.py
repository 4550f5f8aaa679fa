"""English clips of a manifest that can be aligned with their transcripts, 2 to 6 s long; at most so many per speaker.

python recipes/evaluation/english.py data/open-audio-eval/manifest.jsonl 60 > out/english.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    manifest, most = Path(sys.argv[1]), int(sys.argv[2])
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["domain"] == "speech" and row["language"] == "en" and row["text"]]
    rows = [row for row in rows if 2 <= row["seconds"] <= 6]
    for speaker in dict.fromkeys(row["speaker"] for row in rows):
        own = [row for row in rows if row["speaker"] == speaker]
        for index in range(min(most, len(own))):
            row = own[index * len(own) // min(most, len(own))]
            # The list may lie elsewhere than the manifest.
            print(json.dumps(row | {"path": str((manifest.parent / row["path"]).absolute())}, ensure_ascii=False))


if __name__ == "__main__":
    main()
