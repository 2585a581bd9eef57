"""Mixes the training set of stage 5: an arm's lessons and replayed items, the same number of items for every arm."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, lessons
from laif_helpers.answers import joined
from laif_helpers.lessons.text import normalise
from laif_helpers.paths import short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example, Lesson, Response, read_jsonl, read_rows, write_jsonl
from laif_helpers.train import token_budget
from laif_helpers.train.settings import read_json


@dataclass(frozen=True)
class Mix:
    """What ``make`` wrote. ``ended``: why this arm has nothing left to learn from, else empty."""

    rows: list[dict[str, Any]]
    notes: list[str]
    ended: str = ""

    @property
    def table(self) -> pd.DataFrame:
        """Items by benchmark and source (lesson, gold, replay)."""
        counts = Counter((row["benchmark"], row["source"]) for row in self.rows)
        short = short_names(name for name, _ in counts)
        table = [(short[name], source, n) for (name, source), n in sorted(counts.items())]
        return pd.DataFrame(table, columns=["benchmark", "source", "n"])

    @property
    def observation(self) -> str:
        """The mix in words."""
        if self.ended:
            return f"Nothing to train on: {self.ended}."
        sources = Counter(row["source"] for row in self.rows)
        counts = ", ".join(f"{n} {source}" for source, n in sorted(sources.items()))
        return f"{len(self.rows)} training items ({counts}). " + " ".join(note + "." for note in self.notes)


def make(p: StageParameters) -> Mix:
    """Read lessons and replay pool, mix them to ``p.budget`` a benchmark, write ``p.folder.training_set``.

    Raises FileNotFoundError naming the notebook to run first, ValueError if no lesson was kept, if there are
    too few (``strict``), or if a training question is a test question.
    """
    if reason := _ended(p):
        p.folder.training_set.unlink(missing_ok=True)
        return Mix([], [], reason)
    tests = lessons.test_questions(p)
    if p.folder.repair_records.is_file() and not p.folder.lessons(p.arm).is_file():
        return _repairs(p, tests)
    by_tokens = p.match == "tokens"
    # what the budget of items did not need serves if tokens are held equal
    usable = ("kept", "surplus") if by_tokens else ("kept",)
    kept = [lesson for lesson in _arm_lessons(p, tests) if lesson.status in usable]
    if not any(lesson.status == "kept" for lesson in kept):
        raise ValueError(f"{p.folder.lessons(p.arm)} holds no kept lesson; look at the reasons in its funnel")
    replay = lessons.shares(p.budget, p.replay_fraction)[1] > 0
    right = _right_answers(p) if replay else {}
    rows = lessons.mix(
        [replace(lesson, status="kept") for lesson in sorted(kept, key=lambda lesson: lesson.status)],
        _replay_pool(p, tests, right) if replay else [],
        budget=p.budget * (token_budget.CANDIDATES if by_tokens else 1),
        replay_fraction=p.replay_fraction,
        seed=p.draw,
        tests=tests,
    )
    if p.replay_from == "own":
        rows = [_in_own_words(row, right) for row in rows]
    return _written(p, rows, lessons.shortfalls(rows, p.budget, p.replay_fraction, strict=p.strict and not by_tokens))


def _written(p: StageParameters, rows: list[dict[str, Any]], short: list[str]) -> Mix:
    """Write the training set, cut to equal tokens if the recipe asks for that; with what there is too little of."""
    if p.match == "tokens":
        rows, short = token_budget.fit(p, rows)
    write_jsonl(p.folder.training_set, rows)
    absent = [name for name in p.in_domain if name not in {row["benchmark"] for row in rows}]
    return Mix(rows, [f"{name}: no items at all" for name in absent] + short)


def _repairs(p: StageParameters, tests: list[tuple[str, str]]) -> Mix:
    """The conversations that 07 made, or the questions that 10 chose. Raises ValueError if one is a test question."""
    rows = list(read_rows(p.folder.repair_records))
    forbidden = {normalise(question) for _, question in tests}
    for row in rows:
        if normalise(row["messages"][0]["content"]) in forbidden:
            again = f"run {p.row.notebook} again"
            raise ValueError(f"training row {row['id']} of {row['benchmark']} asks a test question; {again}")
    if not rows:
        raise ValueError(f"{p.folder.repair_records} holds no record; look at the funnel of {p.row.notebook}")
    return _written(p, rows, lessons.shortfalls(rows, p.budget, 0.0))


def _ended(p: StageParameters) -> str:
    """Why this arm ends here: 09 or 10 recorded it, or its instructor was asked nothing because no item was wrong."""
    recorded = p.folder.metrics(p.row.notebook) if p.row.notebook else None
    if recorded and recorded.is_file() and (reason := read_json(recorded).get("ended")):
        return str(reason)
    asked = p.folder.requests(p.arm)
    if not asked.is_file() or any(read_rows(asked)):
        return ""
    return f"{p.row.notebook} found no wrong item to ask the instructor about"


def _arm_lessons(p: StageParameters, tests: list[tuple[str, str]]) -> list[Lesson]:
    path = p.folder.lessons(p.arm)
    if not p.row.notebook:
        items = {name: joined.learnable(p, name) for name in p.in_domain}
        needed = lessons.shares(p.budget, p.replay_fraction)[0]
        gold = lessons.gold_lessons(items, tests, needed, seed=p.draw, arm=p.arm, iteration=p.iteration)
        write_jsonl(path, gold)
        return gold
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; run {p.row.notebook} with RUN={p.run!r}, ARM={p.arm!r}, "
            f"ITERATION={p.iteration} first"
        )
    return read_jsonl(path, Lesson)


def _right_answers(p: StageParameters) -> dict[tuple[str, str], str]:
    """(benchmark, id) -> the text of each right answer to the error split in the previous iteration."""
    right: dict[tuple[str, str], str] = {}
    for name in p.in_domain:
        path = p.previous.responses(name, p.error_split)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist, and replay_fraction {p.replay_fraction} draws on it; run 01_evaluate with "
                f"RUN={p.run!r} for that iteration first, or set REPLAY_FRACTION = 0"
            )
        answers = [answer for answer in read_jsonl(path, Response) if not answer.sample]  # pools reads the first alone
        right |= {(name, answer.id): answer.text for answer in answers if answer.correct}
    if p.replay_from == "own" and not any(text.strip() for text in right.values()):
        raise ValueError(
            f"replay_from: own replays the target's own right answers to {', '.join(p.in_domain)} {p.error_split}, and "
            "there are none; set replay_fraction: 0 to train on lessons alone"
        )
    return right


def _replay_pool(p: StageParameters, tests: list[tuple[str, str]], right: dict[tuple[str, str], str]) -> list[Example]:
    """Training items answered right in the previous iteration, without those that a test split holds too."""
    forbidden = {normalise(question) for _, question in tests}
    pool = []
    for name in p.in_domain:
        text = benchmarks.get(name).question_text
        pool += [e for e in joined.learnable(p, name) if (name, e.id) in right and normalise(text(e)) not in forbidden]
    return pool


def _in_own_words(row: dict[str, Any], right: dict[tuple[str, str], str]) -> dict[str, Any]:
    """A replayed row with the target's own right answer in place of the gold rationale; others as they are."""
    if row["source"] != "replay":
        return row
    answer = {"role": "assistant", "content": right[row["benchmark"], row["id"]]}
    return row | {"messages": [*row["messages"][:-1], answer]}
