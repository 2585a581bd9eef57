"""Lesson checks: what they catch of planted mistakes, and what 100,000 lessons cost.

    python bench/lessons.py [planted|speed] [LESSONS]

``planted``: 2,000 lessons, a quarter of them wrong in a known way, over math, choice and code, against every test
question that LAIF_DATA holds (without it: the practice world alone). Printed per kind: how many were refused, and why.
``speed``: parse, verify, deduplicate and decontaminate half the number and all of it; seconds, peak memory, the ratio.
"""

import functools
import itertools
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from laif_helpers import benchmarks, lessons
from laif_helpers.benchmarks import practice
from laif_helpers.instructors import symbolic
from laif_helpers.records import Example, Lesson

EMBEDDINGS = ("tfidf", "minilm")
WRONG = 0.25
SHARES = {"practice": 0.3, "gsm8k": 0.3, "arc_challenge": 0.2, "humaneval": 0.2}
"""Where lessons come from: the practice world, the symbolic instructor, generated choices, generated programs."""
KINDS = {"A": ("metal", "iron copper zinc tin nickel lead silver chromium platinum cobalt")}
KINDS["B"] = ("fruit", "apple plum pear cherry peach quince fig mango apricot papaya")
KINDS["C"] = ("bird", "heron owl robin crow stork finch swan gull wren lark")
KINDS["D"] = ("tool", "hammer chisel pliers wrench drill rasp plane trowel spade awl")
PROGRAMS = (
    ("add_to_each", "numbers", "{k} added to every number", "[n + {k} for n in numbers]"),
    ("times_each", "numbers", "every number multiplied by {k}", "[n * {k} for n in numbers]"),
    ("above", "numbers", "how many numbers are greater than {k}", "sum(n > {k} for n in numbers)"),
    ("multiples", "numbers", "the sum of the numbers that {k} divides", "sum(n for n in numbers if n % {k} == 0)"),
    ("every", "numbers", "every number at a place that {k} divides", "numbers[::{k}]"),
    (
        "nearest_to",
        "numbers",
        "the number nearest to {k}, the smaller of two",
        "min(sorted(numbers), key=lambda n: abs(n - {k}))",
    ),
)


@dataclass(frozen=True)
class Planted:
    """A lesson, and what was planted in it ("" for a right one)."""

    lesson: Lesson
    kind: str


# -- right lessons: (question, response) without end


def from_practice(rng: random.Random, tests: set[str]) -> Iterator[tuple[str, str]]:
    """Lessons of the practice world; those that are a test item with another name in it are no right lessons."""
    while True:
        problem = practice.draw(rng)
        if _sums(problem.rationale) not in tests:
            yield problem.question, problem.response


def _sums(rationale: str) -> str:
    return "".join(re.findall(r"[\d*/+=-]+", rationale))


def from_gsm8k(rng: random.Random, items: list[Example]) -> Iterator[tuple[str, str]]:
    while True:
        item = rng.choice(items)
        text = (
            f"### Question to vary\n{item.question}\n\n### Correct answer\n{item.fields['annotated']}\n#### {item.gold}"
        )
        asked = [{"role": "user", "content": f"{text}\n\n### Task\nWrite 1 new question."}]
        yield from lessons.parse(symbolic.answer(asked, seed=rng.randrange(10**6)), "math")


