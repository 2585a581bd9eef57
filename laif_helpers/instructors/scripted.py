"""The scripted instructor: answers a request about the practice world as a language model would be asked to.

It reads nothing but the text of the chat: the questions through the world's grammar, the student's mistake from
the student's own equations. What it knows of the world is what a reader of its questions knows.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from laif_helpers.benchmarks.practice.concepts import CONCEPTS
from laif_helpers.benchmarks.practice.reading import recognise
from laif_helpers.benchmarks.practice.world import Equation, Problem, compose, draw_concepts
from laif_helpers.instructors.prompts import LABELS, blocks, numbered, reply, wanted
from laif_helpers.records import Message

_EQUATION = re.compile(r"(\d+)\s*([-+*/])\s*(\d+)\s*=\s*(\d+)")


@dataclass(frozen=True)
class Mistake:
    """Where the student's answer first leaves the right chain: the concept, what was written, what is right."""

    concept: str
    written: str
    right: Equation


def answer(messages: list[Message], *, seed: int) -> str:
    """The reply to one request: a diagnosis and as many numbered samples as its task asks for.

    The same messages and seed give the same reply. Raises ValueError if the request lacks a block, or where
    its question is none of the practice world's.
    """
    found = blocks(messages)
    n = wanted(found)
    digest = hashlib.sha256(json.dumps([messages, seed], sort_keys=True).encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8], "big"))
    if "vary" in found:
        concepts = recognise(found["vary"]).concepts
        about = f"The question is about {_list(concepts)}; the samples vary its numbers, names and wording."
        return _reply(about, _samples(rng, [concepts] * n, found["vary"]))
    if "answered" in found:
        return _practise(rng, recognise(found["answered"]), found.get("student", ""), n)
    if "group" in found:
        return _shared(numbered(found["group"]))
    if "errors" in found:
        return _group(rng, found, n)
    if "wrong" not in found:
        raise ValueError(
            f"the request has none of the blocks {', '.join(LABELS[name] for name in ('wrong', 'answered', 'vary'))}; "
            "the scripted instructor needs one of them"
        )
    source = recognise(found["wrong"])
    return _teach(rng, source, find_mistake(source, found.get("student", "")), found.get("right", ""), n)


# -- reading the answer ----------------------------------------------------------------------------------------


def find_mistake(source: Problem, student: str) -> Mistake:
    """The first step whose equation the student did not write as it should be.

    An answer with no equation, or with all of them right, blames the last step: the one it must have missed.
    """
    written = [
        Equation(int(left), sign, int(right), int(value)) for left, sign, right, value in _EQUATION.findall(student)
    ]
    order = list(reversed(source.steps)) if source.twist == "reversed" else list(source.steps)
    for index, (step, right) in enumerate(zip(order, source.equations, strict=True)):
        if index >= len(written) or not _same(written[index], right):
            wording = str(written[index]) if index < len(written) else ""
            return Mistake(step.concept, wording, right)
    return Mistake(order[-1].concept, "", source.equations[-1])


def _all_right(source: Problem, student: str) -> bool:
    """Every equation is the right one, and the answer ends on the last one's result."""
    last = find_mistake(source, student).right
    return bool(re.search(rf"####\s*{last.value}\s*$", student)) and all(
        any(_same(Equation(int(a), sign, int(b), int(c)), right) for a, sign, b, c in _EQUATION.findall(student))
        for right in source.equations
    )


def _same(a: Equation, b: Equation) -> bool:
    """Equal, or equal with the factors (or terms) swapped."""
    swapped = Equation(b.right, b.sign, b.left, b.value)
    return a == b or (b.sign in "+*" and a == swapped)


# -- what to teach ---------------------------------------------------------------------------------------------


def _teach(rng: random.Random, source: Problem, mistake: Mistake, right: str, n: int) -> str:
    """Lessons on a mistake; on the boundary, if the request lists questions that the student answers right."""
    if known := [recognise(question) for question in numbered(right)]:
        return _contrast(rng, source, mistake, known, n)
    return _reply(_blame(mistake), _samples(rng, _around(rng, mistake.concept, n), source.question))


