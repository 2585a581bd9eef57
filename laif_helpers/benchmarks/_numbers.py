"""Reads the final number of an answer and compares it with the gold one, by exact fractions. No ``eval``.

Anchored statements first (``#### 18``, a line ``A: 18``, "the answer is 18", ``\\boxed{18}``), the last number of the
text only when nothing is anchored.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from laif_helpers.records import Grade

TOLERANCE = Fraction(1, 10_000)
"""The papers' tolerance: |answer - gold| <= 1e-4."""
TAIL = 8000
"""Characters at the end of a text that are read; the answer stands there, and no text makes the reader slow."""
NONE = "None"
"""GSM-Plus' gold answer of a question that cannot be answered; also what an answer that says so reads as."""

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_UNITS += " seventeen eighteen nineteen"
_WORDS = {word: value for value, word in enumerate(_UNITS.split())}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5"}
_VULGAR |= {"⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

# 1,234.5 | 1234.5 | .5 — at most 400 digits, so that no text makes the reader slow
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,400})(?:\.\d{1,400})?|\.\d{1,400}"
_CURRENCY = r"(?:(?:US)?\$|€|£|¥|₹|Rs\.?\s?)?"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>(?:[-−–]\s?|\+)?){_CURRENCY}(?P<minus>[-−]?)"
    rf"(?P<first>{_PLAIN})"
    rf"(?:(?:\s*/\s*(?P<below>\d{{1,30}})(?!\d|\.\d|/))|(?:\s+(?P<above>\d{{1,9}})\s*/\s*(?P<of>[1-9]\d{{0,8}})(?!\d)))?"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?!\d)|\s?(?:[x×*]|\\times)\s?10\s?(?:\^|\*\*)\s?\{?(?P<power>[-−]?\d{1,3})\}?)?"
    r"(?:\s*(?P<scale>hundred|thousand|million|billion|trillion)s?\b)?"
    r"(?P<percent>\s*(?:%|\\%|percent\b))?",
    re.IGNORECASE,
)
_WORD = "|".join([*_WORDS, *_SCALES])
_SPELLED = re.compile(
    rf"\b(?:(?P<negative>negative|minus)\s+)?(?P<words>(?:{_WORD})(?:(?:\s+|-|\s+and\s+)(?:{_WORD}))*)\b", re.IGNORECASE
)
_LATEX = re.compile(r"\\[dt]?frac\s*\{\s*(-?[\d.,]{1,40})\s*\}\s*\{\s*([\d.,]{1,40})\s*\}")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
_HASHES = re.compile(r"####\s*(.*)")
_FINAL_LINE = re.compile(
    r"^[ \t*_>]*(?:A|(?:the )?(?:final |correct )?answer)[*_]*\s*:[*_]*[ \t]*(.+)$", re.IGNORECASE | re.M
)
# "Let us find the answer:" opens a calculation, so what follows on a line of its own must be short to count.
_STATED = re.compile(
    r"\banswer[*_]*(?:\s+(?:to|for)\b[^.:\n]{0,80}?)?\s*(?:\bis\b|\bwould be\b|\bshould be\b|:|=)[ \t]*:?[*_]*"
    r"(?:[ \t]*(?=\S)(.{1,300})|\s*\n\s*(.{1,30})$)",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"(?:step|part|day|case|question|option|phase|solution|method|problem)\b|.*:\s*$", re.IGNORECASE)
