"""Stage 6: compares each arm with the untouched target, item by item.

Every difference is paired: both answers are to the same question, so the exact McNemar test looks at the items
whose grade changed and at nothing else. Holm's adjustment runs over the whole table.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, origins, stats
from laif_helpers.answers import joined, repair
from laif_helpers.answers.joined import FLIPS
from laif_helpers.compare.drawing import draw, flip_table, panels
from laif_helpers.compare.sweeps import collect as collect_points
from laif_helpers.compare.tables import by_name, headline, last_turns, save
from laif_helpers.figures.markup import as_latex, as_markdown
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import write_text

COLUMNS = (
    *("arm", "iteration", "benchmark", "split", "n", "accuracy", "ci_low", "ci_high"),
    *("delta", "p_value", "p_holm", "seed"),
)
"""Columns of ``compare/results.csv``, in this order."""


def collect(p: StageParameters) -> tuple[pd.DataFrame, list[str]]:
    """All answers of the run to test items, and a sentence for each arm, iteration or benchmark not there.

    Columns: arm, iteration, those of ``joined.table``, ``was_share`` (the untouched target on that item) and
    ``flip``. Raises FileNotFoundError when the untouched target has answered nothing, ValueError when two
    iterations answered different items, or different graders graded them.
    """
    tested = [name for name in p.benchmarks if p.test_split in benchmarks.get(name).splits]
    missing = [f"{name} has no split {p.test_split!r}" for name in p.benchmarks if name not in tested]
    untouched = RunDir.named(p.run).iteration("vanilla", 0)
    baseline = {}
    for name in tested:
        if untouched.responses(name, p.test_split).is_file():
            answers = joined.table(p, untouched, name, p.test_split).assign(arm="vanilla", iteration=0)
            baseline[name] = _pair(answers, answers)
        else:
            missing.append(f"vanilla has not answered {name}, {p.test_split}")
    if not baseline:
        raise FileNotFoundError(
            f"run {p.run!r}: the untouched target has answered no {p.test_split!r} split of {', '.join(p.benchmarks)}; "
            "run 01_evaluate first"
        )
    parts = [*baseline.values()]
    for arm in p.arms:
        for iteration in range(1, p.iterations + 1):
            found, lacking = _turn(p, arm, iteration, tested, baseline)
            parts += found
            missing += lacking
    return pd.concat(parts, ignore_index=True), missing


def _turn(
    p: StageParameters, arm: str, iteration: int, tested: list[str], baseline: dict[str, pd.DataFrame]
) -> tuple[list[pd.DataFrame], list[str]]:
    """The answers of one arm's iteration, paired, and what is not there."""
    folder = RunDir.named(p.run).iteration(arm, iteration)
    have = [name for name in tested if folder.responses(name, p.test_split).is_file()]
    if not have:
        trained = folder.train_metrics.is_file() or folder.checkpoint.is_dir()
        why = "trained, not evaluated: run 01_evaluate" if trained else "never trained: run 05_train_deepspeed"
        with_these = f"with ARM={arm!r}, ITERATION={iteration}{'' if trained else ' first'}"
        return [], [f"{arm}, iteration {iteration}: {why} {with_these}"]
    parts = []
    for name in [name for name in have if name in baseline]:
        untouched = RunDir.named(p.run).iteration("vanilla", 0).responses(name, p.test_split)
        theirs = folder.responses(name, p.test_split)
        joined.same_graders(untouched, theirs, f"{arm}, iteration {iteration}: {name}, {p.test_split}")
        after = joined.table(p, folder, name, p.test_split).assign(arm=arm, iteration=iteration)
        parts.append(_pair(baseline[name], after))
    return parts, [f"{arm}, iteration {iteration}: has not answered {name}" for name in tested if name not in have]


