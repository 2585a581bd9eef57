"""Puts one error of a known kind into a right answer: what each verifier must find, and name the line of."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from string import ascii_lowercase

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, Step

Edit = Callable[[str, random.Random], str | None]
"""A line's text -> the text with an error in it, or None if it has no place for this one."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong answer, the kind of its error and the number of the line that a verifier should name."""

    kind: str
    step: str
    text: str


def mutants(name: str, question: str, rng: random.Random) -> Iterator[Mutant]:
    """One mutant of each kind that the question's canonical answer has a place for."""
    module = steps.task(name)
    solved = module.solve(module.read(question))
    yield from _out_of_line(solved, rng)
    for kind, edit in EDITS[name]:
        edited = [
            (at, text) for at, step in enumerate(solved) if (text := edit(step.text, rng)) not in (None, step.text)
        ]
        if edited:
            at, text = rng.choice(edited)
            changed = [*solved[:at], Step(solved[at].label, str(text)), *solved[at + 1 :]]
            yield Mutant(kind, solved[at].label, steps.write(changed))
    if name == "logical_deduction":
        yield from _misplaced(solved, rng)


def _out_of_line(solved: list[Step], rng: random.Random) -> Iterator[Mutant]:
    """Errors of any task: a line that is missing, misplaced, cut off, no line, or one too many."""
    at = rng.randrange(len(solved) - 1)
    yield Mutant("missing_step", solved[at + 1].label, steps.write(solved[:at] + solved[at + 1 :]))
    yield Mutant("unfinished", solved[at].label, steps.write(solved[:at]))
    junk = [*map(str, solved[:at]), "I am not sure about this one.", *map(str, solved[at + 1 :])]
    yield Mutant("format", solved[at].label, "\n".join(junk))
    yield Mutant("extra", FINAL, f"{steps.write(solved)}\n(1) {solved[0].text}")
    if len(solved) > 2:
        at = rng.randrange(len(solved) - 2)
        swapped = [*solved[:at], solved[at + 1], solved[at], *solved[at + 2 :]]
        yield Mutant("order", solved[at + 1].label, steps.write(swapped))


def _misplaced(solved: list[Step], rng: random.Random) -> Iterator[Mutant]:
    """An object that belongs to a later place, and one that has its place already."""
    order = solved[-2].data
    at = rng.randrange(len(order) - 1)
    later, earlier = rng.choice(order[at + 1 :]), rng.choice(order[: at + 1])
    for kind, place, name in (("placement", at, later), ("placed_twice", at + 1, earlier)):
        line = len(solved) - 2 - len(order) + place
        step = Step(solved[line].label, f"Place {place + 1}: {name}.")
        yield Mutant(kind, step.label, steps.write([*solved[:line], step, *solved[line + 1 :]]))


def _replace(pattern: str, new: Callable[[re.Match[str], random.Random], str]) -> Edit:
    """One random match of ``pattern`` (its group 1, if it has one) becomes ``new(match, rng)``."""

    def edit(text: str, rng: random.Random) -> str | None:
        found = list(re.finditer(pattern, text))
        if not found:
            return None
        match = rng.choice(found)
        group = 1 if match.re.groups else 0
        return text[: match.start(group)] + new(match, rng) + text[match.end(group) :]

    return edit


def _on(words: str, edit: Edit) -> Edit:
    """The edit, on lines that hold ``words`` alone."""
    return lambda text, rng: edit(text, rng) if words in text else None


def _other_number(match: re.Match[str], rng: random.Random) -> str:
    return str(int(match[1]) + rng.choice((-10, -2, -1, 1, 2, 10)))


def _other(among: str) -> Callable[[re.Match[str], random.Random], str]:
    """Another character of ``among`` than the one that stands there."""
    return lambda match, rng: rng.choice([character for character in among if character != match[1]])


_other_digit, _other_letter, _other_operator = map(_other, ("123456789", ascii_lowercase, "+-*"))


def _other_day(match: re.Match[str], rng: random.Random) -> str:
    return f"{rng.choice([day for day in range(1, 29) if day != int(match[1])]):02}"


def _listed(pattern: str, between: str, least: int, change: Callable[[list[str], random.Random], object]) -> Edit:
    """What group 1 lists, changed in place, if it lists so many."""

    def edit(text: str, rng: random.Random) -> str | None:
        match = re.search(pattern, text)
        parts = match[1].split(between) if match else []
        if not match or len(parts) < least:
            return None
        change(parts, rng)
        return text[: match.start(1)] + between.join(parts) + text[match.end(1) :]

    return edit


def _exchanged(pattern: str, between: str) -> Edit:
    """Two neighbours exchanged."""

    def exchange(parts: list[str], rng: random.Random) -> None:
        at = rng.randrange(len(parts) - 1)
        parts[at : at + 2] = parts[at + 1], parts[at]

    return _listed(pattern, between, 2, exchange)


def _without_one(pattern: str, between: str) -> Edit:
    return _listed(pattern, between, 3, lambda parts, rng: parts.pop(rng.randrange(len(parts))))


