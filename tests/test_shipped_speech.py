"""The voice inside the package: it is there, it needs no network, and what it says can be understood."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from xcodec import audio
from xcodec.generate.codec_io import default_model
from xcodec.generate.speech import SpeechOptions, TextToSpeech

SAMPLES = Path(__file__).parent.parent / "samples"
SLOTS = (
    ("my", "your", "every"),
    ("brother", "teacher", "doctor"),
    ("wanted", "forgot", "promised"),
    ("to buy", "to sell", "to open"),
    ("the window", "a bottle", "some flowers"),
    ("yesterday", "on monday", "in london"),
)
"""Of each, one is said: who guesses is right in one of 729 sentences."""
SENTENCES = [" ".join(options[(turn + place) % 3] for place, options in enumerate(SLOTS)) for turn in range(3)]


@pytest.fixture(scope="module")
def speaker() -> TextToSpeech:
    return TextToSpeech()


def test_it_is_small(speaker: TextToSpeech) -> None:
    assert speaker.nar is not None
    files = [path for path in default_model("speech").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6


def test_it_has_voices_of_its_own(speaker: TextToSpeech) -> None:
    assert speaker.voices == ["joe", "rms", "slt"]
    for name in speaker.voices:
        frames = speaker.voice(name).codes.shape[1]
        assert 140 <= frames <= 150, "as long as the prompts that the models were trained on"


def test_a_recogniser_understands_it(speaker: TextToSpeech) -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="pip install 'xcodec[evaluate]'")
    decoder = pocketsphinx.Decoder(samprate=speaker.codec.sample_rate, loglevel="FATAL")
    choices = " ".join(f"({' | '.join(options)})" for options in SLOTS)
    decoder.add_jsgf_string("slots", f"#JSGF V1.0;\ngrammar slots;\npublic <sentence> = {choices};\n")
    decoder.activate_search("slots")
    right = total = 0
    for seed, sentence in enumerate(SENTENCES):
        codes = speaker.sentence(sentence.capitalize() + ".", None, SpeechOptions(), seed)
        assert codes.shape[0] == 8
        wav = speaker.codec.decode(codes[None])[0, 0].numpy()
        decoder.start_utt()
        decoder.process_raw((wav.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        heard = decoder.hyp()
        said = heard.hypstr.split() if heard is not None else []
        right += sum(a == b for a, b in itertools.zip_longest(said, sentence.split()))
        total += len(sentence.split())
    assert right / total >= 0.9  # chance has a third


def test_speech_is_as_long_as_its_text(speaker: TextToSpeech) -> None:
    short, long = (
        speaker.aligned_text(text, None, SpeechOptions()) for text in ("Good morning.", " ".join(SENTENCES) + ".")
    )
    assert short is not None
    assert long is not None
    assert 0.4 < short.frames / 50 < 2.0
    assert 5.0 < long.frames / 50 < 15.0


def test_it_goes_on_in_the_voice_of_a_recording(speaker: TextToSpeech) -> None:
    path = audio.find_audio(SAMPLES)[0]
    voice = speaker.voice(path)
    first = speaker.autoregressive("Good morning.", voice, SpeechOptions(), 0)[0].codes
    again = speaker.autoregressive("Good morning.", voice, SpeechOptions(), 0)[0].codes
    assert torch.equal(first, again)
    assert not torch.equal(first, speaker.autoregressive("Good morning.", None, SpeechOptions(), 0)[0].codes)
