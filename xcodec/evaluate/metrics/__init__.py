"""Metrics that compare a decoded signal with its original, or rate it alone. They know nothing of codecs."""

from __future__ import annotations

from collections.abc import Sequence

from xcodec.evaluate.metrics.base import (
    RATE,
    Measure,
    Metric,
    MetricError,
    MissingBackendError,
    Signal,
    compute,
    describe_error,
)
from xcodec.evaluate.metrics.learned import Dnsmos, Speaker, Utmos, WavLmSpeaker
from xcodec.evaluate.metrics.signal import LogMel, MultiStft, Pesq, Pitch, SiSdr, Stoi

__all__ = ["DEFAULT", "METRICS", "RATE", "Measure", "Metric", "MetricError", "MissingBackendError", "Signal"]
__all__ += ["compute", "describe_error", "make"]

METRICS: dict[str, type[Metric]] = {
    "pesq": Pesq,
    "stoi": Stoi,
    "si_sdr": SiSdr,
    "log_mel": LogMel,
    "stft": MultiStft,
    "pitch": Pitch,
    "dnsmos": Dnsmos,
    "speaker": Speaker,
    "utmos": Utmos,
    "wavlm_speaker": WavLmSpeaker,
}
DEFAULT = ("pesq", "stoi", "si_sdr", "log_mel", "stft", "pitch", "dnsmos", "speaker")
"""Those that need no download."""


def make(names: Sequence[str]) -> list[Metric]:
    """Metrics by name.

    Raises:
        ValueError: a name that is not in `METRICS`, or a backend that is missing.
    """
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"no metric is called {', '.join(unknown)}; there are {', '.join(METRICS)}, wer")
    return [METRICS[name]() for name in dict.fromkeys(names)]
