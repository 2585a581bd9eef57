"""Confirms choice lessons: the instructor, asked k times without its own answer, must agree with itself."""

from collections.abc import Callable, Sequence

from laif_helpers.graders import choice
from laif_helpers.lessons import families
from laif_helpers.lessons.checks import options_of
from laif_helpers.lessons.filters import marked
from laif_helpers.records import Lesson


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
