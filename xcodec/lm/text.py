"""Text to symbols: phonemes by espeak-ng, or plain characters where that is not installed.

A model is trained with one of the two and needs the same ever after; its config says which. espeak-ng comes inside the
wheel `espeakng-loader` (no system package), is under the GPL-3, and is loaded only when asked for.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from functools import cache

from .config import TextConfig

PUNCTUATION = " .,;:!?-'\"()"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# All that espeak-ng writes for the languages tried, and the rest of the usual IPA.
_IPA = (
    _LETTERS + "æçðøħŋœɐɑɒɓɔɕɖɗɘəɚɛɜɝɞɟɠɡɢɣɤɥɦɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢβθχᵻᵊᵝ"
    "ˈˌːˑ˞ʰʲʷˠˤⁿˡ" + "0123456789" + "".join(map(chr, range(0x0300, 0x0362)))  # tones, and marks above and below letters
)
_CLAUSE = re.compile(r"([.,;:!?…—–()]+)")
_SPELLINGS = {"…": ".", "—": ",", "–": ",", "’": "'", "‘": "'", "“": '"', "”": '"'}


class TextError(ValueError):
    """Text that cannot be read, said in one line."""


def symbols_of(config: TextConfig) -> str:
    """Every symbol that a front end can give, in the order of their indices."""
    return PUNCTUATION + (_IPA if config.front_end == "espeak" else _LETTERS)


def read(text: str, config: TextConfig) -> list[int]:
    """Text to indices of symbols.

    Raises:
        TextError: there is nothing to read in it, or something that cannot be read, or espeak-ng is missing.

    >>> config = TextConfig("characters")
    >>> "".join(symbols_of(config)[index] for index in read("Hi,  you!", config))
    'hi, you!'
    """
    normal = unicodedata.normalize("NFKC", "".join(_SPELLINGS.get(char, char) for char in text))
    normal = " ".join(normal.split())
    if not any(char.isalnum() for char in normal):
        raise TextError(f"there is nothing to say in {text[:40]!r}")
    spelled = _phonemes(normal, config.language) if config.front_end == "espeak" else normal.lower()
    known = {symbol: index for index, symbol in enumerate(symbols_of(config))}
    unknown = sorted(set(spelled) - known.keys())
    if unknown:
        kind = "phonemes" if config.front_end == "espeak" else "characters"
        raise TextError(f"the text has {kind} that the model does not know: {' '.join(unknown[:10])}")
    return [known[symbol] for symbol in spelled]


def _phonemes(text: str, language: str) -> str:
    """Phonemes, with the punctuation of the text kept, because it is heard as pauses and melody.

    >>> _phonemes("Hello, world!", "en-us")
    'həlˈoʊ, wˈɜːld!'
    """
    parts = []
    for clause in _CLAUSE.split(text):
        if _CLAUSE.fullmatch(clause):
            parts.append(_SPELLINGS.get(clause[0], clause[0]))
        elif spoken := _espeak(language)(clause.strip()):
            parts.append((" " if parts else "") + spoken)
    return "".join(parts).strip()


@cache
def _library() -> ctypes.CDLL:
    try:
        import espeakng_loader
    except ImportError:
        raise TextError("reading text needs espeak-ng; install it with: pip install 'xcodec[lm]'") from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    synchronous, no_exit = 2, 0x8000
    if library.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), no_exit) < 0:
        raise TextError("espeak-ng does not find its data; reinstall espeakng-loader")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library


class _Espeak:
    """espeak-ng in one language; it has one voice at a time, for the whole process."""

    def __init__(self, language: str) -> None:
        self.language = language
        if _library().espeak_SetVoiceByName(language.encode()) != 0:
            raise TextError(f"espeak-ng has no language {language!r}; en-us, en, de, fr and es are some it has")

    def __call__(self, text: str) -> str:
        library = _library()
        library.espeak_SetVoiceByName(self.language.encode())
        utf8, as_ipa = 1, 0x02
        rest, found = ctypes.c_char_p(text.encode()), []
        while rest.value:  # a clause at a time, by espeak-ng's own idea of clauses
            heard = library.espeak_TextToPhonemes(ctypes.byref(rest), utf8, as_ipa)
            found.append(heard.decode("utf-8", "ignore"))
        # Switches of language are written as (en) … (de).
        return " ".join(re.sub(r"\([a-z-]+\)", "", " ".join(found)).replace("\u200d", "").split())


@cache
def _espeak(language: str) -> _Espeak:
    return _Espeak(language)
