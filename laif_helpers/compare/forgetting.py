"""Measures what learning cost: right answers kept, and the distance of the model from the untouched target."""

from typing import Any

import pandas as pd

from laif_helpers.answers import joined
from laif_helpers.compare.tables import by_name, of_turns
from laif_helpers.paths import RunDir
from laif_helpers.stats import percent

_DRIFT = ("nats_before", "nats_after", "kl")
MOVED = 0.1
"""Nats a token: a neutral text, or the target's own right answers, are a tenth less likely to the model than before."""


def drift(run: RunDir) -> pd.DataFrame:
    """A row for each training that measured it: ``nats_before`` and ``nats_after``, the mean loss per token on a
    neutral text; ``kl``, the mean divergence per token from the untouched target on its right answers (None without);
    ``share``, how far the weights went from before to after training (1: all the way).
    """
    rows = []
    for turn, found in of_turns(run, "train_metrics.json"):
        if moved := found.get("drift"):
            share = (found.get("average") or {}).get("share", 1.0)
            rows.append(turn | {name: moved.get(name) for name in _DRIFT} | {"share": share})
    return pd.DataFrame(rows, columns=["arm", "iteration", *_DRIFT, "share"])


def table(sliced: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """For people: a row per arm and iteration; per benchmark, in all and on the practised part, how many of the right
    answers of the untouched target are kept, in per cent with the 95 % interval; then what ``drift`` found.
    """
    part = joined.shortened(sliced[(sliced["facet"] == "all") | (sliced["value"] == "practised")])
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in part[part["arm"] != "vanilla"].itertuples(index=False):
        cells = rows.setdefault((row.arm, row.iteration), {"arm": row.arm, "iteration": row.iteration})
        where = row.benchmark if row.facet == "all" else f"{row.benchmark}: {row.value}"
        kept = "–" if pd.isna(row.kept) else percent(row.kept, row.kept_low, row.kept_high)
        cells[f"{where} kept (of {row.right_before:,})"] = kept
    drifts = moved[["arm", "iteration"]].assign(
        **{
            "loss on neutral text (nats)": [
                f"{row.nats_before:.2f} → {row.nats_after:.2f} ({row.nats_after - row.nats_before:+z.2f})"
                for row in moved.itertuples(index=False)
            ],
            "KL (nats)": moved["kl"],
            "way gone": moved["share"],
        }
    )
    shown = pd.DataFrame(list(rows.values()), columns=None if rows else ["arm", "iteration"])
    return shown.merge(drifts, on=["arm", "iteration"], how="left").astype(object).fillna("–")


def alarms(forgotten: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """``compare.forgotten``, and a row for each training that moved the model by more than ``MOVED`` in what ``drift``
    found: these ring without any benchmark."""
    found = {"neutral text": moved["nats_after"] - moved["nats_before"], "own right answers": moved["kl"]}
    kinds = {"neutral text": "loss rose (nats a token)", "own right answers": "KL from the target (nats a token)"}
    rows = [
        moved.loc[away > MOVED, ["arm", "iteration"]].assign(
            benchmark=name, delta=away[away > MOVED], alarm=kinds[name]
        )
        for name, away in ((name, pd.to_numeric(each)) for name, each in found.items())
    ]
    return pd.concat([forgotten, *(part for part in rows if len(part))], ignore_index=True)


def metrics(sliced: pd.DataFrame, moved: pd.DataFrame) -> dict[str, Any]:
    """What notebook 06 records: shares kept by benchmark, arm and iteration, and each training's drift."""
    whole = sliced[(sliced["facet"] == "all") & sliced["kept"].notna()]
    records = moved.astype(object).where(moved.notna(), None).to_dict("records")
    by_turn = {f"{row['arm']}.{row['iteration']}": {name: row[name] for name in (*_DRIFT, "share")} for row in records}
    return {"kept": by_name(whole, "kept"), "drift": by_turn}
