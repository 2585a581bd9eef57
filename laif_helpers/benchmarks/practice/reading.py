"""Reads practice problems: turns a text of the world back into its concepts, equations and answer.

The table's phrasings are made into the expressions that read them, so that writing and reading cannot drift apart.
"""

import functools
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers.benchmarks.practice import concepts as table
from laif_helpers.benchmarks.practice import world
from laif_helpers.benchmarks.practice.concepts import CONCEPTS, Concept
from laif_helpers.benchmarks.practice.world import Equation, Problem, Step

_SENTENCE = re.compile(r"(?<=[.?])\s+")


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_FILLS = dict.fromkeys(("n", "m"), r"\d+|x")
_FILLS |= dict.fromkeys(("things", "unit"), _any((*table.THINGS, *table.MONEY)))
_FILLS |= {"thing": _any(thing[:-1] for thing in table.THINGS), "place": _any(table.PLACES)}
_FILLS |= {"who": _any((*table.NAMES, "She", "He")), "name": _any(table.NAMES)}


@dataclass(frozen=True)
class _Pattern:
    """A sentence of the world: its kind, a concept's phrasing if it is one, and the expression that reads its slots."""

    kind: str
    label: str
    reads: re.Pattern[str]


def _pattern(kind: str, label: str, phrasing: str) -> _Pattern:
    parts = string.Formatter().parse(phrasing)
    read = [
        re.escape(literal) + (rf"(?P<{slot}>{_FILLS.get(slot, _FILLS['name'])})" if slot else "")
        for literal, slot, _, _ in parts
    ]
    return _Pattern(kind, label, re.compile("".join(read)))


PATTERNS = (
    *(_pattern("start", "", phrasing) for phrasing in (*table.STARTS, *table.STARTS_PLUS)),
    *(_pattern("ask", "", phrasing) for phrasing in (*table.ASKS, *table.ASKS_PLUS)),
    *(_pattern("distractor", "", phrasing) for phrasing in table.DISTRACTORS),
    *(
        _pattern("step", f"{concept.name}/{mark}{index}", phrasing)
        for concept in CONCEPTS.values()
        for mark, bank in (("", concept.phrasings), ("plus", concept.plus))
        for index, phrasing in enumerate(bank)
    ),
)
"""No sentence fits two of them, which a test holds."""


def recognise(question: str) -> Problem:
    """The problem a text of this world states, with its worked answer; names, numbers and wording may be any.

    Raises ValueError naming the sentence that the grammar does not know, or what the text lacks.
    """
    sentences = _SENTENCE.split(" ".join(question.split()))
    final = _reversed_final(sentences)
    if final is not None:
        sentences = sentences[:-2]
    read = [(*_read(sentence), sentence) for sentence in sentences]
    story = [(pattern, slots) for pattern, slots, _ in read if pattern.kind in ("start", "step")]
    asked = [pattern for pattern, _, _ in read if pattern.kind == "ask"]
    if not story or story[-1][0].kind == "start" or len(asked) != 1:
        raise ValueError(f"not a whole practice problem (a story and one question): {question!r}")
    chain = [CONCEPTS[pattern.label.partition("/")[0]] for pattern, _ in story if pattern.kind == "step"]
    openings = [p for p, _ in story if p.kind == "start" or CONCEPTS[p.label.partition("/")[0]].role == "open"]
    if openings != [story[0][0]]:
        raise ValueError(f"a practice problem has one opening, and it comes first: {question!r}")
    start, numbers = _numbers(chain, story, final)
    equations = world.work_out(chain, numbers, start)
    if not equations:
        raise ValueError(f"a division leaves a remainder: {question!r}")
    if final is not None and equations[-1].value != final:
        raise ValueError(f"the final quantity {final} cannot be reached from a whole number: {question!r}")
    twist = "reversed" if final is not None else _twist(read, equations)
    return Problem(question, _steps(chain, story, equations), twist)


@functools.lru_cache(maxsize=4096)
def _read(sentence: str) -> tuple[_Pattern, dict[str, str]]:
    for pattern in PATTERNS:
        if match := pattern.reads.fullmatch(sentence):
            return pattern, match.groupdict()
    raise ValueError(f"not a sentence of the practice world: {sentence!r}")


def _reversed_final(sentences: list[str]) -> int | None:
    tail = re.fullmatch(world.REVERSED_TAIL.replace("?", r"\?").format(n=r"(\d+)"), " ".join(sentences[-2:]))
    return int(tail.group(1)) if tail else None


def _numbers(chain: list[Concept], story: list[Any], final: int | None) -> tuple[int, list[tuple[int, int]]]:
    """The plain start (0 if a concept opens) and each step's ``(n, m)``; ``x`` is worked out from ``final``."""
    values = [[slots.get(key, "0") for key in ("n", "m")] for _, slots in story]
    if "x" in [values[0][1], *(value for pair in values[1:] for value in pair)]:
        raise ValueError("only the first number of a practice problem can be x")
    if (values[0][0] == "x") != (final is not None):
        raise ValueError("a practice problem with an x gives its final quantity, one without does not")
    if final is not None:
        values[0][0] = str(_unwind(chain, values, final))
    numbers = [(int(n), int(m)) for n, m in values]
    return (numbers[0][0], numbers[1:]) if story[0][0].kind == "start" else (0, numbers)


def _unwind(chain: list[Concept], values: list[list[str]], final: int) -> int:
    """The first number of the story, from its end."""
    value = final
    for concept, (n, m) in zip(reversed(chain), reversed(values), strict=False):
        _, sign, right = concept.equation
        by = right if isinstance(right, int) else int(n if right == "n" else m)
        back = world.make_equation(value, world.INVERSE[sign], by)
        if back is None:
            raise ValueError(f"the final quantity {final} cannot be reached from a whole number")
        value = back.value
    return value


def _steps(chain: list[Concept], story: list[Any], equations: list[Equation]) -> tuple[Step, ...]:
    holder = unit = ""
    steps: list[Step] = []
    for pattern, slots in story:
        holder = slots.get("new") or holder or slots["name"]
        unit = unit or slots.get("things") or slots.get("thing", "") + "s"
        if pattern.kind == "step":
            concept = chain[len(steps)]
            unit = concept.unit or unit
            steps.append(Step(concept.name, pattern.label, equations[len(steps)], holder, unit))
    return tuple(steps)


def _twist(read: Sequence[Any], equations: list[Equation]) -> str:
    if any(pattern.kind == "distractor" for pattern, _, _ in read):
        return "distractor"
    if any("plus" in pattern.label for pattern, _, _ in read):
        return "paraphrase"
    return "larger" if max(max(e.left, e.value) for e in equations) > world.LARGEST else ""
