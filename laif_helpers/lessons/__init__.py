"""Makes training rows of an instructor's replies: reads, checks and filters lessons.

``from_reply`` reads, ``check`` checks (verify, deduplicate, decontaminate, length), ``sample`` takes as many as are
needed, ``mix`` adds replay.
A check never drops a lesson: it changes ``status`` from ``kept`` to its own name and says why in ``reason``, so
that ``lessons/<arm>.jsonl`` holds everything that was paid for.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.lessons import families
from laif_helpers.lessons.filters import TestIndex, confirm_letters, decontaminate, deduplicate, fit, marked, sample
from laif_helpers.lessons.structured import diagnosis, parse, samples
from laif_helpers.lessons.text import normalise
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example, Lesson, Message

STATUSES = ("kept", "unparsable", "wrong", "duplicate", "contaminated", "too_long", "surplus")
CHARS_PER_TOKEN, CHARS_PER_TOKEN_RANGE = 4, (5.0, 3.0)
"""Stage 5 counts tokens; before it they are estimated, so that no tokenizer has to be loaded. English prose is near 4.5
characters a token, sums and code near 3."""
LEAST_ANSWER = 200
"""Characters of an answer, at least: if the data holds a letter only, a lesson still says why."""


def shares(budget: int, replay_fraction: float) -> tuple[int, int]:
    """(lessons, replay items) that make up a budget, the same for every arm; one of them at least is a lesson."""
    replay = min(round(budget * replay_fraction), budget - 1)
    return budget - replay, replay


def typical_size(bench: benchmarks.Benchmark, items: Sequence[Example]) -> tuple[float, float]:
    """Mean characters of the items' questions and of their gold answers: a lesson is about as long."""
    if not items:
        return 0.0, 0.0
    questions = sum(len(bench.question_text(item)) for item in items)
    answers = sum(max(len(bench.gold_response(item) or ""), LEAST_ANSWER) for item in items)
    return questions / len(items), answers / len(items)


# -- reading


def from_reply(text: str, blank: Lesson, failed: str = "") -> list[Lesson]:
    """Lessons of one reply. What cannot be read becomes a lesson of status ``unparsable`` that keeps the text.

    ``blank``: what all of them share, a lesson without texts. ``failed``: why the instructor gave no answer (it
    refused); then nothing of the text is read.
    """
    found = [] if failed else samples(text, benchmarks.get(blank.benchmark).family)
    missing = failed or ("no sample found in the reply" if text.strip() else "empty reply")
    head = f"{blank.arm}{blank.iteration}-{blank.request_key[:12]}"
    return [
        replace(
            blank,
            id=f"{head}-{at}",
            question=question,
            response=response,
            status="unparsable" if problem else "kept",
            reason=problem,
        )
        for at, (question, response, problem) in enumerate(found or [("", text, missing)], start=1)
    ]


# -- checks: each takes and returns all lessons, and looks only at those still kept


def check(lessons: Sequence[Lesson], tests: TestIndex, *, max_length: int = 512, workers: int = 2) -> list[Lesson]:
    """All checks that cost nothing, in order: verify, deduplicate, decontaminate, fit."""
    checked = decontaminate(deduplicate(verify(lessons, workers=workers)), tests)
    return fit(checked, max_length * CHARS_PER_TOKEN)


def verify(lessons: Sequence[Lesson], *, workers: int = 2) -> list[Lesson]:
    """Recompute, look up or run every kept lesson (``lessons.checks``); code runs in the cage, side by side."""
    checks = {name: families.of(name).check for name in {lesson.benchmark for lesson in lessons}}

    def problem(lesson: Lesson) -> str:
        return checks[lesson.benchmark](lesson.question, lesson.response) if lesson.status == "kept" else ""

    with ThreadPool(max(workers, 1)) as pool:  # threads help what waits for the cage, and hold up what computes here
        mapped = pool.map if any(benchmarks.get(name).family == "code" for name in checks) else map
        problems = list(mapped(problem, lessons))
    return marked(lessons, problems, "wrong")


def test_questions(p: StageParameters) -> list[tuple[str, str]]:
    """(benchmark:id, question) of every item of every test split that the recipe measures."""
    found = []
    for name in p.benchmarks:
        bench = benchmarks.get(name)
        if p.test_split in bench.splits:
            items = bench.load(p.test_split, data_dir=p.data_dir or None)
            found += [(f"{name}:{example.id}", bench.question_text(example)) for example in items]
    return found


def index_of_tests(p: StageParameters) -> TestIndex:
    """Those questions as ``decontaminate`` looks them up, with the recipe's embedding and threshold."""
    return TestIndex.of(test_questions(p), embedding=p.embedding, threshold=p.similarity, cache=p.vectors)


test_questions.__test__ = False  # type: ignore[attr-defined]


def funnel(lessons: Sequence[Lesson], requested: int) -> dict[str, int]:
    """Lessons left after each step: requested, returned, parsed, verified, unique, clean, kept.

    ``clean`` is free of test questions and short enough; the difference to ``kept`` was not needed.
    """
    lost = Counter(lesson.status for lesson in lessons)
    counts = {"requested": requested, "returned": len(lessons)}
    left = len(lessons)
    steps = (("parsed", ("unparsable",)), ("verified", ("wrong",)), ("unique", ("duplicate",)))
    for step, statuses in (*steps, ("clean", ("contaminated", "too_long")), ("kept", ("surplus",))):
        left -= sum(lost[status] for status in statuses)
        counts[step] = left
    return counts


