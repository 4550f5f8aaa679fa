"""Any text to say: symbols that the model knows, or one line that says what cannot be read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz import about_to_try, check_message
from xcodec.lm.config import TextConfig
from xcodec.lm.text import TextError, symbols_of, text_to_symbols

_WORDS = (
    "3.5 1,000 $2.50 192.168.0.1 1/2 Dr. e.g. J.R.R. 5:30 2024-01-05 #1 50% C++ :-) ... don't co-op Hello naïve 語 "
    "你好 привет مرحبا 🎵 ½ ² Ⅳ ﬁ 0 -1 - -- a@b.c http://x.y/?z=1 U.S.A. «oui» ß İ \u200d \ufeff \u0301 x\u0301 ㍿ ١٢ "
    "1e6 2.5E-3 10^-3 p.m. 5pm we J. Smith St. 3/5/2024 $1.2m €5k 6'2\" 10km/h 20°C 1990s '90s Mar 3rd VIII No.5 Fig. "
    "2 +1-555-0100 24/7 1:2 v1.2.3 7–9 ~5 <=3 -> C# and/or (a) [b] {c} ~ \\ | * _x_ ` ¿Qué? ¡ @me #tag §4 5₂ x² µm Ω"
)
_CONFIGS = (TextConfig("characters"), TextConfig("espeak", "en-us"), TextConfig("espeak", "de"))
# Ranges of characters, those that people type more often.
_RANGES = (*4 * ((0x20, 0x7E),), (0, 0x1F), (0xA0, 0x24F), (0x250, 0x5FF), (0x600, 0x2FFF), (0x3000, 0xFFFF))
_RANGES += ((0x10000, 0x10FFFF),)


def batch(number: int, folder: Path, outcomes: Counter[str]) -> None:
    """Try one text."""
    random = Random(number)
    text, config = draw(random), random.choice(_CONFIGS)
    about_to_try(folder, f"{config} {text!a}")
    outcomes[check(text, config)] += 1


def draw(random: Random) -> str:
    """Words that are hard to read, characters, or both; numbers of words vary in their figures."""
    parts = []
    for _ in range(random.randint(1, 8)):
        if random.random() < 0.6:
            word = random.choice(_WORDS.split(" "))
            if random.random() < 0.5:
                word = re.sub("[0-9]", lambda _: random.choice("0123456789"), word)
            parts.append(word)
        else:
            parts.append("".join(chr(random.randint(*random.choice(_RANGES))) for _ in range(random.randint(0, 9))))
    return random.choice((" ", " ", " ", "", "\n", ". ")).join(parts)


def check(text: str, config: TextConfig) -> str:
    """Try one text."""
    try:
        found = text_to_symbols(text, config)
    except TextError as error:
        check_message(error)
        return "refused"
    assert found, "nothing to say, and no word of it"
    assert all(0 <= index < len(symbols_of(config)) for index in found)
    assert found == text_to_symbols(text, config), "the same text is read in two ways"
    spoken = "".join(symbols_of(config)[index] for index in found)
    assert any(char.isalnum() for char in spoken), f"only punctuation is left: {spoken!r}"
    return "read"
