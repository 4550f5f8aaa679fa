"""Metrics of the signal itself: log-mel distance, PESQ, F0, SI-SDR, multi-resolution STFT distance, STOI."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from xcodec.evaluate.metrics.base import (
    RATE,
    Measure,
    MetricError,
    Signal,
    check_pair,
    missing_backend,
    package_version,
)
from xcodec.utils.spectra import mel_filters, stft

# Distance of log-mel spectrograms: whether the same energy is in the same bands at the same time.

MEL_WINDOW, MEL_HOP, BANDS = 1024, 256, 80
MEL_FLOOR = 1e-8
"""Energy below this share of the original's loudest band (-80 dB) counts as this much: the rest is inaudible."""


class LogMel:
    """Mean absolute difference in dB over 80 Slaney bands and all frames of 64 ms."""

    measures = (Measure("log_mel", "dB", "lower", "log-mel distance"),)
    speech_only = False

    def __init__(self) -> None:
        self._filters = mel_filters(MEL_WINDOW, BANDS, RATE).T.numpy()
        self.backend = f"xcodec, filters of {package_version('transformers')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        expected, found = self._mel(original), self._mel(decoded)
        floor = MEL_FLOOR * expected.max()
        difference = np.log10(np.maximum(expected, floor)) - np.log10(np.maximum(found, floor))
        return {"log_mel": float(10 * np.abs(difference).mean())}

    def _mel(self, signal: Signal) -> NDArray[np.float64]:
        return self._filters @ np.square(spectrogram(signal, MEL_WINDOW, MEL_HOP))


def spectrogram(signal: Signal, window: int, hop: int) -> NDArray[np.float64]:
    """Magnitudes `[window / 2 + 1, F]` of Hann windows, those at the edges filled with zeros."""
    hann = torch.hann_window(window, dtype=torch.float64)
    spectrum = stft(torch.from_numpy(signal.astype(np.float64)), hann, hop, reflect=False)
    return spectrum.abs().T.numpy()  # (F, bins) -> (bins, F)


# PESQ, wideband (ITU-T P.862.2): predicted listening quality of distorted speech.


