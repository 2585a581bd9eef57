"""Defines practice problems, and writes them from the table in ``practice.concepts``.

A problem is a chain: an opening gives a quantity, changes work on it, a closing sentence asks for it.
``practice_reading`` goes the other way, from a text to its problem.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers.benchmarks.practice import concepts as table
from laif_helpers.benchmarks.practice.concepts import CONCEPTS, Concept
from laif_helpers.graders.arithmetic import OPERATIONS

LARGEST = 120
"""No quantity of an ordinary problem is larger: what a one-million-parameter model can learn to calculate with."""
LARGEST_SUM = 60
"""No ordinary sum or difference starts higher. Measured: with 120 nano gets 30–55 % of them right, against 100 % of
its products: carrying is the one thing that its practice is too short for."""
TWISTS = ("paraphrase", "distractor", "larger", "reversed")
REVERSED_TAIL = "The answer is {n}. What is x?"

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


@dataclass(frozen=True)
class Equation:
    """``left sign right = value``; whole numbers throughout."""

    left: int
    sign: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.value}"


@dataclass(frozen=True)
class Step:
    """One concept at work: the phrasing's label (``dozen/1``, ``dozen/plus0``), and the equation it calls for.

    ``holder`` has the quantity after the step and ``unit`` is what is counted, for the line of the rationale.
    """

    concept: str
    phrasing: str
    equation: Equation
    holder: str
    unit: str


@dataclass(frozen=True)
class Problem:
    """A question with its worked answer. A reversed one gives the final quantity and asks for the first number."""

    question: str
    steps: tuple[Step, ...]
    twist: str = ""

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(step.concept for step in self.steps)

    @property
    def equations(self) -> list[Equation]:
        """In the order in which they are worked out: a reversed problem goes back from its last step."""
        forward = [step.equation for step in self.steps]
        if self.twist != "reversed":
            return forward
        return [Equation(e.value, INVERSE[e.sign], e.right, e.left) for e in reversed(forward)]

    @property
    def answer(self) -> int:
        return self.equations[-1].value

    @property
    def numbers(self) -> list[int]:
        return [number for e in self.equations for number in (e.left, e.right, e.value)]

    @property
    def rationale(self) -> str:
        """One line per step, in GSM8K's manner, without the final ``####`` line."""
        if self.twist == "reversed":
            return "\n".join(f"Before that it was {equation}." for equation in self.equations)
        return "\n".join(f"{step.holder} has {step.equation} {step.unit}." for step in self.steps)

    @property
    def response(self) -> str:
        """The worked answer as a model is to write it."""
        return f"{self.rationale}\n#### {self.answer}"


def draw_concepts(rng: random.Random, focus: str, steps: int, partners: Sequence[str]) -> tuple[str, ...]:
    """``focus``, with one partner of another operation if ``steps`` is 2; an opening always comes first."""
    if steps == 1:
        return (focus,)
    fits = [p for p in partners if CONCEPTS[p].operation != CONCEPTS[focus].operation]
    if CONCEPTS[focus].role == "open":
        fits = [p for p in fits if CONCEPTS[p].role == "change"]
    fits = [p for p in fits if 2 * _factor(p) * _factor(focus) <= LARGEST]
    if not fits:
        return (focus,)
    partner = rng.choice(fits)
    pair = (focus, partner) if CONCEPTS[focus].role == "open" else (partner, focus)
    if CONCEPTS[partner].role == "change" and CONCEPTS[focus].role == "change" and rng.random() < 0.5:
        pair = (focus, partner)
    return pair


def _factor(concept: str) -> int:
    _, sign, by = CONCEPTS[concept].equation
    return by if sign == "*" and isinstance(by, int) else 1


def compose(rng: random.Random, concepts: Sequence[str], twist: str = "") -> Problem:
    """A problem on these concepts (one or two, an opening first), with names, objects, numbers and wording drawn.

    Raises ValueError for an unknown concept or twist, an opening after another step, or numbers that cannot fit.
    """
    chain = [_concept(name) for name in concepts]
    if not chain or any(concept.role == "open" for concept in chain[1:]):
        raise ValueError(f"concepts {list(concepts)}: one opening at most, and it comes first")
    if twist not in ("", *TWISTS):
        raise ValueError(f"unknown twist {twist!r}; known: {', '.join(TWISTS)}")
    return _write(rng, chain, _draw_numbers(rng, chain, 3 if twist == "larger" else 1), twist)


def _concept(name: str) -> Concept:
    if name not in CONCEPTS:
        raise ValueError(f"unknown concept {name!r}; known: {', '.join(CONCEPTS)}")
    return CONCEPTS[name]


