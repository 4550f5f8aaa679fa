"""Speaker similarity by GE2E embeddings (Wan et al. 2018): whether the voice is the same."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .base import Measure, Signal, check_pair, missing, package
from .log_mel import mel_filters

WINDOW, HOP, BANDS = 400, 160, 40  # 25 ms, 10 ms
PIECE, STEP = 160, 77
"""Frames: the network hears pieces of 1.6 s, 1.3 of them a second, as it was trained and is used."""
LEVEL = -30
"""dBFS to which quieter audio is raised."""


class Speaker:
    """Cosine similarity of the embeddings of original and decoded signal, 0 to 1.

    The weights are those of Resemblyzer. The package itself imports a module that setuptools no longer has, so only
    its file of weights is used, in a network built here; long silences are not cut out as Resemblyzer does.
    """

    measures = (Measure("speaker", "", "higher", "speaker similarity"),)
    speech_only = True

    def __init__(self) -> None:
        found = find_spec("resemblyzer")
        if found is None or found.origin is None:
            raise missing("Resemblyzer", "pip install --no-deps Resemblyzer")
        self._filters = mel_filters(WINDOW, BANDS).astype(np.float32)
        self._network = _network(Path(found.origin).with_name("pretrained.pt"))
        self.backend = f"GE2E of {package('Resemblyzer')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        return {"speaker": float(self.embed(original) @ self.embed(decoded))}

    def embed(self, signal: Signal) -> np.ndarray:
        """The voice in a signal: float32 [256], of length 1."""
        import torch

        level = 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))
        signal = (signal * 10 ** (max(0.0, LEVEL - level) / 20)).astype(np.float32)
        starts = range(0, max(1, len(signal) // HOP + 1 - PIECE + STEP), STEP)
        padded = np.pad(signal, (0, max(0, (starts[-1] + PIECE) * HOP - len(signal))))
        spectrum = torch.stft(
            torch.from_numpy(padded),
            WINDOW,
            HOP,
            window=torch.hann_window(WINDOW),
            pad_mode="constant",
            return_complex=True,
        )
        mel = torch.from_numpy(self._filters) @ spectrum.abs().square()
        # Of the pieces, the last counts only if three quarters of it are sound.
        kept = [start for start in starts if start == 0 or len(signal) >= (start + 0.75 * PIECE) * HOP]
        pieces = torch.stack([mel.T[start : start + PIECE] for start in kept])  # (bands, F) -> (F, bands), by piece
        with torch.inference_mode():
            mean = self._network(pieces).mean(0)
        return (mean / mean.norm()).numpy()


def _network(weights: Path) -> Any:
    import torch
    from torch import Tensor, nn

    class Encoder(nn.Module):
        """Three LSTM layers and a linear one: mel [P, F, 40] -> embeddings [P, 256] of length 1."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(BANDS, 256, 3, batch_first=True)
            self.linear = nn.Linear(256, 256)

        def forward(self, mel: Tensor) -> Tensor:
            _, (hidden, _) = self.lstm(mel)
            return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)

    encoder = Encoder()
    state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    # Two more numbers belong to the training loss.
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return encoder.eval()
