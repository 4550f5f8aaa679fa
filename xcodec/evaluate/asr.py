"""Word and character error rates of a speech recogniser on decoded speech."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from xcodec.evaluate.metrics.base import (
    RATE,
    Measure,
    MetricError,
    Signal,
    check_audible,
    missing_backend,
    package_version,
)

MEASURES = (
    Measure("wer", "%", "lower", "WER"),
    Measure("cer", "%", "lower", "CER"),
    Measure("wer_original", "%", "lower", "WER against the original's"),
    Measure("cer_original", "%", "lower", "CER against the original's"),
)
"""The first two against transcripts; the others, where there is none, against what is recognised in the original."""


@dataclass(frozen=True)
class Errors:
    """Substitutions, deletions and insertions, and the length of the reference."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


class Recogniser:
    """Whisper, by faster-whisper, one thread per process.

    Args:
        model: a name such as `base`, which is fetched once, or a folder of a CTranslate2 model.

    Raises:
        ValueError: faster-whisper or the model is missing.
    """

    def __init__(self, model: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise missing_backend("faster-whisper", "pip install 'xcodec[evaluate]'") from None
        try:
            self._model: Any = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"no Whisper model {model!r}: {str(error).splitlines()[0]}; "
                "name a CTranslate2 folder, or fetch one with a network: hf download Systran/faster-whisper-base"
            ) from error
        self.backend = f"Whisper {model.rstrip('/').rsplit('/', 1)[-1]}, {package_version('faster-whisper')}"

    def transcribe(self, signal: Signal, language: str | None = None) -> str:
        """The text of audio `[T]` at 16 kHz.

        Args:
            signal: the audio.
            language: two letters; by default Whisper guesses.

        Raises:
            MetricError: silence.
        """
        check_audible(signal, "signal")
        segments, _ = self._model.transcribe(
            signal, language=language, beam_size=5, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


assert RATE == 16_000  # Whisper's own


def errors(reference: str, hypothesis: str, language: str | None = None) -> Errors:
    """Edit distances in words and characters, after Whisper's own normalisation of both.

    >>> errors("Mr. Smith's colour is TWENTY-one.", "mister smith's color is 21", "en")
    Errors(word_errors=1, words=6, character_errors=1, characters=28)

    Raises:
        MetricError: the reference has no words.
    """
    import jiwer

    reference, hypothesis = normalise(reference, language), normalise(hypothesis, language)
    if not reference:
        raise MetricError("there are no words in the reference")
    words, characters = jiwer.process_words(reference, hypothesis), jiwer.process_characters(reference, hypothesis)
    return Errors(
        words.substitutions + words.deletions + words.insertions,
        words.hits + words.substitutions + words.deletions,
        characters.substitutions + characters.deletions + characters.insertions,
        characters.hits + characters.substitutions + characters.deletions,
    )


def normalise(text: str, language: str | None) -> str:
    """Lower case without punctuation; in English also numbers, titles and contractions made one.

    Whisper's table of British and American spellings needs a download, so those stay different.
    """
    words = _normaliser(language == "en")(text).split()
    return " ".join(word for word in words if re.search(r"\w", word))  # the English one leaves lone full stops


@cache
def _normaliser(english: bool) -> Any:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    return EnglishTextNormalizer({}) if english else BasicTextNormalizer()
