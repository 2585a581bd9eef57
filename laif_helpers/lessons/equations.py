"""Reads sums in running text and recomputes them in exact rational arithmetic; nothing runs as a program.

``She shares 36 pears + 12 plums (all of them) among 4 friends = …`` is read word by word: numbers, signs, words that
are units, words that end a clause. Where an operand is a word (``price - 5 = 3``) the equation is not read.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from laif_helpers.graders.arithmetic import DIGITS, value
from laif_helpers.graders.numbers import NUMERALS

_MARK = re.compile(r"<<([^<>]*)>>")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\(?\d{1,2}[.)]\s+|step\s+\d+\s*[:.)-]\s*)", re.I)
# not inside of a number: 6$6 and 6\6 are not 66
_CURRENCY = re.compile(r"(?<!\d)(?:[$€£]|\\(?!times|cdot|div))|(?:[$€£]|\\(?!times|cdot|div))(?!\d)")
_REMARK = re.compile(r"\((?=[^()\d=]*[A-Za-z])[^()\d=]*\)")
_TOKEN = re.compile(
    rf"""(?P<unread>\d+:\d+|(?:(?:half|thirds?|quarters?|fourths?|fifths?|tenths?)\sof|twice|double|triple)\b
        |[<>=!]=|[<=]>|[?√_≈~])
    |(?P<number>(?:\d+\s(?:and\s)?\d+/\d+(?![\d/])|{DIGITS})(?:\.{{3}}|…)?(?:\s?%)?)
    |(?P<equal>=|(?:is\sequal\sto|equals)\b)
    |(?P<sign>\*\*|[-+*/^×·∙⋅÷−–]|\\(?:times|cdot|div)|(?:multiplied|divided)\sby\b)
    |(?P<open>[(])|(?P<close>[)])
    |(?P<word>[^\W\d_](?:[^\W\d_]|['’]|[-/.](?=[^\W\d_]))*)
    |(?P<stop>[,;:!<>&|→]|\.(?=\s*$|\s+[A-Z\d(]))
    |(?P<space>\s+|.)""",
    re.X | re.I,
)
_SIGNS = {"×": "*", "·": "*", "∙": "*", "⋅": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "\\div": "/", "−": "-"}
_SIGNS |= {"–": "-", "**": "^", "multiplied by": "*", "divided by": "/"}
_SPOKEN = {"x": "*", "times": "*", "plus": "+", "minus": "-"}
_STOPS = re.compile(r"because|so|and|then|is|are|was|were|or|if|but|since|means|gives|that|therefore|which")
_UNKNOWN = re.compile(r"(?<![\w'’.])(?<!\d )([A-Za-z])(?=\s?[-+*/^=])")
_SHARE = re.compile(r"\d+ / \d+ of .*")  # "1/3 of the sum = 66" states
_COMPUTES = re.compile(r"[\d)%]\s*(?:\*\*|[-+*/^])")
_LONGEST_UNIT = 9
"""Words after a number that may be its unit: ``24 hours from New York to San Francisco + …``."""


class _Token(NamedTuple):
    """``kind``: number, sign, equal, open, close, word, unread (an operand that is no number) or stop (a clause ends).
    ``tight``: no space before it."""

    kind: str
    text: str
    tight: bool


_END = _Token("stop", "", False)


def equations(line: str, variables: frozenset[str] = frozenset()) -> list[tuple[str, str, bool]]:
    """Equations in one line of text as ``(left, right, holds)``; ``a = b = c`` gives two.

    A GSM8K calculator mark (``<<6*4=24>>``) counts as an equation of its own. ``variables``: letters that stand
    for unknowns (``unknowns``); any other letter after a number is a unit.
    """
    if "=" not in line and "equal" not in line:
        return []
    marks = [pair for mark in _MARK.findall(line) for pair in itertools.pairwise(mark.split("="))]
    found = [(left, right, holds(left, right)) for left, right in marks if value(left) is not None]
    bare = not any(char.isalpha() for char in line)
    for clause in _clauses(_tokens(line, variables)):
        for left, right in itertools.pairwise(_sides(clause)):
            a, b = _ending(left), _starting(right)
            # "1 dozen = 12" and "9 books a week = 45 / 5" state, they do not compute
            if a and b and (" " in a or (bare and " " in b)):
                found.append((a, b, holds(a, b)))
    return found


def unknowns(text: str) -> frozenset[str]:
    """Single letters that the text uses as numbers of their own, as in ``x = 5`` or ``2 + n``."""
    return frozenset(_UNKNOWN.findall(text)) if re.search(r"\d[A-Za-z]\b", text) else frozenset()


# -- words into tokens


def _tokens(line: str, variables: frozenset[str]) -> list[_Token]:
    """Tokens of a line, each as what it means where it stands; marks, currency and remarks are left out."""
    text = _REMARK.sub(" ", _CURRENCY.sub("", _BULLET.sub("", _MARK.sub("", line))))
    raw: list[_Token] = []
    spaced = True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "space"
        if kind != "space":
            wording = match[0] if kind == "word" else match[0].lower()
            raw.append(_Token(kind, _SIGNS.get(wording, wording), not spaced))
        spaced = kind == "space"
    found: list[_Token] = []
    for at, token in enumerate(raw):
        after = raw[at + 1] if at + 1 < len(raw) else _END
        found.append(_meant(token, found[-1] if found else _END, after, variables))
    return _without_asides(found)


def _meant(token: _Token, before: _Token, after: _Token, variables: frozenset[str]) -> _Token:
    """A word that is a sign, a number or an unknown; a sign that belongs to a unit (``$3/day``, ``8-hour``)."""
    kind, text, tight = token
    operand = after.kind in ("number", "open")
    if kind == "sign":
        unit = text == "/" or (text == "-" and tight and after.tight)
        return _Token("word", text, tight) if unit and after.kind == "word" and before.kind != "sign" else token
    if kind != "word":
        return token
    word = text.lower()
    if word in _SPOKEN and operand and before.kind in ("number", "close", "word"):
        return _Token("sign", _SPOKEN[word], False)
    if word == "x" or (text in variables and before.kind == "number"):
        return _Token("unread", text, tight)
    if word == "of" and operand and (before.text.endswith("%") or before.text.startswith(("0.", "."))):
        return _Token("sign", "*", False)
    if word in NUMERALS and before.kind == "sign":
        return _Token("number", NUMERALS[word], tight)
    return _Token("stop", text, tight) if _STOPS.fullmatch(word) else token


def _without_asides(found: list[_Token]) -> list[_Token]:
    """Parentheses that hold an equation, or have no partner, end a clause."""
    opened: list[int] = []
    stops: set[int] = set()
    for at, token in enumerate(found):
        if token.kind == "open":
            opened.append(at)
        elif token.kind == "close":
            start = opened.pop() if opened else at
            inside = found[start + 1 : at]
            if start == at or any(other.kind in ("equal", "stop") for other in inside):
                stops |= {start, at}
    stops |= set(opened)
    return [_END if at in stops else token for at, token in enumerate(found)]


def _clauses(found: Sequence[_Token]) -> Iterator[list[_Token]]:
    for stop, clause in itertools.groupby(found, lambda token: token.kind == "stop"):
        if not stop:
            yield list(clause)


def _sides(clause: Sequence[_Token]) -> list[list[_Token]]:
    sides: list[list[_Token]] = [[]]
    for token in clause:
        if token.kind == "equal":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


# -- tokens into sums


def _ending(side: Sequence[_Token]) -> str:
    """The sum that the side ends with, "" if it ends otherwise or an operand is a word."""
    at = 0
    while at < len(side):
        if side[at].kind in ("number", "open") or (side[at].text == "-" and _unary(side, at)):
            if at and side[at - 1].kind in ("sign", "unread"):
                return ""
            text, _, end = _sum_at(side, at)
            if end == len(side):
                return "" if _SHARE.fullmatch(" ".join(token.text for token in side[at:end])) else text
            at = max(end, at + 1)
        else:
            at += 1
    return ""


def _unary(side: Sequence[_Token], at: int) -> bool:
    """Whether a minus opens a number: nothing or a word stands before it, its number right behind."""
    behind = side[at + 1] if at + 1 < len(side) else _END
    return behind.kind in ("number", "open") and behind.tight and (at == 0 or not side[at].tight)


def _starting(side: Sequence[_Token]) -> str:
    """The sum that the side begins with, "" if it begins otherwise."""
    text, end, _ = _sum_at(side, 0) if side else ("", 0, 0)
    if end < len(side) and (side[end].kind in ("unread", "sign") and side[end].tight):
        return ""  # "= 1.2Y"
    return text


def _sum_at(side: Sequence[_Token], at: int) -> tuple[str, int, int]:
    """(sum, where it ends, where its unit ends) of the longest sum that begins at ``at``; ("", at, at) without one."""
    parts: list[str] = []
    while True:
        minus, at = ("-", at + 1) if at < len(side) and side[at].text == "-" else ("", at)
        operand, at = _operand(side, at, glued=bool(parts) and parts[-1] in (" / ", " * "))
        if not operand:
            return "", at, at
        parts.append(minus + operand)
        end, after = at, _past_words(side, at, _LONGEST_UNIT)
        if after < len(side) and side[after].kind == "sign":
            parts.append(f" {side[after].text} ")
            at = _at_number(side, after + 1)
        elif after == at < len(side) and side[at].tight and side[at].kind in ("open", "number"):
            parts.append(" * ")  # "25(2/5)"
        else:
            return "".join(parts), end, after


def _operand(side: Sequence[_Token], at: int, *, glued: bool) -> tuple[str, int]:
    """A number, a fraction after a sign with spaces (``6 / 1/3``), or a sum in parentheses; ("", at) for neither."""
    if at >= len(side) or side[at].kind not in ("number", "open"):
        return "", at
    if side[at].kind == "open":
        text, _, end = _sum_at(side, at + 1)
        return (f"({text})", end + 1) if text and end < len(side) and side[end].kind == "close" else ("", at)
    text = re.sub(r"\s|\.{3}|…", "", side[at].text)
    if "/" in side[at].text:  # "2 and 1/2"
        whole, fraction = re.split(r" (?:and )?", side[at].text, maxsplit=1)
        text = f"({whole}+{fraction})"
    sign, under = (*side[at + 1 : at + 3], _END, _END)[:2]
    if glued and not side[at].tight and sign[:2] == ("sign", "/") and sign.tight and under.tight:
        return (f"({text}/{under.text})", at + 3) if under.kind == "number" else ("", at)
    return text, at + 1


def _past_words(side: Sequence[_Token], at: int, most: int) -> int:
    words = itertools.takewhile(lambda token: token.kind == "word", side[at : at + most])
    return at + sum(1 for _ in words)


def _at_number(side: Sequence[_Token], at: int) -> int:
    """Past what may stand between a sign and its number: ``+ the 8 before``, ``+ Piper's 100 hits``."""
    end = _past_words(side, at, 3)
    return end if end < len(side) and side[end].kind in ("number", "open") else at


# -- what sides are worth


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
