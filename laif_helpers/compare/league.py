"""Ranks ways of learning: what each taught against what it kept, arms against their counterparts, gains by cost.

Everything is over seeds if a sweep has several, else over the items of one run.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import arms, stats
from laif_helpers.compare import costs, seeds
from laif_helpers.records import write_text

COUNTERPARTS = {
    "le": "auggpt",
    "lec": "auggpt",
    "rft": "self",
    "rft_errors": "rft",
    "opd_errors": "opd",
    "opd_contrast": "opd",
    "sdft": "le",
}
"""An arm, and the one that differs from it in one thing: it does not look at errors or grades, or trains on lessons."""


def learned_kept(sliced: pd.DataFrame, benchmark: str, iteration: int = 0) -> pd.DataFrame:
    """A row per arm: the share of the untouched target's wrong answers that are right now (``learned``), and of its
    right answers that are still right (``kept``), each with its 95 % interval (``_low``, ``_high``).

    ``sliced``: ``compare.slices``, of one run (Wilson's interval over items) or of a sweep with a column ``seed`` (the
    t interval over seeds; with two seeds it is wide). ``iteration`` 0: the last.
    """
    rows = sliced[(sliced["facet"] == "all") & (sliced["benchmark"] == benchmark) & (sliced["arm"] != "vanilla")]
    rows = rows[rows["iteration"] == (iteration or rows["iteration"].max())]
    found = []
    for arm, part in rows.groupby("arm", sort=False):
        row: dict[str, Any] = {"arm": arm, "iteration": int(part["iteration"].iloc[0]), "seeds": len(part)}
        for name, got, missed in (("learned", "fixed", "still_wrong"), ("kept", "still_right", "broken")):
            counts = part[[got, missed]].astype(int)
            shares = (counts[got] / counts.sum(axis=1).clip(lower=1)).tolist()
            low, high = stats.wilson(int(counts[got].iloc[0]), int(counts.iloc[0].sum()))
            if len(part) > 1:
                over = stats.over_seeds(shares)
                low, high = max(0.0, over["low"]), min(1.0, over["high"])
            row |= {name: sum(shares) / len(shares), f"{name}_low": low, f"{name}_high": high}
        found.append(row)
    columns = [f"{name}{end}" for name in ("learned", "kept") for end in ("", "_low", "_high")]
    return pd.DataFrame(found, columns=["arm", "iteration", "seeds", *columns])


def against_counterparts(results: pd.DataFrame) -> pd.DataFrame:
    """Each arm against its counterpart (``seeds.against``): a row per iteration, benchmark and pair in the sweep."""
    return seeds.against(results, ["iteration", "benchmark"], COUNTERPARTS.items()).drop(columns="sd")


def spent(run_path: Path) -> pd.DataFrame:
    """Costs and gains of a sweep: means over its points of each arm's iterations added up, with the rates of them."""
    parts = [pd.read_csv(path) for path in sorted(run_path.glob("points/*/compare/costs.csv"))]
    if not parts:
        return pd.DataFrame(columns=["arm", "points", *costs.COLUMNS, *costs.RATES])
    columns = ["points", *costs.COLUMNS]
    sums = [part.groupby("arm", sort=False)[columns].sum() for part in parts]
    mean = pd.concat(sums).groupby(level="arm", sort=False).mean().reset_index()
    return costs.rates(mean.sort_values("arm", key=lambda names: names.map(_rank), ignore_index=True))


def _rank(arm: str) -> int:
    return list(arms.ARMS).index(arm) if arm in arms.ARMS else len(arms.ARMS)


def write(run_path: Path, results: pd.DataFrame, sliced: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """Write ``learned_kept.csv``, ``counterparts.csv`` and ``costs.csv`` into the sweep's ``compare/``; return the
    first."""
    table = learned_kept(sliced, benchmark)
    write_text(run_path / "compare" / "learned_kept.csv", table.to_csv(index=False))
    write_text(run_path / "compare" / "counterparts.csv", against_counterparts(results).to_csv(index=False))
    write_text(run_path / "compare" / "costs.csv", spent(run_path).to_csv(index=False))
    return table
