"""Knows units that convert into one another, and brings an answer to the unit that its gold answer has."""

import re
from fractions import Fraction

from laif_helpers.graders.languages import TABLE
from laif_helpers.graders.numbers import parse, plain

UNITS = {
    name: (dimension, int(size))
    for dimension, row in TABLE["scales"].items()
    for names, size in re.findall(r"([a-z ]+) (\d+)", row)
    for name in names.split()
}
"""Units that convert into one another: their dimension, and their size in the smallest of it."""

_CONTRARY = [[re.compile(pattern) for pattern in row] for row in TABLE["contrary"]]


def stem(word: str) -> str:
    """A word without the s of a plural or of an owner."""
    word = word.removesuffix("'s")
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word


def unit(text: str, end: int) -> tuple[str, int] | None:
    """The dimension and size of the unit that stands at ``end``."""
    behind = re.compile(r"[\s-]?([a-zA-Z]+)").match(text, end)
    word = behind[1].casefold() if behind else ""
    return UNITS.get(word) or UNITS.get(stem(word))


def unit_of(gold: str) -> str:
    """The unit that stands behind a gold number ("hours" of "3 hours"); "" if none that converts does."""
    number = parse(gold)
    behind = re.fullmatch(r"\s?([a-zA-Z]{2,})\W*", plain(gold)[number.end :]) if number else None
    return behind[1].casefold() if behind and unit(behind[1], 0) else ""


def asked_unit(question: str) -> str:
    """The unit whose count a question asks for ("how many hours"); "" if none that converts."""
    if "$" in question and re.search(r"(?i)\bhow much\b", question):
        return "dollars"
    asked = re.findall(r"\bhow many (?:more |total |full )?([a-z]+)", question.casefold())
    return asked[-1] if asked and unit(asked[-1], 0) else ""


def in_unit(text: str, name: str) -> str:
    """ "3 hours" for "180 minutes" and "2 hours and 60 minutes" if ``name`` is hours; no unit that is written for
    several ("m") is taken for one."""
    wanted, text = unit(name, 0), text.replace("¢", " cents")
    assert wanted
    names = [each for each, (dimension, _) in UNITS.items() if dimension == wanted[0] and each != "m"]
    part = rf"(\d[\d,]*(?:\.\d+)?)\s?((?:{'|'.join(sorted(names, key=len, reverse=True))})(?:s|es)?)\b(?![/^²³])"
    row = re.compile(rf"(?<![\w.,/-]){part}(?:(?:,?\s(?:and\s)?){part})*", re.IGNORECASE)

    own = any(unit(word, 0) == wanted for _, word in re.findall(part, text, re.IGNORECASE))

    def converted(match: "re.Match[str]") -> str:
        found = [(Fraction(count.replace(",", "")), unit(word, 0)) for count, word in re.findall(part, match[0], re.I)]
        if all(each == wanted for _, each in found):
            return match[0]
        value = sum(count * each[1] for count, each in found if each) / Fraction(wanted[1])
        beside = own and wanted not in (each for _, each in found) and 1000 % value.denominator
        return " " if beside else f"{value} {name}"  # "8 km (about 5 miles)"

    return row.sub(converted, text)


def contrary(gold: str, text: str) -> bool:
    """Whether the gold answer is in dollars and the text speaks of euros alone, or the like."""
    for row in _CONTRARY:
        own = next((each for each in row if each.search(gold)), None)
        if own and not own.search(text) and any(each.search(text) for each in row):
            return True
    return False
