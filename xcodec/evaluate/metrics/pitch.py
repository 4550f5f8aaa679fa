"""Whether the melody of speech is kept: its fundamental frequency, and where there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .base import RATE, Measure, MetricError, Signal, check_pair

LOWEST, HIGHEST = 60, 500
"""Hz: deep men to children."""
WINDOW, HOP = 640, 160  # 40 ms, 10 ms
THRESHOLD = 0.15
"""Aperiodicity below which a dip is a period (YIN's own value), and below which a frame is voiced."""
QUIET = 1e-4
"""Frames with less than this share of the loudest frame's energy (-40 dB) are unvoiced."""


class Pitch:
    """F0 by YIN every 10 ms, of the original and of the decoded signal.

    `f0_rmse` is over the frames that are voiced in both, `voicing_error` the share of frames voiced in only one.
    """

    measures = (
        Measure("f0_rmse", "cents", "lower", "F0 error"),
        Measure("voicing_error", "%", "lower", "voicing error"),
    )
    speech_only = True
    backend = "YIN of xcodec"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; without a frame that is voiced in both, there is no error of F0."""
        check_pair(original, decoded)
        expected, heard = track(original), track(decoded)
        voiced, kept = np.isfinite(expected), np.isfinite(heard)
        both = voiced & kept
        if not both.any():
            raise MetricError("no frame is voiced in both the original and the decoded signal")
        cents = 1200 * np.log2(heard[both] / expected[both])
        return {
            "f0_rmse": float(np.sqrt(np.mean(np.square(cents)))),
            "voicing_error": float(100 * np.mean(voiced != kept)),
        }


def track(signal: Signal) -> NDArray[np.float64]:
    """F0 `[F]` in Hz, NaN where there is no voice, by YIN (de Cheveigné and Kawahara 2002), steps 1 to 5."""
    longest, shortest = RATE // LOWEST, RATE // HIGHEST
    padded = np.pad(signal.astype(np.float64), (WINDOW // 2, WINDOW // 2 + longest + 1))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW + longest + 1)[::HOP]
    difference, energy = _difference(frames, longest + 1)
    # The difference at each lag, over its mean at all shorter ones: 1 where nothing repeats, 0 at a perfect period.
    lags = np.arange(1, longest + 2)
    sums = np.cumsum(difference[:, 1:], axis=1)
    normalised = difference[:, 1:] * lags / np.maximum(sums, 1e-30)
    normalised = np.concatenate([np.ones((len(frames), 1)), normalised], axis=1)  # [F, lag]

    rising = normalised[:, 2:] >= normalised[:, 1:-1]
    falling = normalised[:, 1:-1] < normalised[:, :-2]
    dips = np.zeros(normalised.shape, dtype=bool)
    dips[:, 1:-1] = rising & falling & (normalised[:, 1:-1] < THRESHOLD)
    dips[:, :shortest] = False
    lag = dips.argmax(axis=1)  # the first: later dips are multiples of the period
    voiced = dips.any(axis=1) & (energy > QUIET * energy.max())
    rows = np.flatnonzero(voiced)
    result = np.full(len(frames), np.nan)
    before, at, after = (normalised[rows, lag[rows] + step] for step in (-1, 0, 1))
    result[rows] = RATE / (
        lag[rows] + 0.5 * (before - after) / (before - 2 * at + after)
    )  # the parabola's lowest point
    return result


def _difference(frames: NDArray[np.float64], lags: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """YIN's difference function `[F, lags + 1]` of frames `[F, WINDOW + lags]`, and the energy `[F]` of each window.

    sum((x[t] - x[t + lag])²) = energy at 0 + energy at lag - 2 × correlation, the last by FFT.
    """
    size = 1 << (frames.shape[1] + WINDOW - 1).bit_length()
    spectrum = np.fft.rfft(frames, size)
    start = np.fft.rfft(frames[:, :WINDOW], size)
    correlation = np.fft.irfft(spectrum * start.conj(), size)[:, : lags + 1]
    squares = np.pad(np.cumsum(np.square(frames), axis=1), ((0, 0), (1, 0)))
    energies = squares[:, WINDOW : WINDOW + lags + 1] - squares[:, : lags + 1]
    return np.maximum(energies[:, :1] + energies - 2 * correlation, 0), energies[:, 0]
