"""Alignment: texts said in codes of which it is known what lasts how long."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.lm.conftest import config
from xcodec.lm.alignment import HMMAligner, state_sequence
from xcodec.lm.config import TextConfig
from xcodec.lm.text import symbols_of, text_to_symbols

TEXT = TextConfig("characters")
SYMBOLS = symbols_of(TEXT)


def spoken(text: list[int], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes [4, T], and how long each symbol is in them: a symbol says one of three codes, which others say too."""
    durations = [int(rng.integers(0, 5))]
    durations += [int(rng.integers(0, 3)) if SYMBOLS[index] == " " else int(rng.integers(2, 9)) for index in text]
    durations += [int(rng.integers(0, 5))]
    states = np.repeat([0, *(index + 1 for index in text), 0], durations)
    states[states == SYMBOLS.index(" ") + 1] = 0  # a pause is silent
    codes = np.stack([(states * (3 + level) + rng.integers(0, 3, len(states))) % 16 for level in range(4)])
    return codes, np.array(durations)


@pytest.fixture(scope="module")
def clips() -> list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]:
    rng = np.random.default_rng(0)
    letters = "aeioustr"
    words = ["".join(rng.choice(list(letters), rng.integers(2, 5))) for _ in range(30)]
    texts = [text_to_symbols(" ".join(rng.choice(words, rng.integers(2, 6))), TEXT) for _ in range(120)]
    return [(text, *spoken(text, rng)) for text in texts]


@pytest.fixture(scope="module")
def aligner(clips: list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]) -> HMMAligner:
    learnt = HMMAligner(config(text=TEXT))
    learnt.fit([text for text, _, _ in clips[:100]], [codes for _, codes, _ in clips[:100]])
    return learnt


def test_only_what_is_heard_has_a_time_of_its_own() -> None:
    symbols = symbols_of(TextConfig("espeak"))
    chain = state_sequence([symbols.index(each) for each in "həlˈoʊ, wˈɜːld!"], symbols)
    silence = len(symbols)
    assert [symbols[kind] for kind in chain.labels if kind != silence] == list("həloʊ,wɜld!")
    assert chain.labels[0] == chain.labels[-1] == silence
    assert chain.positions == [0, 1, 2, 3, 5, 6, 7, 9, 11, 13, 14, 15, 16]
    assert [place for place, skip in zip(chain.positions, chain.skippable, strict=True) if skip] == [0, 7, 15, 16]


def test_punctuation_stands_for_the_space_beside_it() -> None:
    chain = state_sequence([SYMBOLS.index(each) for each in "a - b"], SYMBOLS)
    assert [SYMBOLS[kind] for kind in chain.labels[1:-1]] == ["a", "-", "b"]


def test_it_finds_what_lasts_how_long(
    aligner: HMMAligner, clips: list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]
) -> None:
    new = clips[100:]
    found = aligner([text for text, _, _ in new], [codes for _, codes, _ in new])
    errors = []
    for (text, codes, durations), own in zip(new, found, strict=True):
        assert own.shape == (len(text) + 2,)
        assert own.sum() == codes.shape[1]
        errors.append(np.abs(np.cumsum(own) - np.cumsum(durations)))
    wrong = np.concatenate(errors)
    assert (wrong <= 1).mean() > 0.9
    even = np.concatenate(
        [np.abs(np.linspace(0, 1, len(durations)) * durations.sum() - durations.cumsum()) for _, _, durations in new]
    )
    assert (even <= 1).mean() < 0.5, "cutting evenly does not"


def test_a_beginning_says_the_beginning_of_its_text(
    aligner: HMMAligner, clips: list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]
) -> None:
    errors = []
    for text, codes, durations in clips[100:]:
        half = codes.shape[1] // 2
        (found,) = aligner([text], [codes[:, :half]], partial=True)
        assert found.sum() == half
        last = int(found.nonzero()[0][-1])
        truth = int(np.searchsorted(durations.cumsum(), half))
        errors.append(abs(last - truth))
    assert np.mean(np.array(errors) <= 1) >= 0.9


def test_one_clip_or_many_is_the_same(
    aligner: HMMAligner, clips: list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]
) -> None:
    texts, codes = [text for text, _, _ in clips[:70]], [each for _, each, _ in clips[:70]]
    together = aligner(texts, codes)
    for index in (0, 20, 69):
        assert np.array_equal(together[index], aligner([texts[index]], [codes[index]])[0])


def test_a_text_longer_than_its_sound_still_gets_every_frame(aligner: HMMAligner) -> None:
    (found,) = aligner(
        [text_to_symbols("a text with many more letters than frames", TEXT)], [np.zeros((4, 3), np.int64)]
    )
    assert found.sum() == 3
