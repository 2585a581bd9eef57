"""Makes lessons of the replies in three steps: read them, check them, choose as many as are needed."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from laif_helpers import benchmarks, lessons
from laif_helpers.graders import turns
from laif_helpers.instruct.planning import Plan, open_ledger
from laif_helpers.instruct.requests import Request, settings
from laif_helpers.instructors import llm
from laif_helpers.instructors.chat import Asked
from laif_helpers.instructors.ledger import Ledger, Reply, key_of
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson, write_jsonl

ALL_THOUGHT = (
    "empty reply, since thinking took all of its tokens (or blanks did, under a schema): allow more by "
    "request_options: {instructor: {add: {max_tokens: …}}} (at OpenAI max_completion_tokens), have it think less "
    "(add: {reasoning_effort: low}), or set reply_format: text"
)


def read_lessons(plan: Plan, replies: Mapping[str, Reply], p: StageParameters) -> list[Lesson]:
    """The lessons in the replies; those that cannot be read keep their text under the status ``unparsable``.

    The diagnoses go to ``p.folder.diagnoses``, each with its errors and neighbours; a lesson leads to its own by
    ``request_key``.
    """
    if not p.quote_only:
        write_jsonl(p.folder.diagnoses(p.arm), diagnosed(plan, replies))
    return lessons_of(plan.requests, replies, p)


def lessons_of(requests: Sequence[Request], replies: Mapping[str, Reply], p: StageParameters) -> list[Lesson]:
    """The lessons in those requests' replies. What the instructor refused or did not answer teaches nothing."""
    instructor = p.instructor_model if p.instructor == "llm" else p.instructor
    found = []
    for item in requests:
        if item.key in replies:
            reply, sources = replies[item.key], item.source_ids
            failed = reply.finish if reply.finish.startswith("error") else ""
            if reply.finish == "length" and not turns.split(reply.text).answer.strip():
                failed = ALL_THOUGHT
            blank = Lesson("", item.benchmark, "", "", sources, p.arm, p.iteration, instructor, item.key)
            found += lessons.from_reply(reply.text, blank, failed)
    return found


def check(results: Sequence[Lesson], plan: Plan, p: StageParameters) -> list[Lesson]:
    """Every lesson with what is wrong with it: not right, a repetition, a test question, too long for training.

    With ``p.agreement`` the instructor answers choice lessons again, through the ledger.
    """
    if not results:
        return []
    checked = lessons.check(results, lessons.index_of_tests(p), max_length=p.max_length, workers=p.workers)
    if not p.agreement:
        return checked
    with open_ledger(plan, p) as replies:
        return lessons.confirm_letters(checked, functools.partial(answers_again, p=p, ledger=replies))


def answers_again(asked: Sequence[Lesson], p: StageParameters, ledger: Ledger) -> list[list[str]]:
    """``p.agreement`` answers of the instructor to each lesson's question, asked alone as a target would be; what the
    ledger holds is not asked for again."""
    found: list[list[str]] = [[] for _ in asked]
    for sample in range(1, p.agreement + 1):
        # another seed for each: servers that honour it would give one text again
        drawn = p.model_copy(update={"seed": p.seed + sample, "reply_format": "text"})
        requests = []
        for lesson in asked:
            messages = benchmarks.get(lesson.benchmark).messages_for(lesson.question)
            key = key_of(messages, settings(drawn) | {"sample": sample})
            requests.append(Asked(key, lesson.benchmark, messages))
        replies = ledger.answered(requests, functools.partial(llm.ask, p=drawn, ledger=ledger))
        for texts, item in zip(found, requests, strict=True):
            texts.append(replies[item.key].text if item.key in replies else "")
    return found


def choose(checked: Sequence[Lesson], p: StageParameters) -> list[Lesson]:
    """As many right lessons as the budget needs, spread evenly over the errors; all are written to
    ``p.folder.lessons``, rejected ones too. An arm that ended writes an empty file, ``quote_only`` none."""
    if p.quote_only:
        return []
    chosen = lessons.sample(checked, lessons.shares(p.budget, p.replay_fraction)[0], p.draw)
    write_jsonl(p.folder.lessons(p.arm), chosen)
    return chosen


def learn(plan: Plan, replies: Mapping[str, Reply], p: StageParameters) -> list[Lesson]:
    """The three steps in one call, for programs; the notebooks take them one by one."""
    return choose(check(read_lessons(plan, replies, p), plan, p), p)


def diagnosed(plan: Plan, replies: Mapping[str, Reply]) -> list[dict[str, Any]]:
    """A row for each reply: request_key, arm, benchmark, cluster, source_ids, neighbour_ids, diagnosis."""
    asked = ("arm", "benchmark", "cluster", "source_ids", "neighbour_ids")
    return [
        {"request_key": item.key, **{name: getattr(item, name) for name in asked}}
        | {"diagnosis": lessons.diagnosis(replies[item.key].text)}
        for item in plan.requests
        if item.key in replies
    ]
