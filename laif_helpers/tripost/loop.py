"""Runs self-repair at test time: attempt, own feedback, update, and so on, until the model finds no error."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from laif_helpers import benchmarks, origins
from laif_helpers.graders import steps
from laif_helpers.graders.steps.mutations import mutants
from laif_helpers.models import kept
from laif_helpers.models.kept import Ask
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Example, Row, write_jsonl
from laif_helpers.tripost import budgets, feedback_budgets
from laif_helpers.tripost.trajectories import conversation, feedback


@dataclass
class Repair:
    """One item's loop. ``turns`` alternates answers and feedback; ``stopped`` is why it ended."""

    example: Example
    turns: list[str] = field(default_factory=list)
    stopped: str = ""
    tokens: int = 0
    first_tokens: int = 0

    @property
    def answers(self) -> list[str]:
        return self.turns[::2]


def measured(p: StageParameters) -> dict[str, list[Row]]:
    """Rows of every benchmark with a step verifier, on the test split; written to ``p.folder.repairs``."""
    found = {}
    for name in [name for name in p.benchmarks if name in steps.TASKS]:
        items = benchmarks.get(name).load(p.test_split, data_dir=p.data_dir or None, limit=p.limit or None)
        path = p.folder.repairs(name, p.test_split)
        partial_answers = path.with_name(f".{path.stem}.partial")
        ask: Ask = partial(kept.generate, partial_answers, p.model, **p.asking)
        done = run(ask, items, updates=p.updates, style=p.feedback)
        told = repaired_if_told(ask, done, p.feedback)
        found[name] = rows(done, at_equal_tokens(ask, done), injected_found(ask, items, p.feedback), told)
        write_jsonl(path, found[name])
        partial_answers.unlink(missing_ok=True)
    return found


def run(ask: Ask, items: Sequence[Example], *, updates: int, style: str = "verdict") -> list[Repair]:
    """Greedy loops over all items at once, at most ``updates`` updates each. All items are of one benchmark.
    ``style`` of the feedback that the model was taught: it takes more tokens if it works each step out."""
    repairs = [Repair(item) for item in items]
    for _ in range(updates + 1):
        open_ones = [repair for repair in repairs if not repair.stopped]
        _turn(ask, open_ones, style)
        for repair in open_ones:
            repair.first_tokens = repair.first_tokens or repair.tokens
        _turn(ask, open_ones, style)
        for repair in open_ones:
            read = steps.read_feedback(repair.turns[-1])
            repair.stopped = {True: "says it is right", None: "feedback unreadable", False: ""}[read.correct]
    for repair in repairs:
        repair.stopped = repair.stopped or "limit of updates"
    return repairs


def _turn(ask: Ask, repairs: Sequence[Repair], style: str) -> None:
    """The next answer or feedback of each. A model sees its last answer alone, as in what it was trained on."""
    judging = bool(repairs and len(repairs[0].turns) % 2)
    seen = [repair.turns[-1:] if judging else repair.turns[-2:] for repair in repairs]
    prompts = [
        conversation(repair.example.benchmark, repair.example.question, *texts)
        for repair, texts in zip(repairs, seen, strict=True)
    ]
    items = [repair.example for repair in repairs]
    limits = feedback_budgets(items, style) if judging else budgets(items)
    for repair, done in zip(repairs, ask(prompts, max_new_tokens=limits), strict=True):
        repair.turns.append(done.text)
        repair.tokens += done.new_tokens


def at_equal_tokens(ask: Ask, repairs: Sequence[Repair], *, temperature: float = 0.7, seed: int = 0) -> list[Row]:
    """Of each item k sampled answers, which cost at least the loops' tokens on average: ``k``, whether the ``majority``
    is right and the ``best`` by the step verifier, and ``sample_tokens``.

    At least three are drawn, because a vote of two is a single sample.
    """
    spent, first = sum(repair.tokens for repair in repairs), sum(repair.first_tokens for repair in repairs)
    k = max(3, math.ceil(spent / max(1, first)))
    items = [repair.example for repair in repairs]
    prompts = [conversation(item.benchmark, item.question) for item in items]
    done = ask(prompts, n=k, temperature=temperature, seed=seed, max_new_tokens=budgets(items))
    return [_samples(item, done[at * k : (at + 1) * k]) for at, item in enumerate(items)]


