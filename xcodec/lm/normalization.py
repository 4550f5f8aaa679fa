"""Text normalisation: what is written in figures and signs, in the words that a person reads it with.

    On 3/5/2024 Dr. Smith paid $4.16.  →  On March fifth, twenty twenty-four, Doctor Smith paid four dollars and sixteen
                                          cents.

English has one table of rules, applied in the order in which they stand, from what is special (addresses, dates, money)
to plain numbers; `num2words` spells those. Abbreviations spelled by letter become `U.S`, which espeak-ng reads so. In
other languages espeak-ng reads figures and abbreviations by rules of its own, and only what is wrong in every language
(invisible characters, digits of other scripts) is replaced. Sentences are found by `sentencex`, for all languages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache

LONGEST_NUMBER = 15
"""Digits; longer numbers are read digit by digit."""


LONGEST_WORD = 200
"""Characters between two spaces."""


class TextError(ValueError):
    """Text that cannot be read, said in one line."""


def split_paragraphs(text: str) -> list[str]:
    """Paragraphs and items of lists, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in _PARAGRAPHS.split(_plain(text)) if paragraph.strip()]


def split_sentences(text: str, language: str) -> Iterator[str]:
    """Sentences of a text, without the white space around them; a paragraph ends one, too.

    >>> list(split_sentences("Dr. Smith pays $4.16 in the U.S. today. Does he?", "en-us"))
    ['Dr. Smith pays $4.16 in the U.S. today.', 'Does he?']
    """
    try:
        import sentencex
    except ImportError:
        raise TextError("reading text needs sentencex; install it with: pip install 'xcodec[lm]'") from None
    for paragraph in split_paragraphs(text):
        sentence = ""
        for piece in sentencex.segment(language.split("-")[0], paragraph):
            if sentence and not _goes_on(sentence, piece):
                yield sentence.strip()
                sentence = ""
            sentence += piece
        if sentence.strip():
            yield sentence.strip()


def _goes_on(sentence: str, piece: str) -> bool:
    """What sentencex takes for an end and is none: the number of an item, abbreviations that it does not know."""
    if re.fullmatch(r"\W*\w{1,2}[.)]\s*", sentence) or re.search(r"\b[A-Za-z]\.$", sentence):
        return True
    word = re.search(r"(\w+)\.\s*$", sentence)
    return word is not None and word[1] in _ABBREVIATIONS | _BEFORE_NUMBERS and re.match("[^A-Z]", piece) is not None


def normalize(text: str, language: str) -> str:
    """Text in words, ready to be turned into phonemes; normalised again, they stay as they are.

    Raises:
        TextError: a word is too long, or what spells numbers is not installed.

    >>> normalize("He's 6'2\\" and runs 10 km/h at 3:05 p.m.", "en-us")
    "He's six foot two and runs ten kilometers per hour at three oh five p.m."
    """
    plain = _plain(text)
    if long := re.search(rf"\S{{{LONGEST_WORD + 1}}}", plain):
        raise TextError(f"a word of more than {LONGEST_WORD} characters cannot be spoken: {long[0][:30]}…")
    if not language.startswith("en"):
        return plain
    for signs, sign in (("<=", "≤"), (">=", "≥"), ("!=", "≠"), ("->", "→")):
        plain = plain.replace(signs, sign)
    return " ".join(_in_english(sentence, language) for sentence in split_sentences(plain, language))