class Pesq:
    """From 1.04 (bad) to 4.64 (transparent). It was made for telephony and penalises shifts in time."""

    measures = (Measure("pesq", "MOS-LQO", "higher", "PESQ-WB"),)
    speech_only = True

    def __init__(self) -> None:
        try:
            import pesq
        except ImportError:
            raise missing_backend("pesq", "pip install 'xcodec[evaluate]'") from None
        self._pesq = pesq
        self.backend = package_version("pesq")

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; PESQ also refuses audio in which it finds no utterance, or under a quarter of a second."""
        check_pair(original, decoded)
        try:
            return {"pesq": float(self._pesq.pesq(RATE, original, decoded, "wb"))}
        except self._pesq.PesqError as error:
            message = error.args[0] if error.args else type(error).__name__
            message = message.decode() if isinstance(message, bytes) else str(message)
            raise MetricError(f"PESQ: {message}") from error


# F0 and voicing errors.

LOWEST, HIGHEST = 60, 500
"""Hz: deep men to children."""
PITCH_WINDOW, PITCH_HOP = 640, 160  # 40 ms, 10 ms
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
        expected, found = track_pitch(original), track_pitch(decoded)
        voiced, kept = np.isfinite(expected), np.isfinite(found)
        both = voiced & kept
        if not both.any():
            raise MetricError("no frame is voiced in both the original and the decoded signal")
        cents = 1200 * np.log2(found[both] / expected[both])
        return {
            "f0_rmse": float(np.sqrt(np.mean(np.square(cents)))),
            "voicing_error": float(100 * np.mean(voiced != kept)),
        }


def track_pitch(signal: Signal) -> NDArray[np.float64]:
    """F0 `[F]` in Hz, NaN where it is unvoiced, by YIN (de Cheveigné and Kawahara 2002), steps 1 to 5."""
    longest, shortest = RATE // LOWEST, RATE // HIGHEST
    padded = np.pad(signal.astype(np.float64), (PITCH_WINDOW // 2, PITCH_WINDOW // 2 + longest + 1))
    frames = np.lib.stride_tricks.sliding_window_view(padded, PITCH_WINDOW + longest + 1)[::PITCH_HOP]
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
    """YIN's difference function `[F, lags + 1]` of frames `[F, PITCH_WINDOW + lags]`, and the energy `[F]` of each.

    sum((x[t] - x[t + lag])²) = energy at 0 + energy at lag - 2 × correlation, the last by FFT.
    """
    size = 1 << (frames.shape[1] + PITCH_WINDOW - 1).bit_length()
    spectrum = np.fft.rfft(frames, size)
    start = np.fft.rfft(frames[:, :PITCH_WINDOW], size)
    correlation = np.fft.irfft(spectrum * start.conj(), size)[:, : lags + 1]
    squares = np.pad(np.cumsum(np.square(frames), axis=1), ((0, 0), (1, 0)))
    energies = squares[:, PITCH_WINDOW : PITCH_WINDOW + lags + 1] - squares[:, : lags + 1]
    return np.maximum(energies[:, :1] + energies - 2 * correlation, 0), energies[:, 0]


# Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019).


class SiSdr:
    """How much of the decoded waveform is the original, at whatever gain.

    A codec that keeps the sound and not the waveform (most neural ones at low rates) scores low and may sound good.
    """

    measures = (Measure("si_sdr", "dB", "higher", "SI-SDR"),)
    speech_only = False
    backend = "xcodec"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; a perfect copy has no finite value and is refused."""
        check_pair(original, decoded)
        target = original.astype(np.float64) - original.mean(dtype=np.float64)
        estimate = decoded.astype(np.float64) - decoded.mean(dtype=np.float64)
        for name, signal, centred in (("original", original, target), ("decoded signal", decoded, estimate)):
            if centred @ centred <= 1e-12 * np.square(signal, dtype=np.float64).sum():
                raise MetricError(f"the {name} is constant: without its mean nothing is left to compare")
        projection = (estimate @ target) / (target @ target) * target
        distortion = estimate - projection
        if distortion @ distortion <= 1e-20 * (estimate @ estimate):
            raise MetricError("the decoded signal is the original itself, whose SI-SDR is infinite")
        if projection @ projection == 0:
            raise MetricError("the decoded signal is orthogonal to the original, whose SI-SDR is minus infinity")
        return {"si_sdr": float(10 * np.log10((projection @ projection) / (distortion @ distortion)))}


# Multi-resolution STFT distance (Yamamoto et al. 2020), as a measure rather than a loss.

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""Window and hop, in samples."""
STFT_FLOOR = 1e-4
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
        expected, found = spectrogram(original, window, hop), spectrogram(decoded, window, hop)
        convergence = np.linalg.norm(expected - found) / np.linalg.norm(expected)
        floor = STFT_FLOOR * expected.max()
        logs = np.abs(np.log(np.maximum(expected, floor)) - np.log(np.maximum(found, floor))).mean()
        return float(convergence + logs)


# Short-time objective intelligibility (Taal et al. 2011), and its extended form (Jensen and Taal 2016).


class Stoi:
    """Predicted intelligibility, from 0 to 1; the extended form also accounts for modulated noise."""

    measures = (Measure("stoi", "", "higher", "STOI"), Measure("estoi", "", "higher", "ESTOI"))
    speech_only = True

    def __init__(self) -> None:
        try:
            from pystoi import stoi
        except ImportError:
            raise missing_backend("pystoi", "pip install 'xcodec[evaluate]'") from None
        self._stoi = stoi
        self.backend = package_version("pystoi")

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; too little speech (under 30 frames that are not silent) has no value."""
        check_pair(original, decoded)
        with warnings.catch_warnings():
            # Where there is too little speech, pystoi warns and answers 1e-5, a number that would enter means.
            warnings.simplefilter("error", RuntimeWarning)
            try:
                plain = self._stoi(original, decoded, RATE)
                extended = self._stoi(original, decoded, RATE, extended=True)
            except RuntimeWarning as warning:
                raise MetricError(f"STOI: {str(warning).split('.')[0]}") from warning
        return {"stoi": float(plain), "estoi": float(extended)}
