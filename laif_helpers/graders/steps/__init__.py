"""Reads and writes step by step answers, and verifies each step.

An answer is a list of numbered lines and a last line::

    (1) …
    (2) …
    (Final response) So the answer is ….

Each task has a module here with ``read(question)``, ``solve(item) -> list[Step]`` (the canonical answer) and
``check(question, attempt) -> Verdict``. A line that equals the canonical one is right; any other line is judged by
what it means. Numbers, dates and words are compared exactly; no text of a model is ever executed.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from laif_helpers.graders.turns import end_of_turn

FINAL = "Final response"
LONGEST = 20_000
"""Characters of an attempt that are read. The longest canonical answer of all tasks has a third of that."""
MAX_NUMBER = 10**12
"""Larger numbers are no part of any task; an attempt that writes one is called unreadable."""

_LINE = re.compile(rf"\(({FINAL}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{0,9}})\) +(\S.*)")
_MARK = re.compile(r"<(?! )|\ufeff")
"""What may open a mark of a turn; sorted words stand around a "<" between spaces."""
_OTHER_DIGIT = re.compile(r"[^\D0-9]")
_OPENING = re.compile(r"\s*(?:Answer:\s*)?(?:Let's think step by step\.?\s*)?")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an answer: its number (or ``Final response``), its text, and what the solver knows about it."""

    label: str
    text: str
    data: Any = None

    def __str__(self) -> str:
        return f"({self.label}) {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of an attempt.

    Attributes:
        correct: every step and the final response are right. A right answer through a wrong step is not correct.
        step: number of the first wrong line, None if there is no such line.
        quote: the part of that line which is wrong.
        reason: one sentence that says why, without its full stop.
        readable: the attempt follows the format and the question is one of the task.
        kind: the reason's kind, one word; "" for a correct attempt.
        kept: how many lines at the beginning are verified.
    """

    correct: bool
    step: str | None
    quote: str
    reason: str
    readable: bool
    kind: str = ""
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line is wrong."""

    kind: str
    quote: str
    reason: str
    readable: bool = True


Judge = Callable[[Any, Step, str], Fault | None]
"""``judge(item, expected, text)``: what is wrong with a line that is not the canonical one; None if nothing is."""


def task(name: str) -> Any:
    """The verifier module of a benchmark. Raises ValueError for a benchmark that has none."""
    if name not in TASKS:
        raise ValueError(f"benchmark {name!r} has no step verifier; those that have one: {', '.join(TASKS)}")
    return importlib.import_module(f"laif_helpers.graders.steps.{name}")


TASKS = ("multistep_arithmetic", "word_sorting", "date_understanding", "logical_deduction")


def write(solved: Sequence[Step]) -> str:
    return "\n".join(map(str, solved))


def lines(attempt: str) -> list[str]:
    """The lines of an attempt, spaces collapsed, without opening words, thoughts, fences and marks of turns."""
    attempt = end_of_turn(attempt) if _MARK.search(attempt) else attempt
    text = attempt[_OPENING.match(attempt).end() :]  # type: ignore[union-attr]
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and line.lstrip()[:3] != "```"]


def verify(
    read: Callable[[str], Any], solve: Callable[[Any], list[Step]], judge: Judge, question: object, attempt: object
) -> Verdict:
    """The ``check`` of every task: the first line that is wrong, out of place or unreadable decides.

    Never raises on bad text: a question that is no item of the task, or an attempt in another format, is unreadable.
    """
    if not isinstance(question, str) or not isinstance(attempt, str):
        return Verdict(False, None, "", "question and attempt must be text", False, "no_text")
    try:
        item, expected = _solved(read, solve, question)
    except ValueError as error:
        return Verdict(False, None, "", str(error), False, "question")
    if len(attempt) > LONGEST:
        return Verdict(False, None, attempt[:40], f"the attempt has more than {LONGEST} characters", False, "endless")
    found = lines(attempt)
    for at, line in enumerate(found):
        label, fault = _judged(judge, item, expected, found, at)
        if fault:
            readable = fault.readable
            return Verdict(False, label, fault.quote[:200], fault.reason, readable, fault.kind, min(at, len(expected)))
        if line.startswith(f"({FINAL})"):
            break
    if len(found) == len(expected):
        return Verdict(True, None, "", "", True, "", len(found))
    at = len(found)
    label, reason = expected[at].label, f"the attempt ends before step ({expected[at].label})"
    return Verdict(False, label, found[-1][:200] if found else "", reason, False, "unfinished", at)


