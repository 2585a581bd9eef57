"""Draws the items that judge a training at its end: shown before and after, held out, answered right before."""

import random
from dataclasses import asdict

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example, Response, Row, rows_of

HELD_OUT, ANCHORS, SHOWN = 240, 32, 8
"""Most items that choose how far to go, answers that the drift is measured on, items shown before and after."""


def held_out(p: StageParameters) -> list[Row]:
    """Training items that neither instructor nor training sees, as messages and example."""
    found = [item for name in p.in_domain for item in joined.learnable(p, name, hidden=True)]
    chosen = random.Random(f"{p.seed}-average").sample(found, min(HELD_OUT, len(found)))
    return [{"messages": benchmarks.get(item.benchmark).messages(item), "example": asdict(item)} for item in chosen]


def anchors(p: StageParameters) -> list[Row]:
    """The untouched target's own right answers to held-out items."""
    folder = RunDir.named(p.run).iteration(p.arm, 0)
    right = [
        response
        for name in p.in_domain
        for response in _answers(folder, name, p.error_split)
        if response.correct and joined.held_out(p, name, response.id)
    ]
    chosen = random.Random(f"{p.seed}-drift").sample(right, min(ANCHORS, len(right)))
    return [{"messages": response.messages, "text": response.text} for response in chosen]


def shown(p: StageParameters) -> list[Row]:
    """Items to show before and after: half of them answered wrong before, half right, drawn with the seed."""
    pool = [response for name in p.in_domain for response in _answers(p.previous, name, p.error_split)]
    rng = random.Random(p.seed)
    chosen: list[Response] = []
    for correct in (False, True):
        part = [r for r in pool if r.correct == correct]
        chosen += rng.sample(part, min(SHOWN // 2, len(part)))
    return [
        {
            **{"id": r.id, "benchmark": r.benchmark, "split": r.split, "messages": r.messages},
            **{"gold": r.gold, "before": r.text, "before_correct": r.correct},
        }
        for r in chosen
    ]


def _answers(folder: IterationDir, name: str, split: str) -> list[Response]:
    """The answers to a split; none if it was not answered."""
    path = folder.responses(name, split)
    return joined.responses(path) if path.is_file() else []


def probed(p: StageParameters) -> list[tuple[Row, benchmarks.Benchmark, Example]]:
    """The items that were shown, as answered before and after, each with its benchmark and itself."""
    rows = rows_of(p.folder.probe)
    known = {
        name: {item.id: item for item in benchmarks.get(name).load(p.error_split, data_dir=p.data_dir or None)}
        for name in {row["benchmark"] for row in rows}
    }
    return [(row, benchmarks.get(row["benchmark"]), known[row["benchmark"]][row["id"]]) for row in rows]
