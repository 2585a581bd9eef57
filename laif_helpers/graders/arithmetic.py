"""Computes a written sum in exact rational arithmetic; nothing runs as a program.

One parser serves the checks of lessons and the symbolic instructor: numbers, ``+ - * / ^``, parentheses, ``%``.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from laif_helpers.graders.languages import ascii_signs

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
_PLAIN = re.compile(rf"(?>\s*(?:{DIGITS}|[-+*/^()%]))++\s*")
_CURRENCY = re.compile(r"(?<!\d)\$|\$(?!\d)")
"""A sign before or behind a number; one inside of it, as in ``6$6``, is no arithmetic."""
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_PRODUCT = re.compile(r"(?<=[\d)%]) ?\(")
_SIGNS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}


def parse(text: str, *, percent: bool = True) -> Tree:
    """The expression as a tree. ``percent``: ``50%`` is a half; else the sign is ignored.

    Raises ValueError if it is not plain arithmetic.
    """
    text = _CURRENCY.sub("", text).replace("**", "^")
    if not _PLAIN.fullmatch(text):
        raise ValueError("not plain arithmetic")
    text = " ".join(_ZEROS.sub("", ascii_signs(text).replace(",", "")).split())
    # "3(4 + 5)" is a product; a subscript stands where the percent sign stands: behind its operand, and binding first
    text = _PRODUCT.sub("*(", text).replace("^", "**").replace("%", "[0]")
    try:
        return _tree(ast.parse(text, mode="eval").body, text, percent)
    except (SyntaxError, KeyError, RecursionError, MemoryError):
        raise ValueError("not plain arithmetic") from None


def _tree(node: ast.expr, text: str, percent: bool) -> Tree:
    """What Python's parser, which runs nothing, has read; numbers as they are written, so that 0.1 is a tenth."""
    match node:
        case ast.BinOp(left, sign, right):
            return _SIGNS[type(sign)], _tree(left, text, percent), _tree(right, text, percent)
        case ast.UnaryOp(ast.USub(), operand):
            return "-", Fraction(0), _tree(operand, text, percent)
        case ast.Subscript(operand) if not isinstance(operand, ast.Subscript):
            tree = _tree(operand, text, percent)
            return ("/", tree, Fraction(100)) if percent else tree
        case ast.Constant():
            return Fraction(text[node.col_offset : node.end_col_offset])
    raise ValueError("not plain arithmetic")


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
