"""Writes ``compare/report.html``: the whole run on one page that needs no network and can be mailed."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.compare import effects
from laif_helpers.compare.tables import average_table, headline, last_turns, of_turns, page, sentences, verdict_table
from laif_helpers.figures.html import cut
from laif_helpers.figures.style import Figure
from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import read_rows, write_text
from laif_helpers.stats import percent

MOST_CHARACTERS = 600
"""Of a question or an answer shown; what is cut is said to be cut."""
ACCURACY = (
    "Right answers in per cent, 95 % Wilson interval; after the first row the difference in points to the "
    "untouched model on the same items. A star: p under 5 % (the test named under Paired verdicts, Holm over the "
    "whole table). Micro average: every item counts alike; macro average: every benchmark."
)
VERDICTS = (
    "Difference in points with its 95 % paired bootstrap interval. Fixed and broken count the items whose grade "
    "changed; the test is exact McNemar, or, for items that share an origin, exact sign flips of the origins."
)
KEPT = (
    "Share of the untouched model's right answers that are still right, in per cent with the 95 % interval; then what "
    "training measured: mean loss per token of a neutral text before and after, and the mean divergence (KL) from the "
    "untouched model along its own right answers to held-out items."
)
MEMORISED = (
    "Errors of the error split that the iteration fixed: those shown to the instructor against those held out "
    "from it. An interval of the difference (Newcombe) above zero means that lessons were memorised."
)
CLUSTERS = (
    "Clusters of the untouched target's error map. forgot: more broken than fixed, beyond chance (McNemar, Holm "
    "over the clusters)."
)
LESSONS = "Items to which a lesson was the nearest one, the best and the worst; nearness is no proof of cause."
GAINS = (
    "Points gained over the iteration before on the in-domain test items; dollars are the instructor's, device "
    "hours are training seconds times processes."
)

COSTS = (
    "Items and distinct questions of an epoch; tokens trained on (all epochs), written by the target, read and written "
    "by the instructor, read by a teacher; dollars; seconds of sampling or asking, and of training. Points as above, "
    "for each 100 items, million tokens of all kinds, dollar and minute."
)


def write(
    p: StageParameters,
    tables: dict[str, pd.DataFrame],
    examples: dict[str, pd.DataFrame],
    drawn: "dict[str, Figure]",
    missing: list[str],
) -> Path:
    """Write the page. ``tables``: ``results`` and ``slices``, and, if they were computed, ``averages``, ``kept``,
    ``effects``, ``by_cluster``, ``ranked``, ``gains`` and ``costs``; ``examples`` are tables with a title each,
    ``drawn`` figures with a name.

    All text is escaped: what a model wrote is shown, never run.
    """
    run = RunDir.named(p.run)
    parts = _parts(p, tables, examples, drawn)
    values: dict[str, Any] = {"title": run.path.name, "missing": missing, "sentences": sentences(tables["results"])}
    values["sections"] = [part for part in parts if part["tables"] or part["pictures"] or part["text"]]
    path = run.compare / "report.html"
    write_text(path, page("report", values))
    return path


def _parts(
    p: StageParameters,
    tables: dict[str, pd.DataFrame],
    examples: dict[str, pd.DataFrame],
    drawn: "dict[str, Figure]",
) -> list[dict[str, Any]]:
    """The page's sections in their order; those without rows are left out by ``write``."""
    run = RunDir.named(p.run)
    recipe = run.recipe.read_text(encoding="utf-8") if run.recipe.is_file() else p.model_dump_json(indent=2)
    pictures = {name.replace("_", " "): _png(figure) for name, figure in drawn.items()}
    return [
        _part(
            "Accuracy", ACCURACY, [headline(tables["results"]), *_ready(tables, "averages", average_table)], open=True
        ),
        _part("Figures", pictures=pictures, open=True),
        _part("Paired verdicts", VERDICTS, [verdict_table(tables["results"])], open=True),
        _part("Parts of the test", tables=[_gap_rows(tables["slices"])]),
        _part("What was kept", KEPT, _ready(tables, "kept", lambda kept: kept), open=True),
        _part("Learned or memorised?", MEMORISED, _ready(tables, "effects", _rates), open=True),
        _part("Clusters of errors: what became of them", CLUSTERS, _ready(tables, "by_cluster", _changed)),
        _part("Lessons by what they may have repaired", LESSONS, _ready(tables, "ranked", _lessons)),
        _part("Gains, costs, and whether to go on", GAINS, _ready(tables, "gains", _gains), open=True),
        _part("What each arm took, and gains by cost", COSTS, _ready(tables, "costs", _gains), open=True),
        _part("Lessons: what became of them", tables=[funnels(run)]),
        _part("Training", tables=[training(run)]),
        *(_part(title, tables=[rows.map(_short)]) for title, rows in examples.items()),
        _part("Environment", tables=[environment(run)]),
        _part("Recipe", text=recipe),
    ]