_LABEL = re.compile(r"\b(?:day|week|month|year|step|part|room|question|number|no\.|grade|chapter|page)\s*#?$", re.I)
_UNANSWERABLE = re.compile(
    r"\bNone\b|\b(?:can\s?not|can't|could not|couldn't|impossible to|not possible to|unable to|no way to)"
    r"(?: be)?\s+(?:\w+\s+){0,2}?(?:determin|calculat|answer|solv|find|comput|know|tell|say|figure)\w*"
    r"|\b(?:not enough|insufficient|missing)\s+(?:\w+\s+)?(?:information|data)\b|\b(?:don't|do not|doesn't) know\b"
    r"|\b(?:unknown|undetermined|indeterminate|unanswerable)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number read from a text: its value, the words it was read from, and whether a percent sign followed."""

    value: Fraction
    text: str
    percent: bool = False
    decimals: int = 0


def numbers(text: str) -> list[Number]:
    """All numbers of a text in reading order, spelled-out ones included."""
    text = _plain(text)
    found = [(match.start(), number) for match in _NUMBER.finditer(text) if (number := _digits(match))]
    # "on day 3" names a day, it counts nothing; unless it is all there is
    counted = [pair for pair in found if not _LABEL.search(text[: pair[0]].rstrip()[-12:])]
    found = counted or found
    found += [(match.start(), number) for match in _SPELLED.finditer(text) if (number := _spelled(match))]
    kept: list[Number] = []
    end = -1
    for place, number in sorted(found, key=lambda pair: pair[0]):
        # "5 thousand" is one number: the word is part of what the digits already took in
        if place > end:
            kept.append(number)
            end = place + len(number.text) - 1
    return kept


def final(text: str) -> tuple[Number | None, str]:
    """The number that an answer ends on and how it was found.

    ``(None, "unanswerable")`` where the text says that there is no answer, ``(None, "")`` where nothing can be read.
    """
    text = text[-TAIL:]
    for how, pattern in (("####", _HASHES), ("final line", _FINAL_LINE), ("answer is", _STATED), ("boxed", _BOXED)):
        for match in reversed(list(pattern.finditer(text))):
            segment = next(group for group in match.groups() if group is not None)
            if how == "####" and _HEADING.match(segment):
                continue
            if number := _in_segment(segment):
                return number, how
            if _UNANSWERABLE.search(segment):
                return None, "unanswerable"
    if _UNANSWERABLE.search(text[-600:]):
        return None, "unanswerable"
    everything = numbers(text[-4000:])
    return (everything[-1], "last number") if everything else (None, "")


def grade(gold: str, text: str) -> Grade:
    """Grade an answer against a gold number, or against ``None`` where the question has no answer."""
    number, how = final(text)
    if how == "unanswerable":
        return Grade(gold == NONE, NONE, True, "says that it cannot be answered")
    if number is None:
        return Grade(False, None, False, "no number found")
    if gold == NONE:
        return Grade(False, number.text, True, f"{how}: a number where the question has no answer")
    right = equal(number, gold)
    return Grade(right, number.text, True, f"{how}: {number.text} {'=' if right else 'is not'} {gold}")


def equal(number: Number, gold: str) -> bool:
    """Equal within the tolerance; a gold that is rounded itself (two decimals or more) allows more precision."""
    wanted = parse(gold)
    if wanted is None:
        return False
    values = [number.value, number.value / 100] if number.percent and not wanted.percent else [number.value]
    if wanted.percent and not number.percent:
        values.append(number.value * 100)
    if any(abs(value - wanted.value) <= TOLERANCE for value in values):
        return True
    half = Fraction(1, 2 * 10**wanted.decimals)
    return wanted.decimals >= 2 and number.decimals > wanted.decimals and abs(values[0] - wanted.value) <= half


def parse(gold: str) -> Number | None:
    """A gold answer such as ``1,080``, ``-3``, ``4.33``, ``5/8`` or ``12%``."""
    found = numbers(gold)
    return found[0] if found else None


def _in_segment(segment: str) -> Number | None:
    """The number an anchor points at: right behind it, else behind the sentence's last ``=``, else its last one."""
    sentence = re.split(r"(?<=[^\d\s])\.\s|\.\s+(?=[A-Z])|\n", segment, maxsplit=1)[0]
    if "=" in sentence:
        sentence = sentence.rsplit("=", 1)[1]
    found = numbers(sentence)
    if not found:
        return None
    bare = _plain(sentence).lstrip(" \t:*_`~≈(")
    return found[0] if bare.startswith(found[0].text) else found[-1]


def _plain(text: str) -> str:
    """The text without what only decorates numbers: LaTeX, bold, narrow spaces, calculator marks."""
    text = re.sub(r"<<[^<>\n]{0,4000}>>", "", text)
    text = _LATEX.sub(r" \1/\2 ", text)
    text = text.replace("\\$", "$").replace("{,}", ",").replace("\\,", "").replace("\\!", "")
    text = re.sub(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}", r" \1", text)
    for sign, fraction in _VULGAR.items():
        text = text.replace(sign, f" {fraction} ")
    text = re.sub(r"10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda match: "10^" + match[1].translate(_SUPERSCRIPTS), text)
    text = re.sub("[\u00a0\u2009\u202f]", " ", text)
    return re.sub(r"\*\*|__|`|~~", "", text)


def _digits(match: "re.Match[str]") -> Number | None:
    first = match["first"].replace(",", "")
    try:
        value = Fraction(first)
        if match["below"]:
            value /= Fraction(match["below"])
        if match["above"]:
            value += Fraction(int(match["above"]), int(match["of"]))
    except (ValueError, ZeroDivisionError):
        return None
    power = match["exponent"] or match["power"]
    value *= Fraction(10) ** int(power.replace("−", "-")) if power else 1
    value *= _SCALES[match["scale"].lower()] if match["scale"] else 1
    if match["minus"] or _is_minus(match):
        value = -value
    text = match.group(0) if _is_minus(match) or not match["sign"] else match.group(0)[len(match["sign"]) :]
    decimals = len(first.partition(".")[2])
    return Number(value, text.strip(), bool(match["percent"]), decimals)


def _is_minus(match: "re.Match[str]") -> bool:
    """``-5`` is negative; the dash of ``10 - 5`` or ``10-5`` takes away, the dash of a list item lists."""
    sign = match["sign"]
    if not sign or sign == "+":
        return False
    if sign != sign.strip() or "–" in sign:
        return False
    before = match.string[: match.start()].rstrip()
    return not before or before[-1] not in "0123456789)]"


def _spelled(match: "re.Match[str]") -> Number | None:
    total = current = 0
    words = re.findall(_WORD, match["words"].lower())
    if words[0] in _SCALES and len(words) == 1:
        return None  # "a hundred" is a number, "hundreds" or a bare "million" is not worth guessing at
    for word in words:
        if word in _WORDS:
            current += _WORDS[word]
        elif word == "hundred":
            current = (current or 1) * 100
        else:
            total, current = total + (current or 1) * _SCALES[word], 0
    value = Fraction(total + current)
    return Number(-value if match["negative"] else value, match.group(0))
