"""Self-training: the target samples answers to training questions, and learns from its own.

``rft`` keeps those that the benchmark's grader calls right (rejection sampling, arXiv 2308.01825); ``rft_errors`` asks
only what the target fails greedily; ``self`` keeps every answer that came to an end, right or wrong: the control that
shows what any training on own words does. Answers go to disk as they are drawn, so that a killed run goes on there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers import arms, benchmarks, lessons
from laif_helpers.answers import pools
from laif_helpers.models import kept
from laif_helpers.paths import RunDir
from laif_helpers.recipe import Recipe, StageParameters
from laif_helpers.records import Completion, Example, Lesson, write_jsonl


@dataclass(frozen=True)
class Attempt:
    """One sampled answer to an item; ``failed``: the target's greedy answer to it is wrong."""

    example: Example
    sample: int
    done: Completion
    correct: bool
    failed: bool


def drawn(p: Recipe) -> dict[str, Any]:
    """How often each question is answered, and how: as in stage 1 if that samples too, else ``attempts``.

    Raises ValueError for settings that would give one answer again and again.
    """
    if p.samples > 1:
        return {"n": p.samples, "temperature": p.temperature}
    if not p.attempt_temperature:
        raise ValueError(
            f"attempt_temperature 0 gives the same answer {p.attempts} times; set it above 0, for instance to 1"
        )
    return {"n": p.attempts, "temperature": p.attempt_temperature}


def questions(p: StageParameters) -> dict[str, pools.Study]:
    """The training items to answer, by benchmark: for ``rft_errors`` only those that the target failed."""
    found = pools.read(p)
    if p.strategy == "rft_errors":
        return {name: pools.Study(study.bench, study.wrong, []) for name, study in found.items()}
    return found


def sample(p: StageParameters, asked: dict[str, pools.Study]) -> list[Attempt]:
    """``drawn(p)["n"]`` answers to every item, graded; a batched call for each benchmark."""
    found: list[Attempt] = []
    for study in asked.values():
        failed = {answer.example.id for answer in study.wrong}
        for item, number, done in _answers(p, study):
            found.append(Attempt(item, number, done, study.bench.grade(item, done.text).correct, item.id in failed))
    return found


def _answers(p: StageParameters, study: pools.Study) -> list[tuple[Example, int, Completion]]:
    """(item, number of the sample, answer); what this arm, or another beside it, has drawn is not drawn again."""
    how = drawn(p) | {"max_new_tokens": p.max_new_tokens, "seed": p.draw, **p.asking}
    # in the first iteration all arms of this notebook ask one model
    arms_beside = [arm.name for arm in arms.ARMS.values() if arm.notebook == p.row.notebook and arm.name != p.arm]
    beside = [RunDir.named(p.run).iteration(arm, p.iteration).attempts for arm in arms_beside]
    items = [answer.example for answer in study.everything.values()]
    asked = [study.bench.messages(item) for item in items]
    done = kept.generate(p.folder.attempts, p.base_model, asked, beside=beside, **how)
    wanted = [(item, number) for item in items for number in range(how["n"])]
    return [(*of, answer) for of, answer in zip(wanted, done, strict=True)]


def learn(p: StageParameters, attempts: Sequence[Attempt]) -> list[Lesson]:
    """Every answer as a lesson, with why it is not learned; as many are kept as the budget needs, spread evenly over
    the questions. Written to ``p.folder.lessons``."""
    found = [_lesson(p, attempt) for attempt in attempts]
    found = lessons.marked(found, [_refused(p, attempt) for attempt in attempts], "wrong")
    found = lessons.marked(found, _repeated(found), "duplicate")
    found = lessons.decontaminate(found, lessons.index_of_tests(p))
    found = lessons.fit(found, p.max_length * lessons.CHARS_PER_TOKEN)
    chosen = lessons.sample(found, lessons.shares(p.budget, p.replay_fraction)[0], p.draw)
    write_jsonl(p.folder.lessons(p.arm), chosen)
    return chosen


def _lesson(p: StageParameters, attempt: Attempt) -> Lesson:
    item, bench = attempt.example, benchmarks.get(attempt.example.benchmark)
    id = f"{p.arm}{p.iteration}-{item.id}-{attempt.sample}"
    question, response = bench.question_text(item), attempt.done.text
    return Lesson(id, bench.name, question, response, [item.id], p.arm, p.iteration, instructor="self", request_key="")


def _refused(p: StageParameters, attempt: Attempt) -> str:
    if attempt.done.finish != "stop" or not attempt.done.text.strip():
        return "the answer came to no end"
    return "" if attempt.correct or p.strategy == "self" else "the grader calls it wrong"


def _repeated(found: Sequence[Lesson]) -> list[str]:
    """Why an answer adds nothing: an earlier one to the same question has the very same words."""
    seen: Counter[tuple[str, str, str]] = Counter()
    reasons = []
    for lesson in found:
        key = (lesson.benchmark, lesson.source_ids[0], lesson.response.strip())
        reasons.append("the same answer to this question as an earlier sample" if seen[key] else "")
        seen[key] += lesson.status == "kept"
    return reasons
