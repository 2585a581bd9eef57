"""Lets a reader of notebook 06 ask one question of the untouched target and of the arm that gained most."""

from functools import partial
from typing import Any

import pandas as pd

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.compare.tables import last_turns
from laif_helpers.models import ask
from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters, local_target

SHOWN, UNTOUCHED = 8, "untouched"


def chosen(answers: pd.DataFrame) -> pd.DataFrame:
    """Up to ``SHOWN`` answers of the arm whose last iteration gained most: half of them to items that it fixed, half to
    items that it broke, where there are any. Empty without an arm."""
    last = last_turns(answers[answers["arm"] != "vanilla"])
    if last.empty:
        return last
    gained = (last["share"] - last["was_share"]).groupby(last["arm"], sort=False).mean()
    mine = last[last["arm"] == gained.idxmax()]
    changed = pd.concat([mine[mine["flip"] == flip].head(SHOWN // 2) for flip in ("fixed", "broken")])
    return changed if len(changed) else mine.head(SHOWN)


def page(p: StageParameters, answers: pd.DataFrame) -> str:
    """The first of the chosen questions as both answered it."""
    rows = chosen(answers)
    if rows.empty:
        return "<p>There is no arm to ask beside the untouched target.</p>"
    row = rows.iloc[0]
    same = (answers["arm"] == "vanilla") & (answers["benchmark"] == row["benchmark"]) & (answers["id"] == row["id"])
    return ask.page(_question(p, row), {UNTOUCHED: answers.loc[same, "text"].iloc[0], _label(row): row["text"]})


def widget(p: StageParameters, answers: pd.DataFrame) -> Any:
    """``models.ask.widget`` over both models; of the untouched target alone without an arm."""
    rows, asked = chosen(answers), {UNTOUCHED: local_target(p.target)}
    for _, row in rows.head(1).iterrows():
        asked[_label(row)] = str(RunDir.named(p.run).iteration(row["arm"], row["iteration"]).checkpoint)
    write = benchmarks.get((p.in_domain or p.benchmarks)[0]).messages_for
    questions = [_question(p, row) for _, row in rows.iterrows()]
    return ask.widget(asked, questions, write, max_new_tokens=p.max_new_tokens, **p.asking)


def _label(row: "pd.Series[Any]") -> str:
    return f"{row['arm']}, iteration {row['iteration']}"


def _question(p: StageParameters, row: "pd.Series[Any]") -> ask.Question:
    bench = benchmarks.get(row["benchmark"])
    item = joined.examples(p, bench.name, row["split"])[row["id"]]
    return ask.Question(bench.question_text(item), bench.messages(item), partial(bench.grade, item))