def _samples(item: Example, done: Sequence[Completion]) -> Row:
    grade, check = benchmarks.get(item.benchmark).grade, steps.task(item.benchmark).check
    read = [grade(item, answer.text) for answer in done]
    votes = [answer.extracted if answer.readable else None for answer in read]
    majority = origins.majority(votes, [answer.correct for answer in read])
    best = any(check(item.question, answer.text).correct for answer in done) or read[0].correct
    tokens = sum(answer.new_tokens for answer in done)
    return {"k": len(done), "majority": majority, "best": best, "sample_tokens": tokens}


def injected_found(ask: Ask, items: Sequence[Example], style: str = "verdict") -> list[bool]:
    """Of one error put into each item's gold answer: whether the model's feedback names its step."""
    rng = random.Random(0)
    drawn = [rng.choice(list(mutants(item.benchmark, item.question, rng))) for item in items]
    prompts = [
        conversation(item.benchmark, item.question, answer.text) for item, answer in zip(items, drawn, strict=True)
    ]
    said = ask(prompts, max_new_tokens=feedback_budgets(items, style))
    read = [steps.read_feedback(done.text) for done in said]
    return [answer.correct is False and answer.step == mutant.step for answer, mutant in zip(read, drawn, strict=True)]


def repaired_if_told(ask: Ask, repairs: Sequence[Repair], style: str = "verdict") -> list[bool | None]:
    """Whether the update of a wrong first answer is right if the verifier writes the feedback on it; None if the first
    answer is right or unreadable. It tells a model that cannot find its errors from one that cannot mend them."""
    told: list[bool | None] = [None] * len(repairs)
    wrong, prompts = [], []
    for at, repair in enumerate(repairs):
        item, text = repair.example, repair.answers[0]
        verdict = steps.task(item.benchmark).check(item.question, text)
        if verdict.readable and not verdict.correct:
            wrong.append(at)
            said = feedback(style, item.benchmark, item.question, text)
            prompts.append(conversation(item.benchmark, item.question, text, said))
    items = [repairs[at].example for at in wrong]
    done = ask(prompts, max_new_tokens=budgets(items))
    for at, item, update in zip(wrong, items, done, strict=True):
        told[at] = benchmarks.get(item.benchmark).grade(item, update.text).correct
    return told


def rows(
    repairs: Sequence[Repair], samples: Sequence[Row], found: Sequence[bool], told: Sequence[bool | None]
) -> list[Row]:
    """What ``repair/<benchmark>.<split>.jsonl`` holds of each item; ``answers.repair`` reads it."""
    return [_row(*parts) for parts in zip(repairs, samples, found, told, strict=True)]


def _row(repair: Repair, sampled: Row, found: bool, told: bool | None) -> Row:
    item, check = repair.example, steps.task(repair.example.benchmark).check
    grade = benchmarks.get(item.benchmark).grade
    verdicts = [check(item.question, text) for text in repair.answers]
    said = [steps.read_feedback(text) for text in repair.turns[1::2]]
    return {
        **{"id": item.id, "benchmark": item.benchmark, **{key: item.fields[key] for key in ("bucket", "seen")}},
        **{key: getattr(repair, key) for key in ("turns", "stopped", "tokens", "first_tokens")},
        "right": [grade(item, text).correct for text in repair.answers],
        "steps_right": [verdict.correct for verdict in verdicts],
        "wrong_step": [verdict.step for verdict in verdicts],
        "blamed": [None if read.correct is None else not read.correct for read in said],
        "blamed_step": [read.step for read in said],
        **sampled,
        "injected_found": found,
        "repaired_if_told": told,
    }
