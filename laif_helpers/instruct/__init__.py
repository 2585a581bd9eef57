"""Stages 3 and 4: one request per wrong item, the instructor's replies, and the lessons in them.

LE shows the instructor one wrong question and answer, LEC also the nearest questions that the target answered
right (arXiv 2407.00497); AugGPT shows a training question alone. The control ``random`` asks as LE does, and as
often, about training questions drawn by chance. A switch such as ``le+lec`` does as LE, and as LEC in the end.
"""

import functools
import json
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from laif_helpers import arms, benchmarks, lessons
from laif_helpers.answers import joined
from laif_helpers.instruct import second_answers
from laif_helpers.instruct.neighbours import nearest_right
from laif_helpers.instruct.requests import Answered, Request, Study, request
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Ledger, Reply
from laif_helpers.paths import runs_dir, short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson, Response, read_jsonl, write_jsonl

LEAST_LESSONS = 3
"""Lessons asked for in one request, at least: a contrast is two lessons beyond the boundary and one on this side."""
ENDED = "no wrong items: the target answered every {split} item of {names} right, so there is nothing to learn from"
HIDDEN = (
    "no wrong items to show: all {n} wrong {split} item(s) of {names} are held out from the instructor "
    "(holdout_fraction {share:g}), so there is nothing to learn from; lower holdout_fraction to use them"
)


@dataclass(frozen=True)
class Plan:
    """All requests of one arm's iteration.

    Attributes:
        studies: the answers they rest on, by benchmark.
        neighbours: wrong item's id -> (right item's id, distance), nearest first; LEC only.
        ended: why there is nothing to ask, "" where there is.
        notes: what else a reader must know, a sentence each.
    """

    requests: list[Request]
    studies: dict[str, Study]
    neighbours: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    ended: str = ""
    notes: tuple[str, ...] = ()

    @property
    def requested(self) -> int:
        return sum(request.n for request in self.requests)


# -- what to ask about


def read(p: StageParameters) -> dict[str, Study]:
    """The previous iteration's answers to the error split, right and wrong, joined with their questions.

    Held-out items are left out, as errors and as neighbours.

    Raises FileNotFoundError naming the file and what to run, ValueError where answers and questions do not fit.
    """
    studies = {}
    for name in p.in_domain:
        path = p.previous.responses(name, p.error_split)
        if not path.is_file():
            raise FileNotFoundError(
                f"{_short(path)} does not exist; run 01_evaluate with RUN={p.run!r}, "
                f"ARM={p.arm if p.iteration > 1 else 'vanilla'!r}, ITERATION={p.iteration - 1} first"
            )
        known = joined.examples(p, name, p.error_split)
        right: list[Answered] = []
        wrong: list[Answered] = []
        hidden = 0
        for response in read_jsonl(path, Response):
            if response.id not in known:
                raise ValueError(
                    f"{_short(path)} answers {response.id}, which {name} {p.error_split} lacks; run 01 again"
                )
            # what two graders read differently teaches nothing
            agreed = response.correct or response.is_error
            if agreed and not joined.held_out(p, name, response.id):
                (right if response.correct else wrong).append(Answered(known[response.id], response.text))
            else:
                hidden += not response.correct
        studies[name] = Study(benchmarks.get(name), wrong, right, hidden)
    return studies


def _short(path: Path) -> str:
    return str(path.relative_to(runs_dir())) if path.is_relative_to(runs_dir()) else str(path)


def selected(p: StageParameters, studies: dict[str, Study]) -> set[str] | None:
    """Ids of ``selection.json`` (a set of errors picked on the error map); None where there is no such file."""
    if not p.previous.selection.is_file():
        return None
    try:
        ids = {str(id) for id in json.loads(p.previous.selection.read_text(encoding="utf-8"))["ids"]}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            f'{_short(p.previous.selection)} must read {{"ids": ["…", …]}}; pick again, or remove it'
        ) from None
    wrong = {answer.example.id for study in studies.values() for answer in study.wrong}
    if not ids & wrong:
        raise ValueError(f"selection.json names {len(ids)} ids, none of them a wrong item; pick again, or remove it")
    return ids & wrong


