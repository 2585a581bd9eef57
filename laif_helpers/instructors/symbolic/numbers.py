"""Finds numbers in running text (position, value, style), and writes a new value in the same style."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
UNITS += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = {word: value for value, word in enumerate(UNITS)} | {word: 20 + 10 * i for i, word in enumerate(TENS)}
PARTS = {"half": 2, "halves": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7}
PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20}

# "one" is a pronoun more often than a number ("each one"), and 1 never varies: it is not read as a number word.
_UNIT = "|".join(sorted((w for w in UNITS if w not in ("zero", "one")), key=len, reverse=True))
_WORD = rf"(?:(?:{'|'.join(TENS)})(?:[- ](?:one|{_UNIT})\b)?|{_UNIT})"
_PART = rf"(?:{'|'.join(PARTS)})s?"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<![\d.])\.\d+)"
_PATTERN = re.compile(
    rf"""(?P<clock>\b\d{{1,2}}:\d{{2}}\b)
    |(?P<fraction>(?<![\d.,/])(?:\d+\s+(?:and\s+)?)?\d+\s*/\s*\d+(?![\d/]))
    |(?P<spoken>\b(?:{_WORD}|one|an?)[- ]{_PART}\b)
    |(?P<ordinal>\b\d+(?:st|nd|rd|th)\b)
    |(?P<digits>{_DIGITS})
    |(?P<word>\b{_WORD}\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_SCALE = re.compile(r"[\s-]*(?:hundred|thousand|million|billion)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a text. ``style``: digits, word, fraction, spoken (two thirds), ordinal or clock."""

    start: int
    end: int
    text: str
    value: Fraction
    style: str
    money: bool = False
    percent: bool = False

    @property
    def places(self) -> int:
        return len(self.text.partition(".")[2])

    @property
    def kind(self) -> str:
        """Numbers of one kind can be compared: percent, money or count."""
        return "percent" if self.percent else "money" if self.money else "count"


def find(text: str, *, fractions: bool = True) -> list[Number]:
    """Numbers of ``text`` in order. ``fractions=False`` reads ``3/8`` as 3 and 8 (a solution's division)."""
    found = []
    position = 0
    while match := _PATTERN.search(text, position):
        style = match.lastgroup or ""
        if style == "fraction" and not fractions:
            match = re.compile(r"\d+").match(text, match.start()) or match
            style = "digits"
        position = match.end()
        found.append(_number(text, match, style))
    return found


def _number(text: str, match: re.Match[str], style: str) -> Number:
    before, after = text[: match.start()].rstrip(), text[match.end() :]
    return Number(
        match.start(),
        match.end(),
        match.group(),
        _value(match.group().lower(), style),
        style if not (style in ("digits", "word") and _SCALE.match(after)) else "scaled",
        money=before.endswith("$") or bool(re.match(r"\s*(?:dollars?|cents?)\b", after)),
        percent=bool(re.match(r"\s*(?:%|percent\b)", after)),
    )


def _value(text: str, style: str) -> Fraction:
    if style == "word":
        return Fraction(sum(WORDS[part] for part in re.split(r"[- ]+", text)))
    if style == "spoken":
        *count, part = re.split(r"[- ]+", text)
        number = sum(WORDS.get(word, 1) for word in count)
        return Fraction(number, PARTS.get(part) or PARTS[part.removesuffix("s")])
    if style == "fraction":
        whole, over = re.fullmatch(r"(?:(\d+)\s+(?:and\s+)?)?(\d+\s*/\s*\d+)", text).groups()  # type: ignore[union-attr]
        top, bottom = (int(part) for part in over.split("/"))
        return int(whole or 0) + Fraction(top, bottom or 1)
    if style == "clock":
        return Fraction(int(text.split(":")[0]))
    return Fraction(re.sub(r"[,a-z]", "", text))


def places(value: Fraction | int) -> int:
    """Decimal places that ``value`` needs; 99 if no finite number of places is enough."""
    for count in range(7):
        if 10**count % value.denominator == 0:
            return count
    return 99


def plain(value: Fraction | int, *, commas: bool = False, decimals: int = 0) -> str:
    """``value`` in digits with at least ``decimals`` places; needs ``places(value) < 99``."""
    count = max(places(value), decimals)
    scaled = abs(value.numerator) * 10**count // value.denominator
    whole, rest = divmod(scaled, 10**count)
    text = f"{whole:,}" if commas else str(whole)
    return "-" * (value < 0) + text + (f".{rest:0{count}d}" if count else "")


def spell(value: int) -> str:
    """A whole number from 0 to 99 in words."""
    if value < 20:
        return UNITS[value]
    tens, units = divmod(value, 10)
    return TENS[tens - 2] + (f"-{UNITS[units]}" if units else "")


def render(number: Number, value: Fraction | int, *, commas: bool = False) -> str:
    """``value`` in the style of the number it replaces. An unchanged value keeps the text exactly."""
    if value == number.value:
        return number.text
    if number.style == "word":
        word = spell(int(value))
        return word.capitalize() if number.text[0].isupper() else word
    cents = number.money and (places(value) in (1, 2) or number.places == 2)
    return plain(value, commas=commas or "," in number.text, decimals=2 if cents else 0)


def replace(text: str, new: Sequence[tuple[Number, Fraction | int]], *, commas: bool = False) -> str:
    """``text`` with each listed number's new value; ``a``/``an`` before a changed number follows its sound."""
    pieces, position = [], 0
    for number, value in new:
        before = text[position : number.start]
        written = render(number, value, commas=commas)
        if written != number.text:
            before = _article(before, written)
        pieces += [before, written]
        position = number.end
    return "".join(pieces) + text[position:]


def _article(before: str, written: str) -> str:
    match = re.search(r"\b(an?)(\s+\$?)$", before, re.IGNORECASE)
    if not match:
        return before
    whole = re.sub(r"\..*|,", "", written)
    vowel = written.lower().startswith(("eight", "eleven")) or whole.startswith("8")
    vowel = vowel or (whole[:2] in ("11", "18") and len(whole) % 3 == 2)
    article = match[1][0] + "n" * vowel
    return before[: match.start()] + article + match[2]