def _draw_numbers(rng: random.Random, chain: Sequence[Concept], scale: int) -> list[tuple[int, int, Equation]]:
    """``(n, m, equation)`` of each step, such that every quantity is whole, positive and small enough to learn."""
    # Every larger problem has a quantity above what an ordinary one may have: the two never overlap.
    low, high, floor = (2, LARGEST // 2, 2) if scale == 1 else (LARGEST // 4, LARGEST * 2, LARGEST + 1)
    for _ in range(2000):
        start = rng.randint(low, high)
        numbers = [
            tuple(rng.randint(least, most * scale) for least, most in (concept.n, concept.m)) for concept in chain
        ]
        equations = work_out(chain, numbers, start)
        if any(e.sign in "+-" and e.left > LARGEST_SUM * scale for e in equations):
            continue
        quantities = [quantity for e in equations for quantity in (e.left, e.value)]
        if equations and min(quantities) >= 2 and floor <= max(quantities) <= LARGEST * scale:
            return [(n, m, e) for (n, m), e in zip(numbers, equations, strict=True)]
    raise ValueError(f"no numbers fit the concepts {[concept.name for concept in chain]} at scale {scale}")


def work_out(chain: Sequence[Concept], numbers: Sequence[Any], start: int) -> list[Equation]:
    """The chain's equations, or [] if a division leaves a remainder."""
    equations: list[Equation] = []
    value = start
    for concept, (n, m) in zip(chain, numbers, strict=True):
        left, sign, right = concept.equation
        bound = {"x": value, "n": n, "m": m}
        equation = make_equation(_bind(left, bound), sign, _bind(right, bound))
        if equation is None:
            return []
        equations.append(equation)
        value = equation.value
    return equations


def _bind(operand: table.Operand, bound: dict[str, int]) -> int:
    return operand if isinstance(operand, int) else bound[operand]


def make_equation(left: int, sign: str, right: int) -> Equation | None:
    if sign == "/" and (right == 0 or left % right):
        return None
    return Equation(left, sign, right, int(OPERATIONS[sign](left, right)))


def _write(rng: random.Random, chain: Sequence[Concept], numbers: list[Any], twist: str) -> Problem:
    """Sentences of a chain whose numbers are drawn."""
    cast = rng.sample(table.NAMES, 4)
    holder, things = cast.pop(), rng.choice(table.THINGS)
    unit, switched = chain[0].unit or things, False
    sentences, steps = [], []
    plain = chain[0].role == "change"
    if plain:
        phrasing = rng.choice(table.STARTS_PLUS if twist == "paraphrase" else table.STARTS)
        sentences.append(phrasing.format(name=holder, n=_first(numbers[0][2].left, twist), things=things))
    for index, (concept, (n, m, equation)) in enumerate(zip(chain, numbers, strict=True)):
        label, phrasing = _phrasing(rng, concept, twist)
        other = cast.pop()
        # A pronoun after two people have been named would be ambiguous.
        who = holder if switched or rng.random() < 0.5 else table.PRONOUNS[holder]
        shown = n if plain or index else _first(n, twist)
        slots = {"name": holder, "who": who, "other": other, "new": other, "n": shown, "m": m, "unit": unit}
        sentences.append(phrasing.format(**slots, things=things, thing=things[:-1], place=rng.choice(table.PLACES)))
        switched = switched or "{new}" in phrasing or "{other}" in phrasing
        holder = other if "{new}" in phrasing else holder
        steps.append(Step(concept.name, label, equation, holder, unit))
    if twist == "distractor":
        extra = rng.choice(table.DISTRACTORS).format(name=holder, other=cast.pop(), n=rng.randint(3, 30))
        sentences.insert(rng.randint(1, len(sentences)), extra)
    ask = rng.choice(table.ASKS_PLUS if twist == "paraphrase" else table.ASKS)
    sentences.append(ask.format(unit=unit, name=holder))
    if twist == "reversed":
        sentences.append(REVERSED_TAIL.format(n=steps[-1].equation.value))
    return Problem(" ".join(sentences), tuple(steps), twist)


def _first(number: int, twist: str) -> str:
    return "x" if twist == "reversed" else str(number)


def _phrasing(rng: random.Random, concept: Concept, twist: str) -> tuple[str, str]:
    bank, mark = (concept.plus, "plus") if twist == "paraphrase" else (concept.phrasings, "")
    index = rng.randrange(len(bank))
    return f"{concept.name}/{mark}{index}", bank[index]
