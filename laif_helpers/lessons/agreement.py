"""Choice lessons answered again: the instructor, asked k times without its own answer, must agree with itself."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from laif_helpers import benchmarks
from laif_helpers.benchmarks import _choice
from laif_helpers.lessons.checks import options_of
from laif_helpers.lessons.filters import marked
from laif_helpers.records import Lesson


def agree(lessons: Sequence[Lesson], answer: Callable[[str], str], k: int, *, workers: int = 2) -> list[Lesson]:
    """Choice lessons still kept whose letter ``k`` independent answers do not all confirm get the status ``wrong``.

    ``answer``: question -> text; called ``k`` times for each lesson, ``workers`` calls side by side, so it must draw
    anew each time and be safe in threads. ``k`` = 0: nothing is asked. Raises ValueError for a negative ``k``, and
    whatever ``answer`` raises.
    """
    if k < 0:
        raise ValueError(f"agreement: {k} answers cannot agree; set 0 (off) or more")
    asked = [
        at
        for at, lesson in enumerate(lessons)
        if k and lesson.status == "kept" and benchmarks.get(lesson.benchmark).family == "choice"
    ]
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        said = list(pool.map(lambda at: [answer(lessons[at].question) for _ in range(k)], asked))
    problems = [""] * len(lessons)
    for at, texts in zip(asked, said, strict=True):
        problems[at] = _disagreement(lessons[at], texts)
    return marked(lessons, problems, "wrong")


def _disagreement(lesson: Lesson, texts: Sequence[str]) -> str:
    options = dict(options_of(lesson.question))
    letter = _choice.read(lesson.response, options)[0]
    read = [_choice.read(text, options)[0] or "?" for text in texts]
    right = sum(one == letter for one in read)
    if right == len(read):
        return ""
    return f"{right} of {len(read)} independent answers agree with {letter}: {', '.join(read)}"