def choices(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Sums with four results, and kinds of things with one of each kind; the reason says which it is."""
    while True:
        letter = rng.choice("ABCD")
        if rng.random() < 0.5:
            problem = practice.draw(rng)
            right = int(problem.response.rsplit("#### ", 1)[1])
            others = rng.sample([n for n in range(max(right - 9, 1), right + 10) if n != right], 4)
            options = {option: str(right if option == letter else others.pop()) for option in "ABCD"}
            question, reason = problem.question, problem.rationale
        else:
            (_, (kind, members)), *rest = rng.sample(sorted(KINDS.items()), 4)
            thing = rng.choice(members.split())
            more = [rng.choice(words.split()) for _, (_, words) in rest]
            options = {option: f"the {thing}" if option == letter else f"the {more.pop()}" for option in "ABCD"}
            question = f"A box holds four things that belong to {rng.choice(NAMES)}. Which of them is a {kind}?"
            reason = f"Only the {thing} is a {kind}."
        listed = "\n".join(f"{option}. {text}" for option, text in options.items())
        yield f"{question}\n{listed}", f"{reason}\n\nThe answer is {letter}."


NAMES = (
    "Ada",
    "Bo",
    "Cleo",
    "Dag",
    "Edda",
    "Finn",
    "Gro",
    "Hal",
    "Ida",
    "Jon",
    "Kaja",
    "Leif",
    "Mona",
    "Nils",
    "Ola",
    "Pia",
)


def programs(rng: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        name, argument, words, body = rng.choice(PROGRAMS)
        k = rng.randint(2, 60)
        shown, samples = body.format(k=k), [[rng.randint(0, 90) for _ in range(rng.randint(3, 6))] for _ in range(2)]
        run = eval(f"lambda {argument}: {shown}")  # noqa: S307  our own templates
        examples = "".join(f"    >>> {name}_{k}({sample})\n    {run(sample)!r}\n" for sample in samples)
        head = f"def {name}_{k}({argument}):"
        yield (
            f'{head}\n    """ Return {words.format(k=k)}.\n{examples}    """\n',
            f"```python\n{head}\n    return {shown}\n```",
        )


# -- what is wrong with the others


def wrong_sum(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """One result of the rationale is another number."""
    body, mark, final = response.rpartition("\n#### ") if "####" in response else response.rpartition("\n\nThe answer")
    spots = list(re.finditer(r"=\s*\$?\s?(\d[\d,]*(?:\.\d+)?)(?!.*\bx\b)", body))
    spot = rng.choice(spots)
    old = float(spot[1].replace(",", ""))
    new = f"{max(old + rng.choice([-3, -2, -1, 1, 2, 3, 10]), 0.5) + (0.5 if old < 3 else 0):g}"
    return question, body[: spot.start(1)] + new + body[spot.start(1) + len(spot[1].rstrip(",")) :] + mark + final


def wrong_final(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    body, _, final = response.rpartition("\n#### ")
    return question, f"{body}\n#### {float(final.replace(',', '')) + rng.choice([-1, 1, 2, 5, 10]):g}"


def wrong_letter(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    other = rng.choice([letter for letter in "ABCD" if letter != response[-2]])
    return question, response[:-2] + other + "."


def wrong_form(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """A letter beyond the options, an option twice, one left out, or no letter."""
    lines = question.splitlines()
    return rng.choice(
        [
            (question, response[:-2] + "F."),
            ("\n".join([*lines[:-1], f"D. {lines[-2][3:]}"]), response),
            ("\n".join(line for line in lines if not line.startswith("B. ")), response),
            (question, response[:-2] + "one of them."),
        ]
    )


def failing(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """Another result, another name, an exception, code that does not parse."""
    return question, rng.choice(
        [
            re.sub(r"return (.*)", r"return [\1, 0]", response),
            re.sub(r"def (\w+)", r"def my_\1", response),
            re.sub(r"return ", "return missing or ", response),
            response.replace("):", ")"),
        ]
    )


Spoil = Callable[[random.Random, str, str], tuple[str, str]]
SPOILS: dict[str, dict[str, Spoil]] = {
    "math": {"wrong sum": wrong_sum, "wrong final answer": wrong_final},
    "choice": {"wrong letter": wrong_letter, "wrong form": wrong_form},
    "code": {"failing program": failing},
}
COPIES = ("verbatim test question", "reworded test question")


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
    taken = {_sums(item.rationale) for item, _ in test_items("practice")}
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
