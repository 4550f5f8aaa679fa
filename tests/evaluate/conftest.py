"""Sounds whose measures are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xcodec import audio
from xcodec.evaluate.metrics import RATE, Signal

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="session")
def speech() -> Signal:
    """Four seconds of a real voice at 16 kHz."""
    wav, _ = audio.read(SAMPLES / "english-please-stay-on-the-line.flac", RATE)
    return wav[0, : 4 * RATE]


@pytest.fixture(scope="session")
def noise() -> Callable[..., Signal]:
    """Gaussian noise, by seed."""

    def make(seed: int = 0, seconds: float = 2.0, level: float = 0.1) -> Signal:
        return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)

    return make
