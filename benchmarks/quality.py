"""How a model sounds at each bandwidth, on recordings it never heard.

    python recipes/open-audio/prepare.py --eval
    python benchmarks/quality.py data/open-audio-eval/manifest.jsonl [--model xcodec-mini] [--clips 40] [--asr FOLDER]

Takes every n-th clip of speech of 2 to 12 s, so that no one picks them. STOI and PESQ-WB compare with the original; the
word error rate is that of Whisper (a CTranslate2 folder given as --asr) against the transcripts, English clips only.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pesq import pesq
from pystoi import stoi
from rich.console import Console
from rich.progress import track
from rich.table import Table

import xcodec
from xcodec import audio

RATE = 16_000  # of PESQ-WB and of Whisper


def pick(manifest: Path, count: int) -> list[dict[str, Any]]:
    """Evenly spaced rows of the manifest: speech of 2 to 12 s."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["domain"] == "speech" and 2 <= row["seconds"] <= 12]
    step = max(1, len(rows) // count)
    return rows[::step][:count]


def words(text: str) -> str:
    """Lower case, no punctuation."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--asr", help="CTranslate2 folder of a Whisper model; without it no word errors")
    options = parser.parse_args()

    codec = xcodec.load(options.model)
    rows = pick(options.manifest, options.clips)
    recogniser = None
    if options.asr:
        from faster_whisper import WhisperModel

        recogniser = WhisperModel(options.asr, device="cpu", compute_type="int8")

    def transcribe(sound: NDArray[np.float32]) -> str:
        assert recogniser is not None
        segments, _ = recogniser.transcribe(sound, language="en", beam_size=5, condition_on_previous_text=False)
        return words(" ".join(segment.text for segment in segments))

    names = ["original", *(f"{bandwidth:g} kbps" for bandwidth in codec.bandwidths)]
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in names[1:]}
    spoken: list[str] = []
    heard: dict[str, list[str]] = {name: [] for name in names}
    for row in track(rows, description="clips"):
        wav, _ = audio.read(options.manifest.parent / row["path"], codec.sample_rate)
        original = audio.resample(wav, codec.sample_rate, RATE)[0]
        with_words = recogniser is not None and row["language"] == "en" and row["text"]
        if with_words:
            spoken.append(words(row["text"]))
            heard["original"].append(transcribe(original))
        for name, bandwidth in zip(names[1:], codec.bandwidths, strict=True):
            codes = codec.encode(torch.from_numpy(wav)[None], bandwidth)
            decoded = codec.decode(codes)[0, :, : wav.shape[1]].numpy()
            sound = audio.resample(decoded, codec.sample_rate, RATE)[0]
            scores[name].append((float(stoi(original, sound, RATE)), float(pesq(RATE, original, sound, "wb"))))
            if with_words:
                heard[name].append(transcribe(sound))

    table = Table(title=f"{codec.config.name}, {len(rows)} clips ({len(spoken)} with English transcripts)")
    for heading in ("", "STOI", "PESQ-WB", "WER"):
        table.add_column(heading, justify="right")
    for name in names:
        means = [f"{statistics.mean(values):.3f}" for values in zip(*scores.get(name, []), strict=True)] or ["-", "-"]
        table.add_row(name, *means, _word_error_rate(spoken, heard[name]))
    Console(width=80).print(table)


def _word_error_rate(spoken: list[str], heard: list[str]) -> str:
    if not spoken:
        return "-"
    from jiwer import wer

    return f"{wer(spoken, heard):.1%}"


if __name__ == "__main__":
    main()
