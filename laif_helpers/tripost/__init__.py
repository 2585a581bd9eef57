"""TriPosT: a model learns to criticise and repair its own attempts (https://arxiv.org/abs/2310.13522).

One iteration: sample attempts of the current model at questions of the train split, verify every step of each, let an
improver write the answer again from the first wrong step, cut the trajectories into training records, and train on a
mix of repairs, attempts that were right at once, and gold answers. Nothing is dropped in silence: every trajectory
stays on disk with what became of it. The baselines of the method make other records of the same trajectories.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from laif_helpers import benchmarks, models
from laif_helpers.answers import joined
from laif_helpers.graders import steps
from laif_helpers.graders.steps.mutations import mutants
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example
from laif_helpers.tripost.turns import conversation

RIGHT, WRONG, WRONG_STEP, UNREADABLE = "right", "wrong", "right_answer_wrong_step", "unreadable"
"""Classes of an attempt. The third has the right answer through a wrong step; the last follows no format."""
CHARACTERS_A_TOKEN = 2.5
"""Digits and short words: a repair record's tokens are estimated with this, and counted by the training."""


@dataclass(frozen=True, slots=True)
class Update:
    """One edit: feedback on the answer before it, the answer written anew, and what the verifier says of that."""

    feedback: str
    text: str
    correct: bool
    by: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One row of ``trajectories.jsonl``: question, attempt, verdict, edits, and what became of them.

    Attributes:
        id: ``<item>#<sample>``.
        outcome: ``right``, ``wrong``, ``right_answer_wrong_step`` or ``unreadable``: the attempt, before any edit.
        own_feedback: what the model itself says of its attempt.
        false_alarm: the model blames a right attempt.
        status: ``kept``, or why the trajectory makes no record.
        trained: sources of the records it was trained in.
    """

    id: str
    benchmark: str
    bucket: str
    item: str
    question: str
    gold: str
    attempt: str
    outcome: str
    verdict: dict[str, Any]
    own_feedback: str = ""
    false_alarm: bool = False
    updates: list[Update] = field(default_factory=list)
    status: str = "kept"
    trained: list[str] = field(default_factory=list)


def questions(p: StageParameters) -> dict[str, list[Example]]:
    """Items of the error split of each in-domain benchmark, without held-out ones.

    Raises ValueError for a benchmark without a step verifier, and for settings that give the same attempt every time.
    """
    if p.attempts < 2 or not p.attempt_temperature:
        raise ValueError(
            f"attempts {p.attempts} at attempt_temperature {p.attempt_temperature:g}: TriPosT needs several different "
            "attempts at a question; set attempts: 2 or more and attempt_temperature above 0, for instance to 1"
        )
    found = {}
    for name in p.in_domain:
        steps.task(name)
        items = benchmarks.get(name).load(p.error_split, data_dir=p.data_dir or None, limit=p.limit or None)
        found[name] = [item for item in items if not joined.held_out(p, name, item.id)]
    return found


def budget(items: Sequence[Example]) -> int:
    """New tokens that an answer may take: what the longest gold answer takes, and some."""
    return int(0.8 * max((len(item.rationale) for item in items), default=0)) + 64


def collect(p: StageParameters, items: dict[str, list[Example]]) -> list[Trajectory]:
    """``p.attempts`` sampled attempts at every item, in one batched call a benchmark, verified, with the model's own
    feedback on each of them. Equal attempts at a question count one time."""
    found: list[Trajectory] = []
    for name, listed in items.items():
        options: dict[str, Any] = {"url": p.target_url, "seed": 1000 * p.seed + p.iteration}
        options |= {"temperature": p.attempt_temperature, "max_new_tokens": budget(listed)}
        prompts = [conversation(name, item.question) for item in listed]
        done = models.generate(p.base_model, prompts, n=p.attempts, **options)
        drawn = [(item, sample) for item in listed for sample in range(p.attempts)]
        drawn_trajectories = [_trajectory(name, *of, answer.text) for of, answer in zip(drawn, done, strict=True)]
        asked = [conversation(name, each.question, each.attempt) for each in drawn_trajectories]
        feedback = models.generate(p.base_model, asked, max_new_tokens=160, url=p.target_url)
        found += [_with_feedback(each, answer.text) for each, answer in zip(drawn_trajectories, feedback, strict=True)]
    return _once(found)


def _trajectory(name: str, item: Example, sample: int, text: str) -> Trajectory:
    verdict = steps.task(name).check(item.question, text)
    answered = benchmarks.get(name).grade(item, text).correct
    outcome = RIGHT if verdict.correct else WRONG_STEP if answered else WRONG if verdict.readable else UNREADABLE
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
        _trajectory(name, item, sample, mutant.text)
        for name, listed in items.items()
        for item in listed
        for sample, mutant in enumerate(mutants(name, item.question, rng))
    ]


def edit(found: list[Trajectory], p: StageParameters) -> list[Trajectory]:
    """Wrong attempts written anew by the improver, until right or ``p.updates`` times; others as they are.

    ``p.instructor`` is the improver: ``scripted`` keeps the verified lines and derives the rest, ``llm`` asks a model.
    """
    from laif_helpers.tripost import improve

    wanted = [each for each in found if _editable(each, p)]
    improved = improve.improve(wanted, p)
    return [_judged(replace(each, updates=improved.get(each.id, [])), p) for each in found]


def _editable(trajectory: Trajectory, p: StageParameters) -> bool:
    return trajectory.status == "kept" and (
        trajectory.outcome == WRONG or (trajectory.outcome == WRONG_STEP and p.wrong_steps == "repair")
    )


def _judged(trajectory: Trajectory, p: StageParameters) -> Trajectory:
    """The status of an edited trajectory."""
    if trajectory.status != "kept" or trajectory.outcome == RIGHT:
        return trajectory
    if trajectory.outcome == UNREADABLE:
        return replace(trajectory, status=f"unreadable: {trajectory.verdict['kind']}")
    if not _editable(trajectory, p):
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


# -- records


def records(found: list[Trajectory], items: dict[str, list[Example]], p: StageParameters) -> list[dict[str, Any]]:
    """Training rows of an arm's strategy, at most ``p.budget`` a benchmark; see ``STRATEGIES``."""
    rng = random.Random(1000 * p.seed + p.iteration)
    rows = []
    for name, listed in items.items():
        here = [each for each in found if each.benchmark == name and each.status == "kept"]
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