@lru_cache(maxsize=1024)
def _solved(read: Callable[[str], Any], solve: Callable[[Any], list[Step]], question: str) -> tuple[Any, list[Step]]:
    """The item and its canonical steps, which the attempts at one question share."""
    item = read(question)
    return item, solve(item)


def _judged(judge: Judge, item: Any, expected: list[Step], found: list[str], at: int) -> tuple[str, Fault | None]:
    """The label of line ``at`` and what is wrong with it."""
    want = expected[at] if at < len(expected) else None
    if want and found[at] == str(want):
        after = found[at + 1 : at + 2] if want.label == FINAL else []
        return want.label, Fault("extra", after[0], "text follows the final response", False) if after else None
    match = _LINE.fullmatch(found[at])
    if not match:
        return want.label if want else FINAL, Fault("format", found[at], "the line is no numbered step", False)
    label, text = match.groups()
    if want is None or label != want.label:
        return label, _out_of_place(label, want, expected, (found[:at], found[at + 1 :]))
    if strange := _OTHER_DIGIT.search(text):
        return label, Fault("format", strange[0], "a digit is none of 0 to 9", False)
    if re.search(r"\d{13}", text):
        return label, Fault("too_large", text, "a number is larger than any in this task", False)
    fault = judge(item, want, text)
    if not fault and label == FINAL and found[at + 1 :]:
        fault = Fault("extra", found[at + 1], "text follows the final response", False)
    return label, fault


def _out_of_place(label: str, want: Step | None, expected: list[Step], around: tuple[list[str], list[str]]) -> Fault:
    """Why the line with this label may not stand here; ``around``: the lines above and below it."""
    above, below = around
    if any(line.startswith(f"({label})") for line in above):
        return Fault("repeated_step", f"({label})", f"step ({label}) stands above already")
    if want is None or label not in {step.label for step in expected}:
        return Fault("extra", f"({label})", f"no step ({label}) belongs here")
    if any(line.startswith(f"({want.label})") for line in below):
        return Fault("order", f"({label})", f"step ({want.label}) must come before it")
    return Fault("missing_step", f"({label})", f"step ({want.label}) is missing before it")


def repair(module: Any, question: str, attempt: str, verdict: Verdict) -> str:
    """The attempt's verified lines, unchanged, and the rest derived again. Raises ValueError for another question."""
    solved = module.solve(module.read(question))
    return "\n".join(lines(attempt)[: verdict.kept] + [str(step) for step in solved[verdict.kept :]])


def final(text: str) -> str:
    """The text behind the last ``(Final response)``, up to the line's end; the whole text if there is none."""
    _, mark, rest = text.rpartition(f"({FINAL})")
    return rest.strip().split("\n")[0] if mark else text


_CORRECT = re.compile(r"(?:Steps? \(1\)(?: to \([\d.]+\))? (?:is|are) correct\. )?The final response is also correct\.")
_WRONG = re.compile(r'In step \(([^()]+)\) the part "(.*?)" is incorrect\. This is because (.+)\.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A line of feedback as read: ``correct`` is None if it can be read neither way."""

    correct: bool | None
    step: str | None = None
    quote: str = ""


def worked(module: Any, question: str, attempt: str, verdict: Verdict) -> str:
    """What checking the attempt's lines up to the first wrong one takes, in the task's own form; "" for a task without
    one. It stands before the verdict, so that a model computes what it then says."""
    check = getattr(module, "working", None)
    found = lines(attempt) if verdict.correct else lines(attempt)[: verdict.kept + 1]
    return "\n".join(check(module.read(question), found)) if check and verdict.readable else ""


def feedback(attempt: str, verdict: Verdict) -> str:
    """The verdict as the line of feedback that a model is taught to write."""
    labels = [line[1 : line.index(")")] for line in lines(attempt)[: verdict.kept] if ")" in line]
    numbered = [label for label in labels if label != FINAL]
    praise = ""
    if numbered:
        praise = f"Step (1) to ({numbered[-1]}) are correct. " if len(numbered) > 1 else "Step (1) is correct. "
    if verdict.correct:
        return f"{praise}The final response is also correct."
    wrong = f'In step ({verdict.step}) the part "{verdict.quote}" is incorrect.'
    return f"{praise}{wrong} This is because {verdict.reason}."


def read_feedback(text: str) -> Feedback:
    """What a model's feedback says, from its fixed form alone; lines that work a step out say nothing by themselves."""
    text = " ".join(" ".join(line for line in text.splitlines() if not line.startswith("(")).split())
    wrong = _WRONG.search(text)
    if wrong:
        return Feedback(False, wrong[1], wrong[2])
    return Feedback(True) if _CORRECT.fullmatch(text) else Feedback(None)
