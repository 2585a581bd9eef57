"""Sets the points of a sweep side by side: one table, accuracy over budgets, and what several seeds show.

If a sweep has several seeds, the seed is the unit of every test; else the items of its one run are.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import arms, figures, stats
from laif_helpers.answers.joined import shortened
from laif_helpers.compare import gains
from laif_helpers.compare.drawing import SEEDS, learned_kept, panels
from laif_helpers.compare.tables import save
from laif_helpers.figures.markup import as_markdown
from laif_helpers.key_types import values_in
from laif_helpers.paths import RunDir
from laif_helpers.records import write_text

SEEDLESS = ("arm", "iteration", "benchmark", "split")
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


def collect(run_path: Path) -> pd.DataFrame:
    """Concatenate ``points/*/compare/results.csv`` of a sweep.

    Writes ``compare/results.csv`` (the keys that vary, then the columns of each point) and ``compare/slices.csv``; if
    nothing but seeds varies, ``learned_kept.csv`` with its figure, ``counterparts.csv`` and ``costs.csv``; if budgets
    vary, the figure ``budget_curves``; if seeds vary, ``seeds.csv`` (mean, sd and the test over seeds), ``versus.csv``
    (arms against each other, paired by seed) and ``seeds.md``. Returns the results. Raises FileNotFoundError when no
    point has been compared yet.
    """
    points = [path.parents[1] for path in sorted(run_path.glob("points/*/compare/results.csv"))]
    if not points:
        raise FileNotFoundError(f"{run_path}: no point of the sweep has a compare/results.csv yet")
    settings = [values_in(point / "recipe.yaml") for point in points]
    others = [key for key in settings[0] if len({str(values.get(key)) for values in settings}) > 1]
    varied = list(dict.fromkeys(["budget", "seed", *others]))
    run = RunDir(run_path)
    results, sliced = (_stack(points, settings, varied, name) for name in ("results.csv", "slices.csv"))
    save(run, results=results, slices=sliced)
    if results["budget"].nunique() > 1:
        figures.save(figures.budget_curves(panels(sliced)), run.compare / "budget_curves")
    if not axes(results):  # one setting: what differs is the arm and the seed
        first = settings[0]["in_domain"][0] if settings[0].get("in_domain") else str(results["benchmark"].iloc[0])
        _league(run, results, sliced, first)
    if results["seed"].nunique() > 1:
        table = summary(results)
        save(run, seeds=table, versus=versus(results))
        write_text(run.compare / "seeds.md", as_markdown(as_text(table)))
    return results


def _stack(points: list[Path], settings: list[dict[str, Any]], varied: list[str], name: str) -> pd.DataFrame:
    parts = []
    for point, recipe in zip(points, settings, strict=True):
        # An empty cell is a missing value; an arm or a label may well be called "NA".
        part = pd.read_csv(
            point / "compare" / name, keep_default_na=False, na_values={"delta": "", "p_value": "", "p_holm": ""}
        )
        part = part.drop(columns=[key for key in varied if key in part])
        for place, key in enumerate(varied):
            words = any(isinstance(values.get(key), str) for values in settings)  # 0.5 beside auto
            part.insert(place, key, str(recipe.get(key)) if words else recipe.get(key))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _league(run: RunDir, results: pd.DataFrame, sliced: pd.DataFrame, benchmark: str) -> None:
    """Ways of learning at one setting: what each taught and kept, against its counterpart, and by cost."""
    table = learned_kept(sliced, benchmark)
    save(run, learned_kept=table, counterparts=against_counterparts(results), costs=spent(run.path))
    figures.save(ways(table, results, benchmark), run.compare / "learned_kept")


def ways(table: pd.DataFrame, results: pd.DataFrame, benchmark: str) -> figures.Figure:
    """What each arm learned and kept (``table``: see ``drawing.learned_kept``), entitled with items, seeds and the
    unit of the intervals, which ``results`` of the sweep tell."""
    items = int(results.loc[results["benchmark"] == benchmark, "n"].max())
    seen = results["seed"].nunique()
    unit = "seeds" if seen >= SEEDS else "items"
    over = f"{seen} seed{'s' * (seen > 1)}, 95 % intervals over {unit}"
    return figures.learned_kept(table, f"{benchmark}: {items:,} items, {over}")


