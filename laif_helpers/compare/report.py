"""Writes ``compare/report.html``: the whole run on one page that needs no network and can be mailed."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import arms
from laif_helpers.answers.joined import shortened
from laif_helpers.compare import effects
from laif_helpers.compare.tables import (
    average_table,
    fix_rate_table,
    headline,
    last_turns,
    of_turns,
    probability,
    sentences,
    verdict_table,
)
from laif_helpers.figures.html import cut, render
from laif_helpers.figures.style import Figure
from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import sound_rows, write_text
from laif_helpers.stats import percent

MOST_CHARACTERS = 600
"""Of a question or an answer shown; what is cut is said to be cut."""


def write(
    p: StageParameters,
    tables: dict[str, pd.DataFrame],
    examples: dict[str, pd.DataFrame],
    drawn: "dict[str, Figure]",
    missing: list[str],
) -> Path:
    """Write the page. ``tables``: ``results`` and ``slices``, and those of ``SHOWN`` that were computed; ``examples``
    are tables with a title each, ``drawn`` figures that lie saved under their names.

    All text is escaped: what a model wrote is shown, never run.
    """
    run = RunDir.named(p.run)
    sections: dict[str, list[pd.DataFrame]] = {"Accuracy": [headline(tables["results"])], "Figures": []}
    saved = {name: (run.compare / f"{name}.png").read_bytes() for name in drawn}  # drawn once: that takes seconds
    pictures = {name.replace("_", " "): base64.b64encode(file).decode("ascii") for name, file in saved.items()}
    sections["Paired verdicts"] = [verdict_table(tables["results"])]
    sections["Parts of the test"] = [_gap_rows(tables["slices"])]
    for name, (title, way) in SHOWN.items():
        sections.setdefault(title, []).extend([way(tables[name])] if name in tables else [])
    sections |= {"Lessons: what became of them": [funnels(run)], "Training": [training(run)]}
    sections |= {title: [rows.map(_short)] for title, rows in examples.items()}
    sections["Environment"] = [environment(run)]
    values: dict[str, Any] = {
        "title": run.path.name,
        "missing": missing,
        "sentences": sentences(tables["results"]) + cut_answers(run),
    }
    shown = {title: [table for table in found if len(table)] for title, found in sections.items()}
    values["sections"] = {title: found for title, found in shown.items() if found or (title == "Figures" and pictures)}
    values["pictures"] = pictures
    compared = map(arms.row, tables["results"]["arm"].unique())
    values["learned"] = [f"{arm.name} ({arm.learns})" for arm in compared if arm.learns]
    values["recipe"] = run.recipe.read_text("utf-8") if run.recipe.is_file() else p.model_dump_json(indent=2)
    path = run.compare / "report.html"
    write_text(path, render(Path(__file__).with_name("report.html.j2"), **values))
    return path


def cut_answers(run: RunDir) -> list[str]:
    """A sentence for each file of answers of which more than a twentieth was cut: they look like errors."""
    found = [
        (f"{turn['arm']}, iteration {turn['iteration']}, {name}", row.get("cut", 0), row["n"])
        for turn, metrics in of_turns(run, "metrics/01_evaluate.json")
        for name, row in metrics.get("results", {}).items()
    ]
    return [
        f"{who}: {count:,} of {n:,} answers were cut at the token limit: raise max_new_tokens and run again."
        for who, count, n in found
        if count > 0.05 * n
    ]


def _lessons(ranked: pd.DataFrame) -> pd.DataFrame:
    """The best and the worst lessons, the question first, because a reader looks for it."""
    ends = ranked if len(ranked) <= 24 else pd.concat([ranked.head(12), ranked.tail(12)])
    return ends[["question", *(name for name in ends.columns if name != "question")]].map(_short)


def _alarms(table: pd.DataFrame) -> pd.DataFrame:
    """Differences and shares in per cent; what training alone measured has no items and stays in nats."""
    rows = [
        {"delta": percent(row.delta, sign="+"), "p_holm": probability(row.p_holm), "kept": percent(row.kept)}
        if isinstance(row.facet, str)
        else {"delta": f"{row.delta:+.2f} nats", "p_holm": "–", "kept": "–"}
        for row in table.itertuples(index=False)
    ]
    return table.assign(**pd.DataFrame(rows, columns=["delta", "p_holm", "kept"])).map(_number)


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    """The advice beside the points, not behind ten columns."""
    front = [name for name in ("arm", "iteration", "points", "low", "high", "advice") if name in table]
    return table[[*front, *(name for name in table.columns if name not in front)]].round(6).map(_number)


def _short(cell: Any) -> str:
    return cut(str(cell), MOST_CHARACTERS)


def _gap_rows(sliced: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in all and on the parts that tell learning from forgetting, in per cent."""
    part = shortened(sliced[sliced["facet"].isin(["all", "gap", "twist"])])
    shown = {
        name: ["–" if pd.isna(row[0]) else percent(*row) for row in part[columns].itertuples(index=False)]
        for name, columns in (
            ("accuracy", ["accuracy", "ci_low", "ci_high"]),
            ("kept", ["kept", "kept_low", "kept_high"]),
        )
    }
    columns = ["arm", "iteration", "benchmark", "value", "n", "accuracy", "fixed", "broken", "kept"]
    return part.assign(**shown)[columns]


