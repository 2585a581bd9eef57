"""Lesson checks: what they catch of planted mistakes, and what 100,000 lessons cost.

    python bench/lessons.py [planted|speed] [LESSONS]

``planted``: 2,000 lessons, a quarter of them wrong in a known way, over math, choice and code, against every test
question that LAIF_DATA holds (without it: the practice world alone). Printed per kind: how many were refused, and why.
``speed``: parse, verify, deduplicate and decontaminate half the number and all of it; seconds, peak memory, the ratio.
"""

import functools
import itertools
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from planted_lessons import COPIES, NAMES, SPOILS, choices, from_gsm8k, from_practice, programs, sums

from laif_helpers import benchmarks, lessons
from laif_helpers.records import Example, Lesson

EMBEDDINGS = ("tfidf", "minilm")
WRONG = 0.25
SHARES = {"practice": 0.3, "gsm8k": 0.3, "arc_challenge": 0.2, "humaneval": 0.2}
"""Where lessons come from: the practice world, the symbolic instructor, generated choices, generated programs."""


@dataclass(frozen=True)
class Planted:
    """A lesson, and what was planted in it ("" for a right one)."""

    lesson: Lesson
    kind: str


# -- the planted set


def at_hand(name: str, split: str) -> list[Example]:
    """A benchmark's items; [] where its data is not here."""
    try:
        return benchmarks.get(name).load(split)
    except (FileNotFoundError, ValueError, OSError):
        return []


@functools.cache
def test_items(name: str) -> list[tuple[Example, str]]:
    bench = benchmarks.get(name)
    return [(item, bench.question_text(item)) for item in at_hand(name, "test")]


def index(embedding: str = "tfidf", threshold: float = 0.0) -> lessons.TestIndex:
    named = [(f"{name}:{item.id}", text) for name in SHARES for item, text in test_items(name)]
    return lessons.TestIndex.of(named, embedding=embedding, threshold=threshold)


def rewordings() -> list[tuple[str, str]]:
    """GSM8K's test questions told anew by GSM-Plus (arXiv 2402.19255), with their answers."""
    items = [
        item for item in at_hand("gsm_plus", "test") if item.fields["perturbation_type"] == "problem understanding"
    ]
    # a solution that holds: what is looked for is the question
    return [(item.question, f"1 * {item.gold} = {item.gold}\n#### {item.gold}") for item in items]


def sources(rng: random.Random) -> dict[str, Iterator[tuple[str, str]]]:
    """Right lessons by benchmark, as far as its data is here."""
    taken = {sums(item.rationale) for item, _ in test_items("practice")}
    found = {"practice": from_practice(rng, taken), "arc_challenge": choices(rng), "humaneval": programs(rng)}
    train = at_hand("gsm8k", "train")
    return found | ({"gsm8k": from_gsm8k(rng, train)} if train else {})


def planted(n: int, seed: int = 0) -> list[Planted]:
    """``n`` lessons in random order, a quarter of them wrong, each kind equally often within its benchmark."""
    rng = random.Random(seed)
    result: list[Planted] = []
    streams, reworded = sources(rng), rewordings()
    total = sum(SHARES[name] for name in streams)
    for name, stream in streams.items():
        family = benchmarks.get(name).family
        copies = COPIES if name == "gsm8k" and reworded else COPIES[:1]
        kinds = [*SPOILS[family], *(copies if test_items(name) else ())]
        count = round(n * SHARES[name] / total)
        seen: set[str] = set()
        for at in range(count):
            kind = kinds[at % len(kinds)] if at < count * WRONG else ""
            question, response = next(pair for pair in stream if pair[0] not in seen)
            seen.add(question)
            if kind == COPIES[0]:
                item, question = rng.choice(test_items(name))
                response = benchmarks.get(name).gold_response(item) or response
                seen.add(question)
            elif kind:
                question, response = (
                    rng.choice(reworded) if kind == COPIES[1] else SPOILS[family][kind](rng, question, response)
                )
            result.append(Planted(_lesson(f"{name}-{at}", name, question, response), kind))
    rng.shuffle(result)
    return result


def _lesson(id: str, benchmark: str, question: str, response: str) -> Lesson:
    return Lesson(id, benchmark, question, response, ["e"], "le", 1, "planted", "")


def judged(lessons_planted: list[Planted], tests: lessons.TestIndex) -> list[Lesson]:
    return lessons.check([each.lesson for each in lessons_planted], tests, max_length=2048)


def show_planted(n: int) -> None:
    all_planted = planted(n)
    for embedding in EMBEDDINGS:
        try:
            checked = judged(all_planted, index(embedding))
        except ValueError as error:
            print(error)
            continue
        print(
            f"\n{n} planted lessons, {'no similarity check' if embedding == 'tfidf' else f'similarity by {embedding}'}"
        )
        for kind in dict.fromkeys(_row(each) for each in all_planted):
            mine = [lesson for lesson, each in zip(checked, all_planted, strict=True) if _row(each) == kind]
            refused = Counter(lesson.status for lesson in mine if lesson.status != "kept")
            share = 100 * sum(refused.values()) / len(mine)
            print(f"{kind:<24} {len(mine):5} lessons, refused {share:6.2f} %  {dict(refused)}")
        bad = [each.kind for lesson, each in zip(checked, all_planted, strict=True) if lesson.status != "kept"]
        wrong_refused = [kind for kind in bad if kind != COPIES[1]]
        wrong = sum(each.kind not in ("", COPIES[1]) for each in all_planted)
        right = sum(not each.kind for each in all_planted)
        caught = f"precision {sum(map(bool, bad)) / len(bad):.4f}, recall {sum(map(bool, wrong_refused)) / wrong:.4f}"
        print(f"{caught} (wrong and verbatim), right ones kept {1 - bad.count('') / right:.4f}")


def _row(lesson: Planted) -> str:
    return lesson.kind or f"right, {lesson.lesson.benchmark}"


# -- speed


def replies(n: int, seed: int = 0) -> Iterator[str]:
    """Replies of three samples each, half from the practice world, half GSM8K varied, where it is here."""
    rng = random.Random(seed)
    streams = sources(rng)
    known = [streams[name] for name in ("practice", "gsm8k") if name in streams]
    pool = [pair for stream in known for pair in itertools.islice(stream, min(n, 4000))]
    for _ in range(0, n, 3):
        parts = [(rng.choice(pool)) for _ in range(3)]
        # another name and thing in each, so that lessons repeat as seldom as an instructor's do
        texts = [f"{q} ({rng.choice(NAMES)}'s sheet {rng.randrange(10**6)}.)\nAnswer: {a}" for q, a in parts]
        yield "".join(f"Sample {i}:\nQuestion: {text}\n" for i, text in enumerate(texts, start=1))


def run(n: int) -> float:
    texts = list(replies(n))
    start = time.perf_counter()
    read = [
        lesson
        for at, text in enumerate(texts)
        for lesson in lessons.from_reply(text, Lesson("", "practice", "", "", [str(at)], "le", 1, "x", f"{at:012d}"))
    ]
    checked = lessons.check(read, index("tfidf", 0.9), max_length=2048)
    seconds = time.perf_counter() - start
    print(f"{len(read):8,} lessons: {seconds:6.1f} s  {dict(Counter(lesson.status for lesson in checked))}", flush=True)
    return seconds


def show_speed(n: int) -> None:
    run(min(n, 2000))  # imports and caches are nobody's speed
    half, whole = run(n // 2), run(n)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"ratio {whole / half:.2f}, peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what in ("", "planted"):
        show_planted(int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
    if what in ("", "speed"):
        show_speed(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
