"""Computes a written sum in exact rational arithmetic; nothing runs as a program.

One parser serves the checks of lessons and the symbolic instructor: numbers, ``+ - * / ^``, parentheses, ``%``.
"""

import functools
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Tree = Fraction | tuple[str, "Tree", "Tree"]
"""An exact number, or (operator, left, right)."""
DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
LARGEST_EXPONENT = 64
_TOKEN = re.compile(rf"\s*(?:({DIGITS})|([-+*/^()%]))")


def parse(text: str, *, percent: bool = True) -> Tree:
    """The expression as a tree. ``percent``: ``50%`` is a half; else the sign is ignored.

    Raises ValueError if it is not plain arithmetic.
    """
    tokens, place = [], 0
    text = text.replace("$", "").replace("**", "^").strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise ValueError("not plain arithmetic")
        tokens.append(match[1] or match[2])
        place = match.end()
    reader = _Reader(tokens, percent)
    try:
        tree = reader.sum()
    except (IndexError, RecursionError):
        raise ValueError("not plain arithmetic") from None
    if reader.at < len(tokens):
        raise ValueError("not plain arithmetic")
    return tree


class _Reader:
    """Tokens into a tree, one precedence a method; ``at`` is the next token."""

    def __init__(self, tokens: list[str], percent: bool):
        self.tokens, self.percent, self.at = tokens, percent, 0

    def next(self, among: str) -> str:
        """The next token if it is one of those, and step over it; else ""."""
        if self.at < len(self.tokens) and self.tokens[self.at] in among:
            self.at += 1
            return self.tokens[self.at - 1]
        return ""

    def sum(self) -> Tree:
        tree = self.product()
        while sign := self.next("+-"):
            tree = (sign, tree, self.product())
        return tree

    def product(self) -> Tree:
        tree = self.power()
        while (sign := self.next("*/")) or (self.at < len(self.tokens) and self.tokens[self.at] == "("):
            tree = (sign or "*", tree, self.power())  # "3(4 + 5)" is a product
        return tree

    def power(self) -> Tree:
        if self.next("-"):
            return ("-", Fraction(0), self.power())
        if self.next("("):
            tree = self.sum()
            if not self.next(")"):
                raise ValueError("not plain arithmetic")
        else:
            self.at += 1
            tree = Fraction(self.tokens[self.at - 1].replace(",", ""))
        if self.next("%") and self.percent:
            tree = ("/", tree, Fraction(100))
        return ("^", tree, self.power()) if self.next("^") else tree


def worth(tree: Tree) -> Fraction:
    """The value of a parsed expression. Raises ZeroDivisionError, and ValueError for an exponent out of reach."""
    if isinstance(tree, Fraction):
        return tree
    sign, left, right = tree
    a, b = worth(left), worth(right)
    if sign != "^":
        return Fraction(OPERATIONS[sign](a, b))
    if b.denominator != 1 or abs(b) > LARGEST_EXPONENT:
        raise ValueError("exponent out of reach")
    return Fraction(a ** int(b))


@functools.lru_cache(maxsize=65536)  # small numbers come back often: a third of the time of 100,000 lessons
def value(text: str, *, percent: bool = False) -> Fraction | None:
    """Value of an arithmetic expression; None if it has none."""
    try:
        return worth(parse(text, percent=percent))
    except (ValueError, ZeroDivisionError, RecursionError):
        return None
