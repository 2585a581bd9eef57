"""Mixes the training set of stage 5: an arm's lessons and replayed items, the same number of items for every arm, or
(``match: tokens``) of the target's tokens: what ``budget`` worked items take, questions included."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, lessons
from laif_helpers.answers import joined
from laif_helpers.lessons import worked
from laif_helpers.lessons.text import normalise
from laif_helpers.models import check
from laif_helpers.paths import short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import ROLLOUT, Example, Lesson, Response, Row, read_json, read_jsonl, read_rows, write_jsonl

MEASURED = 200
"""Worked items whose mean length stands for all."""
FILLED = 0.95
"""Share of its allowance from which a benchmark counts as full: rows are whole."""
CANDIDATES = 4
"""Times the budget: rows to choose from if an arm's rows are short."""


@dataclass(frozen=True)
class Mix:
    """What ``make`` wrote. ``ended``: why this arm has nothing left to learn from, else empty."""

    rows: list[Row]
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
        [e for name in p.in_domain if replay for e in joined.learnable(p, name) if (name, e.id) in right],
        budget=p.budget * (CANDIDATES if by_tokens else 1),
        replay_fraction=p.replay_fraction,
        seed=p.draw,
        tests=tests,
    )
    if p.replay_from == "own":
        rows = [_in_own_words(row, right) for row in rows]
    return _written(p, rows, lessons.shortfalls(rows, p.budget, p.replay_fraction))


def _written(p: StageParameters, rows: list[Row], short: list[str]) -> Mix:
    """Write the training set, cut to equal tokens if the recipe asks for that; with what there is too little of, a
    ValueError if ``p.strict``."""
    if p.match == "tokens":
        rows, short = fit(p, rows)
    have = {row["benchmark"] for row in rows}
    short = [f"{name}: no items at all" for name in p.in_domain if name not in have] + short
    if p.strict and short:
        raise ValueError("; ".join(short) + "; lower budget, or set strict: false to train on what there is")
    write_jsonl(p.folder.training_set, rows)
    return Mix(rows, short)


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


def _in_own_words(row: Row, right: dict[tuple[str, str], str]) -> Row:
    """A replayed row with the target's own right answer in place of the gold rationale; others as they are."""
    if row["source"] != "replay":
        return row
    answer = {"role": "assistant", "content": right[row["benchmark"], row["id"]]}
    return row | {"messages": [*row["messages"][:-1], answer]}


# -- equal tokens


def fit(p: StageParameters, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The first rows of each benchmark that its allowance takes, lessons and replay in their shares, and a sentence for
    each benchmark whose rows do not fill it. Rollouts come again until it is used up."""
    tokenizer, found, short = check.tokenizer_of(p.base_model), list[Row](), []
    for name in p.in_domain:
        allowed = p.budget * _typical(tokenizer, name, joined.learnable(p, name), p.draw)
        here = [row for row in rows if row["benchmark"] == name]
        taken = list[Row]()
        for share, source in _parts(p, here):
            taken += _until(source, tokenizer, share * allowed)
        used = sum(size(tokenizer, row) for row in taken)
        if used < FILLED * allowed:
            short.append(f"{name}: {used:,} tokens of the {allowed:,.0f} that budget {p.budget} asks for")
        found += taken
    random.Random(f"{p.draw}-mix").shuffle(found)
    return found, short


def _parts(p: StageParameters, rows: list[Row]) -> list[tuple[float, Iterable[Row]]]:
    """Shares of the allowance and the rows that fill them: rollouts, or what is taught and what is replayed."""
    if any(row["source"] == ROLLOUT for row in rows):
        return [(1.0, itertools.cycle(rows))]
    taught = [row for row in rows if row["source"] != "replay"]
    return [(1 - p.replay_fraction, taught), (p.replay_fraction, [row for row in rows if row["source"] == "replay"])]


def _typical(tokenizer: Any, name: str, items: Sequence[Example], seed: int) -> float:
    bench = benchmarks.get(name)
    drawn = random.Random(f"{seed}-{name}-length").sample(list(items), min(MEASURED, len(items)))
    answers = [{"role": "assistant", "content": worked(bench, item)} for item in drawn]
    rows = [{"messages": [*bench.messages(item), answer]} for item, answer in zip(drawn, answers, strict=True)]
    return sum(size(tokenizer, row) for row in rows) / max(1, len(rows))


def size(tokenizer: Any, row: Row) -> int:
    """Tokens of a training row as the template writes it; of a rollout, those of its question and expected answer."""
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + int(row.get("answer_tokens", 0))


def _until(rows: Iterable[Row], tokenizer: Any, allowed: float) -> list[Row]:
    """Rows from the first on, as long as at least half of the next one fits."""
    found, used = list[Row](), 0.0
    for row in rows:
        tokens = size(tokenizer, row)
        if used + tokens / 2 > allowed:
            break
        found.append(row)
        used += tokens
    return found