def _part(
    title: str,
    note: str = "",
    tables: Sequence[pd.DataFrame] = (),
    pictures: dict[str, str] | None = None,
    text: str = "",
    open: bool = False,
) -> dict[str, Any]:
    """A section of the page; tables without rows are left out."""
    shown = [_rows(table) for table in tables if len(table)]
    about = {"title": title, "anchor": re.sub(r"\W+", "-", title.lower()).strip("-"), "note": note, "open": open}
    return about | {"tables": shown, "pictures": pictures or {}, "text": text}


def _ready(found: dict[str, pd.DataFrame], name: str, way: Callable[[Any], pd.DataFrame]) -> list[pd.DataFrame]:
    """A table that need not be there, made ready for the page."""
    return [way(found[name])] if name in found else []


def _lessons(ranked: pd.DataFrame) -> pd.DataFrame:
    """The best and the worst lessons, the question first, because a reader looks for it."""
    ends = ranked if len(ranked) <= 24 else pd.concat([ranked.head(12), ranked.tail(12)])
    return ends[["question", *(name for name in ends.columns if name != "question")]].map(_short)


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    """The advice beside the points, not behind ten columns."""
    front = [name for name in ("arm", "iteration", "points", "low", "high", "advice") if name in table]
    return table[[*front, *(name for name in table.columns if name not in front)]].round(2).map(_number)


def _rows(table: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}


def _short(cell: Any) -> str:
    return cut(str(cell), MOST_CHARACTERS)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _gap_rows(sliced: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in all and on the parts that tell learning from forgetting, in per cent."""
    part = shortened(sliced[sliced["facet"].isin(["all", "gap", "twist"])])
    shown = part[["arm", "iteration", "benchmark", "value", "n"]].copy()
    shown["accuracy"] = [percent(row.accuracy, row.ci_low, row.ci_high) for row in part.itertuples()]
    shown["fixed"], shown["broken"] = part["fixed"], part["broken"]
    return shown


def _rates(ledger: pd.DataFrame) -> pd.DataFrame:
    """Shares of errors fixed, shown and held out, in per cent."""
    rates = effects.fix_rates(ledger)
    keep = ["arm", "iteration", "shown_n", "shown_fixed", "held_out_n", "held_out_fixed"]
    gaps = rates[["difference", "difference_low", "difference_high"]].astype(float)
    facts = [percent(*gap, sign="+") for gap in gaps.itertuples(index=False)]
    return rates.reindex(columns=keep).assign(**{"shown - held out (points)": facts})


def _changed(clusters: pd.DataFrame) -> pd.DataFrame:
    """The clusters that an arm's last iteration moved, alarms first."""
    moved = last_turns(clusters[(clusters["fixed"] + clusters["broken"] > 0)])
    columns = ["arm", "iteration", "cluster", "name", "n", "fixed", "broken", "still_wrong", "still_right", "forgot"]
    return moved.sort_values("forgot", ascending=False, kind="stable")[columns].head(80)


def environment(run: RunDir) -> pd.DataFrame:
    """Versions and seconds per stage, from the run's manifest; empty if the run has none."""
    if not run.manifest.is_file():
        return pd.DataFrame(columns=["what", "value"])
    rows = [row for row in read_rows(run.manifest) if row["status"] in ("done", "ended")]
    versions = {name: value for row in rows for name, value in row.get("versions", {}).items()}
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    facts = [("stages", f"{len(rows)}, {seconds:,.0f} s in all"), *sorted(versions.items())]
    return pd.DataFrame(facts, columns=["what", "value"])


def training(run: RunDir) -> pd.DataFrame:
    """One row per training: steps, tokens, speed, the share of tokens that carry loss, seconds."""
    keys = (
        "steps",
        "world_size",
        "deepspeed",
        "tokens",
        "tokens_per_s",
        "loss_token_share",
        "truncated_share",
        "seconds",
    )
    found = of_turns(run, "train_metrics.json")
    rows = [turn | {key: _number(metrics.get(key)) for key in keys} for turn, metrics in found]
    return pd.DataFrame(rows, columns=["arm", "iteration", *keys])


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def funnels(run: RunDir) -> pd.DataFrame:
    """One row per arm and iteration: how many lessons survived each step, from the notebooks' metrics files."""
    found = of_turns(run, "metrics/*.json")
    rows = [turn | metrics["funnel"] for turn, metrics in found if isinstance(metrics.get("funnel"), dict)]
    return pd.DataFrame(rows).astype(object).fillna("–") if rows else pd.DataFrame(columns=["arm", "iteration"])
