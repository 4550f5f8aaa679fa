"""Speaker similarity by WavLM embeddings, as in the paper's SIM-O."""

from __future__ import annotations

from typing import Any

from .base import RATE, Measure, MissingBackendError, Signal, check_pair, package

MODEL = "microsoft/wavlm-base-plus-sv"


class WavLmSpeaker:
    """Cosine similarity of x-vectors of a WavLM that was trained to verify speakers, -1 to 1.

    Args:
        model: on the Hugging Face hub, or a folder.
    """

    measures = (Measure("wavlm_speaker", "", "higher", "speaker similarity (WavLM)"),)
    speech_only = True

    def __init__(self, model: str = MODEL) -> None:
        from transformers import WavLMForXVector

        try:
            self._network = WavLMForXVector.from_pretrained(model).eval()
        except (OSError, ValueError) as error:
            raise MissingBackendError(
                f"{model} is neither a folder nor in the hub's cache, and could not be fetched; "
                f"get it with: hf download {model}"
            ) from error
        self.backend = f"{model}, {package('transformers')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        return {"wavlm_speaker": float(self._embed(original) @ self._embed(decoded))}

    def _embed(self, signal: Signal) -> Any:
        import torch

        wav = torch.from_numpy(signal)[None]
        wav = (wav - wav.mean()) / (wav.var(unbiased=False) + 1e-7).sqrt()  # as the model's feature extractor does
        with torch.inference_mode():
            return torch.nn.functional.normalize(self._network(wav).embeddings[0], dim=0)


assert RATE == 16_000  # WavLM's own