def spent(run_path: Path) -> pd.DataFrame:
    """Costs and gains of a sweep: means over its points of each arm's iterations added up, with the rates of them."""
    parts = [pd.read_csv(path) for path in sorted(run_path.glob("points/*/compare/costs.csv"))]
    if not parts:
        return pd.DataFrame(columns=["arm", "points", *gains.COLUMNS, *gains.RATES])
    sums = [part.groupby("arm", sort=False)[["points", *gains.COLUMNS]].sum() for part in parts]
    mean = pd.concat(sums).groupby(level="arm", sort=False).mean()
    return gains.rates(mean.loc[_ordered(mean.index)].reset_index())


def _ordered(names: Iterable[str]) -> list[str]:
    """The arms in their table's order, whichever seed had which; then those that it does not know."""
    seen = list(dict.fromkeys(names))
    return [*(arm for arm in arms.ARMS if arm in seen), *(arm for arm in seen if arm not in arms.ARMS)]


# -- several seeds of one setting


def axes(results: pd.DataFrame) -> list[str]:
    """The columns of a sweep's results that vary besides the seed."""
    before = list(results.columns)[: list(results.columns).index("arm")]
    return [name for name in before if name != "seed" and results[name].nunique() > 1]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """A row per setting, arm, iteration and benchmark: seeds, mean and sd of accuracy over seeds (n - 1), mean delta to
    the untouched target with the 95 % interval and p of the paired t-test over seeds.

    ``results``: what ``collect`` returns, a row per point of the sweep.
    """
    rows = []
    keys = [*axes(results), *SEEDLESS]
    for place, part in results.groupby(keys, sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(keys, place, strict=True))
        row |= {"seeds": part["seed"].nunique(), "mean": part["accuracy"].mean(), "sd": part["accuracy"].std(ddof=1)}
        if row["arm"] != "vanilla":
            found = stats.over_seeds(part["delta"].astype(float).tolist())
            row |= {"delta": found["mean"], "delta_low": found["low"], "delta_high": found["high"], "p": found["p"]}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = stats.holm(table["p"].tolist()) if "p" in table else None
    return table


def against_counterparts(results: pd.DataFrame) -> pd.DataFrame:
    """Each arm against its counterpart: a row per iteration, benchmark and pair in the sweep."""
    return against(results, ["iteration", "benchmark"], COUNTERPARTS.items()).drop(columns="sd")


def versus(results: pd.DataFrame) -> pd.DataFrame:
    """LE and LEC against every other arm: a row per setting, iteration, benchmark and pair, with a verdict.

    Differences within one seed share their test items and their untouched target.
    """
    ours = ("le", "lec")
    others = list(dict.fromkeys(results.loc[results["arm"] != "vanilla", "arm"]))
    pairs = [(arm, other) for arm in ours for other in others if other != arm and (other not in ours or other > arm)]
    table = against(results, [*axes(results), "iteration", "benchmark", "split"], pairs).drop(columns="error_ratio")
    judged = [stats.verdict(*row) for row in zip(table["difference"], table["p_holm"], strict=True)]
    untested = "no test: one seed, or seeds that agree to the item"
    return table.assign(verdict=[untested if verdict == "baseline" else verdict for verdict in judged])


def against(results: pd.DataFrame, keys: list[str], pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Arms against others, paired by seed: a row per setting of ``keys`` and pair that answered there.

    ``error_ratio``: what the arm leaves of the error that the other leaves (means over seeds). ``difference`` in
    accuracy with its sd, the t interval over seeds, ``p`` and ``p_holm`` over the table; NaN for one seed or equals.
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
    wide = after.pivot_table("cell", keys, "arm", aggfunc="first", sort=False)[_ordered(after["arm"])]
    fixed = [key for key in keys if key != "iteration"]
    start = shown[shown["arm"] == "vanilla"].groupby(fixed)["cell"].first().str.removesuffix(" ± 0.0").rename("vanilla")
    wide = wide.reset_index().merge(start.reset_index(), on=fixed, how="left").fillna("")
    return wide[[*keys, "vanilla", *_ordered(after["arm"])]].sort_values(keys, kind="stable", ignore_index=True)
