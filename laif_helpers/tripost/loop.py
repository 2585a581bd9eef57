"""Self-repair at test time: attempt, own feedback, update, and so on, until the model says that it is right."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from laif_helpers import benchmarks, models
from laif_helpers.graders import steps
from laif_helpers.graders.steps.mutations import mutants
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Example, write_jsonl
from laif_helpers.tripost import budget
from laif_helpers.tripost.turns import conversation

FEEDBACK_TOKENS = 160


@dataclass
class Repair:
    """One item's loop. ``said`` alternates answers and feedback; ``stopped`` is why it ended."""

    example: Example
    said: list[str] = field(default_factory=list)
    stopped: str = ""
    tokens: int = 0
    first_tokens: int = 0

    @property
    def answers(self) -> list[str]:
        return self.said[::2]


def measured(p: StageParameters) -> dict[str, list[dict[str, Any]]]:
    """Rows of every benchmark with a step verifier, on the test split; written to ``p.folder.repairs``."""
    found = {}
    for name in [name for name in p.benchmarks if name in steps.TASKS]:
        items = benchmarks.get(name).load(p.test_split, data_dir=p.data_dir or None, limit=p.limit or None)
        done = run(p.model, items, updates=p.updates, url=p.target_url)
        samples = at_equal_tokens(p.model, done, url=p.target_url)
        found[name] = rows(done, samples, injected_found(p.model, items, url=p.target_url))
        write_jsonl(p.folder.repairs(name, p.test_split), found[name])
    return found


def run(model: str, items: Sequence[Example], *, updates: int, url: str = "") -> list[Repair]:
    """Greedy loops over all items at once, at most ``updates`` updates each. All items are of one benchmark."""
    repairs = [Repair(item) for item in items]
    for _ in range(updates + 1):
        open_ones = [one for one in repairs if not one.stopped]
        _turn(model, open_ones, url)
        for one in open_ones:
            one.first_tokens = one.first_tokens or one.tokens
        _turn(model, open_ones, url)
        for one in open_ones:
            read = steps.read_feedback(one.said[-1])
            one.stopped = {True: "says it is right", None: "feedback unreadable", False: ""}[read.correct]
    for one in repairs:
        one.stopped = one.stopped or "limit of updates"
    return repairs


def _turn(model: str, repairs: Sequence[Repair], url: str) -> None:
    """The next answer or feedback of each, longest budgets apart so that no bucket waits for another's."""
    by_bucket: dict[str, list[Repair]] = {}
    for one in repairs:
        by_bucket.setdefault(str(one.example.fields["bucket"]), []).append(one)
    for group in by_bucket.values():
        prompts = [conversation(one.example.benchmark, one.example.question, *one.said) for one in group]
        feedback = len(group[0].said) % 2
        limit = FEEDBACK_TOKENS if feedback else budget([one.example for one in group])
        for one, done in zip(group, models.generate(model, prompts, max_new_tokens=limit, url=url), strict=True):
            one.said.append(done.text)
            one.tokens += done.new_tokens


@dataclass(frozen=True)
class Samples:
    """k sampled answers to an item, at about the tokens that its benchmark's loops took on average."""

    k: int
    majority: bool
    best: bool
    tokens: int


def at_equal_tokens(
    model: str, repairs: Sequence[Repair], *, temperature: float = 0.7, seed: int = 0, url: str = ""
) -> list[Samples]:
    """Majority vote and best by the step verifier, of as many samples as the loops' tokens pay for."""
    spent, first = sum(one.tokens for one in repairs), sum(one.first_tokens for one in repairs)
    k = max(1, round(spent / max(1, first)))
    items = [one.example for one in repairs]
    prompts = [conversation(item.benchmark, item.question) for item in items]
    options: dict[str, Any] = {"temperature": temperature, "seed": seed, "url": url, "max_new_tokens": budget(items)}
    done = models.generate(model, prompts, n=k, **options)
    return [_samples(item, done[at * k : (at + 1) * k]) for at, item in enumerate(items)]


def _samples(item: Example, done: Sequence[Completion]) -> Samples:
    grade, check = benchmarks.get(item.benchmark).grade, steps.task(item.benchmark).check
    read = [grade(item, one.text) for one in done]
    votes = Counter(one.extracted for one in read if one.readable)
    winner = votes.most_common(1)[0][0] if votes else None
    majority = any(one.correct for one in read if one.extracted == winner and one.readable)
    best = any(check(item.question, one.text).correct for one in done) or read[0].correct
    return Samples(len(done), majority, best, sum(one.new_tokens for one in done))


def injected_found(model: str, items: Sequence[Example], seed: int = 0, url: str = "") -> list[bool]:
    """Of one error put into each item's gold answer: whether the model's feedback names its step."""
    rng = random.Random(seed)
    drawn = [rng.choice(list(mutants(item.benchmark, item.question, rng))) for item in items]
    prompts = [conversation(item.benchmark, item.question, one.text) for item, one in zip(items, drawn, strict=True)]
    said = models.generate(model, prompts, max_new_tokens=FEEDBACK_TOKENS, url=url)
    read = [steps.read_feedback(done.text) for done in said]
    return [one.correct is False and one.step == mutant.step for one, mutant in zip(read, drawn, strict=True)]


def rows(repairs: Sequence[Repair], samples: Sequence[Samples], found: Sequence[bool]) -> list[dict[str, Any]]:
    """What ``repair/<benchmark>.<split>.jsonl`` holds of each item; ``answers.repair`` reads it."""
    return [_row(*one) for one in zip(repairs, samples, found, strict=True)]


def _row(one: Repair, sampled: Samples, found: bool) -> dict[str, Any]:
    item, check = one.example, steps.task(one.example.benchmark).check
    grade = benchmarks.get(item.benchmark).grade
    verdicts = [check(item.question, text) for text in one.answers]
    said = [steps.read_feedback(text) for text in one.said[1::2]]
    return {
        **{"id": item.id, "benchmark": item.benchmark, **{key: item.fields[key] for key in ("bucket", "seen")}},
        **{"said": one.said, "stopped": one.stopped, "tokens": one.tokens, "first_tokens": one.first_tokens},
        "right": [grade(item, text).correct for text in one.answers],
        "steps_right": [verdict.correct for verdict in verdicts],
        "wrong_step": [verdict.step for verdict in verdicts],
        "blamed": [None if read.correct is None else not read.correct for read in said],
        "blamed_step": [read.step for read in said],
        **{"k": sampled.k, "majority": sampled.majority, "best": sampled.best, "sample_tokens": sampled.tokens},
        "injected_found": found,
    }
