"""The practice world's grammar as data: concepts, their equation, their phrasings, and the words that fill them.

One table serves both directions: ``practice_world`` writes questions from it and recognises questions by it.

Slots of a phrasing: ``{name}`` who holds the quantity, ``{who}`` the same at the start of a sentence (name or
pronoun), ``{new}`` the person who holds it from now on, ``{other}`` somebody else, ``{things}`` and ``{thing}`` the
objects, ``{unit}`` what is being counted now (the objects, dollars or cents), ``{place}``, ``{n}`` and ``{m}``.
"""

from dataclasses import dataclass

PRONOUNS = {
    **dict.fromkeys(["Mia", "Ana", "Zoe", "Eva", "Lily", "Nora", "Ruth", "Ivy", "Kate", "Rosa", "Tara", "Jane"], "She"),
    **dict.fromkeys(["Tom", "Ben", "Sam", "Max", "Jack", "Omar", "Paul", "Leo", "Hugo", "Finn", "Carl", "Ned"], "He"),
}
NAMES = tuple(PRONOUNS)
# fmt: off
THINGS = (
    "apples", "beads", "books", "buttons", "candles", "cards", "cookies", "eggs", "flags", "flowers",
    "kites", "marbles", "pencils", "plums", "ribbons", "shells", "stamps", "stickers", "stones", "tickets",
)
# fmt: on
MONEY = ("dollars", "cents")
PLACES = ("at school", "at the fair", "at the lake", "in the attic", "in the park", "in the shop", "on the bus")

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


def _row(
    about: str, *phrasings: str, plus: str, n: tuple[int, int] = (2, 9), m: tuple[int, int] = (2, 9), unit: str = ""
) -> Concept:
    """``about``: name, operation, role and the three parts of the equation."""
    name, operation, role, left, sign, right = about.split()
    equation = (left, sign, int(right) if right.isdigit() else right)
    return Concept(name, operation, role, equation, phrasings, (plus,), n, m, unit)


def _counted(name: str, group: str, size: int, most: int) -> Concept:
    return _row(
        f"{name} groups open n * {size}",
        f"{{name}} has {{n}} {group} {{things}}.",
        f"{{name}} buys {{n}} {group} {{things}} {{place}}.",
        f"In a drawer {{name}} keeps {{n}} {group} {{things}}.",
        plus=f"Counted by the {name}, the {{things}} of {{name}} come to {{n}}.",
        n=(2, most),
    )


def _lasting(name: str, period: str, step: str, times: Operand, most: int) -> Concept:
    return _row(
        f"{name} rates open n * {times}",
        f"{{name}} collects {{n}} {{things}} a {step} for {period}.",
        f"For {period} {{name}} finds {{n}} {{things}} every {step}.",
        f"{{name}} gets {{n}} {{things}} each {step} and does so for {period}.",
        plus=f"Over {period}, each {step} brings {{name}} {{n}} {{things}}.",
        n=(2, most),
    )


def _coin(name: str, cents: int, most: int) -> Concept:
    return _row(
        f"{name} money open n * {cents}",
        f"{{name}} has {{n}} {name}s.",
        f"{{name}} finds {{n}} {name}s {{place}}.",
        f"In a jar {{name}} keeps {{n}} {name}s.",
        plus=f"All that {{name}} saved is {{n}} {name}s.",
        n=(2, most),
        unit="cents",
    )


def _legged(name: str, legs: int, most: int) -> Concept:
    return _row(
        f"{name} parts open n * {legs}",
        f"{{name}} wins one {{thing}} for each leg of {{n}} {name}s.",
        f"For each leg of {{n}} {name}s {{name}} gets one {{thing}}.",
        f"{{name}} draws {{n}} {name}s and puts one {{thing}} on every leg.",
        plus=f"{{n}} {name}s walk by, and {{name}} takes one {{thing}} per leg.",
        n=(2, most),
    )


def _share(name: str, fraction: str, parts: int) -> Concept:
    return _row(
        f"{name} fractions change x / {parts}",
        f"{{who}} keeps {fraction} of the {{unit}}.",
        f"Only {fraction} of the {{unit}} are left.",
        f"{{who}} takes home {fraction} of the {{unit}}.",
        plus=f"Of all those {{unit}}, {{name}} can hold on to {fraction}.",
    )


def _scaled(name: str, noun: str, verb: str, times: int) -> Concept:
    return _row(
        f"{name} comparison change x * {times}",
        f"{{new}} has {noun} the {{unit}} of {{name}}.",
        f"{{who}} {verb} the number of {{unit}}.",
        f"{{new}} owns the {noun} of {{name}}'s {{unit}}.",
        plus=f"Next to {{name}}, {{new}} boasts {noun} the number of {{unit}}.",
    )


