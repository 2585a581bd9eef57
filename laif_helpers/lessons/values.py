"""Decides whether the two sides of a written equation have the same value."""

import re
from fractions import Fraction

from laif_helpers.graders.arithmetic import value

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
