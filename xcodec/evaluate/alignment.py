"""Phones and their times: by forced alignment of a transcript, or from an `.item` file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xcodec.evaluate.metrics.base import RATE, Signal, missing_backend

SILENCES = frozenset({"SIL", "+NSN+", "+SPN+", "NSN", "SPN", "<sil>"})


@dataclass(frozen=True)
class Phone:
    """A phone in a recording."""

    start: float
    """Seconds."""
    end: float
    phone: str
    before: str
    after: str

    def frames(self, frame_rate: float, count: int) -> slice:
        """The frames whose centre lies in it, of `count` frames."""
        first, last = (max(0, round(time * frame_rate)) for time in (self.start, self.end))
        return slice(min(first, count), min(last, count))


class AlignmentError(ValueError):
    """A recording that cannot be aligned: a word that the dictionary lacks, or speech that does not fit the text."""


class PhoneAligner:
    """The acoustic model and the dictionary of US English that come with pocketsphinx.

    Raises:
        ValueError: pocketsphinx is missing.
    """

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise missing_backend("pocketsphinx", "pip install 'xcodec[evaluate]'") from None
        self._decoder: Any = pocketsphinx.Decoder(samprate=RATE, bestpath=False, loglevel="FATAL")

    def __call__(self, signal: Signal, text: str) -> list[Phone]:
        """The phones of a transcript, silences left out, in audio `[T]` at 16 kHz.

        Raises:
            AlignmentError: see there.
        """
        words = re.sub(r"[^a-z' ]", " ", text.lower()).split()
        unknown = sorted({word for word in words if self._decoder.lookup_word(word) is None})
        if unknown or not words:
            raise AlignmentError(f"the dictionary lacks {', '.join(unknown)}" if unknown else "no words to align")
        pcm = np.rint(np.clip(signal, -1, 32767 / 32768) * 32768).astype(np.int16).tobytes()
        try:
            self._decoder.set_align_text(" ".join(words))
            self._decode(pcm)
            if self._decoder.hyp() is None:
                raise AlignmentError("the audio does not fit the text")
            # A second pass finds the phones inside the words; to ask it for a hypothesis ends the process.
            self._decoder.set_alignment()
            self._decode(pcm)
            alignment = self._decoder.get_alignment()
        except RuntimeError as error:
            raise AlignmentError(f"the audio does not fit the text: {error}") from error
        if alignment is None:
            raise AlignmentError("the audio does not fit the text")
        # Times are in frames of 10 ms.
        spans = [(phone.name, phone.start / 100, (phone.start + phone.duration) / 100) for phone in alignment.phones()]
        return list(with_neighbours(spans))

    def _decode(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()


def with_neighbours(spans: list[tuple[str, float, float]]) -> Iterator[Phone]:
    """(phone, start, end) in order to phones that know their neighbours; silences are neighbours only."""
    names = ["SIL", *(name for name, _, _ in spans), "SIL"]
    for index, (name, start, end) in enumerate(spans):
        if name not in SILENCES:
            yield Phone(start, end, name, names[index], names[index + 2])


def read_items(path: Path) -> dict[str, list[tuple[Phone, str]]]:
    """Phones and speakers by file name (without suffix) of an `.item` file, as ZeroSpeech and Libri-light have them.

    Its first line is a heading; each other one is `file onset offset phone previous next speaker`.

    Raises:
        ValueError: a line that is not of this form.
    """
    found: dict[str, list[tuple[Phone, str]]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines()[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        try:
            file, onset, offset, phone, before, after, speaker = fields
            entry = Phone(float(onset), float(offset), phone, before, after)
        except ValueError:
            raise ValueError(f"{path}, line {number}: not `file onset offset phone previous next speaker`") from None
        found.setdefault(file, []).append((entry, speaker))
    return found
