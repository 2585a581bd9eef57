"""What training taught and what it cost, on the way from its start to its end: ``python docs/forgetting_curve.py RUN``.

Takes the first turn of le and lec of a finished run (of each of its points, if it is a sweep) and answers the test
splits with the weights at each share of the way: the trained weights follow from those at ``average``'s share. Writes
``docs/forgetting_curve.csv`` and ``figures/forgetting_curve.png``: right answers to ``practice`` (learned) against
those to ``practice_plus`` (kept). A row that is there already is kept, so that it goes on where it was stopped.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors.torch import load_file, save_file

from laif_helpers import arms, benchmarks, figures, models, recipe, stats
from laif_helpers.paths import ROOT, IterationDir, RunDir, resolve
from laif_helpers.records import read_json, rows_of

TABLE = ROOT / "docs" / "forgetting_curve.csv"
ARMS, SPLITS = ("le", "lec"), {"learned": "practice", "kept": "practice_plus"}
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def between(start: dict[str, Any], kept: dict[str, Any], share: float, at: float) -> dict[str, Any]:
    """Weights ``at`` a share of the way of which ``kept`` went ``share``."""
    return {name: start[name].lerp(tensor, at / share) for name, tensor in kept.items()}


def points(run: RunDir) -> list[RunDir]:
    found = [RunDir(path.parent) for path in sorted(run.path.glob("points/*/recipe.yaml"))]
    return found or [run]


def accuracy(folder: Path, name: str, p: recipe.Recipe) -> float:
    bench = benchmarks.get(name)
    items = bench.load(p.test_split, limit=p.limit or None)
    asked = [bench.messages(item) for item in items]
    answers = models.generate(str(folder), asked, max_new_tokens=p.max_new_tokens, dtype=p.dtype, progress=False)
    right = [bench.grade(item, answer.text).correct for item, answer in zip(items, answers, strict=True)]
    return sum(right) / len(right)


def measured(p: recipe.Recipe, turn: IterationDir, at: float) -> dict[str, float]:
    """Accuracies of one training at one share of the way."""
    share = read_json(turn.train_metrics).get("average", {}).get("share", 1.0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(turn.checkpoint, Path(place) / "model"))
        start = load_file(resolve(p.target) / "model.safetensors")
        kept = load_file(folder / "model.safetensors")
        save_file(between(start, kept, share, at), folder / "model.safetensors", metadata={"format": "pt"})
        return {column: accuracy(folder, name, p) for column, name in SPLITS.items()}


def untouched(run: RunDir) -> dict[str, float]:
    """The untouched target's accuracies, of the run's own answers."""
    folder = run.iteration("vanilla", 0)
    marks = {
        column: [row["correct"] for row in rows_of(folder.responses(name, "test"))] for column, name in SPLITS.items()
    }
    return {column: sum(found) / len(found) for column, found in marks.items()}


def interval(shares: pd.Series, n: int) -> np.ndarray:
    """(2, shares): how far the 95 % interval over ``n`` items reaches below and above each share."""
    ends = [stats.wilson(round(share * n), n) for share in shares]
    return np.array([(share - low, high - share) for share, (low, high) in zip(shares, ends, strict=True)]).T


def draw(table: pd.DataFrame) -> None:
    counts = {column: len(benchmarks.get(name).load("test")) for column, name in SPLITS.items()}
    with figures.canvas(figsize=(figures.COLUMN, 3.2)) as (figure, axes):
        for arm, part in table[table["share"] > 0].groupby("arm", sort=False):
            colour, marker, line = arms.row(arm).look
            start = table.loc[table["share"] == 0, list(SPLITS)].mean()
            means = pd.concat(
                [start.to_frame().T.assign(share=0.0), part.groupby("share")[list(SPLITS)].mean().reset_index()]
            )
            x, y = ((100 * means[column], 100 * interval(means[column], counts[column])) for column in SPLITS)
            style = {"color": colour, "marker": marker, "ls": line, "elinewidth": 0.5}
            axes[0, 0].errorbar(x[0], y[0], xerr=x[1], yerr=y[1], label=arm, **style)
            for row in means.itertuples():
                where = (100 * row.learned, 100 * row.kept)
                text = f"{row.share:g}" if row.share else "before"
                axes[0, 0].annotate(text, where, fontsize=6, xytext=(5, 2), textcoords="offset points")
        x_label, y_label = (f"{name}: right answers, % (N = {counts[column]:,})" for column, name in SPLITS.items())
        axes[0, 0].set(xlabel=x_label, ylabel=y_label)
        axes[0, 0].legend()
        seeds = table["seed"].nunique()
        seeds = f"{seeds} seed{'s' * (seeds > 1)}"
        title = f"Share of the way from before to after training, {seeds}\n95 % intervals over items"
        axes[0, 0].set_title(title, fontsize=8)
    figure.savefig(ROOT / "figures" / "forgetting_curve.png", dpi=200, bbox_inches="tight")


def main(name: str) -> None:
    run = RunDir.named(name)
    table = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=["run", "arm", "seed", "share", *SPLITS])
    table = table[table["run"] == name]
    done = set(table[["arm", "seed", "share"]].itertuples(index=False, name=None))
    rows = table.to_dict("records")
    if ("vanilla", 0, 0.0) not in done:
        rows.append({"run": name, "arm": "vanilla", "seed": 0, "share": 0.0} | untouched(run))
    for point in points(run):
        p = recipe.build(recipe.Recipe, yaml.safe_load(point.recipe.read_text("utf-8")))
        for arm, at in ((arm, at) for arm in p.arms if arm in ARMS for at in SHARES if (arm, p.seed, at) not in done):
            found = measured(p, point.iteration(arm, 1), at)
            rows.append({"run": name, "arm": arm, "seed": p.seed, "share": at} | found)
            pd.DataFrame(rows).to_csv(TABLE, index=False)
            print(rows[-1], flush=True)
    draw(pd.DataFrame(rows))


if __name__ == "__main__":
    main(sys.argv[1])
