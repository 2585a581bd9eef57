"""Reads a TriPosT run of several seeds: `python docs/tripost_seeds.py tripost_seeds` prints and writes its table.

For each arm, iteration, benchmark and bucket: first and last answers, contribution and harm, mean over seeds. An item
counts one time, with its mean over seeds, so that seeds do not make a test set larger than it is: intervals and tests
are over items. ``over_sft`` compares with the first answers of fine_tuning, ``over_majority`` with a vote of samples
that cost at least as many tokens; Holm's adjustment is over arms and benchmarks of one iteration and bucket.
"""

import argparse
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import figures, stats
from laif_helpers.answers import repair
from laif_helpers.figures.repair import repair_lines
from laif_helpers.paths import RunDir
from laif_helpers.records import write_text

Rows = dict[str, dict[tuple[str, str], dict[str, Any]]]
"""Seed's folder -> (benchmark, item) -> row of ``repair/*.jsonl``."""


def rows_of(points: Iterable[Path], arm: str, iteration: int) -> Rows:
    """Empty folders are left out: an arm that ended early, or a seed that was not run to its end."""
    found = {str(point): repair.read(point / arm / f"iter{iteration}") for point in points}
    return {name: {(row["benchmark"], row["id"]): row for row in rows} for name, rows in found.items() if rows}


def mean_of(values: list[list[float]]) -> dict[str, float]:
    """Mean, 95 % interval and p (normal) over items of each item's mean over seeds."""
    means = [statistics.fmean(value) for value in values]
    mean, half = statistics.fmean(means), 0.0
    if len(means) > 1:
        half = stats.Z95 * statistics.stdev(means) / math.sqrt(len(means))
    p = math.erfc(abs(mean) / half * stats.Z95 / math.sqrt(2)) if half else 1.0
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p}


def line(name: str, bucket: str, mine: Rows, plain: Rows) -> dict[str, Any] | None:
    """One line of the table; None if no item of the bucket was answered."""
    first: dict[str, list[tuple[bool, bool, bool, bool | None]]] = {}
    for seed, rows in mine.items():
        for (benchmark, item), row in rows.items():
            inside = bucket in ("all", row["bucket"], "seen" if row["seen"] else "unseen")
            if benchmark == name and inside:
                other = plain.get(seed, {}).get((benchmark, item))
                sft = other["right"][0] if other else None
                first.setdefault(item, []).append((row["right"][0], row["right"][-1], row["majority"], sft))
    if not first:
        return None
    items = list(first.values())
    found: dict[str, Any] = {"n": len(items), "seeds": len(mine)}
    for at, key in ((0, "accuracy_first"), (1, "accuracy_last"), (2, "majority")):
        found[key] = mean_of([[float(bool(draw[at])) for draw in item] for item in items])["mean"]
    for key, before, after in (("contribution", False, True), ("harm", True, False)):
        found[key] = mean_of([[float(draw[:2] == (before, after)) for draw in item] for item in items])["mean"]
    against = {"net": 0, "over_majority": 2, "over_sft": 3}
    for key, at in against.items():
        pairs = [[float(draw[1]) - float(draw[at]) for draw in item if draw[at] is not None] for item in items]
        tested = mean_of([pair for pair in pairs if pair]) if any(pairs) else {}
        found |= {key if part == "mean" else f"{key}_{part}": value for part, value in tested.items()}
    return found


def table_of(run: Path) -> pd.DataFrame:
    points = sorted(path for path in (run / "points").iterdir() if path.is_dir()) or [run]
    arms = sorted({path.parent.parent.name for point in points for path in point.glob("*/iter*/repair")})
    lines = []
    for arm in arms:
        shared = arm == "vanilla" and (run / arm).is_dir()  # each seed's folder has a copy
        for k in range(0 if arm == "vanilla" else 1, 10):
            mine = rows_of([run] if shared else points, arm, k)
            plain = rows_of(points, "fine_tuning", k) if arm != "fine_tuning" else {}
            every = [row for rows in mine.values() for row in rows.values()]
            for name in sorted({row["benchmark"] for row in every}):
                buckets = sorted({row["bucket"] for row in every if row["benchmark"] == name})
                for bucket in [*buckets, "seen", "unseen", "all"]:
                    if found := line(name, bucket, mine, plain):
                        lines.append({"arm": arm, "iteration": k, "benchmark": name, "bucket": bucket, **found})
    table = pd.DataFrame(lines)
    for key in ("net_p", "over_majority_p", "over_sft_p"):
        if key in table:
            families = table.groupby(["iteration", "bucket"])[key]
            table[f"{key}_holm"] = families.transform(lambda ps: stats.holm([float(p) for p in ps]))
    return table.round(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("docs/tripost.csv"))
    given = parser.parse_args()
    table = table_of(RunDir.named(given.run).path)
    write_text(given.out, table.to_csv(index=False))
    figures.save(repair_lines(table[table["bucket"] == "seen"]), given.out.with_suffix(""))
    print(table[table["bucket"].isin(["seen", "unseen"])].to_string(index=False))


if __name__ == "__main__":
    main()
