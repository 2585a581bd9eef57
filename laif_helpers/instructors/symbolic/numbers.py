"""Finds numbers in running text (position, value, style), and writes a new value in the same style."""

import re
from collections.abc import Sequence
from fractions import Fraction

from laif_helpers.graders.arithmetic import DIGITS
from laif_helpers.graders.numbers import NUMERALS, PARTS, SCALES, TENS, UNITS, WORDS, Number, part_of

# 1 never varies, so that "one" is not read as a number word
_UNIT = "|".join(sorted((word for word in UNITS if word in NUMERALS), key=len, reverse=True))
_WORD = rf"(?:(?:{'|'.join(TENS)})(?:[- ](?:one|{_UNIT})\b)?|{_UNIT})"
_PATTERN = re.compile(
    rf"""(?P<clock>\b\d{{1,2}}:\d{{2}}\b)
    |(?P<fraction>(?<![\d.,/])(?:\d+\s+(?:and\s+)?)?\d+\s*/\s*\d+(?![\d/]))
    |(?P<spoken>\b(?:{_WORD}|one|an?)[- ](?:{"|".join(PARTS)})s?\b)
    |(?P<ordinal>\b\d+(?:st|nd|rd|th)\b)
    |(?P<digits>{DIGITS})
    |(?P<word>\b{_WORD}\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_SCALE = re.compile(rf"[\s-]*(?:{'|'.join(SCALES)})\b", re.IGNORECASE)


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
        _value(match.group().lower(), style),
        match.group(),
        percent=bool(re.match(r"\s*(?:%|percent\b)", after)),
        decimals=len(match.group().partition(".")[2]),
        start=match.start(),
        style=style if not (style in ("digits", "word") and _SCALE.match(after)) else "scaled",
        money=before.endswith("$") or bool(re.match(r"\s*(?:dollars?|cents?)\b", after)),
    )


def _value(text: str, style: str) -> Fraction:
    if style == "word":
        return Fraction(sum(WORDS[part] for part in re.split(r"[- ]+", text)))
    if style == "spoken":
        *count, part = re.split(r"[- ]+", text)
        number = sum(WORDS.get(word, 1) for word in count)
        return Fraction(number, part_of(part))
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
    cents = number.money and (places(value) in (1, 2) or number.decimals == 2)
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
