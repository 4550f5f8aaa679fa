from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.conftest import SAMPLES
from xcodec import audio
from xcodec.evaluate.alignment import AlignmentError, Phone, PhoneAligner, read_items, with_neighbours
from xcodec.evaluate.metrics import RATE, Signal


@pytest.fixture(scope="module")
def aligner() -> PhoneAligner:
    return PhoneAligner()


def test_a_transcript_is_aligned_with_a_real_voice(aligner: PhoneAligner) -> None:
    voice = audio.read(SAMPLES / "english-not-in-service.flac", RATE)[0][0]
    text = "The number you have dialed is not in service. Please check the number and try again."
    phones = aligner(voice, text)
    names = [phone.phone for phone in phones]
    assert names[2:7] == ["N", "AH", "M", "B", "ER"]
    assert names[-3:-2] + names[-1:] == ["G", "N"]
    starts = [phone.start for phone in phones]
    assert starts == sorted(starts)
    assert all(phone.start < phone.end <= len(voice) / RATE + 0.02 for phone in phones)
    # What is aligned is the voice, and not the silence around it: the phones hold nearly all the energy.
    inside = np.concatenate([voice[round(RATE * p.start) : round(RATE * p.end)] for p in phones])
    assert np.square(inside).sum() > 0.95 * np.square(voice).sum()
    # Half a second later, so are the phones.
    later = aligner(np.pad(voice, (RATE // 2, 0)), text)
    assert np.median([b.start - a.start for a, b in zip(phones, later, strict=True)]) == pytest.approx(0.5, abs=0.02)


def test_a_word_that_the_dictionary_lacks_is_named(aligner: PhoneAligner, speech: Signal) -> None:
    with pytest.raises(AlignmentError, match="the dictionary lacks xyzzy"):
        aligner(speech, "please xyzzy")
    with pytest.raises(AlignmentError, match="no words"):
        aligner(speech, "123")


def test_neighbours_are_known_and_silences_left_out() -> None:
    spans = [("SIL", 0.0, 0.1), ("K", 0.1, 0.2), ("AE", 0.2, 0.3), ("SIL", 0.3, 0.4)]
    assert list(with_neighbours(spans)) == [Phone(0.1, 0.2, "K", "SIL", "AE"), Phone(0.2, 0.3, "AE", "K", "SIL")]


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [(0.0, 0.06, (0, 3)), (0.011, 0.05, (1, 2)), (0.935, 2.0, (47, 50)), (0.0, 0.009, (0, 0))],
)
def test_frames_are_those_whose_middle_lies_in_the_phone(start: float, end: float, frames: tuple[int, int]) -> None:
    found = Phone(start, end, "a", "", "").frames(50.0, 50)
    assert (found.start, found.stop) == frames
    middles = (np.arange(50) + 0.5) / 50
    inside = np.flatnonzero((middles > start) & (middles < end))
    assert list(range(found.start, found.stop)) == inside.tolist()


def test_item_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "phones.item"
    path.write_text(
        "#file onset offset #phone prev-phone next-phone speaker\n"
        "6829-68769 0.1275 0.2075 AH SIL M 6829\n6829-68769 0.2075 0.3 M AH B 6829\n"
    )
    assert read_items(path) == {
        "6829-68769": [(Phone(0.1275, 0.2075, "AH", "SIL", "M"), "6829"), (Phone(0.2075, 0.3, "M", "AH", "B"), "6829")]
    }
    path.write_text("#file …\none two three\n")
    with pytest.raises(ValueError, match="line 2: not `file onset"):
        read_items(path)
