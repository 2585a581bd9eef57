"""How well clusters of errors find the planted gaps, over five seeds: ``python bench/diagnosis.py [RUN]``.

Without RUN, five simulated targets, each with its own errors: wrong on 95 % of the gaps, slips of 3 % elsewhere. With
RUN, the untouched target's recorded answers, mapped with five seeds and with each text embedded. Labels only score.
"""

import random
import statistics
import sys
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, error_analysis, recipe
from laif_helpers.embeddings import embed

SEEDS = range(5)


def simulated(seed: int) -> pd.DataFrame:
    """2,400 training items as a target with the planted gaps would answer them."""
    bench, rng = benchmarks.get("practice"), random.Random(seed)
    rows: list[dict[str, Any]] = []
    for item in bench.load("train"):
        right = rng.random() < (0.05 if item.fields["gap"] else 0.97)
        about = {"id": item.id, "benchmark": "practice", "correct": right, "question": bench.question_text(item)}
        rows.append(about | {"fields": item.fields, "text": str(bench.gold_response(item)) if right else "#### -1"})
    return pd.DataFrame(rows).sort_values("correct", kind="stable", ignore_index=True)


def recorded(run: str) -> pd.DataFrame:
    return error_analysis.collect(recipe.build(recipe.StageParameters, {"run": run}))


def main(run: str = "") -> None:
    fixed = recorded(run) if run else None
    print("embedded    seed  errors  claims  precision  recall  missed")
    for embedded in ("question", "both") if run else ("question",):
        scores = []
        for seed in SEEDS:
            items = simulated(seed) if fixed is None else fixed
            vectors = embed(error_analysis.texts(items, embedded))
            found = error_analysis.found_gaps(error_analysis.locate(items, vectors, seed))
            scores.append((found["precision"] or 0.0, found["recall"] or 0.0))
            counts = f"{int((~items['correct']).sum()):6d}  {len(found['claims']):6d}"
            print(f"{embedded:<10}  {seed:4d}  {counts}  {scores[-1][0]:9.2f}  {scores[-1][1]:6.2f}  {found['missed']}")
        means = [statistics.mean(score[at] for score in scores) for at in (0, 1)]
        print(f"{embedded:<10}  mean                  {means[0]:9.2f}  {means[1]:6.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
