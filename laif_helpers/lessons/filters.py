"""Filters lessons that repeat each other or a test question, that their own instructor would answer otherwise, that
are too long, or more than needed.

Every filter takes and returns all lessons and looks only at those still ``kept``; what it takes out gets its
status and a reason.
"""

import functools
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.graders import choice
from laif_helpers.lessons import families
from laif_helpers.lessons.checks import options_of
from laif_helpers.lessons.paraphrases import Paraphrases
from laif_helpers.lessons.text import normalise, numbers, words
from laif_helpers.records import Lesson

PERMUTATIONS = 64
SIMILAR = 0.8
"""Jaccard similarity of word triples from which two questions on the same numbers count as one."""


def marked(lessons: Sequence[Lesson], problems: Sequence[str], status: str) -> list[Lesson]:
    """Lessons; those still kept in which a problem was found get its ``status`` and reason."""
    return [
        replace(lesson, status=status, reason=problem) if problem and lesson.status == "kept" else lesson
        for lesson, problem in zip(lessons, problems, strict=True)
    ]


def deduplicate(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Keep the first of every group of equal or nearly equal questions.

    Near: MinHash similarity of word triples of at least ``SIMILAR`` *and* the same multiset of numbers.
    Lessons of one template that differ in their numbers are different problems, and keeping them apart also
    keeps the comparison groups small, which makes this near-linear.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    problems = [""] * len(lessons)
    seen: dict[int, int] = {}  # by hash, as groups are: the texts of millions of lessons would take gigabytes
    for at, lesson in enumerate(lessons):
        if lesson.status != "kept":
            continue
        first = seen.setdefault(hash((lesson.benchmark, normalise(lesson.question))), at)
        if first != at:
            problems[at] = f"same question as {lessons[first].id}"
        else:
            groups[hash((lesson.benchmark, numbers(words(lesson.question))))].append(at)
    for members in groups.values():
        for at, first in _near(members, lessons):
            problems[at] = f"nearly the question of {lessons[first].id}, on the same numbers"
    return marked(lessons, problems, "duplicate")


def resembles(a: str, b: str) -> bool:
    """Whether two questions are one: equal, or the same numbers and word triples of Jaccard ``SIMILAR``."""
    if normalise(a) == normalise(b):
        return True
    item, other = words(a), words(b)
    if numbers(item) != numbers(other):
        return False
    mine, theirs = set(_grams(item, 3)), set(_grams(other, 3))
    return len(mine & theirs) >= SIMILAR * len(mine | theirs)


def _near(members: list[int], lessons: Sequence[Lesson]) -> Iterable[tuple[int, int]]:
    """(lesson, earlier lesson it repeats) among lessons on the same numbers."""
    if len(members) < 2:
        return
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=_bands())
    hashes: dict[int, MinHash] = {}
    blank = MinHash(num_perm=PERMUTATIONS, hashfunc=zlib.crc32)
    for at in members:
        mine = blank.copy()
        mine.update_batch([" ".join(gram).encode() for gram in _grams(words(lessons[at].question), 3)])
        close = [other for other in index.query(mine) if mine.jaccard(hashes[other]) >= SIMILAR]
        if close:
            yield at, min(close)
        else:
            hashes[at] = mine
            index.insert(at, mine, check_duplication=False)


