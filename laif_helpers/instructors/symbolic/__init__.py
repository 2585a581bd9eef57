"""Varies GSM8K questions without a key or a network: draws new numbers, and recomputes the gold solution's own steps.

It reads the chat text of a request and nothing else, like any other instructor. The gold solution's calculator
marks (``<<48/2=24>>``, Cobbe et al. 2021, arXiv 2110.14168) say how the answer follows from the question's
numbers; with other numbers, recomputed, question and solution stay right by construction. A problem is left
alone, with the reason, unless every number of its question and solution is accounted for.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable

from laif_helpers.graders.numbers import Number
from laif_helpers.instructors import prompts
from laif_helpers.instructors.prompts import LABELS
from laif_helpers.instructors.symbolic.chain import Solution, understand
from laif_helpers.instructors.symbolic.numbers import find, plain
from laif_helpers.instructors.symbolic.program import NotVariable
from laif_helpers.instructors.symbolic.vary import Variation, Variator
from laif_helpers.instructors.symbolic.wording import KINDS
from laif_helpers.records import Message

_UNABLE = "No new numbers can be put into this problem: "
_NO_DRAW = "none that could be drawn keep its wording and every number's reading true"


def answer(messages: list[Message], *, seed: int) -> str:
    """The reply to one request: a diagnosis, then up to the requested number of samples.

    A request of three kinds (le, lec, auggpt) is recognised by its labelled blocks. If the problem cannot be
    varied the reply holds the diagnosis with the reason and no sample; if fewer variations exist than asked
    for, those. Equal messages and seed give an equal reply. Raises ValueError if the request lacks a block.
    """
    blocks = _blocks(messages)
    wanted = prompts.wanted(blocks)
    right = prompts.numbered(blocks.get("right", ""))
    try:
        solution = understand(blocks["question"], blocks["gold"])
    except NotVariable as reason:
        return prompts.reply(f"{_UNABLE}{reason}.", [])
    variator = Variator(solution)
    contrast, beyond = _contrast(solution, right) if right else ("", set())
    rng = random.Random(f"{seed} {blocks['question']}")
    samples = _samples(variator, wanted, beyond, rng)
    diagnosis = _diagnosis(solution, blocks.get("student"), contrast)
    pairs = [(sample.question, sample.response) for sample in samples]
    return prompts.reply(diagnosis if samples else f"{diagnosis} {_UNABLE}{_NO_DRAW}.", pairs)


def coverage(problems: Iterable[tuple[str, str]]) -> Counter[str]:
    """How many (question, gold solution) pairs can be varied ("varied"), and the reason for each of the rest."""
    counts: Counter[str] = Counter()
    for question, solution in problems:
        try:
            variator = Variator(understand(question, solution))
        except NotVariable as reason:
            counts[str(reason)] += 1
            continue
        found = variator.draw(random.Random(f"0 {question}"), set(variator.free))
        counts["varied" if found else _NO_DRAW] += 1
    return counts


def _blocks(messages: list[Message]) -> dict[str, str]:
    """The request's blocks; ``question`` is the one that is asked about. Raises ValueError if one is missing."""
    found = prompts.blocks(messages)
    asked = next((name for name in ("wrong", "vary", "answered") if found.get(name)), "wrong")
    for name in (asked, "gold", "task"):
        if not found.get(name):
            raise ValueError(
                f"the request has no block '### {LABELS[name]}' with text in it; the symbolic instructor needs it"
            )
    return found | {"question": found[asked]}


def _samples(variator: Variator, n: int, beyond: set[int], rng: random.Random) -> list[Variation]:
    """Up to ``n`` different variations.

    With a contrast, two in three change only the numbers beyond what the student can do and the third only the
    others; a choice of numbers that yields nothing new widens to all.
    """
    every = set(variator.free)
    inside, outside = every & beyond, every - beyond
    plan = [inside or every, inside or every, outside or every]
    found: dict[str, Variation] = {}
    for i in range(n):
        for leaves in (plan[i % 3], plan[i % 3], every, every):
            new = variator.draw(rng, leaves)
            if new and new.question not in found:
                found[new.question] = new
                break
        if not found:
            break
    return list(found.values())


def _kinds(text: str) -> list[str]:
    return [name for name, pattern in KINDS.items() if re.search(pattern, text, re.IGNORECASE)]


def _contrast(solution: Solution, right: list[str]) -> tuple[str, set[int]]:
    """What the failed question has that no right one has, in words, and the leaves that belong to it."""
    ours, theirs = _kinds(solution.question), {kind for text in right for kind in _kinds(text)}
    lacking = [kind for kind in ours if kind not in theirs]
    shared = [kind for kind in ours if kind in theirs]
    can = f"The student can handle {_and(shared)}" if shared else "The student can answer simpler questions"
    if lacking:
        asked = [(leaf, _kinds(_clause(solution.question, n))) for n, leaf in solution.slots]
        leaves = {leaf for leaf, kinds in asked if leaf is not None and set(kinds) & set(lacking)}
        return f"{can}, and fails where the question adds {_and(lacking)}", leaves
    most = max(len(find(text)) for text in right)
    if len(solution.slots) > most:
        leaves = {leaf for _, leaf in solution.slots[most:] if leaf is not None}
        return f"{can} with up to {most} numbers, and fails where there are {len(solution.slots)}", leaves
    steps = len(solution.equations)
    return f"{can}, and fails where {steps} step{'s' * (steps > 1)} must be put together in a new setting", set()


def _clause(text: str, number: Number) -> str:
    before = re.split(r"[.,;:?!](?=\s)", text[: number.start])[-1]
    after = re.split(r"[.,;:?!](?=\s|$)", text[number.end :])[0]
    return before + number.text + after


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _diagnosis(solution: Solution, student: str | None, contrast: str) -> str:
    """Where the student's answer leaves the solution's steps; for lec the boundary comes first."""
    if student is None:
        return "A new version of the same problem."
    written = {number.value for number in find(student, fractions=False)}
    values = [(e, solution.program.value(r)) for e, r in zip(solution.equations, solution.steps, strict=True)]
    missed = next(((i, e) for i, (e, value) in enumerate(values, start=1) if value not in written), None)
    if missed:
        where = f"step {missed[0]} of {len(values)}, {missed[1]}, is the first whose result the answer does not reach"
    else:
        right = plain(solution.program.value(solution.answer))
        where = f"every step's result appears in the answer, but it does not end on {right}"
    return f"{contrast}: {where}." if contrast else f"{where[0].upper()}{where[1:]}."
