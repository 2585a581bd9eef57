"""Repeats a run's self-repair with sampled answers: `python docs/tripost_draws.py RUN` prints and writes a table.

``08_repair`` answers greedily, so that a small test set is seen one time for each training seed. Here each checkpoint's
whole loop (attempt, feedback, updates) is sampled ``--draws`` times at ``--temperature``, and a vote of samples that
cost as many tokens is drawn as often. An item counts one time, with its mean over training and sampling seeds.
Answers are kept beside the checkpoints' ``repair/``: the same command goes on after a stop.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tripost_seeds import Rows, line

from laif_helpers import benchmarks, recipe, stats
from laif_helpers.models import kept
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import Recipe
from laif_helpers.records import write_text
from laif_helpers.tripost import loop


def drawn(
    folder: IterationDir, settings: Recipe, name: str, draws: int, temperature: float
) -> list[list[dict[str, Any]]]:
    """For each draw a row of every test item: ``right`` of each answer, and ``majority`` of the vote beside it."""
    items = benchmarks.get(name).load(
        settings.test_split, data_dir=settings.data_dir or None, limit=settings.limit or None
    )
    model = settings.target if folder.path.name == "iter0" else str(folder.checkpoint)
    partial_answers = folder.path / "repair" / f".draws-{name}.partial"
    # equal prompts get a seed each, so that one batch holds every draw
    ask = partial(kept.generate, partial_answers, model, temperature=temperature)
    repairs = loop.run(ask, list(items) * draws, updates=settings.updates, style=settings.feedback)
    votes = loop.at_equal_tokens(ask, repairs, temperature=temperature, seed=1)
    grade = benchmarks.get(name).grade
    rows = [
        {"benchmark": name, "id": each.example.id, "bucket": each.example.fields["bucket"], "seen": True}
        | {"right": [grade(each.example, text).correct for text in each.answers], **vote}
        for each, vote in zip(repairs, votes, strict=True)
    ]
    return [rows[at : at + len(items)] for at in range(0, len(rows), len(items))]


def rows_of(run: Path, arm: str, iteration: int, draws: int, temperature: float) -> Rows:
    """Rows of every training seed and draw. The untouched target is one model, whatever the seed."""
    points = sorted(path for path in (run / "points").glob("*") if path.is_dir()) or [run]
    found: Rows = {}
    for point in points[:1] if arm == "vanilla" else points:
        settings = recipe.build(Recipe, recipe.load(point / "recipe.yaml")[0])
        for name in settings.benchmarks:
            for at, rows in enumerate(
                drawn(RunDir(point).iteration(arm, iteration), settings, name, draws, temperature)
            ):
                found.setdefault(f"{point.name}/{at}", {}).update({(name, row["id"]): row for row in rows})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--arms", nargs="+", default=["vanilla", "fine_tuning", "tripost"])
    parser.add_argument("--iteration", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--out", type=Path, default=Path("docs/tripost/draws.csv"))
    given = parser.parse_args()
    run = RunDir.named(given.run).path
    place = {arm: 0 if arm == "vanilla" else given.iteration for arm in given.arms}
    rows = {arm: rows_of(run, arm, at, given.draws, given.temperature) for arm, at in place.items()}
    lines = []
    for arm, mine in rows.items():
        plain = rows.get("fine_tuning", {}) if arm != "fine_tuning" else {}
        for name in sorted({key[0] for found in mine.values() for key in found}):
            lines.append(
                {"arm": arm, "iteration": place[arm], "benchmark": name, **(line(name, "all", mine, plain) or {})}
            )
    table = pd.DataFrame(lines).rename(columns={"seeds": "draws"})
    for key in [key for key in ("net_p", "over_majority_p", "over_sft_p") if key in table]:
        table[f"{key}_holm"] = stats.holm(list(table[key]))
    write_text(given.out, table.round(4).to_csv(index=False))
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
