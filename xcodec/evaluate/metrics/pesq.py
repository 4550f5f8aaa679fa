"""PESQ, wideband (ITU-T P.862.2): how listeners would rate the distortion of speech."""

from __future__ import annotations

from .base import RATE, Measure, MetricError, Signal, check_pair, missing, package


class Pesq:
    """From 1.04 (bad) to 4.64 (no difference heard). It was made for telephony and punishes shifts in time."""

    measures = (Measure("pesq", "MOS-LQO", "higher", "PESQ-WB"),)
    speech_only = True

    def __init__(self) -> None:
        try:
            import pesq
        except ImportError:
            raise missing("pesq", "pip install 'xcodec[evaluate]'") from None
        self._pesq = pesq
        self.backend = package("pesq")

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; PESQ also refuses audio in which it finds no utterance, or under a quarter of a second."""
        check_pair(original, decoded)
        try:
            return {"pesq": float(self._pesq.pesq(RATE, original, decoded, "wb"))}
        except self._pesq.PesqError as error:
            message = error.args[0] if error.args else type(error).__name__
            message = message.decode() if isinstance(message, bytes) else str(message)
            raise MetricError(f"PESQ: {message}") from error
