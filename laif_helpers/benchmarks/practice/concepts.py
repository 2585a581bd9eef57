"""Reads the practice world's grammar (``concepts.yaml``): concepts, their equations and phrasings, and what fills them.

One table serves both directions: ``world`` writes questions from it, ``reading`` recognises questions by it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("concepts.yaml").read_text(encoding="utf-8"))
PRONOUNS = {name: pronoun for pronoun, names in _TABLE["names"].items() for name in names}
NAMES = tuple(PRONOUNS)
THINGS, MONEY, PLACES = (tuple(_TABLE[key]) for key in ("things", "money", "places"))
STARTS, STARTS_PLUS, ASKS, ASKS_PLUS, DISTRACTORS = (
    tuple(_TABLE[key]) for key in ("starts", "starts_plus", "asks", "asks_plus", "distractors")
)

Operand = str | int
"""``x`` the quantity so far, ``n`` or ``m`` a number of the phrasing, or a constant that the word stands for."""


@dataclass(frozen=True)
class Concept:
    """One thing to know. ``role``: ``open`` makes the first quantity of a story, ``change`` works on the last one.

    ``equation`` is (left, operator, right); ``n`` and ``m`` are the ranges their numbers are drawn from; ``unit``
    is what an opening counts when it is not the objects themselves. ``plus`` is the out-of-domain wording, kept
    for ``practice_plus`` alone.
    """

    name: str
    operation: str
    role: str
    equation: tuple[Operand, str, Operand]
    phrasings: tuple[str, ...]
    plus: tuple[str, ...]
    n: tuple[int, int]
    m: tuple[int, int]
    unit: str


def _concept(name: str, row: dict[str, Any]) -> Concept:
    left, sign, right = row["equation"].split()
    n, m = (tuple(row.get(key, (2, 9))) for key in ("n", "m"))
    equation = (left, sign, int(right) if right.isdigit() else right)
    phrasings, plus = tuple(row["phrasings"]), (row["plus"],)
    return Concept(name, row["operation"], row["role"], equation, phrasings, plus, n, m, row.get("unit", ""))


CONCEPTS = {name: _concept(name, row) for name, row in _TABLE["concepts"].items()}
