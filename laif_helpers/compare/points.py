"""Shows the points of a sweep side by side: one table, and accuracy over budgets."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from laif_helpers import figures
from laif_helpers.compare import league, seeds
from laif_helpers.figures.markup import as_markdown
from laif_helpers.records import write_text


def collect(run_path: Path, panels: Any) -> pd.DataFrame:
    """Concatenate ``points/*/compare/results.csv`` of a sweep; ``panels`` picks the slices that are drawn.

    Writes ``compare/results.csv`` (the keys that vary, then the columns of each point) and ``compare/slices.csv``; if
    nothing but seeds varies, what ``league`` makes of them with the figure ``learned_kept``; if budgets vary,
    ``compare/budget_curves.png`` and ``.pdf``; if seeds vary, ``seeds.csv`` (mean, sd and the test over seeds),
    ``versus.csv`` (arms against each other, paired by seed) and ``seeds.md``. Returns the results. Raises
    FileNotFoundError when no point has been compared yet.
    """
    points = [path.parents[1] for path in sorted(run_path.glob("points/*/compare/results.csv"))]
    if not points:
        raise FileNotFoundError(f"{run_path}: no point of the sweep has a compare/results.csv yet")
    settings = [yaml.safe_load((point / "recipe.yaml").read_text(encoding="utf-8")) for point in points]
    varied = ["budget", "seed"] + [
        key
        for key in settings[0]
        if key not in ("budget", "seed") and len({str(values.get(key)) for values in settings}) > 1
    ]
    results = _stack(points, settings, varied, "results.csv")
    sliced = _stack(points, settings, varied, "slices.csv")
    folder = run_path / "compare"
    write_text(folder / "results.csv", results.to_csv(index=False))
    write_text(folder / "slices.csv", sliced.to_csv(index=False))
    if results["budget"].nunique() > 1:
        figures.save(figures.budget_curves(panels(sliced)), folder / "budget_curves")
    if not seeds.axes(results):  # one setting: what differs is the arm and the seed
        first = settings[0]["in_domain"][0] if settings[0].get("in_domain") else str(results["benchmark"].iloc[0])
        drawn = league.write(run_path, results, sliced, first)
        items = int(results.loc[results["benchmark"] == first, "n"].max())
        seen = results["seed"].nunique()
        over = f"{seen} seeds, 95 % intervals over seeds" if seen > 1 else "one seed, 95 % intervals over items"
        title = f"{first}: {items:,} items, {over}"
        figures.save(figures.learned_kept(drawn, title), folder / "learned_kept")
    if results["seed"].nunique() > 1:
        table = seeds.summary(results)
        write_text(folder / "seeds.csv", table.to_csv(index=False))
        write_text(folder / "versus.csv", seeds.versus(results).to_csv(index=False))
        write_text(folder / "seeds.md", as_markdown(seeds.as_text(table)))
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
            part.insert(place, key, recipe.get(key))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
