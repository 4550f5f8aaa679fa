"""What do phases cost? A codec's decoded magnitudes with the true phases, with searched ones, and with those of pulses.

    python -m recipes.open_audio.prepare
    python -m experiments.xcodec_mini.phases data/open-audio/manifest.jsonl --codec xcodec-mini

Human and synthetic speech of the validation split. The true phases are those of the original, which a codec that sends
none cannot have: they bound what better ones could bring (docs/xcodec-mini.md has the result).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from pesq import pesq
from pystoi import stoi
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import xcodec
from xcodec import audio
from xcodec.codec.spectral import SpectralDecoder
from xcodec.codec.spectrogram import TINY
from xcodec.evaluate.metrics.learned import Dnsmos

RATE = 16_000


def read_clips(manifest: Path, count: int) -> list[Tensor]:
    """Clips [1, 1, T] of speech of 4 to 9 s, two of three human, in an order that no one picks."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "valid" and row["domain"] == "speech" and 4 <= row["seconds"] <= 9]
    random.Random(0).shuffle(rows)
    human = [row for row in rows if not row["source"].startswith("synthetic")]
    synthetic = [row for row in rows if row["source"].startswith("synthetic")]
    chosen = human[: count - count // 3] + synthetic[: count // 3]
    return [torch.from_numpy(audio.read(manifest.parent / row["path"], RATE)[0])[None] for row in chosen]


def with_true_phases(decoder: SpectralDecoder, magnitudes: Tensor, original: Tensor) -> Tensor:
    """Magnitudes [1, N, bins] and the waveform whose phases they get -> [1, 1, T]."""
    spectrum = decoder.spectrogram.transform(original.squeeze(1))
    return decoder.spectrogram.invert(spectrum / (spectrum.abs() + TINY) * magnitudes)[:, None]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--codec", default="xcodec-mini")
    parser.add_argument("--clips", type=int, default=12)
    options = parser.parse_args()

    codec = xcodec.XCodec.from_pretrained(options.codec)
    decoder = codec.acoustic_decoder
    if not isinstance(decoder, SpectralDecoder) or decoder.pulse_train is None:
        raise SystemExit(f"error: {options.codec} has no spectral decoder with pulses; its waveforms have phases")
    spectrogram, voice = decoder.spectrogram, decoder.pulse_train
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"true": lambda m, x: with_true_phases(decoder, m, x)}
    for rounds in (6, 16, 64):
        ways[f"searched, {rounds} rounds"] = lambda m, _, rounds=rounds: spectrogram.synthesise(m, rounds)
    for rounds in (0, 6):
        ways[f"pulses, {rounds} rounds"] = lambda m, _, rounds=rounds: spectrogram.synthesise(m, rounds, *voice(m))
    ways["pulses, 6 rounds, low bins refined"] = lambda m, _: spectrogram.synthesise(
        m, 6, *voice(m), voice.refined_bins
    )
    clips = [codec.pad_to_frames(clip) for clip in read_clips(options.manifest, options.clips)]
    dnsmos = Dnsmos()
    table = Table(title=f"{options.codec}, {len(clips)} clips: STOI, PESQ-WB, DNSMOS")
    table.add_column("phases")
    for bandwidth in codec.bandwidths:
        table.add_column(f"{bandwidth:g} kbps", justify="right")
    rows: dict[str, list[str]] = {way: [] for way in ways}
    with torch.inference_mode():
        for bandwidth in track(codec.bandwidths, description="phases"):
            scores: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
            for clip in clips:
                quantised = codec.quantizer.decode(codec.encode(clip, bandwidth))
                features = codec.to_acoustic(quantised.transpose(1, 2)).transpose(1, 2)
                magnitudes = spectrogram.expand(decoder.spectra(features))
                original = clip[0, 0].numpy()
                for way, synthesise in ways.items():
                    decoded = synthesise(magnitudes, clip)[0, 0].numpy()
                    rating = dnsmos(original, decoded)["dnsmos"]
                    scores[way].append(
                        (float(stoi(original, decoded, RATE)), pesq(RATE, original, decoded, "wb"), rating)
                    )
            for way, found in scores.items():
                means = [statistics.mean(values) for values in zip(*found, strict=True)]
                rows[way].append("{:.3f}, {:.2f}, {:.2f}".format(*means))
    for way, cells in rows.items():
        table.add_row(way, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
