"""Self-training: the target samples answers to training questions, and learns from its own.

``rft`` keeps those that the benchmark's grader calls right (rejection sampling, arXiv 2308.01825); ``rft_errors`` asks
only what the target fails greedily; ``self`` keeps every answer that came to an end, right or wrong: the control that
shows what any training on own words does. Answers go to disk as they are drawn, so that a killed run goes on there.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laif_helpers import arms, benchmarks, lessons, models
from laif_helpers.answers import pools
from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Example, Lesson, write_jsonl

Row = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One sampled answer to an item; ``failed``: the target's greedy answer to it is wrong."""

    example: Example
    sample: int
    done: Completion
    correct: bool
    failed: bool


def drawn(p: StageParameters) -> dict[str, Any]:
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


def questions(p: StageParameters) -> dict[str, pools.Pool]:
    """The training items to answer, by benchmark: for ``rft_errors`` only those that the target failed."""
    found = pools.read(p)
    if p.strategy == "rft_errors":
        return {name: pools.Pool(pool.failed, [], pool.tokens) for name, pool in found.items()}
    return found


def sample(p: StageParameters, asked: dict[str, pools.Pool]) -> list[Attempt]:
    """``drawn(p)["n"]`` answers to every item, graded; a batched call for each benchmark."""
    found: list[Attempt] = []
    for name, pool in asked.items():
        bench, failed = benchmarks.get(name), {item.id for item in pool.failed}
        for item, number, done in _answers(p, bench, pool.everything):
            correct = bench.grade(item, done.text).correct
            found.append(Attempt(item, number, done, correct, item.id in failed))
    return found


def _answers(
    p: StageParameters, bench: benchmarks.Benchmark, items: Sequence[Example]
) -> list[tuple[Example, int, Completion]]:
    """(item, number of the sample, answer); what this arm, or another beside it, has drawn is not drawn again."""
    how = drawn(p) | {"max_new_tokens": p.max_new_tokens, "seed": p.draw}
    made_by = {"model": models.fingerprint(p.base_model), **how, "dtype": models.chosen_dtype(p.base_model, p.dtype)}
    made_by |= {"template_values": p.request_options.target.template_values}
    n = how.pop("n")
    wanted = [(item, number) for item in items for number in range(n)]
    keys = [_key(made_by, bench, item, number) for item, number in wanted]
    known = _drawn_beside(p, set(keys)) | _kept(p.folder.attempts)
    missing = [at for at, key in enumerate(keys) if key not in known]
    write_jsonl(p.folder.attempts, known.values())
    with p.folder.attempts.open("a", encoding="utf-8") as handle:
        before = time.perf_counter()

        def keep(at: int, done: Completion) -> None:
            nonlocal before
            now = time.perf_counter()
            row = {"key": keys[missing[at]], **asdict(done), "seconds": round(now - before, 4)}
            known[row["key"]], before = row, now
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
            handle.flush()

        models.generate(
            p.base_model,
            [bench.messages(wanted[at][0]) for at in missing],
            numbers=[wanted[at][1] for at in missing],
            dtype=p.dtype,
            change=p.request_options.target,
            on_done=keep,
            **how,
        )
    rows = [{field: value for field, value in known[key].items() if field != "key"} for key in keys]
    return [(*of, Completion(**row)) for of, row in zip(wanted, rows, strict=True)]


def _key(made_by: Row, bench: benchmarks.Benchmark, item: Example, number: int) -> str:
    """Names an answer by all that decides it, so that none is taken from another model, setting or question."""
    what = json.dumps([made_by, bench.name, bench.messages(item)], sort_keys=True)
    return f"{item.id}#{number}:{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _drawn_beside(p: StageParameters, wanted: set[str]) -> dict[str, Row]:
    """The very same answers that other arms of this notebook have drawn: in the first iteration all ask one model."""
    beside = [arm.name for arm in arms.ARMS.values() if arm.notebook == p.row.notebook and arm.name != p.arm]
    files = [RunDir.named(p.run).iteration(arm, p.iteration).attempts for arm in beside]
    return {key: row for file in files for key, row in _kept(file).items() if key in wanted}


def _kept(path: Path) -> dict[str, Row]:
    """Answers that an earlier call left, by key. The line it was writing when it was killed is dropped."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return {row["key"]: row for row in map(json.loads, lines)}


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
