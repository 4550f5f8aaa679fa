"""Any text to say: symbols that the model knows, or one line that says what cannot be read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import about_to_try, check_message
from xcodec.lm.config import TextConfig
from xcodec.lm.text import TextError, symbols_of, text_to_symbols

_WORDS = (
    "3.5 1,000 $2.50 192.168.0.1 1/2 Dr. e.g. J.R.R. 5:30 2024-01-05 #1 50% C++ :-) ... don't co-op Hello naïve 語 "
    "你好 привет مرحبا 🎵 ½ ² Ⅳ ﬁ 0 -1 - -- a@b.c http://x.y/?z=1 U.S.A. «oui» ß İ \u200d \ufeff \u0301 x\u0301 ㍿ ١٢"
)
_TEXTS = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(_WORDS.split()), min_size=1, max_size=8).map(" ".join)
)
_CONFIGS = st.sampled_from([TextConfig("characters"), TextConfig("espeak", "en-us"), TextConfig("espeak", "de")])


def batch(number: int, folder: Path, outcomes: Counter[str]) -> None:
    """Try a hundred texts."""

    @seed(number)
    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(_TEXTS, _CONFIGS)
    def try_them(text: str, config: TextConfig) -> None:
        about_to_try(folder, f"{config} {text!a}")
        outcomes[check(text, config)] += 1

    try_them()


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
