"""Text as a person reads it aloud: a table of what is written and what is said."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcodec.lm.config import TextConfig
from xcodec.lm.normalization import TextError, normalize, split_sentences
from xcodec.lm.text import paragraphs, symbols_of, text_to_symbols

PAIRS = [line.split(" | ") for line in (Path(__file__).parent / "readings.txt").read_text("utf-8").splitlines()[1:]]


@pytest.mark.parametrize(("written", "spoken"), PAIRS)
def test_english_is_read_as_a_person_reads_it(written: str, spoken: str) -> None:
    assert normalize(written, "en-us") == spoken
    assert normalize(spoken, "en-us") == spoken, "normalising twice is normalising once"


def test_the_day_comes_first_outside_america() -> None:
    assert normalize("On 5/3/2024.", "en-us") == "On May third, twenty twenty-four."
    assert normalize("On 5/3/2024.", "en-gb") == "On March fifth, twenty twenty-four."
    assert normalize("On 25/12/2024.", "en-us") == "On December twenty-fifth, twenty twenty-four."


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Er kam am 5. Mai um 3.30 Uhr. Dr. Müller zahlte 4,16 Euro.", 2),
        ("es", "El Sr. López vive aquí. ¿Quién? ¡Él!", 3),
        ("ru", "Он родился в 1980 г. в Москве. Да.", 2),
        ("hi", "नमस्ते दुनिया। यह है।", 2),
        ("en-us", "Dr. Smith and Mrs. Jones live on St. Mary St. They are old.", 2),
        ("en-us", "A paragraph\n\nand another\n- an item\n- an item", 4),
        ("en-us", "a line that\r\ngoes on", 1),
    ],
)
def test_sentences_of_many_languages(language: str, text: str, expected: int) -> None:
    assert len(list(split_sentences(text, language))) == expected


def test_figures_of_other_languages_are_left_to_their_own_rules() -> None:
    assert normalize("Das kostet 4,16 Euro.", "de") == "Das kostet 4,16 Euro."
    german = TextConfig(language="de")
    phonemes = "".join(symbols_of(german)[index] for index in text_to_symbols("4,16", german))
    assert phonemes.replace("ˈ", "") == "fiːɾ kɔmɑː aɪns zɛks"


FRAGMENTS = sorted({piece for written, _ in PAIRS for piece in re.findall(r"\w+|\W", written)})
ODD = ["\n", "\u0661", "\u0301", "\u200d", "\x00", "\ud800", "9" * 20, "https://", "中", "😀", "ﬁ", "Ⅷ", "㎏"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS + ODD) | st.text(max_size=3), max_size=12), st.sampled_from(["", " "]))
def test_any_text_is_read_or_refused_in_one_line(fragments: list[str], between: str) -> None:
    complaint = ""
    try:
        for sentence in itertools.chain(*paragraphs(between.join(fragments), TextConfig())):
            assert text_to_symbols(sentence, TextConfig())
    except TextError as error:
        complaint = str(error)
    assert "\n" not in complaint
