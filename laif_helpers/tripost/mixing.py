"""Cuts trajectories into training records, in the shares of an arm's strategy."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example, Grade
from laif_helpers.tripost.trajectories import RIGHT, UNREADABLE, Trajectory, conversation, feedback


def records(found: list[Trajectory], items: dict[str, list[Example]], p: StageParameters) -> list[dict[str, Any]]:
    """Training rows of an arm's strategy, at most ``p.budget`` a benchmark; see ``STRATEGIES``."""
    rng = random.Random(p.draw)
    rows = []
    for name, listed in items.items():
        here = [each for each in found if each.benchmark == name and each.status in ("kept", "repeated")]
        rows += STRATEGIES[p.strategy](here, listed, p, rng)
    rng.shuffle(rows)
    return rows


def _row(
    source_item: Trajectory | Example, source: str, texts: Sequence[str], weights: Sequence[float]
) -> dict[str, Any]:
    """A conversation whose assistant turns carry their weights; turns of weight 0 are context."""
    turns: list[dict[str, Any]] = list(conversation(source_item.benchmark, source_item.question, *texts)[:-1])
    assistant = [turn for turn in turns if turn["role"] == "assistant"]
    for turn, weight in zip(assistant, weights, strict=True):
        turn["weight"] = weight
    return {"id": source_item.id, "benchmark": source_item.benchmark, "source": source, "messages": turns}


def _chain(trajectory: Trajectory, style: str) -> list[str]:
    """Attempt, feedback, update, …, and the last feedback, which says that all is right."""
    texts = [trajectory.attempt]
    for update in trajectory.updates:
        texts += [update.feedback, update.text]
    return [*texts, feedback(style, trajectory.benchmark, trajectory.question, texts[-1])]


def _repairs(trajectory: Trajectory, p: StageParameters) -> list[dict[str, Any]]:
    """A record for each edit: the wrong answer, its feedback and the next answer."""
    texts, weight = _chain(trajectory, p.feedback), p.feedback_weight
    first = float(p.learn_attempts)
    return [
        _row(trajectory, "repair", texts[at : at + 3], (first, weight, weight)) for at in range(0, len(texts) - 2, 2)
    ]


def _tripost(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Repairs, right attempts and gold answers in the shares ``p.mix``."""
    whole = sum(p.mix)
    shares = [int(p.budget * part / whole) for part in p.mix]
    repairs = [row for each in here if each.updates for row in _repairs(each, p)]
    repairs = rng.sample(repairs, min(len(repairs), shares[0]))
    most = [-(-len(repairs) * part // p.mix[0]) for part in p.mix] if repairs else shares
    right = [each for each in here if each.status == "kept" and each.outcome == RIGHT]
    if p.false_alarms:  # a right attempt that the model blames: its feedback is what most needs correcting
        right.sort(key=lambda each: not each.false_alarm)
    else:
        rng.shuffle(right)
    kept = right[: int(min(shares[1], most[1]))]
    gold = rng.sample(listed, int(min(shares[2], most[2], len(listed))))
    return (
        repairs
        + [_row(each, "right", _chain(each, p.feedback)[-2:], (1.0, 1.0)) for each in kept]
        + [_gold(e, p.feedback) for e in gold]
    )


def _gold(example: Example, style: str) -> dict[str, Any]:
    praise = feedback(style, example.benchmark, example.question, example.rationale)
    return _row(example, "gold", (example.rationale, praise), (1.0, 1.0))


def _read(here: list[Trajectory], listed: list[Example]) -> dict[str, Grade]:
    """What the benchmark's grader reads in each attempt, by the attempt's id."""
    known = {example.id: example for example in listed}
    return {each.id: benchmarks.get(each.benchmark).grade(known[each.item], each.attempt) for each in here}


def _rejection(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Own attempts with the right answer, whatever their steps and form, as plain answers."""
    read = _read(here, listed)
    right = [each for each in here if each.status == "kept" and read[each.id].correct]
    return [_row(each, "own", (each.attempt,), (1.0,)) for each in rng.sample(right, min(len(right), p.budget))]


def _lmsi(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Own attempts with the answer that most attempts at the question have, repeated ones counted; no label is read."""
    read = {id: grade.extracted for id, grade in _read(here, listed).items()}
    votes: dict[str, Counter[str]] = {}
    for each in here:
        if answer := read[each.id]:
            votes.setdefault(each.item, Counter())[answer] += 1
    found = [each for each in here if each.status == "kept" and read[each.id]]
    agreed = [each for each in found if votes[each.item].most_common(1)[0][0] == read[each.id]]
    return [_row(each, "vote", (each.attempt,), (1.0,)) for each in rng.sample(agreed, min(len(agreed), p.budget))]


def _critique(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Feedback alone, on right and wrong attempts."""
    readable = [each for each in here if each.status == "kept" and each.outcome != UNREADABLE]
    rows = [_row(each, "critique", _chain(each, p.feedback)[:2], (0.0, p.feedback_weight)) for each in readable]
    return rng.sample(rows, min(len(rows), p.budget))


def _answers(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """The final responses of gold answers, without any step."""
    drawn = rng.sample(listed, min(len(listed), p.budget))
    return [_row(example, "answer", (example.rationale.splitlines()[-1],), (1.0,)) for example in drawn]


STRATEGIES = {
    "tripost": _tripost,
    "tripost_injected": _tripost,
    "rejection": _rejection,
    "lmsi": _lmsi,
    "critique": _critique,
    "answer_only": _answers,
}
"""How an arm of this method makes its records. ``tripost_injected`` has errors that a script put in."""


def traced(found: list[Trajectory], rows: list[dict[str, Any]]) -> list[Trajectory]:
    """Each trajectory with the sources of the records that it is trained in."""
    sources: dict[str, list[str]] = {}
    for row in rows:
        sources.setdefault(row["id"], []).append(row["source"])
    return [replace(each, trained=sources.get(each.id, [])) for each in found]
