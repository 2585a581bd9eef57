"""Sets what an arm gained beside all that it took: items, tokens of three kinds, dollars, seconds."""

from typing import Any

import pandas as pd

from laif_helpers import arms
from laif_helpers.instructors import ledger
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import read_json, rows_of

TOKENS = ("training_tokens", "generated_tokens", "instructor_tokens", "teacher_tokens")
SECONDS = ("teach_seconds", "train_seconds")
COLUMNS = ("items", "questions", *TOKENS, "usd", *SECONDS)
RATES = ("points_per_100_items", "points_per_million_tokens", "points_per_usd", "points_per_minute")


def spent(folder: IterationDir, arm: str, notebook: str) -> dict[str, Any]:
    """What one iteration took, ``COLUMNS``.

    ``items`` and distinct ``questions`` of an epoch, replay included. ``training_tokens`` over all epochs;
    ``generated_tokens`` by the target: samples of 07 and 09, rollouts of 05; ``instructor_tokens`` read and written,
    with their ``usd``; ``teacher_tokens`` read to score. ``teach_seconds``: sampling, or asking the instructor.
    """
    rows = rows_of(folder.training_set)
    asked = {(row["benchmark"], _question(row)) for row in rows}
    trained = read_json(folder.train_metrics, {})
    taught = read_json(folder.metrics(notebook), {}) if notebook else {}
    paid = ledger.totals(folder.replies(arm))
    return {
        **{"items": len(rows), "questions": len(asked), "training_tokens": trained.get("tokens", 0)},
        "generated_tokens": trained.get("generated_tokens", 0) + taught.get("generated_tokens", 0),
        **{"instructor_tokens": paid["tokens"], "usd": paid["usd"]},
        "teacher_tokens": trained.get("teacher_tokens", 0) + taught.get("teacher_tokens", 0),
        "teach_seconds": paid["seconds"] + taught.get("seconds", 0.0),
        "train_seconds": trained.get("seconds", 0.0) * trained.get("world_size", 1),
    }


def _question(row: dict[str, Any]) -> str:
    return next((turn["content"] for turn in reversed(row["messages"]) if turn["role"] == "user"), "")


def table(p: StageParameters, gained: pd.DataFrame) -> pd.DataFrame:
    """A row for each row of ``gains.gains``: arm, iteration, points, ``COLUMNS`` and ``RATES``."""
    run, rows = RunDir.named(p.run), []
    for row in gained.itertuples(index=False):
        notebook = arms.row(arms.strategy(row.arm, row.iteration, p.iterations)).notebook
        took = spent(run.iteration(row.arm, row.iteration), row.arm, notebook)
        rows.append({"arm": row.arm, "iteration": row.iteration, "points": row.points} | took)
    return rates(pd.DataFrame(rows, columns=["arm", "iteration", "points", *COLUMNS]))


def rates(found: pd.DataFrame) -> pd.DataFrame:
    """``RATES`` beside the costs: points per 100 items, million tokens (of all kinds), dollar and minute."""
    tokens, seconds = found[list(TOKENS)].sum(axis=1), found[list(SECONDS)].sum(axis=1)
    by = (found["items"] / 100, tokens / 1e6, found["usd"], seconds / 60)
    return found.assign(**{name: found["points"] / of.where(of > 0) for name, of in zip(RATES, by, strict=True)})
