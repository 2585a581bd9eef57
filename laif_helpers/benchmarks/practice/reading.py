"""Reads practice problems: turns a text of the world back into its concepts, equations and answer.

The index over the table's phrasings is built by reading each of them as a sentence, so that writing and reading
cannot drift apart; two phrasings that could not be distinguished are refused when the module loads.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers.benchmarks.practice import concepts as table
from laif_helpers.benchmarks.practice import world
from laif_helpers.benchmarks.practice.concepts import CONCEPTS, Concept
from laif_helpers.benchmarks.practice.world import Equation, Problem, Step

_WORDS = sorted(
    [*table.PRONOUNS, *table.THINGS, *table.MONEY, *(t[:-1] for t in table.THINGS), *table.PLACES, "She", "He", "x"],
    key=len,
)[::-1]
_SLOT = re.compile(rf"\d+|\b(?:{'|'.join(_WORDS)})\b")
_SENTENCE = re.compile(r"(?<=[.?])\s+")


@dataclass(frozen=True)
class _Pattern:
    """What a sentence's skeleton stands for: a kind, a concept if it is one, and the slots in order."""

    kind: str
    label: str
    slots: tuple[str, ...]


def _skeleton(sentence: str) -> str:
    """A sentence with every word that fills a slot replaced by the slot's sort, so that it can be looked up."""
    return _SLOT.sub(lambda match: _sort(match.group()), sentence)


def _sort(word: str) -> str:
    if word.isdigit() or word == "x":
        return "<n>"
    if word in table.THINGS or word in table.MONEY:
        return "<unit>"
    if word + "s" in table.THINGS:
        return "<thing>"
    return "<place>" if word in table.PLACES else "<name>"


_FILLER = {
    "n": "7",
    "m": "7",
    "things": table.THINGS[0],
    "unit": table.THINGS[0],
    "thing": table.THINGS[0][:-1],
    "place": table.PLACES[0],
}


def _pattern(phrasing: str) -> tuple[str, tuple[str, ...]]:
    """Skeleton of a phrasing and its slots; a literal word that could fill a slot is a slot named ''."""
    sentence, slots = "", []
    for literal, slot, _, _ in string.Formatter().parse(phrasing):
        slots += [""] * len(_SLOT.findall(literal))
        sentence += literal
        if slot:
            slots.append(slot)
            sentence += _FILLER.get(slot, table.NAMES[0])
    return _skeleton(sentence), tuple(slots)


def _index() -> dict[str, _Pattern]:
    entries = [("start", "", p) for p in (*table.STARTS, *table.STARTS_PLUS)]
    entries += [("ask", "", p) for p in (*table.ASKS, *table.ASKS_PLUS)]
    entries += [("distractor", "", p) for p in table.DISTRACTORS]
    for concept in CONCEPTS.values():
        entries += [("step", f"{concept.name}/{i}", p) for i, p in enumerate(concept.phrasings)]
        entries += [("step", f"{concept.name}/plus{i}", p) for i, p in enumerate(concept.plus)]
    index: dict[str, _Pattern] = {}
    for kind, label, phrasing in entries:
        skeleton, slots = _pattern(phrasing)
        if skeleton in index:
            raise ValueError(f"two phrasings cannot be distinguished: {index[skeleton].label!r} and {label!r}")
        index[skeleton] = _Pattern(kind, label, slots)
    return index


_INDEX = _index()


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


def _read(sentence: str) -> tuple[_Pattern, dict[str, str]]:
    pattern = _INDEX.get(_skeleton(sentence))
    if pattern is None:
        raise ValueError(f"not a sentence of the practice world: {sentence!r}")
    words = _SLOT.findall(sentence)
    return pattern, {slot: word for slot, word in zip(pattern.slots, words, strict=True) if slot}


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
