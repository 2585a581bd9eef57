"""Makes the lessons of fine_tuning: training items with the benchmark's own worked answers."""

import random
from collections.abc import Iterable, Mapping, Sequence

from laif_helpers import benchmarks
from laif_helpers.lessons.filters import TestIndex, decontaminate, sample
from laif_helpers.records import Example, Lesson


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
