"""Sorts the target's answers to training items: those that are wrong, and those that are right."""

import functools
from dataclasses import dataclass

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.paths import in_runs
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example


@dataclass(frozen=True)
class Answered:
    """A question, what the target said to it, and how many tokens that took."""

    example: Example
    text: str
    tokens: int = 0


@dataclass(frozen=True)
class Study:
    """One benchmark's answers, as graded, in the order of their file; ``hidden``: how many wrong ones are held out."""

    bench: benchmarks.Benchmark
    wrong: list[Answered]
    right: list[Answered]
    hidden: int = 0

    @functools.cached_property
    def everything(self) -> dict[str, Answered]:
        return {answer.example.id: answer for answer in (*self.wrong, *self.right)}


def read(p: StageParameters) -> dict[str, Study]:
    """The target's first answers to the error split in the iteration before, by benchmark.

    Held-out items are left out. Raises FileNotFoundError naming the file and what to run, ValueError if answers and
    questions do not fit.
    """
    return {name: _of(p, name) for name in p.in_domain}


def _of(p: StageParameters, name: str) -> Study:
    path = p.previous.responses(name, p.error_split)
    if not path.is_file():
        raise FileNotFoundError(
            f"{in_runs(path)} does not exist; run 01_evaluate with RUN={p.run!r}, "
            f"ARM={p.arm if p.iteration > 1 else 'vanilla'!r}, ITERATION={p.iteration - 1} first"
        )
    right: list[Answered] = []
    wrong: list[Answered] = []
    hidden = 0
    for example, answer in joined.pairs(p, p.previous, name, p.error_split):
        # what two graders read differently, or nobody answered, teaches nothing
        if answer.sample or not (answer.correct or answer.is_error):
            continue
        if joined.held_out(p, name, example.id):
            hidden += answer.is_error
        else:
            (right if answer.correct else wrong).append(Answered(example, answer.text, answer.new_tokens))
    return Study(benchmarks.get(name), wrong, right, hidden)
