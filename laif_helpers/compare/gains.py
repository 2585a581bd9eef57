"""Computes what an iteration gained, whether another one is worth running, and what it took: items, tokens, dollars."""

from typing import Any

import pandas as pd

from laif_helpers import arms, origins
from laif_helpers.instructors import ledger
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import read_json, rows_of

TOKENS = ("training_tokens", "generated_tokens", "instructor_tokens", "teacher_tokens")
SECONDS = ("teach_seconds", "train_seconds")
COLUMNS = ("items", "questions", *TOKENS, "usd", *SECONDS)
RATES = ("points_per_100_items", "points_per_million_tokens", "points_per_usd", "points_per_minute")


def averages(answers: pd.DataFrame, in_domain: list[str], seed: int) -> pd.DataFrame:
    """Micro and macro averages, a row per arm, iteration and group of benchmarks (all, in-domain, out-of-domain).

    ``micro``: share of all the group's items answered right, with Wilson's interval; its delta to the untouched target
    is tested by McNemar on the pooled items. ``macro``: mean of the benchmarks' accuracies, each counting alike; the
    interval of its delta is a paired bootstrap within each benchmark. A group that holds one benchmark is left out:
    both averages would repeat it.
    """
    names = list(dict.fromkeys(answers["benchmark"]))
    outside = [name for name in names if name not in in_domain]
    groups = {"all": names, "in-domain": [name for name in names if name in in_domain], "out-of-domain": outside}
    rows = []
    for (arm, iteration), part in answers.groupby(["arm", "iteration"], sort=False):
        for group, members in groups.items():
            mine = part[part["benchmark"].isin(members)]
            if len(members) > 1 and mine["benchmark"].nunique() == len(members):
                rows.append({"arm": arm, "iteration": iteration, "group": group} | _average(mine, str(arm), seed))
    columns = ["arm", "iteration", "group", "n", "micro", "micro_low", "micro_high", "macro"]
    columns += ["micro_delta", "micro_p", "macro_delta", "macro_low", "macro_high"]
    return pd.DataFrame(rows, columns=columns)


def _average(part: pd.DataFrame, arm: str, seed: int) -> dict[str, Any]:
    share, origin = part["share"], part["benchmark"] + ":" + part["origin"]
    low, high = origins.share(share, origin)
    by_name = [group for _, group in part.groupby("benchmark", sort=False)]
    macro = sum(float(group["share"].mean()) for group in by_name) / len(by_name)
    row = {"n": len(part), "micro": float(share.mean()), "micro_low": low, "micro_high": high, "macro": macro}
    if arm == "vanilla":
        return row
    items = origins.paired(part["was_share"], share, origin)
    parts = [origins.paired(group["was_share"], group["share"], group["origin"]) for group in by_name]
    delta, low, high = origins.macro_interval(parts, seed)
    row |= {"micro_delta": items.delta, "micro_p": origins.p_value(items)}
    return row | {"macro_delta": delta, "macro_low": low, "macro_high": high}


def gains(p: StageParameters, answers: pd.DataFrame) -> pd.DataFrame:
    """What each iteration gained over the previous iteration on the in-domain test items.

    A row per arm and iteration: ``points`` (percentage points, paired, with a bootstrap interval), the smallest
    difference these items could show, the expected gain of another iteration, and ``advice``.
    """
    rows = []
    mine = answers[answers["benchmark"].isin(p.in_domain)]
    start = mine[mine["arm"] == "vanilla"]
    for arm in dict.fromkeys(mine.loc[mine["arm"] != "vanilla", "arm"]):
        before, earlier = start, None
        for iteration, part in mine[mine["arm"] == arm].groupby("iteration"):
            if len(part) != len(before):  # a benchmark is not there: no step to speak of
                continue
            row = {"arm": arm, "iteration": iteration} | _step(before, part, p.seed)
            row |= _outlook(row["points"], earlier, row["detectable"])
            before, earlier = part, row["points"]
            rows.append(row)
    columns = ["arm", "iteration", "points", "low", "high", "detectable", "expected_next", "advice"]
    return pd.DataFrame(rows, columns=columns)