def _chain(trajectory: Trajectory) -> list[str]:
    """Attempt, feedback, update, …, and the last feedback, which says that all is right."""
    texts = [trajectory.attempt]
    for update in trajectory.updates:
        texts += [update.feedback, update.text]
    module = steps.task(trajectory.benchmark)
    return [*texts, steps.feedback(texts[-1], module.check(trajectory.question, texts[-1]))]


def _repairs(trajectory: Trajectory, p: StageParameters) -> list[dict[str, Any]]:
    """A record for each edit: the wrong answer, its feedback and the next answer."""
    texts, weight = _chain(trajectory), p.feedback_weight
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
    right = [each for each in here if each.outcome == RIGHT]
    if p.false_alarms:  # a right attempt that the model blames: its feedback is what most needs correcting
        right.sort(key=lambda each: not each.false_alarm)
    else:
        rng.shuffle(right)
    kept = right[: int(min(shares[1], most[1]))]
    gold = rng.sample(listed, int(min(shares[2], most[2], len(listed))))
    return repairs + [_row(each, "right", _chain(each)[-2:], (1.0, 1.0)) for each in kept] + [_gold(e) for e in gold]


def _gold(example: Example) -> dict[str, Any]:
    verdict = steps.task(example.benchmark).check(example.question, example.rationale)
    return _row(example, "gold", (example.rationale, steps.feedback(example.rationale, verdict)), (1.0, 1.0))


def _rejection(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Own attempts with the right answer, as plain answers."""
    right = [each for each in here if each.outcome in (RIGHT, WRONG_STEP)]
    return [_row(each, "own", (each.attempt,), (1.0,)) for each in rng.sample(right, min(len(right), p.budget))]


def _lmsi(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Own attempts with the answer that most attempts at the question have; no label is read."""
    grade = benchmarks.get(listed[0].benchmark).grade if listed else None
    known = {example.id: example for example in listed}
    votes: dict[str, Counter[str | None]] = {}
    read = {each.id: grade(known[each.item], each.attempt).extracted for each in here if grade}
    for each in here:
        votes.setdefault(each.item, Counter())[read[each.id]] += 1
    agreed = [each for each in here if read[each.id] and votes[each.item].most_common(1)[0][0] == read[each.id]]
    return [_row(each, "vote", (each.attempt,), (1.0,)) for each in rng.sample(agreed, min(len(agreed), p.budget))]


def _critique(here: list[Trajectory], listed: list[Example], p: StageParameters, rng: random.Random) -> list[Any]:
    """Feedback alone, on right and wrong attempts."""
    rows = [_row(each, "critique", _chain(each)[:2], (0.0, p.feedback_weight)) for each in here]
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
