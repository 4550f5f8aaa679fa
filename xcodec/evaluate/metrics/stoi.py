"""Short-time objective intelligibility (Taal et al. 2011), and its extended form (Jensen and Taal 2016)."""

from __future__ import annotations

import warnings

from .base import RATE, Measure, MetricError, Signal, check_pair, missing, package


class Stoi:
    """How much of the speech can be understood, from 0 to 1; the extended form also minds modulated noise."""

    measures = (Measure("stoi", "", "higher", "STOI"), Measure("estoi", "", "higher", "ESTOI"))
    speech_only = True

    def __init__(self) -> None:
        try:
            from pystoi import stoi
        except ImportError:
            raise missing("pystoi", "pip install 'xcodec[evaluate]'") from None
        self._stoi = stoi
        self.backend = package("pystoi")

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
