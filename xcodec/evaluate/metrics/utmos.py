"""UTMOS (Saeki et al. 2022): naturalness as listeners would rate it, told from the decoded signal alone."""

from __future__ import annotations

from .base import RATE, Measure, MissingBackendError, Signal, check_pair

REPOSITORY, MODEL = "tarepan/SpeechMOS:v1.2.0", "utmos22_strong"


class Utmos:
    """A rating from 1 to 5. Code and weights come from GitHub through `torch.hub`, once."""

    measures = (Measure("utmos", "MOS", "higher", "UTMOS"),)
    speech_only = True
    backend = f"{MODEL} of {REPOSITORY}"

    def __init__(self) -> None:
        import torch

        try:
            self._network = torch.hub.load(REPOSITORY, MODEL, trust_repo=True).eval()
        except Exception as error:  # torch.hub lets through whatever the network and the foreign code raise
            raise MissingBackendError(
                f"UTMOS could not be fetched from GitHub ({type(error).__name__}); run once with a network: "
                f"python -c \"import torch; torch.hub.load('{REPOSITORY}', '{MODEL}', trust_repo=True)\""
            ) from error

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; the original is not heard."""
        import torch

        check_pair(original, decoded)
        with torch.inference_mode():
            return {"utmos": float(self._network(torch.from_numpy(decoded)[None], RATE))}