def _changed(clusters: pd.DataFrame) -> pd.DataFrame:
    """The clusters that an arm's last iteration moved, alarms first."""
    moved = last_turns(clusters[(clusters["fixed"] + clusters["broken"] > 0)])
    columns = ["arm", "iteration", "cluster", "name", "n", "fixed", "broken", "still_wrong", "still_right", "forgot"]
    return moved.sort_values("forgot", ascending=False, kind="stable")[columns].head(80)


def environment(run: RunDir) -> pd.DataFrame:
    """Versions and seconds per stage, from the run's manifest; empty if the run has none."""
    done = [row for row in sound_rows(run.manifest) if row.get("status") in ("done", "ended")]
    versions = {name: value for row in done for name, value in row.get("versions", {}).items()}
    seconds = sum(row.get("seconds", 0.0) for row in done)
    facts = [("stages", f"{len({row['stage'] for row in done})}, {seconds:,.0f} s in all"), *sorted(versions.items())]
    return pd.DataFrame(facts if done else [], columns=["what", "value"])


def training(run: RunDir) -> pd.DataFrame:
    """One row per training: steps, tokens, speed, the share of tokens that carry loss, seconds."""
    keys = ["steps", "world_size", "deepspeed", "tokens", "tokens_per_s", "loss_token_share", "truncated_share"]
    keys += ["seconds"]
    found = of_turns(run, "train_metrics.json")
    rows = [turn | {key: _number(metrics.get(key)) for key in keys} for turn, metrics in found]
    return pd.DataFrame(rows, columns=["arm", "iteration", *keys])


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:z.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def funnels(run: RunDir) -> pd.DataFrame:
    """One row per arm and iteration: how many lessons survived each step, from the notebooks' metrics files."""
    found = of_turns(run, "metrics/*.json")
    rows = [turn | metrics["funnel"] for turn, metrics in found if isinstance(metrics.get("funnel"), dict)]
    return pd.DataFrame(rows).astype(object).fillna("–") if rows else pd.DataFrame(columns=["arm", "iteration"])


SHOWN = {
    "averages": ("Accuracy", average_table),
    "alarms": ("Forgetting alarm", _alarms),
    "kept": ("What was kept", lambda table: table),
    "effects": ("Learned or memorised?", lambda ledger: fix_rate_table(effects.fix_rates(ledger))),
    "by_cluster": ("Clusters of errors: what became of them", _changed),
    "ranked": ("Lessons by what they may have repaired", _lessons),
    "gains": ("Gains, and whether to go on", _gains),
    "costs": ("What each arm took, and gains by cost", _gains),
}
"""Tables that need not be there: the section that holds each, and how it is shown."""
