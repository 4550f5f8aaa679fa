"""Multi-resolution STFT distance (Yamamoto et al. 2020), as a measure rather than a loss."""

from __future__ import annotations

import numpy as np

from .base import Measure, Signal, check_pair
from .log_mel import spectrogram

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""Window and hop, in samples."""
FLOOR = 1e-4
"""Magnitudes below this share of the original's largest (-80 dB) count as this much."""


class MultiStft:
    """Spectral convergence (relative error of the magnitudes) plus mean absolute difference of their natural logs.

    The mean of three resolutions. Half the gain, otherwise perfect, scores 0.5 + ln 2 = 1.19.
    """

    measures = (Measure("stft", "", "lower", "STFT distance"),)
    speech_only = False
    backend = "xcodec"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        return {"stft": float(np.mean([self._distance(original, decoded, *each) for each in RESOLUTIONS]))}

    def _distance(self, original: Signal, decoded: Signal, window: int, hop: int) -> float:
        expected, heard = spectrogram(original, window, hop), spectrogram(decoded, window, hop)
        convergence = np.linalg.norm(expected - heard) / np.linalg.norm(expected)
        floor = FLOOR * expected.max()
        logs = np.abs(np.log(np.maximum(expected, floor)) - np.log(np.maximum(heard, floor))).mean()
        return float(convergence + logs)
