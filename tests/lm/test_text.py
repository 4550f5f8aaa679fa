"""The text front end."""

from __future__ import annotations

import pytest

from xcodec.lm.config import TextConfig
from xcodec.lm.text import TextError, paragraphs, symbols_of, text_to_symbols

PHONEMES, CHARACTERS = TextConfig(), TextConfig("characters")


def spelled(text: str, config: TextConfig = PHONEMES) -> str:
    return "".join(symbols_of(config)[index] for index in text_to_symbols(text, config))


def test_phonemes_keep_the_punctuation() -> None:
    assert spelled("Hello, world! 42 dogs.") == "həlˈoʊ, wˈɜːld! fˈɔːɹɾitˈuː dˈɑːɡz."


def test_other_languages() -> None:
    assert spelled("Guten Tag", TextConfig(language="de")) != spelled("Guten Tag")
    assert spelled("Hello") == "həlˈoʊ", "the other language does not stay"
    with pytest.raises(TextError, match="no language 'nowhere'"):
        text_to_symbols("Hello", TextConfig(language="nowhere"))


@pytest.mark.parametrize("language", ["en-us", "en", "de", "fr", "es", "it", "ru", "nl", "cs", "cmn", "ar", "hi"])
def test_what_espeak_writes_is_known(language: str) -> None:
    sample = {
        "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
        "cmn": "我能吞下玻璃而不伤身体。",
        "ar": "صباح الخير",
        "hi": "नमस्ते दुनिया",
        "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
        "fr": "Voix ambiguë d'un cœur qui au zéphyr préfère les jattes de kiwis.",
        "de": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    }
    assert text_to_symbols(
        sample.get(language, "The quick brown fox jumps over the lazy dog."), TextConfig(language=language)
    )


def test_characters() -> None:
    assert spelled("Hello,  World!", CHARACTERS) == "hello, world!"
    with pytest.raises(TextError, match="does not know: é"):
        text_to_symbols("café", CHARACTERS)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It costs 4.16 dollars.", "ɪt kˈɔsts fˈɔːɹ pˈɔɪnt wˈʌn sˈɪks dˈɑːlɚz."),
        ("1,000 people", "wˈʌn θˈaʊzənd pˈiːpəl"),
        ("In the U.S. today", "ɪnðə jˌuːˈɛs tədˈeɪ"),
        ("at 5 a.m., Dr. A", "æt fˈaɪv ˌeɪˈɛm, dˈɑːktɚɹ ˈeɪ"),
        ("wait—what?", "wˈeɪt, wˌʌt?"),
    ],
)
def test_punctuation_inside_of_words_and_numbers_is_no_pause(text: str, spoken: str) -> None:
    assert spelled(text) == spoken


@pytest.mark.parametrize(
    ("text", "language", "complaint"),
    [
        ("Say 中文 now", "en-us", "'中文' is written in Chinese letters, which cannot be read as en-us"),
        ("Привет!", "de", "'Привет' is written in Cyrillic letters, which cannot be read as de"),
        ("नमस्ते", "ru", "Devanagari letters"),
        ("ᚠᚢ", "en-us", "Runic letters"),
        ("Ꜣ", "en-us", "nothing to say in 'Ꜣ'"),  # a letter for which espeak-ng has no sound
    ],
)
def test_what_cannot_be_read_is_named(text: str, language: str, complaint: str) -> None:
    with pytest.raises(TextError, match=complaint):
        text_to_symbols(text, TextConfig(language=language))


def test_digits_of_other_scripts_are_digits() -> None:
    assert spelled("१२३") == spelled("123") == spelled("one hundred twenty-three")


@pytest.mark.parametrize("config", [PHONEMES, CHARACTERS])
@pytest.mark.parametrize("text", ["", "   ", "...", "\n!?"])
def test_nothing_to_say(text: str, config: TextConfig) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        text_to_symbols(text, config)


def test_long_sentences_are_cut_at_commas_then_at_spaces() -> None:
    assert paragraphs("aaa, bbb ccc ddd", CHARACTERS, longest=8) == [["aaa,", "bbb ccc", "ddd"]]
    with pytest.raises(TextError, match="a word of more than 8"):
        paragraphs("a" * 9, CHARACTERS, longest=8)
    with pytest.raises(TextError, match="a word of more than 200"):
        text_to_symbols("a" * 201, PHONEMES)


def test_symbols_are_distinct() -> None:
    for config in (PHONEMES, CHARACTERS):
        assert len(set(symbols_of(config))) == len(symbols_of(config))


def test_what_was_read_before_does_not_matter() -> None:
    english, german = TextConfig("espeak", "en-us"), TextConfig("espeak", "de")
    alone = text_to_symbols("Æ", german)
    for before, config in (
        ("ĳĀăǠs¡h", english),
        ("e-¿l", english),
        ("A[Ǵǒ¿̓", english),
        ("¿Qué?", english),
        ("a\n\n~", german),
    ):
        assert text_to_symbols(before, config) == text_to_symbols(" ".join(before.split()), config)
        assert text_to_symbols("Æ", german) == alone