def plan(p: StageParameters) -> Plan:
    """Choose the items, find the neighbours, write the requests (to ``p.folder.requests``). Nothing is sent.

    Every arm asks for enough lessons for the budget less its replay share: n = ceil(needed / items) + 1 about
    each item, at least three. Where more items are wrong than that takes, a seeded sample is asked about; of
    instructors that cost nothing, up to one item for every lesson needed, since they cannot vary every item.
    """
    if p.row.needs != "instructor":
        asking = ", ".join(f"{arm.name} ({arm.notebook})" for arm in arms.ARMS.values() if arm.needs == "instructor")
        raise ValueError(f"arm {p.arm!r} asks no instructor; the arms that do: {asking}")
    studies = read(p)
    needed, _ = lessons.shares(p.budget, p.replay_fraction)
    most = needed if p.instructor in ledger.FREE else -(-needed // (LEAST_LESSONS - 1))
    chosen = selected(p, studies) if p.row.about != "items" else None
    requests: list[Request] = []
    neighbours: dict[str, list[tuple[str, float]]] = {}
    notes = [] if chosen is None else [f"selection.json restricts the errors to {len(chosen)}"]
    for name, short in short_names(studies).items():
        study = studies[name]
        pool = sources(p, study, chosen)
        if not pool:
            notes.append(
                f"{short}: no wrong items, so no requests" + f" ({study.hidden} held out)" * bool(study.hidden)
            )
            continue
        near, repeated = nearest_right(p, study, pool) if p.row.about == "errors_and_neighbours" else ({}, 0)
        neighbours |= near
        notes += [f"{short}: {repeated} right items that repeat an error are no neighbours of it"] if repeated else []
        items = random.Random(f"{p.draw}-{name}-items").sample(pool, min(len(pool), most))
        if p.row.about == "random":
            pool = list(study.everything.values())
            items = random.Random(f"{p.draw}-{name}-random").sample(pool, len(items))
        n = max(-(-needed // len(items)) + 1, LEAST_LESSONS)
        requests += [request(p, study, item, near.get(item.example.id, []), n) for item in items]
        notes.append(f"{short}: {len(items)} of {len(pool)} items asked about, {n} lessons each, {needed} needed")
    write_jsonl(p.folder.requests(p.arm), requests)
    ended = "" if requests else _ended(p, studies)
    return Plan(requests, studies, neighbours, ended, tuple(notes))


def _ended(p: StageParameters, studies: dict[str, Study]) -> str:
    hidden = sum(study.hidden for study in studies.values())
    told = {
        "split": p.error_split,
        "names": ", ".join(short_names(studies).values()),
        "n": hidden,
        "share": p.holdout_fraction,
    }
    return (HIDDEN if hidden else ENDED).format(**told)


def sources(p: StageParameters, study: Study, chosen: set[str] | None) -> list[Answered]:
    """The items an arm may ask about: the errors; for AugGPT, which sees no error, every answered item.

    For ``random``, whose requests number as many as LE's, the errors that LE would ask about.
    """
    if p.row.about == "items":
        return list(study.everything.values())
    return [answer for answer in study.wrong if chosen is None or answer.example.id in chosen]


# -- asking


def probe(plan: Plan, p: StageParameters) -> dict[str, Reply]:
    """The replies to the plan's first ``p.probe`` requests, really sent: what the rest is quoted from.

    They count against ``max_usd`` and stay in the ledger. {} where an instructor is free, or nothing may be sent.
    """
    if p.instructor in ledger.FREE:
        return {}
    return ask(replace(plan, requests=plan.requests[: p.probe]), p)


def ask(plan: Plan, p: StageParameters) -> dict[str, Reply]:
    """The replies, by request key: those in the ledger as they are, the missing ones asked for.

    ``quote_only`` or no requests: {} and nothing is sent. Raises what the instructor raises; replies that
    arrived before stay in the ledger, and a second call asks only for the rest.
    """
    if p.quote_only or not plan.requests:
        return {}
    if p.instructor == "llm":
        lessons.test_questions(p)  # a test split that is not at hand must be told before anything is paid for
    keys = [request.key for request in plan.requests]
    with _ledger(plan, p) as book:
        there = book.replies(keys)
        _instructor(p.instructor)([request for request in plan.requests if request.key not in there], p, book)
        return book.replies(keys)


def _ledger(plan: Plan, p: StageParameters) -> AbstractContextManager[Ledger]:
    """The ledger of this arm's iteration, which refuses to be used for other data."""
    about = {"arm": p.arm, "iteration": str(p.iteration), "target": p.target, "error_split": p.error_split}
    about |= {"instructor": p.instructor}
    items = {
        f"{name}:{id}": study.bench.question_text(answer.example)
        for name, study in plan.studies.items()
        for id, answer in study.everything.items()
    }
    return ledger.open_ledger(p.folder.replies(p.arm), about, items)


def _instructor(name: str) -> Callable[[Sequence[Request], StageParameters, Ledger], None]:
    if name == "llm":
        from laif_helpers.instructors import llm

        return llm.ask
    if name == "scripted":
        from laif_helpers.instructors import scripted

        return functools.partial(_ask_local, scripted.answer)
    from laif_helpers.instructors import symbolic

    return functools.partial(_ask_local, symbolic.answer)


def _ask_local(answer: Callable[..., str], requests: Sequence[Request], p: StageParameters, book: Ledger) -> None:
    for one in tqdm(requests, desc=p.instructor, unit="request", disable=not requests):
        text = answer(one.messages, seed=int(one.key[:8], 16))
        book.reserve(one.key, "", 0.0)
        book.record(Reply(one.key, text))


# -- what came back


def learn(plan: Plan, replies: dict[str, Reply], p: StageParameters) -> list[Lesson]:
    """Read and check the lessons of all replies and write them, rejected ones too, to ``p.folder.lessons``.

    The diagnoses go to ``p.folder.diagnoses``, each with its error and neighbours; a lesson leads to its own by
    ``request_key``. An arm that ended writes an empty file; with ``quote_only`` there is nothing to write.
    """
    if p.quote_only:
        return []
    write_jsonl(p.folder.diagnoses(p.arm), diagnosed(plan, replies))
    made = [
        lesson
        for one in plan.requests
        if one.key in replies
        for lesson in lessons.from_reply(
            replies[one.key].text,
            benchmark=one.benchmark,
            key=one.key,
            source_ids=one.source_ids,
            arm=p.arm,
            iteration=p.iteration,
            instructor=p.instructor_model if p.instructor == "llm" else p.instructor,
        )
    ]
    if made:
        needed, _ = lessons.shares(p.budget, p.replay_fraction)
        tests = lessons.index_of_tests(p)
        options: dict[str, Any] = {"max_length": p.max_length, "seed": p.draw, "workers": p.workers}
        with ExitStack() as stack:
            if p.agreement:
                answers = functools.partial(second_answers.ask, p=p, book=stack.enter_context(_ledger(plan, p)))
                options["confirm"] = functools.partial(lessons.agree, answers=answers)
            made = lessons.judge(made, tests, needed=needed, **options)
    write_jsonl(p.folder.lessons(p.arm), made)
    return made


def diagnosed(plan: Plan, replies: dict[str, Reply]) -> list[dict[str, Any]]:
    """What the instructor said of each item: request_key, arm, benchmark, source_ids, neighbour_ids, diagnosis."""
    return [
        {
            "request_key": one.key,
            "arm": one.arm,
            "benchmark": one.benchmark,
            "source_ids": one.source_ids,
            "neighbour_ids": one.neighbour_ids,
            "diagnosis": lessons.diagnosis(replies[one.key].text),
        }
        for one in plan.requests
        if one.key in replies
    ]
