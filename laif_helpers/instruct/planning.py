"""Plans the requests: which items they are about, and how many lessons each asks for. Nothing is sent."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from laif_helpers import arms, embeddings, instructors, lessons
from laif_helpers.answers import pools
from laif_helpers.answers.pools import Answered, Study
from laif_helpers.instruct.requests import Near, Request, request
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Ledger
from laif_helpers.lessons.filters import resembles
from laif_helpers.paths import in_runs, short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import sound_rows, write_jsonl

LEAST_LESSONS = 3
"""Lessons asked for in one request, at least: a contrast is two lessons beyond the boundary and one on this side."""
ENDED = "no wrong items: the target answered every {split} item of {names} right, so there is nothing to learn from"
HIDDEN = (
    "no wrong items to show: all {n} wrong {split} item(s) of {names} are held out from the instructor "
    "(holdout_fraction {share:g}), so there is nothing to learn from; lower holdout_fraction to use them"
)
SELECTED = "selection.json restricts the errors"
GROUP, MOST_LESSONS = 4, 20
"""Errors of one cluster in a request, at most; fewer if it would have to ask for more lessons than a reply holds."""
SPARE = 8
"""Neighbours looked up beyond k at first, since some may repeat the error."""


@dataclass(frozen=True)
class Plan:
    """All requests of one arm's iteration.

    Attributes:
        studies: the answers they rest on, by benchmark.
        ended: why there is nothing to ask, "" if there is.
        notes: what else a reader must know, a sentence each.
    """

    requests: list[Request]
    studies: dict[str, Study]
    ended: str = ""
    notes: tuple[str, ...] = ()

    @property
    def requested(self) -> int:
        return sum(request.n for request in self.requests)


def plan(p: StageParameters) -> Plan:
    """Choose the items, find the neighbours, write the requests (to ``p.folder.requests``). Nothing is sent.

    Every arm asks for enough lessons for the budget less its replay share: n = ceil(needed / requests) + 1 in
    each request, at least three. If more items are wrong than that takes, a seeded sample is asked about; of
    instructors that cost nothing, up to one item for every lesson needed, since they cannot vary every item.
    What an earlier plan has paid for is asked again as it was, if that is enough for the budget.
    """
    _check(p)
    found = pools.read(p)
    paid = _paid(p)
    chosen, notes = selected(p, found) if p.row.about != "items" else (None, [])
    named = named_clusters(p) if p.row.studies_errors else {}
    requests, alone = list[Request](), ""
    for name, short in short_names(found).items():
        study = found[name]
        pool = sources(p, study, chosen)
        if nothing := _nothing_to_ask(p, study, pool, short):
            notes.append(nothing)
            alone = nothing if pool else alone
            continue
        near, told = _neighbours(p, study, pool, short)
        notes += told
        items = _items(p, study, pool, paid)
        groups = _groups(p, study, items, named)
        n = max(-(-_needed(p) // len(groups)) + 1, LEAST_LESSONS)
        for group in groups:
            ids = [item.example.id for item in group]
            before, cluster = paid.get((name, *ids), 0), named.get((name, ids[0]), "")
            most = before if before * len(groups) >= _needed(p) else n
            requests.append(request(p, study, group, _nearest(p, group, near), most, cluster))
        grouped = f" in {len(groups)} requests" * (len(groups) < len(items))
        asked = f"{len(items)} of {len(pool)} items asked about{grouped}"
        notes.append(f"{short}: {asked}, {n} lessons each, {_needed(p)} needed")
    write_jsonl(p.folder.requests(p.arm), requests)
    return Plan(requests, found, "" if requests else alone or _ended(p, found), tuple(notes))


def selected(p: StageParameters, studies: dict[str, Study]) -> tuple[set[str] | None, list[str]]:
    """Ids of ``selection.json`` (errors picked on the error map) that may be taught, and what a reader must know of it.

    ``(None, [])`` if there is no such file.
    """
    if not p.previous.selection.is_file():
        return None, []
    try:
        ids = {str(id) for id in json.loads(p.previous.selection.read_text(encoding="utf-8"))["ids"]}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            f'{in_runs(p.previous.selection)} must read {{"ids": ["…", …]}}; pick again, or remove it'
        ) from None
    wrong = {answer.example.id for study in studies.values() for answer in study.wrong}
    if not ids & wrong:
        raise ValueError(f"selection.json names {len(ids)} ids, none of them a wrong item; pick again, or remove it")
    some = f" of the {len(ids)}" if ids - wrong else ""
    why = " (the others are held out, or no errors)" if some else ""
    drop = f"remove {p.previous.selection} to use all errors"
    return ids & wrong, [f"{SELECTED} to {len(ids & wrong)}{some} picked on the map{why}; {drop}"]


def named_clusters(p: StageParameters) -> dict[tuple[str, str], str]:
    """(benchmark, id) -> the name of the cluster that 02 put an item into; {} if 02 has not written its table."""
    if not p.previous.errors.is_file():
        return {}
    import pandas as pd

    table = pd.read_parquet(p.previous.errors, columns=["benchmark", "id", "cluster_name"])
    rows = zip(table["benchmark"], table["id"].astype(str), table["cluster_name"], strict=True)
    return {(benchmark, id): str(name) for benchmark, id, name in rows if name}


def _check(p: StageParameters) -> None:
    """ValueError if the arm asks no instructor, or the instructor cannot teach what it would be asked about;
    FileNotFoundError if clusters are asked about and there are none."""
    if p.row.needs != "instructor":
        asking = ", ".join(f"{arm.name} ({arm.notebook})" for arm in arms.ARMS.values() if arm.needs == "instructor")
        raise ValueError(f"arm {p.arm!r} asks no instructor; the arms that do: {asking}")
    if reason := instructors.problem(p):
        raise ValueError(reason)
    if p.per == "cluster" and not p.previous.errors.is_file() and p.row.studies_errors:
        raise FileNotFoundError(
            f"per: cluster needs {p.previous.errors}; run 02_error_analysis for that iteration first"
        )


def _needed(p: StageParameters) -> int:
    return lessons.shares(p.budget, p.replay_fraction)[0]


def _paid(p: StageParameters) -> dict[tuple[str, ...], int]:
    """How many lessons each request of an earlier plan asked for whose reply is paid, by benchmark and items: one gold
    answer that was put right since changes how many are wanted, and whom the draw takes."""
    known = ledger.paid(p.folder.replies(p.arm)) if instructors.INSTRUCTORS[p.instructor].paid else set()
    rows = sound_rows(p.folder.requests(p.arm)) if known else []
    return {(row["benchmark"], *row["source_ids"]): row["n"] for row in rows if row.get("key") in known}


def _items(p: StageParameters, study: Study, pool: list[Answered], paid: dict[tuple[str, ...], int]) -> list[Answered]:
    """A seeded draw of the items that are asked about; for ``random``, as many of all answered items. Those that are
    ``paid`` for take the places of others."""
    name = study.bench.name
    most = -(-_needed(p) // (LEAST_LESSONS - 1)) if instructors.INSTRUCTORS[p.instructor].paid else _needed(p)
    items = random.Random(f"{p.draw}-{name}-items").sample(pool, min(len(pool), most))
    ids = {item.example.id for item in items}
    more = [item for item in pool if (name, item.example.id) in paid and item.example.id not in ids]
    free = [item for item in items if (name, item.example.id) not in paid]
    gone = [item.example.id for item in free[max(len(free) - len(more), 0) :]]
    items = [item for item in items if item.example.id not in gone] + more[: len(gone)]
    if p.row.about != "random":
        return items
    return random.Random(f"{p.draw}-{name}-random").sample(list(study.everything.values()), len(items))


def _groups(
    p: StageParameters, study: Study, items: list[Answered], named: dict[tuple[str, str], str]
) -> list[list[Answered]]:
    """What each request is about: one item, or several errors of one cluster. Errors of no cluster stay alone."""
    if p.per == "error" or not named:
        return [[item] for item in items]
    by_cluster: dict[str, list[Answered]] = defaultdict(list)
    for item in items:
        by_cluster[named.get((study.bench.name, item.example.id), f"alone {item.example.id}")].append(item)
    size = GROUP
    while True:
        cut = [each[at : at + size] for each in by_cluster.values() for at in range(0, len(each), size)]
        if size == 1 or -(-_needed(p) // len(cut)) < MOST_LESSONS:
            return cut
        size -= 1


def _nearest(p: StageParameters, group: Sequence[Answered], near: dict[str, Near]) -> Near:
    """The ``p.k`` right items that are nearest to any item of a group."""
    closest: dict[str, float] = {}
    for item in group:
        for id, distance in near.get(item.example.id, []):
            closest[id] = min(distance, closest.get(id, distance))
    return sorted(closest.items(), key=lambda pair: pair[1])[: p.k]


def _ended(p: StageParameters, studies: dict[str, Study]) -> str:
    hidden = sum(study.hidden for study in studies.values())
    names = ", ".join(short_names(studies).values())
    return (HIDDEN if hidden else ENDED).format(split=p.error_split, names=names, n=hidden, share=p.holdout_fraction)


def sources(p: StageParameters, study: Study, chosen: set[str] | None) -> list[Answered]:
    """The items an arm may ask about: the errors; for AugGPT, which sees no error, every answered item.

    For ``random``, whose requests number as many as LE's, the errors that LE would ask about.
    """
    if p.row.about == "items":
        return list(study.everything.values())
    return [answer for answer in study.wrong if chosen is None or answer.example.id in chosen]


def open_ledger(plan: Plan, p: StageParameters) -> AbstractContextManager[Ledger]:
    """The ledger of this arm's iteration, which refuses to be used for other data."""
    about = {"arm": p.arm, "iteration": str(p.iteration), "target": p.target, "error_split": p.error_split}
    about |= {"instructor": p.instructor, ledger.PAID: "yes" if instructors.INSTRUCTORS[p.instructor].paid else "no"}
    items = {
        f"{name}:{id}": study.bench.question_text(answer.example)
        for name, study in plan.studies.items()
        for id, answer in study.everything.items()
    }
    return ledger.open_ledger(p.folder.replies(p.arm), about, items)


