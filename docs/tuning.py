"""Settings compared without a test split: ``python docs/tuning.py practice_tuning|practice_replay [ITERATION]``.

Prints, for every point of a finished sweep, the share of right answers among the train items that were held out from
instructor and training, per arm, with their mean over arms: what learning rate, epochs and replay are chosen by.

``python docs/tuning.py RUN against OTHER`` compares two sweeps over seeds on the test splits, paired by seed, and apart
for each value of what else both vary.
``python docs/tuning.py RUN shares`` adds up, over all trainings of a run with ``average: auto``, the right answers to
held-out items at each share of the way from the start to the end of a training.
"""

import sys

import pandas as pd
import yaml
from scipy import stats

from laif_helpers import recipe
from laif_helpers.answers import joined
from laif_helpers.compare import sweeps
from laif_helpers.paths import RunDir
from laif_helpers.records import read_json


def held_out_accuracy(point: RunDir, iteration: int) -> pd.DataFrame:
    """Rows ``arm, n, accuracy``: right answers in per cent on the held-out items of the in-domain error splits."""
    p = recipe.build(recipe.Recipe, yaml.safe_load(point.recipe.read_text("utf-8")))
    rows = []
    for arm in p.arms:
        folder = point.iteration(arm, iteration)
        answers = pd.concat(joined.table(p, folder, name, p.error_split) for name in p.in_domain)
        unseen = [joined.held_out(p, *key) for key in zip(answers.benchmark, answers.id, strict=True)]
        rows.append({"arm": arm, "n": sum(unseen), "accuracy": 100 * answers.correct[unseen].mean()})
    return pd.DataFrame(rows)


def shares(name: str) -> None:
    found = [read_json(path)["average"] for path in RunDir.named(name).path.rglob("train_metrics.json")]
    curves = pd.DataFrame([point for training in found for point in training["curve"]])
    table = curves.groupby("share")[["correct", "n"]].sum()
    table["chosen"] = pd.Series([training["share"] for training in found]).value_counts()
    print(f"{len(found)} trainings; of how many each share was chosen")
    print(table.fillna(0).astype(int).to_string())


def main(name: str, iteration: int = 1) -> None:
    points = sorted(path for path in (RunDir.named(name).path / "points").iterdir() if (path / "recipe.yaml").is_file())
    tables = {point.name: held_out_accuracy(RunDir(point), iteration) for point in points}
    wide = pd.DataFrame({name: table.set_index("arm").accuracy for name, table in tables.items()}).T
    wide["mean"] = wide.mean(axis=1)
    n = next(iter(tables.values())).n.iloc[0]
    print(f"held-out train items (N = {n}), right answers in per cent after iteration {iteration}")
    print(wide.round(1).to_string())


def against(name: str, other: str) -> None:
    """Points that each arm has more in the one sweep than in the other, and than the untouched target; 95 % of t.

    Raises ValueError if one of them has several points for a seed and the other does not.
    """
    a, b = (pd.read_csv(RunDir.named(run).compare / "results.csv") for run in (name, other))
    start = a[a.arm == "vanilla"].drop_duplicates("benchmark").set_index("benchmark").accuracy
    varied = [*dict.fromkeys(sweeps.axes(a) + sweeps.axes(b))]
    if odd := [key for key in varied if not {key} <= {*a} & {*b}]:
        raise ValueError(f"one of {name} and {other} varies {odd[0]} alone; run it with one value: --set {odd[0]}=…")
    keys = [*varied, "arm", "iteration", "benchmark"]
    both = a[a.arm != "vanilla"].merge(b, on=[*keys, "seed"], suffixes=("", "_other"))
    for (*setting, arm, k, benchmark), rows in both.groupby(keys, sort=False):
        found = {
            f"than {other}": rows.accuracy - rows.accuracy_other,
            "than untouched": rows.accuracy - start[benchmark],
        }
        texts = (f"{_interval(100 * difference)} more {what}" for what, difference in found.items())
        where = "".join(f"{key} {value}, " for key, value in zip(varied, setting, strict=True))
        print(f"{where}{arm}, iteration {k}, {benchmark}, {len(rows)} seeds: {', '.join(texts)}")


def _interval(differences: pd.Series) -> str:
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{differences.mean():+.1f} [{differences.mean() - half:+.1f}, {differences.mean() + half:+.1f}]"


if __name__ == "__main__":
    if sys.argv[2:3] == ["against"]:
        against(sys.argv[1], sys.argv[3])
    elif sys.argv[2:3] == ["shares"]:
        shares(sys.argv[1])
    else:
        main(sys.argv[1], *(int(word) for word in sys.argv[2:3]))
