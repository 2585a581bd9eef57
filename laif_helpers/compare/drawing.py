"""Draws the figures of notebook 06, and the slices that they show."""

import pandas as pd

from laif_helpers import benchmarks, figures
from laif_helpers.answers import joined, repair
from laif_helpers.compare import league
from laif_helpers.figures.repair import repair_lines
from laif_helpers.figures.style import Figure
from laif_helpers.paths import RunDir, short_names
from laif_helpers.recipe import StageParameters


def panels(sliced: pd.DataFrame) -> pd.DataFrame:
    """The slices that figures show, with their ``panel``: each benchmark, and its gaps and practised parts."""
    shown = joined.shortened(sliced[sliced["facet"].isin(["all", "gap"])])
    names = shown["benchmark"].where(shown["facet"] == "all", shown["benchmark"] + ": " + shown["value"])
    shown = shown.assign(panel=names)
    # Benchmarks in the recipe's order, each followed by its parts.
    benchmarks_seen = list(dict.fromkeys(shown["benchmark"]))
    order = {name: (benchmarks_seen.index(name.partition(":")[0]), name) for name in set(names)}
    ranks = {name: rank for rank, name in enumerate(sorted(order, key=lambda name: order[name]))}
    return shown.sort_values("panel", key=lambda column: column.map(ranks), kind="stable", ignore_index=True)


def flip_table(sliced: pd.DataFrame, benchmark: str, facet: str = "gap", arm: str = "") -> pd.DataFrame:
    """Rows for ``figures.flips``: what became of a benchmark's items, by the values of a facet.

    Of the last iteration of ``arm``, most improved first; without ``arm``, of all arms and iterations. Falls
    back on facet ``all`` if no item carries ``facet``.
    """
    table = sliced[(sliced["arm"] != "vanilla") & (sliced["benchmark"] == benchmark)]
    if arm:
        table = table[table["arm"] == arm]
        table = table[table["iteration"] == table["iteration"].max()]
    part = table[table["facet"] == facet]
    part = table[table["facet"] == "all"] if part.empty else part
    labels = part["value"] if arm else part["value"] + ", " + part["arm"] + " " + part["iteration"].astype(str)
    columns = ["label", "n", "still_right", "fixed", "broken", "still_wrong"]
    part = part.assign(label=labels, order=-part["delta"].astype(float) if arm else part["value"])
    return part.sort_values("order", kind="stable")[columns].reset_index(drop=True)


def draw(p: StageParameters, sliced: pd.DataFrame) -> dict[str, Figure]:
    """Draw and save the figures: iterations, flips, flips by label for the last arm, and self-repair."""
    folder = RunDir.named(p.run).compare
    drawn = {"iteration_lines": figures.iteration_lines(panels(sliced))}
    arms = [arm for arm in dict.fromkeys(sliced["arm"]) if arm != "vanilla"]
    seen = set(sliced.loc[sliced["arm"] != "vanilla", "benchmark"])
    for name in [name for name in (*p.in_domain, *p.benchmarks) if name in seen][:1]:
        title = f"{short_names(p.benchmarks)[name]}, {p.test_split}"
        drawn["flips"] = figures.flips(flip_table(sliced, name), title)
        last = sliced.loc[sliced["arm"] == arms[-1], "iteration"].max()
        by_concept = flip_table(
            sliced, name, benchmarks.get(name).facets[0] if benchmarks.get(name).facets else "all", arms[-1]
        )
        drawn["flips_by_label"] = figures.flips(by_concept, f"{title}: {arms[-1]}, iteration {last}")
        drawn["learned_kept"] = figures.learned_kept(league.learned_kept(sliced, name), title)
    repaired = pd.DataFrame(repair.table(RunDir.named(p.run).path, p.all_arms, p.iterations))
    if len(repaired):
        drawn["repair"] = repair_lines(repaired[repaired["bucket"] == "seen"])
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    figures.save(figures.iteration_lines(panels(sliced), most=2), folder / "iteration_lines_column")
    return drawn