def _contrast(rng: random.Random, source: Problem, mistake: Mistake, right: list[Problem], n: int) -> str:
    """Lessons at the boundary: two thirds on what the neighbours lack and the student fails, a third on theirs."""
    known = list(dict.fromkeys(concept for problem in right for concept in problem.concepts))
    boundary = [concept for concept in source.concepts if concept not in known]
    failed = mistake.concept
    if boundary and failed not in boundary:
        # Neighbours show that the student can do the step that went wrong here; what they lack is the likelier cause.
        failed = boundary[-1]
    can = [concept for concept in known if concept != failed] or [c for c in source.concepts if c != failed]
    # Rounded by chance, so that the share holds over many requests of one or two samples as well.
    kept = int(n / 3 + rng.random()) if can else 0
    chains = _around(rng, failed, n - kept)
    chains += [_chain(rng, rng.choice(can), list(CONCEPTS)) for _ in range(kept)]
    able = f"The student can do {_list(can)}, but fails" if can else "The student fails"
    diagnosis = f"{able} when {failed!r} is involved{_instead(mistake)}."
    return _reply(diagnosis, _samples(rng, chains, source.question))


def _practise(rng: random.Random, source: Problem, student: str, n: int) -> str:
    """Lessons on what went wrong; if nothing did, on one of the question's concepts."""
    if _all_right(source, student):
        concept = rng.choice(source.concepts)
        diagnosis = f"The student makes no mistake; {concept!r} may be practised further."
    else:
        mistake = find_mistake(source, student)
        concept, diagnosis = mistake.concept, _blame(mistake)
    return _reply(diagnosis, _samples(rng, _around(rng, concept, n), source.question))


def _group(rng: random.Random, found: dict[str, str], n: int) -> str:
    """Lessons on the concept where most errors of a group go wrong, as for the first error that goes wrong there."""
    listed = found["errors"].partition("\nWords that set them apart")[0]
    errors = [_error(text) for text in numbered(listed)]
    mistakes = [find_mistake(source, student) for source, student in errors]
    concept = _most_common(mistakes)
    (source, _), mistake = next(
        (item, mistake) for item, mistake in zip(errors, mistakes, strict=True) if mistake.concept == concept
    )
    return _teach(rng, source, mistake, found.get("right", ""), n)


def _shared(group: list[str]) -> str:
    """What most of a group's errors share, in a sentence: the concept where they first go wrong."""
    mistakes = [find_mistake(source, student) for source, student in map(_error, group)]
    return f"The student has not understood {_most_common(mistakes)!r}."


def _error(text: str) -> tuple[Problem, str]:
    """Question and answer of an error as a block lists it."""
    question, _, student = text.partition("\n   Student:")
    return recognise(question.strip()), student.partition("\n   Correct:")[0]


def _most_common(mistakes: Sequence[Mistake]) -> str:
    return Counter(mistake.concept for mistake in mistakes).most_common(1)[0][0]


def _around(rng: random.Random, concept: str, n: int) -> list[tuple[str, ...]]:
    return [_chain(rng, concept, list(CONCEPTS)) for _ in range(n)]


def _chain(rng: random.Random, concept: str, partners: Sequence[str]) -> tuple[str, ...]:
    """The concept alone or beside a new partner."""
    return draw_concepts(rng, concept, rng.choice((1, 2)), partners)


def _samples(rng: random.Random, chains: Sequence[Sequence[str]], source: str) -> list[Problem]:
    """One problem per chain, none of them the source and none twice if numbers and wording allow it."""
    taken = {" ".join(source.split())}
    samples = []
    for chain in chains:
        problem = compose(rng, chain)
        for _ in range(50):
            if problem.question not in taken:
                break
            problem = compose(rng, chain)
        taken.add(problem.question)
        samples.append(problem)
    return samples


# -- writing the reply -----------------------------------------------------------------------------------------


def _blame(mistake: Mistake) -> str:
    return f"The student fails where {mistake.concept!r} is involved{_instead(mistake)}."


def _instead(mistake: Mistake) -> str:
    if not mistake.written:
        return f": {mistake.right} is missing"
    return f": it wrote {mistake.written} where {mistake.right} is right"


def _list(concepts: Sequence[str]) -> str:
    return " and ".join(repr(concept) for concept in concepts)


def _reply(diagnosis: str, samples: Sequence[Problem]) -> str:
    return reply(diagnosis, [(problem.question, problem.response) for problem in samples])