_LETTERS = r"letters?: (.*)\.$"
_CHAIN = r"(?:calculate [A-Z]|equation is [^=]+) = "
_EQUATIONS: list[tuple[str, Edit]] = [
    ("copy", _on("written as", _replace(r'(?<=[( ])-?(\d)\b(?=[^"]*$)', _other_digit))),
    ("structure", _on("written as", _replace(r'[A-H)] ([-+*]) (?=[^"]*",)', _other_operator))),
    ("order", _replace(r"Let's calculate ([A-Z]) = ", lambda match, rng: "Z")),
    ("expression", _replace(r"Let's calculate [A-Z] = \([^=]*?\b(\d)\b[^=]*\) = ", _other_digit)),
    ("no_working", _replace(rf"{_CHAIN}(.* = )-?\d+\.$", lambda match, rng: "")),
    ("arithmetic", _replace(rf"{_CHAIN}.*= (-?\d+)\.$", _other_number)),
    ("substitution", _replace(r"equation is [^=]+ = [^=]*?(\d+)\b[^=]* = ", _other_number)),
    ("malformed", _on("calculate", _replace(r"\)( = -?\d+)\.$", lambda match, rng: ") = 1"))),
    ("unreduced", _on("calculate", _replace(r"( = -?\d+)\.$", lambda match, rng: ""))),
    ("too_large", _replace(rf"{_CHAIN}.*= (-?\d+)\.$", lambda match, rng: f"{rng.randrange(10**13, 10**20)}")),
    ("final_answer", _replace(r"So the answer is (-?\d+)\.", _other_number)),
]
_WORDS: list[tuple[str, Edit]] = [
    ("letter", _replace(r'"="([a-z])" \(', _other_letter)),
    ("letter_number", _replace(r'"="[a-z]?" \((\d+)\)', _other_number)),
    ("letter_index", _replace(r"looking at their ([a-z]+) letters", lambda match, rng: "eighth")),
    ("missing_word", _without_one(_LETTERS, ", ")),
    ("duplicated_word", _replace(r'letters?: ("\w+"="\w?" \(\d+\))', lambda match, rng: f"{match[1]}, {match[1]}")),
    ("unknown_word", _replace(r'^Hence, we have .*"([a-z]+)"', lambda match, rng: match[1] + "q")),
    ("group", _replace(r"(?:have: | < )\((\d+)\)", _other_number)),
    ("not_ascending", _exchanged(r"We now have: (.*)\.$", " < ")),
    ("word_order", _exchanged(r"Hence, we have (.*)\.$", " < ")),
    ("unsorted", _replace(r"^Hence, we have .*?( < )", lambda match, rng: " ? ")),
    ("final_answer", _exchanged(r"So the answer is: (.*)\.$", " ")),
]
_OPTIONS: list[tuple[str, Edit]] = [
    ("no_such_option", _replace(r"So the answer is \(([A-G])\)", lambda match, rng: "Q")),
    ("final_answer", _replace(r"So the answer is \(([A-G])\)", lambda match, rng: "B" if match[1] == "A" else "A")),
]
_DATES: list[tuple[str, Edit]] = [
    ("relation", _replace(r" is (\d+) (?:day|week|month|year)s? (?:after|before)", _other_number)),
    ("relation", _replace(r"(after|before)", lambda match, rng: "before" if match[1] == "after" else "after")),
    ("base_date", _replace(r"\(\d\d/(\d\d)/", _other_day)),
    ("base_date", _replace(r"\(\d\d/\d\d/(\d{4})\)", _other_number)),
    ("date_arithmetic", _replace(r"so it is \d\d/(\d\d)/", _other_day)),
    ("date_arithmetic", _replace(r"so it is \d\d/\d\d/(\d{4})", _other_number)),
    ("impossible_date", _replace(r"so it is (\d\d/\d\d)/", lambda match, rng: rng.choice(("02/30", "13/01", "04/31")))),
]
_PLACES: list[tuple[str, Edit]] = [
    ("clue", _replace(r'^(.+): "', lambda match, rng: f"{match[1]} too")),
    ("pattern", _replace(r': "(.*)"', lambda match, rng: " ".join(re.findall(r"\?+|[^? ][^?]*[^? ]", match[1])[::-1]))),
    ("unknown_object", _replace(r"^Place \d: (.+)\.$", lambda match, rng: "ghost")),
    ("place_number", _replace(r"^Place (\d): ", _other_digit)),
    ("order_line", _exchanged(r"^So the order is (.*)\.$", ", ")),
    ("statement", _replace(r"^(.+)\. So the answer", lambda match, rng: f"{match[1]} indeed")),
]
EDITS: dict[str, list[tuple[str, Edit]]] = {
    "multistep_arithmetic": _EQUATIONS,
    "word_sorting": _WORDS,
    "date_understanding": _DATES + _OPTIONS,
    "logical_deduction": _PLACES + _OPTIONS,
}
