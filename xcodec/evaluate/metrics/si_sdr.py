"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019)."""

from __future__ import annotations

import numpy as np

from .base import Measure, MetricError, Signal, check_pair


class SiSdr:
    """How much of the decoded waveform is the original, at whatever gain.

    A codec that keeps the sound and not the waveform (most neural ones at low rates) scores badly without sounding so.
    """

    measures = (Measure("si_sdr", "dB", "higher", "SI-SDR"),)
    speech_only = False
    backend = "xcodec"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; a perfect copy has no finite value and is refused."""
        check_pair(original, decoded)
        target = original.astype(np.float64) - original.mean(dtype=np.float64)
        heard = decoded.astype(np.float64) - decoded.mean(dtype=np.float64)
        projection = (heard @ target) / (target @ target) * target
        distortion = heard - projection
        if distortion @ distortion <= 1e-20 * (heard @ heard):
            raise MetricError("the decoded signal is the original itself, whose SI-SDR is infinite")
        if projection @ projection == 0:
            raise MetricError("the decoded signal is orthogonal to the original, whose SI-SDR is minus infinity")
        return {"si_sdr": float(10 * np.log10((projection @ projection) / (distortion @ distortion)))}
