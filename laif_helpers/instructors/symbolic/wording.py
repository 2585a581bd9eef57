"""Reads from a question's wording which numbers must stay, which constants it implies, and how far one may move."""

import itertools
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from laif_helpers.graders.numbers import PARTS, WORDS, Number

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("wording.yaml").read_text(encoding="utf-8"))
_FACTS, _LABELS, _MONTHS, _SAID = ("|".join(_TABLE[name]) for name in ("facts", "labels", "months", "members"))
_CANONICAL, _DEMANDED, KINDS = (
    {key: "|".join(phrases) for key, phrases in _TABLE[name].items()} for name in ("canonical", "demanded", "kinds")
)
"""``KINDS``: of problems, and what tells that a text is one."""
_MONEY_PIECES = r"(?:[- ]?(?:dollar|cent))?[ -](?:bills?|notes?|coins?|pieces?)\b"
_MEMBERS = re.compile(rf"\b(?:{_SAID})\b", re.IGNORECASE)
_LIST = re.compile(r"(?:\w[\w'-]*(?: \w[\w'-]*){0,3}, )+(?:\w[\w'-]*(?: \w[\w'-]*){0,3},? )?(?:and|or) \w")
_NAMES = re.compile(r"[A-Z]\w+(?:(?:, (?:and |or )?| and | or | & )(?:[A-Z]\w+|[Ii]\b))+")


def demanded(text: str) -> set[Fraction]:
    """Constants that the wording all but demands, so an equal quantity cannot be distinguished from them: 2 for twice,
    100 for percent, 3 and 2/3 for a third …"""
    lower = text.lower()
    found = {Fraction(value) for value, cue in _DEMANDED.items() if re.search(cue, lower)}
    for part in re.findall(r"\b(half|third|quarter|fourth|fifth|tenth)", lower):
        share = Fraction(1, PARTS[part])
        found |= {1 / share, share, 1 - share}
    return found


def usual(numbers: list[Number]) -> set[Fraction]:
    """Constants that need no cue, less the question's own numbers and what one operation on two of them gives: a
    solution may have computed that in its head."""
    values = {number.value for number in numbers}
    made = {made for a, b in itertools.permutations(values, 2) for made in (a + b, a - b, a * b, a / b if b else a)}
    return {Fraction(value) for value in _TABLE["conversions"]} - made - values | {
        Fraction(1),
        Fraction(1, 2),
        Fraction(3, 2),
    }


def listed(text: str) -> set[Fraction]:
    """How many people or things the text lists by name, and one more (the narrator is often not in the list)."""
    sizes = set()
    for match in _NAMES.finditer(text):
        sizes.add(Fraction(len(re.findall(r"[A-Z]\w+|\b[Ii]\b", match.group()))))
    for match in _LIST.finditer(text):
        sizes.add(Fraction(match.group().count(",") + 1))
        sizes.add(Fraction(match.group().count(",") + 2))
    return sizes


def parts_of(number: Number) -> set[Fraction]:
    """Constants that a number that stays explains: 3/4 gives 3, 4, 0.75 and what is left of a whole; so do 75 %."""
    share = number.value / 100 if number.percent else number.value
    if not number.percent and number.style not in ("fraction", "spoken"):
        return {number.value}
    top, bottom = share.numerator, share.denominator
    words = [WORDS[word] for word in re.findall(r"[a-z]+", number.text.lower()) if word in WORDS]
    shown = {Fraction(part) for part in [*re.findall(r"\d+", number.text), *words]}
    forms = {share, 1 - share, 1 + share}
    if number.percent:
        return shown | forms | {100 - number.value, 100 + number.value}
    return shown | forms | {Fraction(top), Fraction(bottom), Fraction(bottom - top)}


