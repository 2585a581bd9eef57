"""TriPosT: a model learns to criticise and repair its own attempts (https://arxiv.org/abs/2310.13522).

One iteration: sample attempts of the current model at questions of the train split, verify every step of each, let an
improver write the answer again from the first wrong step, cut the trajectories into training records, and train on a
mix of repairs, attempts that were right at once, and gold answers. Nothing is dropped in silence: every trajectory
stays on disk with what became of it. The baselines of the method make other records of the same trajectories.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.graders import steps
from laif_helpers.graders.steps.mutations import mutants
from laif_helpers.models import kept
from laif_helpers.recipe import Recipe, StageParameters
from laif_helpers.records import Example
from laif_helpers.tripost import improve
from laif_helpers.tripost.mixing import records, traced
from laif_helpers.tripost.trajectories import (
    REPAIRING,
    RIGHT,
    UNREADABLE,
    WRONG,
    WRONG_STEP,
    Trajectory,
    conversation,
    editable,
    feedback,
)

CHARACTERS_A_TOKEN = 2.5
"""Digits and short words: a repair record's tokens are estimated with this, and counted by the training."""


def check(p: Recipe) -> None:
    """Raises ValueError for a benchmark without a step verifier, and for settings that give the same attempt every
    time."""
    if p.attempts < 2 or not p.attempt_temperature:
        raise ValueError(
            f"attempts {p.attempts} at attempt_temperature {p.attempt_temperature:g}: TriPosT needs several different "
            "attempts at a question; set attempts: 2 or more and attempt_temperature above 0, for instance to 1"
        )
    for name in p.in_domain:
        steps.task(name)


def questions(p: StageParameters) -> dict[str, list[Example]]:
    """Items of the error split of each in-domain benchmark, without held-out ones. Raises ValueError as ``check``."""
    check(p)
    return {name: joined.learnable(p, name) for name in p.in_domain}


def budgets(items: Sequence[Example]) -> list[int]:
    """New tokens that an answer to each item may take: what its bucket's longest gold answer takes, and some."""
    return _limits(items, [item.rationale for item in items], 64)


def feedback_budgets(items: Sequence[Example], style: str) -> list[int]:
    """The same for feedback on an answer: a verdict names a step, a part of it and a reason beside the praise."""
    praise = [feedback(style, item.benchmark, item.question, item.rationale) for item in items]
    return _limits(items, praise, 110)


def _limits(items: Sequence[Example], texts: Sequence[str], more: int) -> list[int]:
    longest: dict[str, int] = {}
    for item, text in zip(items, texts, strict=True):
        bucket = str(item.fields["bucket"])
        longest[bucket] = max(longest.get(bucket, 0), len(text))
    return [int(0.8 * longest[str(item.fields["bucket"])]) + more for item in items]


def collect(p: StageParameters, items: dict[str, list[Example]]) -> list[Trajectory]:
    """``p.attempts`` sampled attempts at every item, in one batched call a benchmark, verified, with the model's own
    feedback on each of them. Equal attempts at a question count one time."""
    found: list[Trajectory] = []
    for name, listed in items.items():
        ask: kept.Ask = partial(kept.generate, p.folder.attempts, p.base_model, **p.asking)
        options: dict[str, Any] = {
            "temperature": p.attempt_temperature,
            "max_new_tokens": budgets(listed),
            "seed": p.draw,
        }
        done = ask([conversation(name, item.question) for item in listed], n=p.attempts, **options)
        drawn = [(item, sample) for item in listed for sample in range(p.attempts)]
        drawn_trajectories = [judged(name, *of, answer.text) for of, answer in zip(drawn, done, strict=True)]
        asked = [conversation(name, each.question, each.attempt) for each in drawn_trajectories]
        said = ask(asked, max_new_tokens=feedback_budgets([item for item, _ in drawn], p.feedback))
        found += [_with_feedback(each, answer.text) for each, answer in zip(drawn_trajectories, said, strict=True)]
    return _once(found)


def judged(name: str, item: Example, sample: int, text: str) -> Trajectory:
    """A trajectory of one attempt: what the verifier says of it, and its class."""
    verdict = steps.task(name).check(item.question, text)
    answered = benchmarks.get(name).grade(item, text).correct
    wrong = (WRONG_STEP if answered else WRONG) if verdict.readable else UNREADABLE
    outcome = RIGHT if verdict.correct else wrong
    key, bucket = f"{item.id}#{sample}", str(item.fields.get("bucket", ""))
    return Trajectory(key, name, bucket, item.id, item.question, item.rationale, text, outcome, asdict(verdict))


def _with_feedback(trajectory: Trajectory, text: str) -> Trajectory:
    blamed = steps.read_feedback(text).correct is False
    return replace(trajectory, own_feedback=text, false_alarm=blamed and trajectory.outcome == RIGHT)


def _once(found: list[Trajectory]) -> list[Trajectory]:
    seen: set[tuple[str, str]] = set()
    result = []
    for trajectory in found:
        key = (trajectory.item, "\n".join(steps.lines(trajectory.attempt)))
        result.append(replace(trajectory, status="repeated") if key in seen else trajectory)
        seen.add(key)
    return result


def sample(p: StageParameters, items: dict[str, list[Example]]) -> list[Trajectory]:
    """What an arm learns from: the model's own attempts, or gold answers with errors put in."""
    return injected(items, p.seed) if p.strategy == "tripost_injected" else collect(p, items)


def injected(items: dict[str, list[Example]], seed: int) -> list[Trajectory]:
    """Errors that no model made: gold answers into which a script puts one error, as in the demonstrations baseline."""
    rng = random.Random(seed)
    return [
        judged(name, item, sample, mutant.text)
        for name, listed in items.items()
        for item in listed
        for sample, mutant in enumerate(mutants(name, item.question, rng))
    ]


def edit(found: list[Trajectory], p: StageParameters) -> list[Trajectory]:
    """Wrong attempts written anew by the improver, until right or ``p.updates`` times; others as they are.

    ``p.instructor`` is the improver: ``scripted`` keeps the verified lines and derives the rest, ``llm`` asks a model.
    Arms that learn from no repair (``REPAIRING`` names the others) have nothing written anew, and nothing paid.
    """
    if p.strategy not in REPAIRING:
        return found
    wanted = [each for each in found if editable(each, p)]
    improved = improve.improve(wanted, p)
    return [_edited(replace(each, updates=improved.get(each.id, [])), p) for each in found]


def _edited(trajectory: Trajectory, p: StageParameters) -> Trajectory:
    """The status of an edited trajectory."""
    if trajectory.status != "kept" or trajectory.outcome == RIGHT:
        return trajectory
    if trajectory.outcome == UNREADABLE:
        return replace(trajectory, status=f"unreadable: {trajectory.verdict['kind']}")
    if not editable(trajectory, p):
        return replace(trajectory, status="right answer through a wrong step, left out")
    if not trajectory.updates:
        return replace(trajectory, status="the improver returned no answer")
    if not trajectory.updates[-1].correct:
        return replace(trajectory, status="not repaired")
    longest = max(
        len(trajectory.attempt) + len(u.feedback) + len(u.text) + len(trajectory.question) for u in trajectory.updates
    )
    too_long = longest / CHARACTERS_A_TOKEN > p.max_length
    return replace(trajectory, status=f"longer than max_length, bucket {trajectory.bucket}") if too_long else trajectory