def _step(before: pd.DataFrame, after: pd.DataFrame, seed: int) -> dict[str, Any]:
    keys = ["benchmark", "id"]
    pair = before[[*keys, "share", "origin"]].merge(after[[*keys, "share"]], on=keys, suffixes=("_old", "_new"))
    items = origins.paired(pair["share_old"], pair["share_new"], pair["benchmark"] + ":" + pair["origin"])
    low, high = origins.interval(items, seed)
    shown = origins.detectable(items)
    return {"points": 100 * items.delta, "low": 100 * low, "high": 100 * high, "detectable": 100 * shown}


def _outlook(points: float, earlier: float | None, shown: float) -> dict[str, Any]:
    """What to expect of another iteration, and advice.

    Gains shrink from iteration to iteration. The expected next gain is this gain times the ratio of this gain to the
    previous gain; the ratio is at most 1, and 1 after a first iteration. If the expected gain is smaller than the
    difference that the items can show, the advice is to stop.
    """
    shrinking = 1.0 if earlier is None else max(0.0, min(1.0, points / earlier)) if earlier > 0 else 1.0
    expected = max(0.0, points) * shrinking
    if points <= 0:
        advice = "stop: this iteration gained nothing"
    elif shown >= 100:
        advice = "unclear: too few items changed for this test to show anything"
    elif expected < shown:
        advice = f"stop: {expected:.1f} points to be expected, these items show {shown:.1f} or more"
    else:
        advice = f"go on: {expected:.1f} points to be expected, these items show {shown:.1f}"
    return {"expected_next": expected, "advice": advice}


# -- what it took


def spent(folder: IterationDir, arm: str, notebook: str) -> dict[str, Any]:
    """What one iteration took, ``COLUMNS``.

    ``items`` and distinct ``questions`` of an epoch, replay included. ``training_tokens`` over all epochs;
    ``generated_tokens`` by the target: samples of 07 and 09, rollouts of 05; ``instructor_tokens`` read and written,
    with their ``usd``; ``teacher_tokens`` read to score. ``teach_seconds``: sampling, or asking the instructor.
    """
    rows = rows_of(folder.training_set)
    asked = {(row["benchmark"], _question(row)) for row in rows}
    trained = read_json(folder.train_metrics, {})
    taught = read_json(folder.metrics(notebook), {}) if notebook else {}
    paid = ledger.totals(folder.replies(arm))
    return {
        **{"items": len(rows), "questions": len(asked), "training_tokens": trained.get("tokens", 0)},
        "generated_tokens": trained.get("generated_tokens", 0) + taught.get("generated_tokens", 0),
        **{"instructor_tokens": paid["tokens"], "usd": paid["usd"]},
        "teacher_tokens": trained.get("teacher_tokens", 0) + taught.get("teacher_tokens", 0),
        "teach_seconds": paid["seconds"] + taught.get("seconds", 0.0),
        "train_seconds": trained.get("seconds", 0.0) * trained.get("world_size", 1),
    }


def _question(row: dict[str, Any]) -> str:
    """What the user asks last; of a conversation that criticises its answer (its answers have weights) what it asks
    first, since its later turns are the same words for every question."""
    asked = [turn["content"] for turn in row["messages"] if turn["role"] == "user"] or [""]
    return str(asked[0 if any("weight" in turn for turn in row["messages"]) else -1])


def costs(p: StageParameters, gained: pd.DataFrame) -> pd.DataFrame:
    """A row for each row of ``gains``: arm, iteration, points, ``COLUMNS`` and ``RATES``."""
    run, rows = RunDir.named(p.run), []
    for row in gained.itertuples(index=False):
        notebook = arms.row(arms.strategy(row.arm, row.iteration, p.iterations)).notebook
        took = spent(run.iteration(row.arm, row.iteration), row.arm, notebook)
        rows.append({"arm": row.arm, "iteration": row.iteration, "points": row.points} | took)
    return rates(pd.DataFrame(rows, columns=["arm", "iteration", "points", *COLUMNS]))


def rates(found: pd.DataFrame) -> pd.DataFrame:
    """``RATES`` beside the costs: points per 100 items, million tokens (of all kinds), dollar and minute."""
    tokens, seconds = found[list(TOKENS)].sum(axis=1), found[list(SECONDS)].sum(axis=1)
    by = (found["items"] / 100, tokens / 1e6, found["usd"], seconds / 60)
    return found.assign(**{name: found["points"] / of.where(of > 0) for name, of in zip(RATES, by, strict=True)})
