"""Puts one error into a right answer, to test a model's criticism and to replace its own errors."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from laif_helpers.graders import steps


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong answer, the kind of its error and the number of the line that the verifier names."""

    kind: str
    step: str
    text: str


Edit = Callable[["re.Match[str]", random.Random], str]
_EDITS: tuple[tuple[str, Edit], ...] = (
    # what is replaced, and what by: a number, a sign, a letter, two neighbours of a list, a word, an option
    (r"-?\d+", lambda found, rng: str(int(found[0]) + rng.choice((-10, -2, -1, 1, 2, 10)))),
    (r"(?<= )[-+*](?= )", lambda found, rng: rng.choice("+-*".replace(found[0], ""))),
    (r"before|after", lambda found, rng: "before" if found[0] == "after" else "after"),
    (r'(?<==")[a-z](?=")', lambda found, rng: chr((ord(found[0]) - 96) % 26 + 97)),
    (r'("?[a-z ]+"?)( < |, | )("?[a-z ]+"?)', lambda found, rng: f"{found[3]}{found[2]}{found[1]}"),
    (r'(?<=[" ])[a-z]{3,}(?=[". ])', lambda found, rng: f"{found[0]}q"),
    (r"\(([A-G])\)", lambda found, rng: "(B)" if found[1] == "A" else "(A)"),
)


DRAWS = 6
"""Places that each edit is tried at."""


def mutants(name: str, question: str, rng: random.Random) -> Iterator[Mutant]:
    """A wrong answer for each kind of error that an edit of the question's canonical answer leads to: a line changed,
    left out, or the answer cut off. The verifier says what kind it is, and where."""
    module = steps.task(name)
    lines = [str(step) for step in module.solve(module.read(question))]
    edited = [_edited(lines, pattern, edit, rng) for pattern, edit in _EDITS for _ in range(DRAWS)]
    found: dict[str, Mutant] = {}
    for text in (*edited, *_shortened(lines, rng)):
        verdict = module.check(question, text)
        if not verdict.correct and verdict.step:
            found.setdefault(verdict.kind, Mutant(verdict.kind, verdict.step, text))
    yield from found.values()


def _edited(lines: list[str], pattern: str, edit: Edit, rng: random.Random) -> str:
    """The lines with one random match of ``pattern`` replaced, behind the line's own number; unchanged without one."""
    places = re.compile(pattern)
    found = [(at, match) for at, line in enumerate(lines) for match in places.finditer(line, line.index(")") + 1)]
    if not found:
        return "\n".join(lines)
    at, match = rng.choice(found)
    line = lines[at][: match.start()] + edit(match, rng) + lines[at][match.end() :]
    return "\n".join([*lines[:at], line, *lines[at + 1 :]])


def _shortened(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(lines) - 1)
    return ["\n".join(lines[:at] + lines[at + 1 :]), "\n".join(lines[: at + 1])]