@functools.cache
def _bands() -> tuple[int, int]:
    """Bands and rows for ``SIMILAR``. Finding them takes 20 ms, and there is an index for every group of numbers."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=SIMILAR, num_perm=PERMUTATIONS)
    return index.b, index.r


def _grams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(max(len(tokens) - n + 1, 1))]


@dataclass(frozen=True)
class TestIndex:
    """Every test question, for two look-ups: (numbers, words in a row) -> the item's id, and vectors. An equal text is
    found by its words, however few."""

    __test__ = False  # the name begins with Test; pytest must not collect it

    grams: dict[int, dict[int, str]]
    reworded: Paraphrases = field(default_factory=lambda: Paraphrases(()))

    @classmethod
    def of(cls, questions: Iterable[tuple[str, str]], sizes: Iterable[int] = (8, 13), **similarity: Any) -> "TestIndex":
        """``questions``: (name to report, question text). ``similarity``: settings of ``Paraphrases``."""
        questions = list(questions)
        grams: dict[int, dict[int, str]] = {size: {} for size in sizes}
        for name, text in questions:
            tokens = words(text)
            on = numbers(tokens)
            for size, table in grams.items():
                for gram in _grams(tokens, size):
                    table.setdefault(hash((on, gram)), name)
        return cls(grams, Paraphrases(questions, **similarity))


def decontaminate(lessons: Sequence[Lesson], tests: TestIndex) -> list[Lesson]:
    """Quarantine lessons that repeat a test question.

    8 words in a row (13 outside of math; all of them in a shorter question) are shared *together with* the same
    multiset of numbers, or the vectors are close (``Paraphrases``). Words alone are no evidence: problems of one
    kind share whole sentences, and with other numbers they are other problems; a copy keeps its numbers.
    """
    sizes = {name: families.gram(name) for name in {lesson.benchmark for lesson in lessons}}
    problems = []
    for lesson in lessons:
        found, how = (_leak(lesson.question, tests, sizes[lesson.benchmark])) if lesson.status == "kept" else ("", "")
        problems.append(f"{how} test item {found}" if found else "")
    checked = marked(lessons, problems, "contaminated")
    return marked(checked, _rewordings(checked, tests.reworded), "contaminated") if tests.reworded.active else checked


def _rewordings(lessons: Sequence[Lesson], tests: Paraphrases) -> list[str]:
    problems = [""] * len(lessons)
    by_family: dict[str, list[int]] = defaultdict(list)
    for at, lesson in enumerate(lessons):
        if lesson.status == "kept":
            by_family[benchmarks.get(lesson.benchmark).family].append(at)
    by_family.pop("text", None)  # all questions of such a task share their words
    for family, members in by_family.items():
        found = tests.closest([lessons[at].question for at in members], family)
        for at, (name, cosine) in zip(members, found, strict=True):
            problems[at] = f"tells test item {name} in other words (similarity {cosine:.2f})" if name else ""
    return problems


def _leak(question: str, tests: TestIndex, size: int) -> tuple[str, str]:
    tokens = words(question)
    on, table = numbers(tokens), tests.grams[size]
    for gram in _grams(tokens, size):
        if found := table.get(hash((on, gram))):
            return found, f"shares its numbers and {len(gram)} words in a row with"
    return "", ""


def fit(lessons: Sequence[Lesson], max_chars: int) -> list[Lesson]:
    """Refuse what is longer than a training sample can be."""
    sizes = [len(lesson.question) + len(lesson.response) for lesson in lessons]
    problems = [f"{size} characters; at most {max_chars}" if size > max_chars else "" for size in sizes]
    return marked(lessons, problems, "too_long")


def sample(lessons: Sequence[Lesson], needed: int, seed: int) -> list[Lesson]:
    """Keep ``needed`` lessons of each benchmark, spread evenly over the source errors; the rest is ``surplus``."""
    chosen: set[int] = set()
    for name in sorted({lesson.benchmark for lesson in lessons}):
        pool = [at for at, lesson in enumerate(lessons) if lesson.status == "kept" and lesson.benchmark == name]
        random.Random(f"{seed}-{name}-sample").shuffle(pool)
        turns: Counter[str] = Counter()
        order = []
        for at in pool:
            source = lessons[at].source_ids[0] if lessons[at].source_ids else ""
            order.append((turns[source], at))
            turns[source] += 1
        chosen.update(at for _, at in sorted(order, key=lambda pair: pair[0])[:needed])
    problems = ["" if at in chosen else f"more than the {needed} needed" for at in range(len(lessons))]
    return marked(lessons, problems, "surplus")


def confirm_letters(
    lessons: Sequence[Lesson], answers: Callable[[Sequence[Lesson]], Sequence[Sequence[str]]]
) -> list[Lesson]:
    """Choice lessons still kept whose letter their independent answers do not all confirm get the status ``wrong``.

    ``answers``: those lessons -> the answers to each one's question, drawn anew each. Other lessons are not asked
    about; without any, nothing is asked. Raises whatever ``answers`` raises.
    """
    asked = [
        at for at, lesson in enumerate(lessons) if lesson.status == "kept" and families.of(lesson.benchmark).by_letter
    ]
    answered = answers([lessons[at] for at in asked]) if asked else []
    problems = [""] * len(lessons)
    for at, texts in zip(asked, answered, strict=True):
        problems[at] = _disagreement(lessons[at], texts)
    return marked(lessons, problems, "wrong")


def _disagreement(lesson: Lesson, texts: Sequence[str]) -> str:
    options = dict(options_of(lesson.question))
    letter = choice.read(lesson.response, options)[0]
    read = [choice.read(text, options)[0] or "?" for text in texts]
    right = sum(item == letter for item in read)
    if right == len(read):
        return ""
    return f"{right} of {len(read)} independent answers agree with {letter}: {', '.join(read)}"