def _plain(text: str) -> str:
    """Usual characters for unusual ones: full-width forms, ligatures, typographic quotes, digits of other scripts."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise TextError("the text has bytes that are no UTF-8")
    text = _VULGAR_FRACTION.sub(
        lambda match: f" {unicodedata.normalize('NFKC', match[0])}", text.replace("\r\n", "\n").translate(_CHARACTERS)
    )
    text = unicodedata.normalize("NFKC", text)
    text = "".join(char for char in text if char == "\n" or unicodedata.category(char) not in _INVISIBLE)
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)


def _in_english(text: str, language: str) -> str:
    stop = re.search(r"[.!?…][\"')\]]*$", text)
    for pattern, spoken in _rules(day_first=language != "en-us"):
        text = pattern.sub(spoken, text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split()))
    if stop and not re.search(r"[.!?…][\"')\]]*$", text):
        text += "."  # it was that of an abbreviation, too
    return text


_PARAGRAPHS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•–]|\d+[.)])\s)")
"""Ends of paragraphs and of items of lists."""
_INVISIBLE = ("Cc", "Cf", "Co", "Cn")
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞↉]")
_CHARACTERS = str.maketrans(
    dict(zip("’‘ʼ′“”„«»″−‐‑\t\r\u2028µ", '\'\'\'\'""""""--- \n\nμ', strict=True))
    | {"²": " squared ", "³": " cubed ", "№": "No. ", "™": "", "®": "", "\f": "\n\n", "\u2029": "\n\n"}
)

# --- numbers ----------------------------------------------------------------------------------------------------------

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = r"[eE][+-]?\d+(?!\w)"
"""Of ten, after a number."""
_FREE = r"(?<![\w.,/:])"
"""Before a number that is not a part of something else."""


def _spell(number: int, form: str = "cardinal") -> str:
    try:
        from num2words import num2words
    except ImportError:
        raise TextError("reading numbers needs num2words; install it with: pip install 'xcodec[lm]'") from None
    words: str = num2words(number, to=form, lang="en")
    return words.replace(",", "").replace(" and ", " ").replace(" oh-", " oh ")


def _digits(text: str) -> str:
    return " ".join(_spell(int(char)) for char in text if char.isdigit())


def _cardinal(text: str) -> str:
    """
    >>> _cardinal("1,204.50"), _cardinal("007"), _cardinal(".5")
    ('one thousand two hundred four point five zero', 'zero zero seven', 'point five')
    """
    whole, point, decimals = text.replace(",", "").partition(".")
    by_digit = len(whole) > LONGEST_NUMBER or (len(whole) > 1 and whole.startswith("0"))
    words = (_digits(whole) if by_digit else _spell(int(whole))) if whole else ""
    return f"{words} point {_digits(decimals)}".strip() if point else words


def _scientific(match: re.Match[str]) -> str:
    power = f"10^{match[2][1:].lstrip('+')}"  # left to the rules for powers and numbers
    return power if match[1] == "1" else f"{match[1]} times {power}"


def _ordinal(text: str) -> str:
    return _spell(int(text), "ordinal") if len(text) <= LONGEST_NUMBER else f"{_digits(text)}th"


def _year(text: str) -> str:
    return _spell(int(text), "year")


def _decade(match: re.Match[str]) -> str:
    words = _spell(int(match[1])) if len(match[1]) == 2 else _year(match[1])
    return words[:-1] + "ies" if words.endswith("y") else f"{words}s"


def _each_digit(match: re.Match[str]) -> str:
    """Telephone numbers: a comma between the groups."""
    return ", ".join(_digits(group) for group in re.findall(r"\d+", match[0]))


def _with_dots(match: re.Match[str]) -> str:
    """Addresses of networks by their digits, versions by their numbers."""
    parts = match[0].split(".")
    return " " + (" dot ".join(map(_digits, parts)) if len(parts) == 4 else " point ".join(map(_cardinal, parts)))


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match["above"]), int(match["below"])
    if (above, below) == (24, 7):
        return "twenty-four seven"
    if not (0 < above < 100 and 2 <= below <= 100):
        return f"{_cardinal(match['above'])} over {_cardinal(match['below'])}"
    part = {2: "half", 4: "quarter"}.get(below) or _ordinal(str(below))
    part = part if above == 1 else "halves" if below == 2 else f"{part}s"
    return f"{match['whole'] + ' and ' if match['whole'] else ''}{_spell(above)} {part}"


_ROMAN = r"(?=[IVX]{2,}\b)X{0,3}(?:IX|IV|V?I{0,3})(?!\w)"
_PARTS = "Chapter|Part|Act|Scene|Book|Volume|Section|Phase|Type|War|Article|Episode|Apollo|Mark|Level|Class|Bowl"


def _roman(match: re.Match[str]) -> str:
    values = [{"I": 1, "V": 5, "X": 10}[figure] for figure in match["figures"]]
    number = sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))
    before = match["before"] or ""
    king = before and not re.fullmatch(_PARTS, before.strip())
    return f"{before}the {_spell(number, 'ordinal')}" if king else f"{before}{_spell(number)}"


# --- dates and times --------------------------------------------------------------------------------------------------

_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
_MONTHS += ["November", "December"]
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>1[1-9]\d\d|20\d\d)(?!\w|[,.]?\d)(?:,(?= \w))?"


def _numeric_date(year: int, month: int, day: int, otherwise: str) -> str:
    try:
        date(year, month, day)
    except ValueError:
        return otherwise
    return f"{_MONTHS[month - 1]} {_ordinal(str(day))}, {_year(str(year))}"


def _slashed_date(match: re.Match[str], day_first: bool) -> str:
    first, second, year = (int(group) for group in match.groups())
    year += 0 if year >= 100 else 2000 if year < 50 else 1900
    day, month = (first, second) if (day_first and second <= 12) or first > 12 else (second, first)
    return _numeric_date(year, month, day, match[0])


def _named_date(match: re.Match[str]) -> str:
    found = match.groupdict()
    day, year = _ordinal(found["day"]), f", {_year(found['year'])}" if found["year"] else ""
    day_first = match.start("day") < match.start("month")
    comma = "," if match[0].endswith(",") and year else ""
    return (f"the {day} of {found['month']}" if day_first else f"{found['month']} {day}") + year + comma


def _time(match: re.Match[str]) -> str:
    hour, minute, second, half = match.groups()
    if int(hour) > 24 or int(minute) > 59:
        return f"{_cardinal(hour)} to {_cardinal(minute)}"  # a ratio
    words = [_spell(int(hour))]
    if int(minute) or second:
        words.append(f"oh {_spell(int(minute))}" if minute[0] == "0" else _spell(int(minute)))
    elif not half:
        words.append("o'clock" if int(hour) <= 12 else "hundred")
    if second:
        words.append(f"and {_spell(int(second))} seconds")
    return " ".join(words) + (half or "")


# --- money and measures -----------------------------------------------------------------------------------------------

_CURRENCIES = {  # one, several, one of its hundredths, several
    "$": "dollar dollars cent cents", "£": "pound pounds penny pence", "€": "euro euros cent cents", "¥": "yen yen",
    "₹": "rupee rupees paisa paise", "₽": "ruble rubles kopeck kopecks", "₩": "won won", "¢": "cent cents",
    "USD": "dollar dollars cent cents", "EUR": "euro euros cent cents", "GBP": "pound pounds penny pence",
    "JPY": "yen yen", "CHF": "franc francs centime centimes",
}  # fmt: skip
_CURRENCY = "|".join(re.escape(sign) for sign in _CURRENCIES)
_NATION = {
    "US": "US ",
    "C": "Canadian ",
    "CA": "Canadian ",
    "A": "Australian ",
    "AU": "Australian ",
    "HK": "Hong Kong ",
}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_SCALE = r"(?:\s?(thousand|million|billion|trillion)\b|([kKmMbBtT]|bn|mn)\b)?"


def _money(match: re.Match[str]) -> str:
    minus, nation, before, amount, scale, letter, after = match.groups()
    one, several, *hundredths = _CURRENCIES[before or after].split()
    if re.search(r"\b[Aa]n? $", match.string[: match.start()]):  # "a five dollar note"
        several = one
    minus, nation = "minus " if minus else "", _NATION.get(nation, "")
    scale = scale or _SCALES.get((letter or "").lower())
    if scale:
        return f"{minus}{_cardinal(amount)} {scale} {nation}{several}"
    whole, _, decimals = amount.replace(",", "").partition(".")
    if len(decimals) != 2 or not hundredths:
        return f"{minus}{_cardinal(amount)} {nation}{one if amount == '1' else several}"
    parts = [f"{_cardinal(whole)} {nation}{one if whole == '1' else several}"] if int(whole or 0) else []
    if int(decimals):
        parts.append(f"{_spell(int(decimals))} {hundredths[int(decimals) != 1]}")
    return minus + (" and ".join(parts) or f"zero {nation}{several}")


_UNITS = {
    "%": "percent", "‰": "per mille", "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees",
    "nm": "nanometers", "mm": "millimeters", "cm": "centimeters", "m": "meters", "km": "kilometers", "mi": "miles",
    "ft": "feet", "yd": "yards", "mg": "milligrams", "g": "grams", "kg": "kilograms", "lb": "pounds", "lbs": "pounds",
    "μm": "micrometers", "μs": "microseconds", "Ω": "ohms", "kΩ": "kiloohms",
    "oz": "ounces", "ml": "milliliters", "mL": "milliliters", "l": "liters", "L": "liters", "ms": "milliseconds",
    "s": "seconds", "sec": "seconds", "min": "minutes", "h": "hours", "hr": "hours", "hrs": "hours", "Hz": "hertz",
    "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "V": "volts", "W": "watts", "kW": "kilowatts",
    "MW": "megawatts", "kWh": "kilowatt hours", "dB": "decibels", "kB": "kilobytes", "KB": "kilobytes",
    "MB": "megabytes", "GB": "gigabytes", "TB": "terabytes", "kbps": "kilobits per second",
    "Mbps": "megabits per second", "Gbps": "gigabits per second", "mph": "miles per hour",
    "rpm": "revolutions per minute",
}  # fmt: skip
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))


def _one_of(units: str) -> str:
    first, *rest = units.split(" ", 1)
    first = "foot" if first == "feet" else first if first.endswith(("hertz", "percent")) else first.removesuffix("s")
    return " ".join([first, *rest]) if first != "kilowatt" or not rest else "kilowatt hour"


def _measure(match: re.Match[str]) -> str:
    """The figures are left to the rules for numbers."""
    name = _UNITS[match["unit"]]
    name = _one_of(name) if match["amount"] == "1" else name
    power = {"squared": "square ", "cubed": "cubic "}.get(match["power"] or "", "")
    return f"{match['amount']} {power}{name}" + (f" per {_one_of(_UNITS[match['per']])}" if match["per"] else "")


# --- abbreviations and addresses --------------------------------------------------------------------------------------

_ABBREVIATIONS = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor", "Rev": "Reverend",
    "Gen": "General", "Col": "Colonel", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Maj": "Major",
    "Gov": "Governor", "Sen": "Senator", "Rep": "Representative", "Hon": "Honorable", "Jr": "Junior", "Sr": "Senior",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Hwy": "Highway", "Mt": "Mount", "Ft": "Fort",
    "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Bros": "Brothers", "Co": "Company",
    "Dept": "Department", "dept": "department", "Assn": "Association", "Univ": "University", "govt": "government",
    "vs": "versus", "etc": "et cetera", "approx": "approximately", "al": "al", "ca": "circa", "misc": "miscellaneous",
    "est": "established", "ed": "edition", "ext": "extension", "tel": "telephone", "Tel": "Telephone",
    "incl": "including",
    "max": "maximum", "cf": "compare", "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday",
    "Thu": "Thursday", "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday",
}  # fmt: skip
_SHORT_MONTHS = {month[:3]: month for month in _MONTHS} | {"Sept": "September"}
_BEFORE_NUMBERS = {
    "No": "Number", "no": "number", "Nos": "Numbers", "nos": "numbers", "Vol": "Volume", "vol": "volume", "p": "page",
    "pp": "pages", "Ch": "Chapter", "ch": "chapter", "Fig": "Figure", "fig": "figure", "Figs": "Figures",
    "figs": "figures", "Sec": "Section", "sec": "section", "Eq": "Equation", "eq": "equation", "Art": "Article",
}  # fmt: skip
_ACRONYMS = "AWS CO COO CV EPA ERP ETA FAQ ICU IDE IQ IRL LED NYC PM SUV UAE UX VIP"
"""Spelled by letter, though they could be words; what else there is espeak-ng knows."""
_ADDRESS_SIGNS = {
    ".": "dot", "/": "slash", "_": "underscore", "-": "dash", "@": "at", "?": "question mark", "=": "equals",
    "&": "and", "%": "percent", "#": "hash", "~": "tilde", "+": "plus", ":": "colon", ",": "comma",
}  # fmt: skip
_SIGNS = {
    "&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "<": "less than", ">": "greater than",
    "±": "plus or minus", "≈": "about", "≤": "at most", "≥": "at least", "≠": "is not", "→": "to", "°": "degrees",
    "§": "section", "@": "at", "%": "percent", "∞": "infinity", "©": "copyright", "$": "dollars", "£": "pounds",
    "€": "euros", "¥": "yen", "/": "slash", "\\": "backslash", "⁄": "over", "√": "root",
} | dict.fromkeys("*_|^~`#{}[]•·", " ")  # fmt: skip


def _letters(text: str) -> str:
    return ".".join(char for char in text if char.isalnum())


def _address(match: re.Match[str]) -> str:
    """The protocol is left out, as people do."""
    text = re.sub(r"^www\b", "W.W.W", re.sub(r"(?i)^(?:https?|ftp)://", "", match[0]).rstrip("/"))
    return re.sub(r"(?<!W)[^\w\s]|_", lambda sign: f" {_ADDRESS_SIGNS.get(sign[0], ' ')} ", text).replace(
        "W.W.W.", "W.W.W dot "
    )


# --- the table --------------------------------------------------------------------------------------------------------

Spoken = str | Callable[[re.Match[str]], str]


def _known(names: dict[str, str], before: str, after: str) -> tuple[str, Spoken]:
    """A rule for each name of a table."""
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return f"{before}({pattern}){after}", lambda match: names[match[1]]


@cache
def _rules(day_first: bool) -> list[tuple[re.Pattern[str], Spoken]]:
    table: list[tuple[str, Spoken]] = [
        # Addresses.
        (r"(?i)\b(?:https?://|ftp://|www\.)[^\s<>\"]*[\w/]|\b[\w.+-]*\w@[\w-]+(?:\.\w+)+", _address),
        (r"\b(?:[\w-]{2,}\.)+(?:com|org|net|edu|gov|io|ai|dev|uk|de|fr|eu|ca|au)\b(?:/[^\s<>\"]*\w)?", _address),
        (r"(?:(?<=\d[ap]m)|(?<=\d [ap]m)|(?<=[ap]\.m\.))[-–](?=\d)|(?<=:\d\d)[-–](?=\d\d?:)", " to "),
        (r"(?<=\d):00(?= noon| midnight)", ""),
        # Times, before `p.m.` is taken for initials.
        (r"(?<=\d)\s?([AaPp])\.?\s?[Mm]\b\.?", lambda m: f" {m[1].lower()}.m"),
        (r"(?<![\d:.])(\d\d?):(\d\d)(?::(\d\d))?(?![\d:])( [ap]\.m\b)?", _time),
        # Abbreviations.
        (r"\b([Ee])\.\s?g\.,?", lambda m: "For example," if m[1] == "E" else "for example,"),
        (r"\b([Ii])\.\s?e\.,?", lambda m: "That is," if m[1] == "I" else "that is,"),
        (r"\bPh\.\s?D\b\.?|\bPhD\b", "P.H.D"),
        (r"\b(?:[A-Z]\.\s?)+[A-Z]\.(?!\w)|\b(?:[a-z]\.){2,}(?!\w)|\b[A-Z]\.(?=\s[A-Z])", lambda m: _letters(m[0])),
        (r"(\d\w* (?:[A-Z]\w+ )*)St\b\.?", r"\1Street"),
        (r"(\d\w* (?:[A-Z]\w+ )+)Dr\b\.?(?! [A-Z])", r"\1Drive"),
        (r"\bSt\.(?= [A-Z])", "Saint"),
        (r"\bSt\.", "Street"),
        _known(_BEFORE_NUMBERS, r"\b", r"\.(?=\s?\d)"),
        _known(_SHORT_MONTHS, r"\b", r"\b\.?(?=\s\d)"),
        _known(_SHORT_MONTHS, r"(?<=\d )", r"\b\.?"),
        _known(_ABBREVIATIONS | _SHORT_MONTHS, r"\b", r"\."),
        _known({title: _ABBREVIATIONS[title] for title in ("Dr", "Mr", "Mrs", "Ms", "Prof")}, r"\b", r"(?= [A-Z])"),
        (r"\bvs\b", "versus"),
        _known({name: _letters(name) for name in _ACRONYMS.split()}, r"\b", r"(?=\b|s\b|\d)"),
        (rf"(?P<before>\b[A-Z][a-z]+ )?\b(?P<figures>{_ROMAN})", _roman),
        (r"\b([A-Z]+)&([A-Z]+)\b", lambda m: f"{_letters(m[1])} and {_letters(m[2])}"),
        # Dates.
        (rf"{_FREE}(\d{{4}})-(\d\d)-(\d\d)(?![\w-])", lambda m: _numeric_date(int(m[1]), int(m[2]), int(m[3]), m[0])),
        (rf"{_FREE}(\d\d?)/(\d\d?)/(\d{{4}}|\d\d)(?![\w/])", lambda m: _slashed_date(m, day_first)),
        (rf"\b{_MONTH} {_DAY}\b(?!:)(?:,? {_YEAR})?", _named_date),
        (rf"(?:\b[Tt]he )?{_FREE}{_DAY}(?: of)? {_MONTH}\b(?:,? {_YEAR})?", _named_date),
        # Money.
        (r"\bRs\.? ?(?=\d)", "₹"),
        (rf"((?:US|CA?|AU?|HK)?[$£€¥])({_NUMBER})[-–]\1?(?=\d)", r"\2 to \1"),
        (rf"(?<!\w)(-)?(US|CA?|AU?|HK)?({_CURRENCY})\s?({_NUMBER}){_SCALE}()", _money),
        (rf"{_FREE}(-)?()()({_NUMBER}){_SCALE}\s?({_CURRENCY})(?!\w)", _money),
        # Figures that are no numbers.
        (r"(?<!\w)\+\d[\d -]{6,}\d\b", lambda m: f"plus {_each_digit(m)}"),
        (r"(?<![\w.])(?:\d[- ])?(?:\(\d{3}\) ?|\d{3}[-.])?\d{3}[-.]\d{4}\b(?![-.]?\d)", _each_digit),
        (r"(?<![\w.])(?:0\d{2,4}(?: \d{3,4}){1,3}|\d+(?:-\d+){2,})(?![-.]?\w)", _each_digit),
        (r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.]*\d)", _with_dots),
        # Measures.
        (r"(?<![\w'])'?(\d0|1\d\d0|20\d0)s\b", _decade),
        (rf"{_FREE}(\d+)(?:'| ?ft\.? )(\d\d?)\b(?:\"| in\b\.?)?", r"\1 foot \2"),
        (
            rf"(?<![\w.])(?P<amount>(?:{_NUMBER})(?:{_POWER})?) ?(?P<unit>{_UNIT})"
            rf"(?: (?P<power>squared|cubed))?(?:/(?P<per>{_UNIT}))?(?!\w)(?:\.(?= [a-z]))?",
            _measure,
        ),
        (rf"{_FREE}(?:(?P<whole>\d+) )?(?P<above>\d+)[/⁄](?P<below>\d+)(?![\w/])", _fraction),
        # Numbers.
        (rf"(?<![\w.])({_NUMBER})({_POWER})", _scientific),
        (r"(?<=\d)(?:-|–| – )(?=\d)", " to "),
        (r"(\d[\d,]*)(?:st|nd|rd|th)\b", lambda m: _ordinal(m[1].replace(",", ""))),
        (r"(?<=day)-(?=[A-Z][a-z]+day)|(?<=\d):(?=\d)", " to "),
        (r"(?<=\d)x\b", " times"),
        (r"(?<=\d)\^(?=-?\d)", " to the power of "),
        (r"(?<!\w)'0(?=\d\b)", "oh "),
        (r"(?<!\w)'(?=\d\d\b)", ""),
        (r"#(?=\d)", "number "),
        (r"\b([CF])#", r"\1 sharp"),
        (r"(?:(?<=\s)|(?<=^)|(?<=[(=]))[-~](?=[\d.])", lambda m: "minus " if m[0] == "-" else "about "),
        (rf"{_FREE}(1[1-9]\d\d|20\d\d)(?!\w|[,.]\d)", lambda m: _year(m[1])),
        (r"(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " "),
        (_NUMBER, lambda m: _cardinal(m[0])),
        # Signs.
        (r"\band/or\b", "and or"),
        (r"#(?=\w)", "hashtag "),
        (r"^[-•*–—]+\s", ""),
        (r"\s?(?:--+|—|–)\s?|\s-\s", ", "),
        (r"(?<=\w\w)\.(?=[a-z])", " dot "),
        (r"(?<![^\W_])[Α-Ωα-ω](?![^\W_])", lambda m: f" {unicodedata.name(m[0]).split()[3].lower()} "),
        _known({sign: f" {name} " for sign, name in _SIGNS.items()}, "", ""),
    ]
    return [(re.compile(pattern), spoken) for pattern, spoken in table]
