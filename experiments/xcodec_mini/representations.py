"""What is worth quantising? Codecs of eight k-means codebooks and no network, on several representations of a frame.

    python -m recipes.open_audio.prepare
    python -m experiments.xcodec_mini.representations data/open-audio/manifest.jsonl

Learns the codebooks from clips of human speech of the training split and measures STOI and PESQ-WB on the validation
split, with 1, 2 and 8 codebooks of 1024 entries for every 20 ms: 0.5, 1 and 4 kbps. A representation that does well
here is a good initialisation of the spectral encoder and decoder (docs/xcodec-mini.md has the result).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pesq import pesq
from pystoi import stoi
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from xcodec import audio
from xcodec.codec.config import QuantizerConfig
from xcodec.codec.quantizer import ResidualVectorQuantizer
from xcodec.codec.spectral import _interpolation, mel_bands
from xcodec.codec.spectrogram import OVERLAP, Spectrogram

RATE, HOP = 16_000, 320
COUNTS = (1, 2, 8)


@dataclass(frozen=True)
class Representation:
    """Waveform [1, 1, T] to frames [F, D], and back."""

    name: str
    analyse: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]


def mdct() -> Representation:
    """Square-rooted MDCT coefficients with their signs: phases cost bits."""
    time = torch.arange(2 * HOP) + 0.5
    angles = math.pi / HOP * torch.outer(time + HOP / 2, torch.arange(HOP) + 0.5)
    basis = math.sqrt(2 / HOP) * torch.sin(math.pi * time / (2 * HOP))[:, None] * torch.cos(angles)

    def analyse(wav: Tensor) -> Tensor:
        frames = torch.nn.functional.pad(wav[0, 0], (HOP // 2, HOP // 2)).unfold(0, 2 * HOP, HOP) @ basis
        return frames.sign() * frames.abs().sqrt()

    def synthesise(frames: Tensor) -> Tensor:
        first, second = ((frames * frames.abs()) @ basis.T).chunk(2, dim=1)
        whole = torch.cat([first, torch.zeros(1, HOP)]) + torch.cat([torch.zeros(1, HOP), second])
        return whole.flatten()[HOP // 2 : -HOP // 2][None, None]

    return Representation("MDCT, square root, signs", analyse, synthesise)


def magnitudes(
    name: str, bands: int, compress: Callable[[Tensor], Tensor], expand: Callable[[Tensor], Tensor]
) -> Representation:
    """Mel bands of magnitudes, compressed somehow; phases by Griffin-Lim."""
    spectrogram = Spectrogram(HOP // 2)
    scale = spectrogram.size / 2  # a sine of amplitude 1 is about 1 then
    filters = mel_bands(bands, spectrogram.bins, RATE)
    back = _interpolation(filters).T

    def analyse(wav: Tensor) -> Tensor:
        plain = spectrogram.expand(spectrogram.analyse(wav)[0]) / scale
        return (compress(plain) @ filters).reshape(-1, 2 * bands)

    def synthesise(frames: Tensor) -> Tensor:
        plain = expand(frames.reshape(-1, bands) @ back).clamp(min=0)
        return spectrogram.synthesise(scale * plain[None], 16)

    return Representation(f"{bands} mel bands, {name}", analyse, synthesise)


def power(exponent: float) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Magnitudes to a power, and back."""
    return lambda x: x.pow(exponent), lambda y: y.clamp(min=0).pow(1 / exponent)


def logarithm(floor: float) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The logarithm of magnitudes above a floor, and back."""
    return lambda x: (x + floor).log(), lambda y: y.exp() - floor


def read_clips(manifest: Path, split: str, seconds: float) -> list[Tensor]:
    """Clips [1, 1, T] of human speech of 2 to 8 s, in an order that no one picks, up to so many seconds."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == split and row["domain"] == "speech" and 2 <= row["seconds"] <= 8]
    rows = [row for row in rows if not row["source"].startswith("synthetic")]
    random.Random(0).shuffle(rows)
    clips: list[Tensor] = []
    while rows and sum(clip.shape[2] for clip in clips) < seconds * RATE:
        wav, _ = audio.read(manifest.parent / rows.pop()["path"], RATE)
        clips.append(torch.from_numpy(wav)[None, :, : wav.shape[1] // HOP * HOP])
    return clips


def learn_codebooks(frames: Tensor) -> ResidualVectorQuantizer:
    """Eight levels, each placed by k-means on what the levels before it left of [M, D]."""
    quantizer = ResidualVectorQuantizer(QuantizerConfig(width=frames.shape[1], kmeans_iterations=10)).eval()
    residual = frames
    for level in quantizer.first(max(COUNTS)):
        level.codebook.initialise(residual)
        residual = residual - level.decode(level.encode(residual))
    return quantizer


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--minutes", type=float, default=15, help="of speech to learn from")
    options = parser.parse_args()

    torch.manual_seed(0)
    training = read_clips(options.manifest, "train", 60 * options.minutes)
    validation = read_clips(options.manifest, "valid", 60)
    candidates = [
        mdct(),
        magnitudes("logarithm above -60 dB", 100, *logarithm(1e-3)),
        magnitudes("sixth root", 100, *power(1 / 6)),
        magnitudes("cube root", 100, *power(1 / 3)),
        magnitudes("square root", 100, *power(1 / 2)),
        magnitudes("cube root", 64, *power(1 / 3)),
    ]
    table = Table(title=f"k-means codecs, {len(validation)} unseen clips, windows of {OVERLAP * HOP // 2} samples")
    for heading in ("", *(f"{count} × 10 bits: STOI, PESQ-WB" for count in COUNTS)):
        table.add_column(heading, justify="right" if heading else "left")
    with torch.inference_mode():
        for each in track(candidates, description="representations"):
            quantizer = learn_codebooks(torch.cat([each.analyse(clip) for clip in training]))
            cells = []
            for count in COUNTS:
                scores = []
                for clip in validation:
                    codes = quantizer.encode(each.analyse(clip).T[None], count)
                    decoded = each.synthesise(quantizer.decode(codes)[0].T)[0, 0].numpy()
                    original = clip[0, 0].numpy()
                    scores.append((float(stoi(original, decoded, RATE)), pesq(RATE, original, decoded, "wb")))
                means = [statistics.mean(values) for values in zip(*scores, strict=True)]
                cells.append(f"{means[0]:.3f}, {means[1]:.2f}")
            table.add_row(each.name, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
