"""Equalisation, reverberation and noise, so that a codec trained on clean recordings is robust to others.

All of it is drawn from one generator, so a crop stays a pure function of the seed and its number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AugmentationConfig:
    """How often, and how much."""

    equalise: float = 0.0
    """Share of the crops that are equalised, as by another microphone."""
    reverberate: float = 0.0
    """Share with reverberation."""
    noise: float = 0.0
    """Share with noise: another crop of the mixture, or hiss."""
    equaliser_db: float = 6.0
    """Most that a band is raised or lowered."""
    room_seconds: tuple[float, float] = (0.1, 0.5)
    """Until the reverberation is 60 dB down."""
    direct_db: tuple[float, float] = (3.0, 15.0)
    """Of the direct sound over the reverberation."""
    noise_db: tuple[float, float] = (15.0, 40.0)
    """Of the signal over the noise."""

    def __post_init__(self) -> None:
        for name in ("room_seconds", "direct_db", "noise_db"):  # YAML gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("equalise", "reverberate", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.augmentation.{name} is a share, 0 … 1, not {getattr(self, name)}")

    @property
    def nothing(self) -> bool:
        """Whether all crops stay as they are."""
        return not (self.equalise or self.reverberate or self.noise)


BANDS = 6
"""Points between which the equaliser's curve is a line, evenly spaced in log frequency from 60 Hz up."""


def equalise(samples: np.ndarray, rate: int, decibel: float, rng: np.random.Generator) -> np.ndarray:
    """Samples [T] with each of a few bands raised or lowered by at most so many decibels."""
    spectrum = np.fft.rfft(samples)
    frequency = np.linspace(0, rate / 2, len(spectrum))
    points = np.geomspace(60, rate / 2, BANDS)
    curve = np.interp(np.log(frequency.clip(min=points[0])), np.log(points), rng.uniform(-decibel, decibel, BANDS))
    return np.fft.irfft(spectrum * 10 ** (curve / 20), len(samples)).astype(np.float32)


def reverberate(
    samples: np.ndarray, rate: int, seconds: float, direct_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Samples [T] in a room whose response is noise that decays by 60 dB in so many seconds."""
    count = int(seconds * rate)
    tail = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail *= 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = len(samples) + count
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)].astype(np.float32)


def add_noise(samples: np.ndarray, noise: np.ndarray, decibel: float) -> np.ndarray:
    """Samples [T] with noise [T], so many decibels below them; silent noise adds nothing."""
    level, noise_level = (np.sqrt((each**2).mean()) for each in (samples, noise))
    if noise_level < 1e-6:
        return samples
    return samples + noise * np.float32(level / noise_level * 10 ** (-decibel / 20))


def hiss(count: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise [count] of a random colour, from white to red."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    tilt = rng.uniform(0, 1)
    return np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** tilt, count).astype(np.float32)
