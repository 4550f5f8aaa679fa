"""Metrics by networks: DNSMOS and UTMOS (predicted ratings), speaker similarity by GE2E and by WavLM."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from xcodec.evaluate.metrics.base import (
    RATE,
    Measure,
    MissingBackendError,
    Signal,
    check_pair,
    missing_backend,
    package_version,
)
from xcodec.utils.spectra import mel_filters, stft

# DNSMOS P.835 (Reddy et al. 2022): predicted mean opinion scores, from the decoded signal alone.

DNSMOS_WINDOW = round(9.01 * RATE)
"""Samples of the network's input; there is one a second."""
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
            raise missing_backend("speechmos", "pip install 'xcodec[evaluate]'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the clips are what is done in parallel
        network = Path(found.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.backend = f"P.835 of {package_version('speechmos')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; the original is not used. What lies beyond ±1 is clipped, as in a file."""
        check_pair(original, decoded)
        signal = np.clip(decoded, -1, 1)
        while len(signal) < DNSMOS_WINDOW:
            signal = np.concatenate([signal, signal])
        count = int(len(signal) // RATE - 9.01) + 1
        pieces = [signal[second * RATE : second * RATE + DNSMOS_WINDOW] for second in range(count)]
        raw = np.stack([self._session.run(None, {"input_1": piece[np.newaxis]})[0][0] for piece in pieces])
        return {
            name: float(np.polyval(coefficients, raw[:, column]).mean())
            for name, (column, coefficients) in CALIBRATION.items()
        }


# Speaker similarity by GE2E embeddings (Wan et al. 2018).

GE2E_WINDOW, HOP, BANDS = 400, 160, 40  # 25 ms, 10 ms
PIECE, STEP = 160, 77
"""Frames: the network takes pieces of 1.6 s, 1.3 of them a second, as it was trained and is used."""
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
            raise missing_backend("Resemblyzer", "pip install --no-deps Resemblyzer")
        self._filters = mel_filters(GE2E_WINDOW, BANDS, RATE).float()
        self._network = _network(Path(found.origin).with_name("pretrained.pt"))
        self.backend = f"GE2E of {package_version('Resemblyzer')}"

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`."""
        check_pair(original, decoded)
        return {"speaker": float(self.embed(original) @ self.embed(decoded))}

    def embed(self, signal: Signal) -> np.ndarray:
        """The speaker embedding of a signal: float32 [256], of length 1."""
        import torch

        level = 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))
        signal = (signal * 10 ** (max(0.0, LEVEL - level) / 20)).astype(np.float32)
        starts = range(0, max(1, len(signal) // HOP + 1 - PIECE + STEP), STEP)
        padded = np.pad(signal, (0, max(0, (starts[-1] + PIECE) * HOP - len(signal))))
        spectrum = stft(torch.from_numpy(padded), torch.hann_window(GE2E_WINDOW), HOP, reflect=False)
        mel = spectrum.abs().square() @ self._filters  # [F, bands]
        # Of the pieces, the last counts only if three quarters of it are sound.
        kept = [start for start in starts if start == 0 or len(signal) >= (start + 0.75 * PIECE) * HOP]
        pieces = torch.stack([mel[start : start + PIECE] for start in kept])
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


# UTMOS (Saeki et al. 2022): predicted naturalness, from the decoded signal alone.

REPOSITORY, UTMOS_MODEL = "tarepan/SpeechMOS:v1.2.0", "utmos22_strong"


class Utmos:
    """A rating from 1 to 5. Code and weights come from GitHub through `torch.hub`, once."""

    measures = (Measure("utmos", "MOS", "higher", "UTMOS"),)
    speech_only = True
    backend = f"{UTMOS_MODEL} of {REPOSITORY}"

    def __init__(self) -> None:
        import torch

        try:
            self._network = torch.hub.load(REPOSITORY, UTMOS_MODEL, trust_repo=True).eval()
        except Exception as error:  # torch.hub lets through whatever the network and the foreign code raise
            raise MissingBackendError(
                f"UTMOS could not be fetched from GitHub ({type(error).__name__}); run once with a network: "
                f"python -c \"import torch; torch.hub.load('{REPOSITORY}', '{UTMOS_MODEL}', trust_repo=True)\""
            ) from error

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """See `Metric`; the original is not used."""
        import torch

        check_pair(original, decoded)
        with torch.inference_mode():
            return {"utmos": float(self._network(torch.from_numpy(decoded)[None], RATE))}


# Speaker similarity by WavLM embeddings, as in the paper's SIM-O.

WAVLM_MODEL = "microsoft/wavlm-base-plus-sv"


class WavLmSpeaker:
    """Cosine similarity of x-vectors of a WavLM that was trained to verify speakers, -1 to 1.

    Args:
        model: on the Hugging Face hub, or a folder.
    """

    measures = (Measure("wavlm_speaker", "", "higher", "speaker similarity (WavLM)"),)
    speech_only = True

    def __init__(self, model: str = WAVLM_MODEL) -> None:
        from transformers import WavLMForXVector

        try:
            self._network = WavLMForXVector.from_pretrained(model).eval()
        except (OSError, ValueError) as error:
            raise MissingBackendError(
                f"{model} is neither a folder nor in the hub's cache, and could not be fetched; "
                f"get it with: hf download {model}"
            ) from error
        self.backend = f"{model}, {package_version('transformers')}"

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