def stays(question: str, number: Number) -> str:
    """Why ``number`` must keep its value, or "" if it may vary."""
    before, after = question[: number.start], question[number.end :]
    if number.style not in ("digits", "word"):
        return number.style
    if number.value in (0, 1):
        return "one or none"
    small = number.value <= 6 and number.value.denominator == 1
    checks = {
        "clock": re.match(r"\s*(?:[ap]\.?m\b|[AP]\.?M\b|o'? ?clock|noon)", after) or re.search(r"\bat $", before),
        "date": re.search(rf"(?:{_MONTHS})\.? (?:the )?$", before) or re.match(rf" (?:of )?(?:{_MONTHS})\b", after),
        "year": not number.money and re.fullmatch(r"(?:1[6-9]|20)\d\d", number.text),
        "label": re.search(rf"(?:\b(?:{_LABELS}) |#|\bNo\. ?|[A-Za-z]-?)$", before)
        or re.match(r"[A-Z]|-?(?:th|st)\b", after),
        "range": re.match(r"\s?[-–]\s?\$?\d", after) or re.search(r"\d\s?[-–]\s?\$?$", before),
        "ratio": re.match(r"\s?:\s?\d", after) or re.search(r"\d\s?:\s?$", before),
        "fact": number.value <= 12 and re.match(rf"[- ](?:\w+[- ])?(?:{_FACTS})\b", after),
        "denomination": re.match(_MONEY_PIECES, after),
        "calendar": re.match(
            rf"[ -]?(?:{_CANONICAL.get(int(number.value), '(?!)')}|(?:days|hours|weeks|minutes) in )", after
        ),
        "list": small
        and re.match(r"[ -](?:[\w'-]+ ){0,6}?[\w'-]+(?:: | ?\(| ?[-–—] |, (?:[A-Z]|[a-z]+ing |one |the ))", after),
        "kinds": small
        and re.match(r" (?:different |other )?(?:types?|kinds?|sorts?|colou?rs?|flavou?rs?|varieties)\b", after),
        "members": small and number.kind == "count" and _names_members(question, number),
    }
    return next((reason for reason, hit in checks.items() if hit), "")


def _names_members(question: str, number: Number) -> bool:
    """A small count whose members the text then names separately, or a group of named people of that size."""
    after = question[number.end :]
    if re.match(r" (?:times?|hours?|days?|weeks?|months?|years?|minutes?|miles?|more|less|fewer)\b", after):
        return False
    return bool(_MEMBERS.search(question)) or number.value in listed(question)


def limit(question: str, number: Number) -> Fraction | None:
    """The largest value that still makes sense, if the wording sets one."""
    after = question[number.end : number.end + 40]
    before = question[max(0, number.start - 30) : number.start]
    if number.percent and number.value <= 100:
        return Fraction(99)
    caps = [
        (r" (?:more )?hours? (?:of \w+ )?(?:a|per|each|every) (?:day|night|\w*day\b)|-hour (?:work ?day|shift)", 16),
        (r" (?:more )?(?:days?|times?|nights?) (?:a|per|each|every|in a) week", 6),
        (r" minutes (?:of|in|past|to|before|after) (?:an|the|each|every) hour", 59),
        (r"[- ]years?[- ]old| years of age", 99),
        (r" months? (?:a|per|of the|in a) year", 11),
    ]
    for cue, cap in caps:
        if re.match(cue, after):
            return Fraction(cap)
    if re.search(r"\b(?:aged?|turned|turns?|is|was|be) $", before) and re.match(r"(?: years?)?[ ,.;]?", after):
        return Fraction(99) if number.value <= 99 and number.kind == "count" else None
    if number.value <= 100 and re.search(r"\b(?:scor|grade|exam|test)", question) and not number.money:
        return Fraction(100)
    return None


def answer_limit(question: str, answer: Fraction) -> Fraction | None:
    """The largest answer that still makes sense: hours of one day, minutes of one hour, a share of a whole."""
    asked = re.split(r"[.?!]\s+", question.strip())[-1]
    caps = [
        (r"how many hours\b.*\b(?:day|daily|night|tonight|today|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\b", 24),
        (r"\bwhat percent|\bpercentage\b|\bprobability|\bchance\b", 100),
        (r"\bhow old\b|\b(?:age|years old)\b", 100),
        (r"how many (?:more )?days\b.*\b(?:a|per|each|every|in a|of the) week\b", 7),
    ]
    return next((Fraction(cap) for cue, cap in caps if answer <= cap and re.search(cue, asked, re.I)), None)


def relations(numbers: list[Number]) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Sums ``a = b + c`` among a question's numbers of one kind: stated twice, they must stay true."""
    found = []
    for kind in ("percent", "money", "count"):
        values = sorted({n.value for n in numbers if n.kind == kind})
        for i, low in enumerate(values):
            found += [(low + high, low, high) for high in values[i:] if low + high in values and low + high > 5]
    return found
