"""Reads what a question asks for: the words that it counts, a unit, and the numbers and names that it gives."""

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

from laif_helpers.graders.languages import english, small_words
from laif_helpers.graders.numbers import NUMERALS, numbers
from laif_helpers.graders.units import UNITS, stem

_SHARE = re.compile(r"(?<![\d.,:/])(\d{1,9})(?:\s?:\s?|\s(?:to|in|out of|over)\s(?:the\s)?)(\d{1,9})(?![\d:/%]|[.,]\d)")
_ONE_IN = re.compile(rf"\b[Oo]ne (?:in|out of) ({'|'.join(NUMERALS)})\b")
_SHARE_ASKED = re.compile(r"\b(?:what|find|express)\b[^.?]{0,50}\b(?:ratio|probability|chances?|fraction)\b", re.I)
_SUM = r"\$?\d[\d.,]*(?: [-−+*/×÷] \$?\d[\d.,]*)+|\d+!?/[\d(][\d!()*]*|\d+(?:[*×+/]\d+)+"
_TURNED = re.compile(rf"(?<![-+*/×÷−=]\s)(?<![^\s(*])(\$?\d[\d.,]*)\s?\(?=\s?({_SUM})(?! ?[=\d])")
_NAME = re.compile(r"\b[A-Z][a-z]+\b")
_WHAT_TIME = r"\bwhat (?:is the |will the )?(?:\w+ )?time\b|\bwhen\b"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks: the words behind "how many", a unit, and the numbers that it gives."""

    values: frozenset[Fraction]
    counted: tuple[str, ...]
    unit: tuple[str, int] | None
    money: bool
    percent: bool
    clock: bool
    long: bool
    words: frozenset[str]
    names: frozenset[str]
    others: frozenset[str]
    rates: frozenset[str]
    clause: frozenset[str]


@functools.lru_cache(maxsize=256)
def asked(question: str) -> Asked:
    """What the question's last sentence asks for."""
    text = small_words(english(question)).casefold()
    ask = re.split(
        r"(?<=[a-z)'\"%][.!?])\s+|(?<=\d[.!])\s+(?=[a-z])|\n", text[: text.rfind("?") + 1].strip() or text.strip()
    )[-1]
    clause = ask[max(ask.rfind(word) for word in ("how many", "how much", "what", "which", "who")) :] if ask else ""
    names = frozenset(_NAME.findall(re.split(r"[.!?]\s", question.strip())[-1])[1:])
    behind = re.search(r"\bhow many\s+((?:(?:[^\W\d_]|['-])+\s*){1,5})", ask)
    counted = _counted(behind[1]) if behind else ()
    units = [UNITS[word] for word in counted if word in UNITS]
    named = map(stem, re.findall(r"\b(?:in|what number of) ([a-z]+)\b", ask))
    units += [UNITS[word] for word in named if word in UNITS]
    return Asked(
        frozenset(number.value for number in numbers(question)),
        counted,
        next(iter(units), None),
        bool(
            re.search(
                r"\bhow much\b[^?]*\b(?:money|cost|pay|spen[dt]|earn|make|charg|save|price|profit|owe|chang)|\$|dollar",
                ask,
            )
        ),
        bool(re.search(r"(?<![\d ])%|(?<!\d )\bpercent", ask)),
        bool(re.search(_WHAT_TIME, ask)),
        "how long" in ask or re.search(_WHAT_TIME, ask) is not None,
        frozenset(map(stem, re.findall(r"[^\W\d_]{3,}", ask))) - _HELPERS,
        names,
        frozenset(_NAME.findall(question)) - names,
        frozenset(re.findall(r"\b(?:an?|per|each|every) (minute|hour|day|week|month|year)\b", clause)),
        frozenset(map(stem, re.findall(r"[^\W\d_]+", clause))),
    )


def shares(text: str, question: str) -> str:
    """9 = 16 - 7 turned, and "1 in 6" and 3:4 as 1/6 and 3/4 if the question asks for a ratio or a probability."""
    text = _TURNED.sub(r"\2 = \1", text)
    if not _SHARE_ASKED.search(question):
        return text
    return _SHARE.sub(r"\1/\2", _ONE_IN.sub(lambda found: f"1/{NUMERALS[found[1]]}", text))


def _counted(words: str) -> tuple[str, ...]:
    """ "more red apples does he": red, apples."""
    kept = []
    for word in words.split():
        if word in _HELPERS:
            break
        kept += [] if word in ("more", "total", "of", "the", "his", "her", "fewer", "less") else [stem(word)]
    return tuple(kept)


_HELPING = (
    "do does did is are was were will would can could has have had should must in on at for to than there "
    "if he she they it you we per each"
)
_HELPERS = frozenset(_HELPING.split())
