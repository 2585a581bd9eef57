"""What a written sum is worth, in exact rational arithmetic; nothing is evaluated as a program."""

import functools
import re
from fractions import Fraction

DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(rf"\s*(?:((?:{DIGITS})%?)|(\*\*|[-+*/^()]))")
_COMPUTES = re.compile(r"[\d)%]\s*(?:\*\*|[-+*/^])")


def computes(text: str) -> bool:
    """Whether a side of an equation holds an operation."""
    return bool(_COMPUTES.search(text))


def holds(left: str, right: str) -> bool:
    """Whether both sides are worth the same; a side with two or more decimals may be the rounded value, and ``%``
    a hundredth or a unit."""
    for percent in (True, False):
        a, b = value(left, percent=percent), value(right, percent=percent)
        if a is None or b is None:
            return False
        if a == b or _rounded(a, b, right, percent=percent) or _rounded(b, a, left, percent=percent):
            return True
    return False


def _rounded(exact: Fraction, shown: Fraction, text: str, *, percent: bool = False) -> bool:
    """Whether ``text`` shows ``exact`` to the two or more decimals that it writes."""
    decimals = re.search(r"\.(\d+)", text)
    places = len(decimals[1]) if decimals else 0
    if places < 2 or computes(text):
        return False
    unit = Fraction(1, 10**places) / (100 if percent and "%" in text else 1)
    return abs(exact - shown) < unit


@functools.lru_cache(maxsize=65536)  # small numbers come back often: a third of the time of 100,000 lessons
def value(text: str, *, percent: bool = False) -> Fraction | None:
    """Value of an arithmetic expression of numbers, ``+ - * / ^`` and parentheses; None where it has none."""
    text = text.replace("$", "").replace("**", "^").strip()
    tokens, at = [], 0
    while at < len(text):
        match = _NUMBER.match(text, at)
        if not match:
            return None
        tokens.append(match[1] or match[2])
        at = match.end()
        if at < len(text) and not text[at:].strip():
            break
    try:
        value, rest = _sum(tokens, 0, percent)
    except (ValueError, ZeroDivisionError, IndexError, RecursionError):
        return None
    return value if rest == len(tokens) else None


def _sum(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, percent)
    while at < len(tokens) and tokens[at] in "+-":
        other, after = _product(tokens, at + 1, percent)
        value, at = (value + other if tokens[at] == "+" else value - other), after
    return value, at


def _product(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    value, at = _power(tokens, at, percent)
    while at < len(tokens) and tokens[at] in "*/":
        other, after = _power(tokens, at + 1, percent)
        value, at = (value * other if tokens[at] == "*" else value / other), after
    return value, at


def _power(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    if tokens[at] == "-":
        value, at = _power(tokens, at + 1, percent)
        return -value, at
    if tokens[at] == "(":
        value, at = _sum(tokens, at + 1, percent)
        if tokens[at] != ")":
            raise ValueError("unbalanced")
        at += 1
    else:
        number = tokens[at].replace(",", "")
        value = Fraction(number.rstrip("%")) / (100 if percent and number.endswith("%") else 1)
        at += 1
    if at < len(tokens) and tokens[at] == "^":
        exponent, at = _power(tokens, at + 1, percent)
        if exponent.denominator != 1 or abs(exponent) > 64:
            raise ValueError("exponent out of reach")
        value = value ** int(exponent)
    return value, at
