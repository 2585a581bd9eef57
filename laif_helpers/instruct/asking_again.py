"""Asks the instructor the lessons' questions again, alone; its answers must confirm them (``lessons.confirmed``)."""

import functools
from collections.abc import Sequence

from laif_helpers import benchmarks
from laif_helpers.instruct.requests import settings
from laif_helpers.instructors import llm
from laif_helpers.instructors.chat import Asked
from laif_helpers.instructors.ledger import Ledger, key_of
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson


def answers(asked: Sequence[Lesson], p: StageParameters, ledger: Ledger) -> list[list[str]]:
    """``p.agreement`` answers to each lesson's question, through the ledger: what it holds is not asked for again."""
    found: list[list[str]] = [[] for _ in asked]
    for sample in range(1, p.agreement + 1):
        # another seed for each: servers that honour it would give one text again
        drawn = p.model_copy(update={"seed": p.seed + sample, "reply_format": "text"})
        requests = [_question(drawn, lesson, sample) for lesson in asked]
        replies = ledger.answered(requests, functools.partial(llm.ask, p=drawn, ledger=ledger))
        for texts, item in zip(found, requests, strict=True):
            texts.append(replies[item.key].text if item.key in replies else "")
    return found


def _question(p: StageParameters, lesson: Lesson, sample: int) -> Asked:
    """The question as a target would be asked it; ``sample`` distinguishes repeated draws."""
    messages = benchmarks.get(lesson.benchmark).messages_for(lesson.question)
    key = key_of(messages, settings(p) | {"sample": sample})
    return Asked(key, lesson.benchmark, messages)
