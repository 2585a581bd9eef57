"""Shows answers in notebook 01 to people: one traced, some side by side, the disputed, all to filter."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.figures import html

KINDS = ("disputed", "unreadable", "wrong", "right")
_TEMPLATE = Path(__file__).with_name("answers.html.j2")
_MOST_ROWS = 400
"""In the table to filter; a notebook stays a few megabytes."""


def kind(row: Mapping[str, Any]) -> str:
    """``right``, ``wrong`` or ``unreadable``."""
    return "right" if row["correct"] else "wrong" if row["readable"] else "unreadable"


def gallery(df: pd.DataFrame, n: int = 5, seed: int = 0) -> str:
    """HTML: ``n`` right, ``n`` wrong and ``n`` unreadable answers side by side, drawn at random from all rows."""
    columns: dict[str, list[dict[str, Any]]] = {}
    for name in ("right", "wrong", "unreadable"):
        found = [row for row in map(_shown, df.to_dict("records")) if row["kind"] == name]
        chosen = sorted(random.Random(seed).sample(range(len(found)), min(n, len(found))))
        columns[f"{name}: {len(chosen)} of {len(found):,}"] = [found[place] for place in chosen]
    return html.render(_TEMPLATE, columns=columns)


def traced(df: pd.DataFrame) -> str:
    """HTML: one answer from question to grade, step by step: the first wrong one that could be read, else the first."""
    rows = [_shown(row) for row in df.to_dict("records")]
    row = next((row for row in rows if row["kind"] == "wrong"), rows[0] if rows else None)
    return html.render(_TEMPLATE, row=row) if row else "<p>No answer.</p>"


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the template shows it: what was sent if that is not the question, and no NaN for a missing text."""
    sent = row["messages"][-1]["content"] if row["messages"] else ""
    question = row.get("question") or sent
    # pandas turns a missing text into NaN
    texts = {key: value for key, value in row.items() if isinstance(value, str)}
    about = {"kind": kind(row), "cut": row.get("cut")}
    return texts | about | {"question": question, "sent": "" if sent == question else sent}


def disputed(df: pd.DataFrame, n: int = 20) -> str:
    """HTML of up to ``n`` answers on which the graders differ, those called wrong by the first alone at the top."""
    shown = df[_differ(df)].sort_values("correct", kind="stable").head(n)
    ends = ["…" + text[-300:] if len(text) > 300 else text for text in shown["text"]]
    columns = ["id", "gold", "extracted", "reason", "second_read"]
    names = {"extracted": "first read", "reason": "and why", "second_read": "second read"}
    return html.escaped(shown[columns].assign(response=ends).rename(columns=names))


def _differ(df: pd.DataFrame) -> pd.Series:
    first, second = df["correct"].astype(bool), df["second_correct"]
    return (first & second.eq(False)) | (~first & second.eq(True))


def browse(df: pd.DataFrame) -> str:
    """HTML: answers as a table to search, sort and filter (works offline). If there are more than fit, disputed,
    unreadable and wrong ones come first."""
    return html.sortable(for_browsing(df), most=700, rows=5, column_filters="footer")


def for_browsing(df: pd.DataFrame) -> pd.DataFrame:
    """The rows that ``browse`` shows, most informative first."""
    kinds = pd.Series([kind(row) for row in df.to_dict("records")], df.index, dtype=str).mask(_differ(df), "disputed")
    chosen = shortened(df).assign(grade=kinds, benchmark=lambda rows: rows["benchmark"] + ", " + rows["split"])
    columns = ["benchmark", "grade", "question", "gold", "extracted", "text", "new_tokens", "cut", "thought"]
    order = chosen.sort_values("grade", key=lambda grades: grades.map(KINDS.index), kind="stable", ignore_index=True)
    names = {"extracted": "read", "new_tokens": "tokens", "text": "response"}
    return order.reindex(columns=columns).head(_MOST_ROWS).fillna({"extracted": ""}).rename(columns=names)
