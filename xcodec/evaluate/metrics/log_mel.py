"""Distance of log-mel spectrograms: whether the same energy is in the same bands at the same time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .base import RATE, Measure, Signal, check_pair, package

WINDOW, HOP, BANDS = 1024, 256, 80
FLOOR = 1e-8
"""Energy below this share of the original's loudest band (-80 dB) counts as this much: nobody hears the rest."""


class LogMel:
    """Mean absolute difference in dB over 80 Slaney bands and all frames of 64 ms."""

    measures = (Measure("log_mel", "dB", "lower", "log-mel distance"),)
    speech_only = False

    def __init__(self) -> None:
        self._filters = mel_filters(WINDOW, BANDS)
        self.backend = f"xcodec, filters of {package('transformers')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        expected, heard = self._mel(original), self._mel(decoded)
        floor = FLOOR * expected.max()
        difference = np.log10(np.maximum(expected, floor)) - np.log10(np.maximum(heard, floor))
        return {"log_mel": float(10 * np.abs(difference).mean())}

    def _mel(self, signal: Signal) -> NDArray[np.float64]:
        return self._filters @ np.square(spectrogram(signal, WINDOW, HOP))


def mel_filters(window: int, bands: int) -> NDArray[np.float64]:
    """Slaney's triangles `[bands, window / 2 + 1]` from 0 to 8 kHz, each of the same area."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(window // 2 + 1, bands, 0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return np.asarray(filters, dtype=np.float64).T


def spectrogram(signal: Signal, window: int, hop: int) -> NDArray[np.float64]:
    """Magnitudes `[window / 2 + 1, F]` of Hann windows, those at the edges filled with zeros."""
    padded = np.pad(signal.astype(np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(window + 1)[:-1])).T  # (F, bins) -> (bins, F)
