"""Summarises several seeds of one setting: mean, standard deviation, and the test over seeds."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from laif_helpers import stats
from laif_helpers.answers.joined import shortened

SEEDLESS = ("arm", "iteration", "benchmark", "split")


def axes(results: pd.DataFrame) -> list[str]:
    """The columns of a sweep's results that vary besides the seed."""
    before = list(results.columns)[: list(results.columns).index("arm")]
    return [name for name in before if name != "seed" and results[name].nunique() > 1]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """A row per setting, arm, iteration and benchmark: seeds, mean and sd of accuracy over seeds (n - 1), mean delta to
    the untouched target with the 95 % interval and p of the paired t-test over seeds.

    ``results``: what ``points.collect`` returns, a row per point of the sweep.
    """
    rows = []
    for keys, part in results.groupby([*axes(results), *SEEDLESS], sort=False, dropna=False):
        row: dict[str, Any] = dict(zip([*axes(results), *SEEDLESS], keys, strict=True))
        row |= {"seeds": part["seed"].nunique(), "mean": part["accuracy"].mean(), "sd": part["accuracy"].std(ddof=1)}
        if row["arm"] != "vanilla":
            found = stats.over_seeds(part["delta"].astype(float).tolist())
            row |= {"delta": found["mean"], "delta_low": found["low"], "delta_high": found["high"], "p": found["p"]}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = stats.holm(table["p"].tolist()) if "p" in table else None
    return table


def versus(results: pd.DataFrame, arms: tuple[str, ...] = ("le", "lec")) -> pd.DataFrame:
    """Each of ``arms`` against every other arm, paired by seed: a row per setting, iteration, benchmark and pair with
    seeds, mean difference in accuracy, sd, 95 % interval, p of the paired t-test over seeds, p after Holm over the
    table, and a verdict. Differences within one seed share their test items and their untouched target.
    """
    others = list(dict.fromkeys(results.loc[results["arm"] != "vanilla", "arm"]))
    pairs = [(arm, other) for arm in arms for other in others if other != arm and (other not in arms or other > arm)]
    table = against(results, [*axes(results), "iteration", "benchmark", "split"], pairs).drop(columns="error_ratio")
    table["verdict"] = [
        stats.verdict(difference, p).replace("baseline", "one seed: no test")
        for difference, p in zip(table["difference"], table["p_holm"], strict=True)
    ]
    return table


def against(results: pd.DataFrame, keys: list[str], pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Arms against others, paired by seed: a row per setting of ``keys`` and pair that answered there.

    ``error_ratio``: what the arm leaves of the error that the other leaves (means over seeds). ``difference`` in
    accuracy with its sd, the t interval over seeds, ``p`` and ``p_holm`` over the table; NaN for one seed.
    """
    wide = results[results["arm"] != "vanilla"].pivot_table("accuracy", [*keys, "seed"], "arm", sort=False)
    rows = []
    for place, part in wide.groupby(level=keys, sort=False):
        for arm, other in pairs:
            pair = part[[arm, other]].dropna() if {arm, other} <= set(part) else part.iloc[:0]
            if len(pair):
                over = stats.over_seeds((pair[arm] - pair[other]).tolist())
                left = [1 - float(pair[name].mean()) for name in (arm, other)]
                row = dict(zip(keys, place, strict=True)) | {"arm": arm, "against": other, "seeds": len(pair)}
                row |= {"error_ratio": left[0] / left[1] if left[1] else None, "difference": over["mean"]}
                rows.append(row | {name: over[name] for name in ("sd", "low", "high", "p")})
    tested = ("error_ratio", "difference", "sd", "low", "high", "p")
    table = pd.DataFrame(rows, columns=[*keys, "arm", "against", "seeds", *tested])
    return table.assign(p_holm=stats.holm(table["p"].tolist()))


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """``summary`` for people: a row per setting, benchmark and iteration, a column per arm, per cent mean ± sd over
    seeds, the untouched target first. A star: the test over seeds against it, p under 5 % after Holm over the table.
    """
    keys = [name for name in table.columns[: list(table.columns).index("seeds")] if name not in ("arm", "split")]
    cells = [
        f"{100 * mean:.1f}" + ("" if pd.isna(sd) else f" ± {100 * sd:.1f}") + ("*" if p < 0.05 else "")
        for mean, sd, p in zip(table["mean"], table["sd"], table["p_holm"].astype(float).fillna(1), strict=True)
    ]
    shown = shortened(table.assign(cell=cells))
    after = shown[shown["arm"] != "vanilla"]
    wide = after.pivot_table("cell", keys, "arm", aggfunc="first", sort=False)[list(dict.fromkeys(after["arm"]))]
    fixed = [key for key in keys if key != "iteration"]
    start = shown[shown["arm"] == "vanilla"].groupby(fixed)["cell"].first().str.removesuffix(" ± 0.0").rename("vanilla")
    wide = wide.reset_index().merge(start.reset_index(), on=fixed, how="left").fillna("")
    return wide[[*keys, "vanilla", *after["arm"].unique()]].sort_values(keys, kind="stable", ignore_index=True)
