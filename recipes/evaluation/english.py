"""English speech to measure tokens on: recordings with transcripts, and their sentences synthesised in other voices.

    python -m recipes.evaluation.english data/open-audio-eval/manifest.jsonl out/english --sentences 14

ABX across speakers and a speaker probe need several speakers of the same sentences; the only English recordings that
no model was trained on are nearly all by one. So synthetic voices read the first speaker's sentences too. Of these,
flite's kal16 and the Kokoro ones are in no training corpus of this project unless it was made with `--kokoro-hours`;
Piper's joe and flite's slt are, with other sentences. A voice that is not installed is named, and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from recipes.evaluation.choose import read, spaced, spoken
from recipes.open_audio import voices
from xcodec import audio

RATE = 16_000
VOICES: dict[str, Callable[[], voices.Voice]] = {
    "flite-kal16": partial(voices.flite_voice, "kal16"),
    "flite-slt": partial(voices.flite_voice, "slt"),
    "piper-joe": voices.piper_voice,
    **{
        f"kokoro-{name}": partial(voices.kokoro_voice, voices.KOKORO_VOICES[name])
        for name in ("nezumi-kumo", "gongitsune", "kumo")
    },
}


def recordings(manifest: Path, sentences: int) -> list[dict[str, Any]]:
    """At most ``sentences`` of each speaker, the one with most recordings first."""
    rows = spoken(read(manifest))
    by_speaker = {row["speaker"]: [each for each in rows if each["speaker"] == row["speaker"]] for row in rows}
    ordered = sorted(by_speaker.values(), key=len, reverse=True)
    return [row for own in ordered for row in spaced(own, sentences)]


def say(row: dict[str, Any], speaker: str, voice: voices.Voice, path: Path) -> dict[str, Any]:
    """The row of the same sentence in another voice, synthesised unless it is there."""
    if not path.exists():
        samples, rate = voice(row["text"])
        audio.write(path, audio.resample(samples[None], rate, RATE), RATE)
    found = audio.info(path)
    return {
        "path": str(path.absolute()),
        "seconds": round(found.samples / RATE, 4),
        "samples": found.samples,
        "sample_rate": RATE,
        "domain": "speech",
        "source": f"synthetic-{speaker.partition('-')[0]}",
        "speaker": speaker,
        "language": "en",
        "text": row["text"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentences", type=int, default=14)
    options = parser.parse_args()
    rows = recordings(options.manifest, options.sentences)
    sentences = [row for row in rows if row["speaker"] == rows[0]["speaker"]]
    options.out.mkdir(parents=True, exist_ok=True)
    for speaker, make in VOICES.items():
        try:
            voice = make()
            said = [
                say(row, speaker, voice, options.out / f"{speaker}-{Path(row['path']).stem}.flac") for row in sentences
            ]
        except (ImportError, OSError) as error:
            print(f"without {speaker}: {error}", file=sys.stderr)
            continue
        rows += said
    with audio.atomic_write(options.out / "manifest.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main()
