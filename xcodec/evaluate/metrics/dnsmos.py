"""DNSMOS P.835 (Reddy et al. 2022): how listeners would rate speech, told from the decoded signal alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .base import RATE, Measure, Signal, check_pair, missing, package

WINDOW = round(9.01 * RATE)
"""Samples that the network hears at a time, each second anew."""
# The network's output to ratings: speech, background, whole; highest power first.
CALIBRATION = {
    "dnsmos": (2, (-0.06766283, 1.11546468, 0.04602535)),
    "dnsmos_speech": (0, (-0.08397278, 1.22083953, 0.0052439)),
}


class Dnsmos:
    """Ratings of the whole and of the speech in it, 1 to 5. Noise and distortion count, naturalness does not.

    The network is the one inside the package speechmos, run as it does. The package itself imports librosa for another
    network (P.808), so only its file is used.
    """

    measures = (
        Measure("dnsmos", "MOS", "higher", "DNSMOS"),
        Measure("dnsmos_speech", "MOS", "higher", "DNSMOS, speech"),
    )
    speech_only = True

    def __init__(self) -> None:
        found = find_spec("speechmos")
        if found is None or found.origin is None:
            raise missing("speechmos", "pip install 'xcodec[evaluate]'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the clips are what is done in parallel
        network = Path(found.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.backend = f"P.835 of {package('speechmos')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; the original is not heard. What lies beyond ±1 is clipped, as in a file."""
        check_pair(original, decoded)
        signal = np.clip(decoded, -1, 1)
        while len(signal) < WINDOW:
            signal = np.concatenate([signal, signal])
        count = int(len(signal) // RATE - 9.01) + 1
        pieces = [signal[second * RATE : second * RATE + WINDOW] for second in range(count)]
        raw = np.stack([self._session.run(None, {"input_1": piece[np.newaxis]})[0][0] for piece in pieces])
        return {
            name: float(np.polyval(coefficients, raw[:, column]).mean())
            for name, (column, coefficients) in CALIBRATION.items()
        }