# -- LEC: the nearest right answers


def _nothing_to_ask(p: StageParameters, study: Study, pool: list[Answered], short: str) -> str:
    """Why no request can be made about a benchmark; "" if one can."""
    if not pool:
        return f"{short}: no wrong items, so no requests{f' ({study.hidden} held out)' * bool(study.hidden)}"
    if p.row.about == "errors_and_neighbours" and not study.right:
        return f"{short}: no item was answered right, so none sets an error apart; arm le needs none"
    return ""


def _neighbours(
    p: StageParameters, study: Study, pool: list[Answered], short: str
) -> tuple[dict[str, Near], list[str]]:
    """The right items beside each error, for an arm that shows them, and what a reader must know about them."""
    if p.row.about != "errors_and_neighbours":
        return {}, []
    near, repeated = nearest_right(p, study, pool)
    few = f"{short}: only {len(study.right)} items were answered right, fewer than k = {p.k}: all of them are shown"
    same = f"{short}: {repeated} right items that repeat an error are no neighbours of it"
    return near, [few] * (len(study.right) < p.k) + [same] * bool(repeated)


def nearest_right(
    p: StageParameters, study: Study, wrong: Sequence[Answered], k: int = 0
) -> tuple[dict[str, Near], int]:
    """Each wrong item's ``k`` (default ``p.k``, or all if there are fewer) nearest right items of its benchmark, by id.

    A right item that repeats the error (``lessons.filters.resembles``) is passed over, since beside it nothing
    sets the error apart; the second value says how often that happened. Raises ValueError if the target
    answered no item right.
    """
    if not study.right:
        raise ValueError(f"no item of {study.bench.name} was answered right, so none sets an error apart; use arm le")
    k = min(k or p.k, len(study.right))
    asked, known = ([study.bench.question_text(item.example) for item in side] for side in (wrong, study.right))
    vectors = embeddings.embed([*asked, *known], p.embedding, cache=p.vectors)
    own, pool = vectors[: len(wrong)], vectors[len(wrong) :]
    chosen: dict[int, tuple[Near, int]] = {}
    left, take = list(range(len(wrong))), min(k + SPARE, len(known))
    while left:
        indices, distances = embeddings.nearest(own[left], pool, take)
        for at, row, far in zip(left, indices.tolist(), distances.tolist(), strict=True):
            kept, passed = _apart(asked[at], zip(row, far, strict=True), known, k)
            if len(kept) == k or take == len(known):
                chosen[at] = [(study.right[i].example.id, distance) for i, distance in kept], passed
        left, take = [at for at in left if at not in chosen], min(4 * take, len(known))
    found = {item.example.id: chosen[at][0] for at, item in enumerate(wrong)}
    return found, sum(passed for _, passed in chosen.values())


def _apart(
    asked: str, row: Iterable[tuple[int, float]], known: Sequence[str], k: int
) -> tuple[list[tuple[int, float]], int]:
    """The first k of ``row`` that do not repeat the question, and how many were passed over on the way."""
    near: list[tuple[int, float]] = []
    passed = 0
    for i, distance in row:
        if len(near) == k:
            break
        if resembles(asked, known[i]):
            passed += 1
        else:
            near.append((i, distance))
    return near, passed
