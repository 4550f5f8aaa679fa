from __future__ import annotations

import numpy as np
import pytest

from xcodec.evaluate.asr import Errors, Recogniser, errors
from xcodec.evaluate.metrics import MetricError


def test_errors_are_substitutions_deletions_and_insertions() -> None:
    # "the" lost, "sad" for "sat", "now" added: 3 of 6 words; 4 + 1 + 4 of 22 characters.
    assert errors("the cat sat on the mat", "cat sad on the mat now", "en") == Errors(3, 6, 9, 22)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Mr. Smith's, um, dog", "mister smith's dog"),
        ("twenty-one dollars", "$21"),
        ("I don't", "i do not"),
        ("It's 5:30!", "it's 5 30"),
    ],
)
def test_what_is_said_alike_is_alike_in_english(said: str, heard: str) -> None:
    assert errors(said, heard, "en").word_errors == 0


def test_other_languages_lose_only_case_and_punctuation() -> None:
    assert errors("¿Dónde está?", "dónde está", "es").word_errors == 0
    assert errors("mister", "mr", "es").word_errors == 1


def test_nothing_said_has_no_error_rate() -> None:
    with pytest.raises(MetricError, match="no words"):
        errors("...", "hello", "en")


def test_a_model_that_is_not_there_says_so(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="no Whisper model"):
        Recogniser(f"{tmp_path}/nothing")


def test_silence_is_not_transcribed() -> None:
    deaf = Recogniser.__new__(Recogniser)  # silence is refused before any model hears it
    with pytest.raises(MetricError, match="silent"):
        deaf.transcribe(np.zeros(16_000, np.float32))