def _pair(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """``after`` in the order of ``before``, with the flip of every item. Raises ValueError for other items."""
    who = f"{after['arm'].iloc[0]}, iteration {after['iteration'].iloc[0]}" if len(after) else "an arm"
    where = f"{before['benchmark'].iloc[0]}, {before['split'].iloc[0]}"
    different = set(before["id"]) ^ set(after["id"])
    if different or len(before) != len(after):
        raise ValueError(
            f"{who} answered other items of {where} than the untouched target ({len(after)} against {len(before)}, "
            f"{len(different)} in one only); runs with different test sets cannot be paired: evaluate both alike"
        )
    after = after.set_index("id").loc[before["id"]].reset_index()
    if changed := int((after["gold"].to_numpy() != before["gold"].to_numpy()).sum()):
        raise ValueError(f"{who}: {changed} items of {where} were graded against another gold answer; evaluate again")
    after["was_share"] = before["share"].to_numpy()
    # of an item answered several times: did the share of right answers rise or fall?
    after["flip"] = [
        FLIPS[was >= 0.5, now >= 0.5] if was == now else FLIPS[now < was, now > was]
        for was, now in zip(after["was_share"], after["share"], strict=True)
    ]
    return after


def _score(part: pd.DataFrame) -> dict[str, Any]:
    """Accuracy with its interval, counts of flips, delta and p of the paired test, and the share of the untouched
    target's right answers that are still right, with its interval (None for the baseline)."""
    share, was, origin = (part[name].to_numpy() for name in ("share", "was_share", "origin"))
    low, high = origins.share(share, origin)
    flips, tested, known = Counter(part["flip"]), part["arm"].iloc[0] != "vanilla", was >= 0.5
    items = origins.paired(was, share, origin)
    still = share[known]
    kept = origins.share(still, origin[known]) if tested and len(still) else (None, None)
    return {
        "n": len(part),
        "accuracy": float(share.mean()),
        "ci_low": low,
        "ci_high": high,
        "delta": items.delta if tested else None,
        "p_value": origins.p_value(items) if tested else None,
        **{name: flips[name] for name in FLIPS.values()},
        "right_before": len(still),
        "kept": float(still.mean()) if tested and len(still) else None,
        "kept_low": kept[0],
        "kept_high": kept[1],
    }


def results(answers: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A row per arm, iteration, benchmark and split, baseline first: the columns of ``results.csv``, then chance,
    the flips, the paired bootstrap interval of delta, the smallest effect the test could show, and a verdict.
    """
    rows = []
    for (arm, iteration, name, split), part in answers.groupby(
        ["arm", "iteration", "benchmark", "split"], sort=False, dropna=False
    ):
        row = {"arm": arm, "iteration": iteration, "benchmark": name, "split": split} | _score(part)
        row |= {"chance": float(part["chance"].mean()), "unreadable": int((~part["readable"]).sum()), "seed": seed}
        if row["delta"] is not None:
            tested = origins.tested(origins.paired(part["was_share"], part["share"], part["origin"]), seed)
            row |= {name: tested[name] for name in ("delta_low", "delta_high", "detectable", "test")}
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=[*COLUMNS, *(c for c in _EXTRA if c not in COLUMNS)])
    table["p_holm"] = stats.holm(table["p_value"].tolist())
    table["verdict"] = [stats.verdict(row.delta, row.p_holm, row.detectable) for row in table.itertuples(index=False)]
    return table


_KEPT = ("right_before", "kept", "kept_low", "kept_high")
_EXTRA = ("chance", "unreadable", *FLIPS.values(), *_KEPT, "delta_low", "delta_high", "detectable", "test", "verdict")


def slices(answers: pd.DataFrame) -> pd.DataFrame:
    """Results by the benchmarks' own labels: arm, iteration, benchmark, split, facet, value, then scores and flips.

    Facet ``all`` holds everything; the practice world's ``gap`` has the values ``gaps`` and ``practised``.
    ``forgot`` is an alarm: more broken than fixed, p under 5 % after Holm over the values of the facet. ``lost`` is
    another, of the whole benchmark and its parts by ``gap``: fewer than ``KEEPS`` of the right answers are kept, beyond
    chance, where the untouched target had at least ``KNOWN`` of the items right.
    """
    rows = []
    for (arm, iteration, name, split), part in answers.groupby(["arm", "iteration", "benchmark", "split"], sort=False):
        scored = part[["arm", "share", "was_share", "origin", "flip"]]  # texts would be copied for each slice
        for facet in ("all", *benchmarks.get(str(name)).facets):
            for value, group in scored.groupby(part["fields"].map(lambda fields, facet=facet: _value(fields, facet))):
                row = {"arm": arm, "iteration": iteration, "benchmark": name, "split": split}
                rows.append(row | {"facet": facet, "value": value} | _score(group))
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["arm", "iteration", "benchmark", "facet"], sort=False)["p_value"].transform(
        lambda ps: pd.Series(stats.holm(ps.tolist()), index=ps.index)
    )
    table["forgot"] = (table["delta"].fillna(0) < 0) & (table["p_holm"].fillna(1) < 0.05)
    known = table["right_before"].fillna(0) >= KNOWN * table["n"]
    table["lost"] = known & (table["kept_high"].astype(float) < KEEPS) & table["facet"].isin(["all", "gap"])
    return table


KEEPS = 0.9
"""Share of its right answers that a model should keep. If the interval lies below, what was gained has a price."""
KNOWN = 0.1
"""Share of a part that a model must have had right before it can forget it: fewer right answers were luck."""


def _value(fields: dict[str, Any], facet: str) -> str | None:
    if facet == "all":
        return "all"
    if facet not in fields:
        return None
    return ("gaps" if fields["gap"] else "practised") if facet == "gap" else str(fields[facet])


def forgotten(sliced: pd.DataFrame) -> pd.DataFrame:
    """The slices where an arm forgot, worst first, and which alarm says so."""
    found = sliced[sliced["forgot"] | sliced["lost"]]
    columns = ["arm", "iteration", "benchmark", "facet", "value", "n", "delta", "fixed", "broken", "p_holm", "kept"]
    alarm = found["forgot"].map({True: "more broken than fixed", False: f"under {KEEPS:.0%} kept"})
    return joined.shortened(found[columns].assign(alarm=alarm)).sort_values("delta", ignore_index=True)


def repaired(answers: pd.DataFrame, flip: str = "fixed", n: int = 5) -> pd.DataFrame:
    """Up to n items per arm that its last iteration fixed (or broke), with both answers."""
    before = answers[answers["arm"] == "vanilla"].set_index(["benchmark", "id"])["text"]
    last = last_turns(answers[answers["arm"] != "vanilla"])
    flipped = last[last["flip"] == flip].drop_duplicates(["arm", "question"])
    table = flipped.groupby("arm", sort=False).head(n).rename(columns={"text": "after"}).reset_index(drop=True)
    table["before"] = [before[key] for key in zip(table["benchmark"], table["id"], strict=True)]
    return joined.shortened(table[["arm", "iteration", "benchmark", "question", "gold", "before", "after"]])


def run(p: StageParameters) -> RunDir:
    """The run that is compared; ``run(p).compare`` is where this stage writes."""
    return RunDir.named(p.run)


def write(p: StageParameters, table: pd.DataFrame, sliced: pd.DataFrame) -> list[Path]:
    """Write results.csv, slices.csv and the headline table as CSV, Markdown and LaTeX into ``compare/``."""
    folder = RunDir.named(p.run).compare
    front = headline(table)
    texts = {
        "results.csv": table[list(COLUMNS)].to_csv(index=False),
        "paired.csv": table.to_csv(index=False),
        "slices.csv": sliced.to_csv(index=False),
        "table.csv": front.to_csv(index=False),
        "table.md": as_markdown(front),
        "table.tex": as_latex(front),
    }
    run = RunDir.named(p.run).path
    for name, rows in (("repair.csv", repair.table), ("trajectories.csv", repair.followed)):
        if found := rows(run, p.all_arms, p.iterations):
            texts[name] = pd.DataFrame(found).to_csv(index=False)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def metrics(table: pd.DataFrame, sliced: pd.DataFrame, missing: list[str]) -> dict[str, Any]:
    """What notebook 06 records: accuracies, verdicts and alarms by name, e.g. ``practice.lec.2``."""
    tested = table[table["verdict"] != "baseline"]
    deltas = by_name(tested, "delta")
    found: dict[str, Any] = {"accuracy": by_name(table, "accuracy"), "delta": deltas}
    found["verdict"] = dict(zip(deltas, tested["verdict"], strict=True))
    for part in ("gaps", "practised"):
        found[part] = by_name(sliced[(sliced["facet"] == "gap") & (sliced["value"] == part)], "accuracy")
    alarms = sliced[sliced["forgot"]]
    where = zip(alarms["benchmark"], alarms["facet"], alarms["value"], alarms["arm"], alarms["iteration"], strict=True)
    found["forgot"] = [" ".join(map(str, key)) for key in where]
    return found | {"missing": missing}
