"""A lesson's question put to the instructor again, alone: its answers must confirm the lesson (``lessons.agree``)."""

from collections.abc import Sequence

from laif_helpers import benchmarks
from laif_helpers.instruct.requests import Request, settings
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Ledger
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson


def ask(asked: Sequence[Lesson], p: StageParameters, book: Ledger) -> list[list[str]]:
    """``p.agreement`` answers to each lesson's question, through the ledger: what it holds is not asked for again."""
    from laif_helpers.instructors import llm

    answers: list[list[str]] = [[] for _ in asked]
    for sample in range(1, p.agreement + 1):
        # another seed for each: servers that honour it would give one text again
        drawn = p.model_copy(update={"seed": p.seed + sample, "reply_format": "text"})
        requests = [_question(drawn, lesson, sample) for lesson in asked]
        keys = [one.key for one in requests]
        there = book.replies(keys)
        llm.ask([one for one in requests if one.key not in there], drawn, book)
        replies = book.replies(keys)
        for texts, key in zip(answers, keys, strict=True):
            texts.append(replies[key].text)
    return answers


def _question(p: StageParameters, lesson: Lesson, sample: int) -> Request:
    """The question as a target would be asked it; ``sample`` tells repeated draws apart."""
    messages = benchmarks.get(lesson.benchmark).messages_for(lesson.question)
    key = ledger.key_of(messages, settings(p) | {"sample": sample})
    return Request(key, p.arm, lesson.benchmark, lesson.source_ids, [], 0, messages)
