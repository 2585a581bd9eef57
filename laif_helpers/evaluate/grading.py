"""Turns completions into graded rows, both for a model that was asked and for a recording that was read."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from laif_helpers import machine, models, sandbox
from laif_helpers.benchmarks import Benchmark
from laif_helpers.graders import turns
from laif_helpers.graders.families import FAMILIES
from laif_helpers.graders.second import Second, second_grades
from laif_helpers.records import Completion, Example, Grade, Response, file_hash

CUT = "; the answer was cut at the token limit"
NO_ANSWER = "no answer: "
UNFINISHED = "the thought never ends, so nothing is an answer; allow more max_new_tokens"


def to_responses(
    benchmark: Benchmark,
    examples: list[Example],
    completions: list[Completion],
    model: str,
    split: str,
    audit: bool = False,
) -> list[Response]:
    """Graded rows in the order of ``examples``. An item that was not asked is wrong and unreadable, with the reason.

    ``audit``: the second grader reads them as well.
    """
    completions = _with_thoughts_opened(completions)
    grades = grade_all(benchmark, examples, completions)
    seconds: list[Second] = [(None, "")] * len(grades)
    if audit:
        seconds = second_grades(benchmark, examples, [completion.text for completion in completions], grades)
    return [
        Response(
            id=example.id,
            benchmark=benchmark.name,
            split=split,
            messages=benchmark.messages(example),
            gold=example.gold,
            text=completion.text,
            extracted=grade.extracted,
            correct=grade.correct,
            readable=grade.readable,
            reason=grade.reason + (CUT if completion.finish == "length" else ""),
            prompt_tokens=completion.prompt_tokens,
            new_tokens=completion.new_tokens,
            model=model,
            second_correct=second[0],
            second_read=second[1],
            thought=turns.split(completion.text).thought,
            cut=completion.finish == "length",
            unanswered=completion.unanswered,
        )
        for example, completion, grade, second in zip(examples, completions, grades, seconds, strict=True)
    ]


def _with_thoughts_opened(completions: list[Completion]) -> list[Completion]:
    """With the mark that a server's template writes before each answer and that no text shows, for those that were cut
    inside the thought. That it writes one shows in most others, which end a thought that they never began."""
    whole = [done.text for done in completions if done.finish == "stop"]
    if 2 * sum(map(turns.closes_alone, whole)) <= len(whole):
        return completions

    def inside(done: Completion) -> bool:
        parts = turns.split(done.text)
        return done.finish == "length" and not (parts.thought or parts.open)

    return [replace(done, text=f"<think>\n{done.text}") if inside(done) else done for done in completions]


def grade_all(benchmark: Benchmark, examples: list[Example], completions: list[Completion]) -> list[Grade]:
    """One grade per answer, in order. Programs run in child processes, so threads keep all cores busy."""

    def grade_of(pair: tuple[Example, Completion]) -> Grade:
        example, completion = pair
        if completion.unanswered:
            return Grade(False, None, False, NO_ANSWER + completion.finish.removeprefix("error:").strip())
        if turns.split(completion.text).open:
            return Grade(False, None, False, UNFINISHED)
        return benchmark.grade(example, completion.text)

    pairs = list(zip(examples, completions, strict=True))
    if not FAMILIES[benchmark.family].runs_programs or not pairs:
        return [grade_of(pair) for pair in pairs]
    grades = []
    bar = models.progress_bar(len(pairs), f"running {benchmark.name}", "program")
    with sandbox.kept_ready(), ThreadPoolExecutor(machine.cores()) as pool, bar:
        for grade in pool.map(grade_of, pairs):
            grades.append(grade)
            bar.update()
    return grades


def items_hash(keys: list[str], examples: list[Example]) -> str:
    """A hash of all that a grade depends on beside the answer's text: what was asked, gold answer, options, checks.

    ``keys``: one for each example, of what it was asked and, for recorded answers, of its text.
    """
    digest = hashlib.sha256()
    for key, example in zip(keys, examples, strict=True):
        depends = [key, example.id, example.question, example.gold, example.fields]
        digest.update(json.dumps(depends, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def graders_hash() -> str:
    """A hash of the graders' source: kept answers are graded again after any of it changed."""
    folders = (Path(__file__).parents[1] / name for name in ("benchmarks", "graders", "sandbox"))
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".yaml"))
    return file_hash(files)[:16]
