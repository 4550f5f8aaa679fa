"""One recording → one 16 kHz mono FLAC, and what was measured on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xcodec import audio

SAMPLE_RATE = 16_000
MIN_SECONDS = 0.15
"""Shorter clips are clicks, not worth a file."""
SILENT_PEAK = 1e-3
TRIM_DECIBEL = 45.0
"""Edges of speech this far below its loudest moment are silence."""
TRIM_MARGIN = 0.1
"""Seconds of it that stay."""


@dataclass(frozen=True)
class Converted:
    """What became of a clip: `skipped` says why it was left out, or is None."""

    seconds: float = 0.0
    samples: int = 0
    source_rate: int = 0
    bandwidth: int = 0
    """Hz below which 99.9 % of the energy lies; low for telephone recordings (and for a bass drum)."""
    skipped: str | None = None


def convert(source: Path, target: Path, trim: bool) -> Converted:
    """Write `source` to `target` as mono 16-bit FLAC at `SAMPLE_RATE`; `trim` cuts silence at its edges."""
    try:
        rate = audio.info(source).sample_rate
        if rate < SAMPLE_RATE:
            return Converted(source_rate=rate, skipped=f"only {rate} Hz")
        samples = audio.read(source, SAMPLE_RATE)[0][0]  # (1, T) -> (T,)
    except audio.AudioError as error:
        return Converted(skipped=f"unreadable: {error}")
    if trim:
        samples = trim_silence(samples)
    seconds = len(samples) / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        return Converted(source_rate=rate, skipped=f"shorter than {MIN_SECONDS} s")
    if np.abs(samples).max() < SILENT_PEAK:
        return Converted(source_rate=rate, skipped="silent")
    write_flac(target, samples)
    return Converted(round(seconds, 4), len(samples), rate, bandwidth(samples))


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Cut the edges of `samples` [T] that are silent, but for a margin."""
    hop = SAMPLE_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    if not len(frames):
        return samples
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (-TRIM_DECIBEL / 20))
    if not len(loud):
        return samples
    margin = int(TRIM_MARGIN * SAMPLE_RATE)
    return samples[max(loud[0] * hop - margin, 0) : (loud[-1] + 1) * hop + margin]


def bandwidth(samples: np.ndarray) -> int:
    """Hz below which 99.9 % of the energy of `samples` [T] lies."""
    size = 1024
    padded = np.pad(samples[: 60 * SAMPLE_RATE], (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    energy = (np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2).sum(axis=0)
    edge = np.searchsorted(np.cumsum(energy), 0.999 * energy.sum())
    return int(edge * SAMPLE_RATE / size)


def write_flac(target: Path, samples: np.ndarray) -> None:
    """Write `samples` [T]; the file appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    audio.write(target, samples, SAMPLE_RATE)