# -- the training set


def mix(
    lessons: Sequence[Lesson],
    right_examples: Sequence[Example],
    *,
    budget: int,
    replay_fraction: float,
    seed: int,
    tests: Iterable[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Rows of ``train.jsonl``: per benchmark ``budget`` items, ``replay_fraction`` of them right-answered ones.

    ``right_examples``: training items that the target answered right, the replay pool; an item that is already among
    the lessons or ``tests`` is not replayed. ``tests``: (name, question) that must not be trained on
    (``test_questions``). Where too few lessons or right items exist, the rows are what there is (``shortfalls`` says
    how few). Raises ValueError for a lesson that is a test question.
    """
    wanted, replay = shares(budget, replay_fraction)
    forbidden = {normalise(question): name for name, question in tests}
    rows = []
    for name in sorted({lesson.benchmark for lesson in lessons} | {example.benchmark for example in right_examples}):
        mine = [lesson for lesson in lessons if lesson.benchmark == name and lesson.status == "kept"][:wanted]
        taken = forbidden.keys() | {normalise(lesson.question) for lesson in mine}
        pool = [example for example in right_examples if example.benchmark == name]
        rows += [_lesson_row(lesson, forbidden) for lesson in mine]
        bench, again = benchmarks.get(name), _replayed(name, pool, taken, replay, seed)
        rows += [_row(item.id, name, "replay", bench.messages(item), worked(bench, item)) for item in again]
    random.Random(f"{seed}-mix").shuffle(rows)
    return rows


def _replayed(name: str, pool: list[Example], taken: set[str], n: int, seed: int) -> list[Example]:
    text = benchmarks.get(name).question_text
    order = random.Random(f"{seed}-{name}-replay").sample(pool, len(pool))
    return list(itertools.islice((example for example in order if normalise(text(example)) not in taken), n))


def _lesson_row(lesson: Lesson, forbidden: Mapping[str, str]) -> dict[str, Any]:
    if found := forbidden.get(normalise(lesson.question)):
        raise ValueError(f"training item {lesson.id} is test item {found}; run the lessons' checks again")
    asked = benchmarks.get(lesson.benchmark).messages_for(lesson.question)
    source = "gold" if lesson.instructor == "gold" else "lesson"
    return _row(lesson.id, lesson.benchmark, source, asked, lesson.response)


def _row(id: str, benchmark: str, source: str, asked: list[Message], answer: str) -> dict[str, Any]:
    messages = [*asked, {"role": "assistant", "content": answer}]
    return {"id": id, "benchmark": benchmark, "source": source, "messages": messages, "weight": 1.0}


def shortfalls(rows: Sequence[dict[str, Any]], budget: int, replay_fraction: float) -> list[str]:
    """One sentence per benchmark that has fewer lessons or replay items than the budget asks for."""
    wanted, replay = shares(budget, replay_fraction)
    short = []
    for name in sorted({row["benchmark"] for row in rows}):
        replayed = sum(row["benchmark"] == name and row["source"] == "replay" for row in rows)
        taught = sum(row["benchmark"] == name for row in rows) - replayed
        if taught < wanted:
            short.append(f"{name}: {taught} lessons of the {wanted} that budget {budget} asks for")
        if replayed < replay:
            short.append(f"{name}: {replayed} right-answered items of the {replay} to replay")
    return short


# -- the benchmark's own worked answers


def from_gold(
    examples: Sequence[Example], benchmark: str, n: int, seed: int, arm: str = "fine_tuning", iteration: int = 1
) -> list[Lesson]:
    """Fine-tuning's lessons: n training items (or all there are) with the benchmark's own worked answers."""
    bench = benchmarks.get(benchmark)
    chosen = random.Random(f"{seed}-{benchmark}-gold").sample(list(examples), min(n, len(examples)))
    return [
        Lesson(
            id=f"{arm}{iteration}-{example.id}",
            benchmark=benchmark,
            question=bench.question_text(example),
            response=worked(bench, example),
            source_ids=[example.id],
            arm=arm,
            iteration=iteration,
            instructor="gold",
            request_key="",
        )
        for example in chosen
    ]


def worked(bench: benchmarks.Benchmark, example: Example) -> str:
    """The benchmark's own worked answer. Raises ValueError, with what to change, if it has none."""
    response = bench.gold_response(example)
    if response is None:
        raise ValueError(
            f"benchmark {bench.name!r} has no worked answer for {example.id}: it cannot serve fine_tuning or replay; "
            "take it out of in_domain, or set replay_fraction: 0 and leave fine_tuning out of arms"
        )
    return response


def gold_lessons(
    items: Mapping[str, Sequence[Example]],
    tests: Iterable[tuple[str, str]],
    needed: int,
    *,
    seed: int,
    arm: str = "fine_tuning",
    iteration: int = 1,
) -> list[Lesson]:
    """Per benchmark ``needed`` lessons on its ``items``; those that a test split holds too come back as
    ``contaminated``. ``tests``: (name, question) of every test item (``test_questions``)."""
    index = TestIndex.of(tests)
    found: list[Lesson] = []
    for name, examples in items.items():
        gold = from_gold(examples, name, len(examples), seed, arm, iteration)
        found += sample(decontaminate(gold, index), needed, seed)
    return [lesson for lesson in found if lesson.status != "surplus"]
