"""Makes slices ready for the figures of notebook 06, and draws them."""

from typing import Any

import pandas as pd

from laif_helpers import benchmarks, figures, stats
from laif_helpers.answers import joined, repair
from laif_helpers.compare.tables import last_turns
from laif_helpers.figures.repair import repair_lines
from laif_helpers.figures.style import Figure
from laif_helpers.paths import RunDir, short_names
from laif_helpers.recipe import StageParameters


def panels(sliced: pd.DataFrame) -> pd.DataFrame:
    """The slices that figures show, with their ``panel``: each benchmark in its order, then its gaps and practised
    parts."""
    shown = joined.shortened(sliced[sliced["facet"].isin(["all", "gap"])])
    names = shown["benchmark"].where(shown["facet"] == "all", shown["benchmark"] + ": " + shown["value"])
    places = {name: place for place, name in enumerate(dict.fromkeys(shown["benchmark"]))}
    order = shown.assign(panel=names, place=shown["benchmark"].map(places))
    return order.sort_values(["place", "panel"], kind="stable", ignore_index=True).drop(columns="place")


def flip_table(sliced: pd.DataFrame, benchmark: str, facet: str = "gap", arm: str = "") -> pd.DataFrame:
    """Rows for ``figures.flips``: what became of a benchmark's items, by the values of a facet.

    Of the last iteration of ``arm``, most improved first; without ``arm``, of all arms and iterations. Falls
    back on facet ``all`` if no item carries ``facet``.
    """
    table = sliced[(sliced["arm"] != "vanilla") & (sliced["benchmark"] == benchmark)]
    table = last_turns(table[table["arm"] == arm]) if arm else table
    part = table[table["facet"] == facet]
    part = table[table["facet"] == "all"] if part.empty else part
    labels = part["value"] if arm else part["value"] + ", " + part["arm"] + " " + part["iteration"].astype(str)
    columns = ["label", "n", "still_right", "fixed", "broken", "still_wrong"]
    part = part.assign(label=labels, order=-part["delta"].astype(float) if arm else part["value"])
    return part.sort_values("order", kind="stable")[columns].reset_index(drop=True)


SEEDS = 3
"""From so many seeds on an interval is one over seeds: with two, Student's t spans nearly every share."""


def learned_kept(sliced: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """A row per arm, of its last iteration: the share of the untouched target's wrong answers that are right now
    (``learned``), and of its right answers that are still right (``kept``), each with its 95 % interval.

    ``sliced``: ``compare.slices``, of one run or of a sweep with a column ``seed``. The t interval over seeds; Wilson's
    over items, of the mean, where fewer than ``SEEDS`` seeds or equal counts say nothing of the next seed.
    """
    rows = sliced[(sliced["facet"] == "all") & (sliced["benchmark"] == benchmark) & (sliced["arm"] != "vanilla")]
    found = []
    for arm, part in last_turns(rows).groupby("arm", sort=False):
        row: dict[str, Any] = {"arm": arm, "iteration": int(part["iteration"].iloc[0]), "seeds": len(part)}
        for name, got, missed in (("learned", "fixed", "still_wrong"), ("kept", "still_right", "broken")):
            counts = part[[got, missed]].astype(int)
            over = stats.over_seeds((counts[got] / counts.sum(axis=1).clip(lower=1)).tolist())
            items = int(counts.iloc[0].sum())
            low, high = stats.wilson(round(over["mean"] * items), items)
            if len(part) >= SEEDS and over["sd"]:
                low, high = max(0.0, over["low"]), min(1.0, over["high"])
            row |= {name: over["mean"], f"{name}_low": low, f"{name}_high": high}
        found.append(row)
    columns = [f"{name}{end}" for name in ("learned", "kept") for end in ("", "_low", "_high")]
    return pd.DataFrame(found, columns=["arm", "iteration", "seeds", *columns])


def draw(p: StageParameters, sliced: pd.DataFrame) -> dict[str, Figure]:
    """Draw and save the figures: iterations, flips, flips by label for the last arm, and self-repair."""
    folder = RunDir.named(p.run).compare
    drawn = {"iteration_lines": figures.iteration_lines(panels(sliced))}
    tuned = sliced[sliced["arm"] != "vanilla"]
    seen = set(tuned["benchmark"])
    for name in [name for name in (*p.in_domain, *p.benchmarks) if name in seen][:1]:
        title, arm = f"{short_names(p.benchmarks)[name]}, {p.test_split}", list(dict.fromkeys(tuned["arm"]))[-1]
        last = tuned.loc[tuned["arm"] == arm, "iteration"].max()
        by_label = flip_table(sliced, name, next(iter(benchmarks.get(name).facets), "all"), arm)
        drawn["flips"] = figures.flips(flip_table(sliced, name), title)
        drawn["flips_by_label"] = figures.flips(by_label, f"{title}: {arm}, iteration {last}")
        drawn["learned_kept"] = figures.learned_kept(learned_kept(sliced, name), title)
    repaired = pd.DataFrame(repair.table(RunDir.named(p.run).path, p.all_arms, p.iterations))
    if len(repaired):
        drawn["repair"] = repair_lines(repaired[repaired["bucket"] == "seen"])
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return drawn