_TABLE = (
    # -- groups
    _row(
        "box groups open n * m",
        "{name} has {n} boxes of {m} {things} each.",
        "{name} fills {n} bags with {m} {things} each.",
        "{name} lays out {n} rows of {m} {things}.",
        plus="Each of the {n} crates of {name} holds {m} {things}.",
    ),
    _counted("pair", "pairs of", 2, 30),
    _counted("dozen", "dozen", 12, 9),
    _counted("score", "score of", 20, 6),
    # -- rates
    _lasting("days", "{m} days", "day", "m", 9),
    _lasting("week", "a week", "day", 7, 14),
    _lasting("weekend", "a weekend", "day", 2, 30),
    _lasting("year", "a year", "month", 12, 9),
    _lasting("fortnight", "a fortnight", "day", 14, 8),
    # -- money
    _row(
        "price money open n * m",
        "{name} sells {n} {things} for {m} dollars each.",
        "{name} gets {m} dollars for each of {n} {things}.",
        "{n} {things} earn {name} {m} dollars apiece.",
        plus="A buyer pays {name} {m} dollars a piece for {n} {things}.",
        unit="dollars",
    ),
    _coin("nickel", 5, 20),
    _coin("dime", 10, 12),
    # -- parts
    _legged("cow", 4, 20),
    _legged("ant", 6, 15),
    _legged("spider", 8, 12),
    # -- addition
    _row(
        "join addition open n + m",
        "{name} has {n} red and {m} blue {things}.",
        "{name} finds {n} {things} {place} and {m} at home.",
        "{name} got {n} {things} yesterday and {m} today.",
        plus="Of the {things} that {name} owns, {n} are old and {m} are new.",
        n=(11, 60),
    ),
    _row(
        "more addition change x + n",
        "{who} gets {n} more {unit}.",
        "{who} finds another {n} {unit}.",
        "Later {name} picks up {n} more {unit}.",
        plus="An extra {n} {unit} then reach {name}.",
    ),
    _row(
        "gift addition change x + n",
        "{other} gives {name} {n} {unit}.",
        "{name} is given {n} {unit} by {other}.",
        "A present from {other} adds {n} {unit}.",
        plus="Out of kindness {other} lets {name} have {n} {unit}.",
    ),
    # -- subtraction
    _row(
        "give subtraction change x - n",
        "{who} gives {n} {unit} to {other}.",
        "{other} takes {n} of the {unit}.",
        "{who} hands {n} {unit} over to {other}.",
        plus="To please {other}, {name} parts with {n} {unit}.",
    ),
    _row(
        "lose subtraction change x - n",
        "{who} loses {n} {unit}.",
        "Then {n} of the {unit} get lost.",
        "{who} drops {n} {unit} {place}.",
        plus="Bad luck costs {name} {n} {unit}.",
    ),
    # -- fractions
    _share("half", "half", 2),
    _share("third", "a third", 3),
    _share("quarter", "a quarter", 4),
    _share("fifth", "a fifth", 5),
    _row(
        "pile fractions change x / n",
        "{who} makes {n} equal piles of the {unit} and keeps one.",
        "The {unit} are split into {n} equal parts, one for {name}.",
        "{who} shares the {unit} evenly, {n} people in all.",
        plus="There being {n} people, {name} takes just a fair part of the {unit}.",
    ),
    # -- comparison
    _scaled("double", "double", "doubles", 2),
    _scaled("triple", "triple", "triples", 3),
    _scaled("quadruple", "quadruple", "quadruples", 4),
    _row(
        "exceed comparison change x + n",
        "{new} has {n} more {unit} than {name}.",
        "{new} beats {name} by {n} {unit}.",
        "{name} has {n} {unit} less than {new}.",
        plus="Compared with {name}, {new} is {n} {unit} ahead.",
    ),
    _row(
        "fewer comparison change x - n",
        "{new} has {n} fewer {unit} than {name}.",
        "{new} trails {name} by {n} {unit}.",
        "{new} is {n} {unit} short of {name}.",
        plus="Compared with {name}, {new} is {n} {unit} behind.",
    ),
)
CONCEPTS = {concept.name: concept for concept in _TABLE}

STARTS = ("{name} has {n} {things}.", "{name} starts with {n} {things}.", "{n} {things} lie in front of {name}.")
STARTS_PLUS = ("At first {name} owns {n} {things}.",)
ASKS = (
    "How many {unit} does {name} have now?",
    "How many {unit} does {name} end up with?",
    "How many {unit} are {name}'s in the end?",
)
ASKS_PLUS = ("Find the number of {unit} that {name} has in the end.", "What is the final count of {unit} for {name}?")
DISTRACTORS = (
    "{other} is {n} years old.",
    "{name} woke up at {n} that morning.",
    "The bus of {other} leaves in {n} minutes.",
    "{other} lives at number {n}.",
    "It is {n} degrees outside.",
    "There are {n} children in the class of {other}.",
)
