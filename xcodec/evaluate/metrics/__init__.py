"""The measures that compare a decoded signal with its original: one file each, and no knowledge of codecs."""

from __future__ import annotations

from collections.abc import Sequence

from .base import RATE, Measure, Metric, MetricError, MissingBackendError, Signal
from .dnsmos import Dnsmos
from .log_mel import LogMel
from .pesq import Pesq
from .pitch import Pitch
from .si_sdr import SiSdr
from .speaker import Speaker
from .stft import MultiStft
from .stoi import Stoi
from .utmos import Utmos
from .wavlm import WavLmSpeaker

__all__ = ["DEFAULT", "METRICS", "RATE", "Measure", "Metric", "MetricError", "MissingBackendError", "Signal", "make"]

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
    return [METRICS[name]() for name in names]
