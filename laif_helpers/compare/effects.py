"""Follows each error: its lessons, and whether the next iteration answers the question right.

error -> diagnosis -> neighbours -> lessons -> trained on -> fixed or not, one row per item of the error split, arm and
iteration. Everything is read from files that the other stages left; what is not there is left empty.
"""

import json
from collections import defaultdict
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, stats
from laif_helpers.answers import joined
from laif_helpers.answers.joined import FLIPS
from laif_helpers.compare.tables import save
from laif_helpers.embeddings import embed, nearest
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import ROLLOUT, Response, rows_of, written_whole

COLUMNS = (
    *("arm", "iteration", "benchmark", "id", "question", "cluster", "cluster_name", "held_out", "asked", "diagnosis"),
    *("neighbour_ids", "lessons", "kept", "lesson_ids", "trained", "replayed", "before", "after", "flip"),
)
"""Columns of ``compare/effects.parquet``. ``asked``: the item was shown to the instructor (of arms that ask none: an
answer to it was trained on); ``lessons``, ``kept``, ``trained``: how many came of it, passed the checks, were used;
``replayed``: it was rehearsed as a right item; ``before``, ``after``: what the model said."""


def _untouched() -> dict[str, Any]:
    """The columns of an item that an iteration made nothing of."""
    counts = {"lessons": 0, "kept": 0}
    return {"asked": False, "diagnosis": "", "neighbour_ids": [], **counts, "lesson_ids": [], "replayed": False}


def collect(p: StageParameters) -> pd.DataFrame:
    """The ledger, columns ``COLUMNS``; empty if no iteration has answered the error split after training.

    Raises ValueError if two iterations answered other items of it, or different graders graded them.
    """
    run = RunDir.named(p.run)
    parts = []
    for name in p.in_domain:
        bench = benchmarks.get(name)
        questions = {id: bench.question_text(item) for id, item in joined.examples(p, name, p.error_split).items()}
        places = _places(run.iteration("vanilla", 0), name)
        for arm in p.arms:
            for k in range(1, p.iterations + 1):
                before, after = (run.iteration(arm, at).responses(name, p.error_split) for at in (k - 1, k))
                if not (before.is_file() and after.is_file()):
                    continue
                joined.same_graders(before, after, f"{arm}, iteration {k}: {name}, {p.error_split}")
                pairs = _pairs(joined.responses(before), joined.responses(after), f"{arm}, iteration {k}")
                lineage = lineages(run.iteration(arm, k), arm)
                for then, now in pairs:
                    cluster, named = places.get(then.id, (-1, ""))
                    row = {"arm": arm, "iteration": k, "benchmark": name, "id": then.id, "cluster": cluster}
                    row |= {"question": questions.get(then.id, ""), "cluster_name": named}
                    row |= {"held_out": joined.held_out(p, name, then.id), "before": then.text, "after": now.text}
                    parts.append(row | lineage[name, then.id] | {"flip": FLIPS[then.correct, now.correct]})
    table = pd.DataFrame(parts, columns=[*COLUMNS])
    return table.assign(trained=table["lesson_ids"].map(len))


def _pairs(before: list[Response], after: list[Response], who: str) -> list[tuple[Response, Response]]:
    now = {response.id: response for response in after}
    if different := {response.id for response in before} ^ now.keys():
        raise ValueError(
            f"{who} answered other items of {before[0].benchmark}, {before[0].split} than the iteration before "
            f"({len(different)} in one only); they cannot be paired: evaluate both alike"
        )
    return [(response, now[response.id]) for response in before]


def _places(folder: IterationDir, benchmark: str) -> dict[str, tuple[int, str]]:
    """Cluster number and name of every item of the untouched target's error map, right items by neighbourhood."""
    if not folder.errors.is_file():
        return {}
    table = pd.read_parquet(folder.errors, columns=["id", "benchmark", "near", "cluster_name"])
    mine = table[table["benchmark"] == benchmark]
    return dict(zip(mine["id"], zip(mine["near"].tolist(), mine["cluster_name"], strict=True), strict=True))


def lineages(folder: IterationDir, arm: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What one arm's one iteration made of its items, by (benchmark, id)."""
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(_untouched)
    for row in rows_of(folder.requests(arm)):
        for id in row["source_ids"]:
            found[row["benchmark"], id] |= {"asked": True, "neighbour_ids": row["neighbour_ids"]}
    diagnoses = {row["request_key"]: row["diagnosis"] for row in rows_of(folder.diagnoses(arm))}
    sources: dict[str, list[tuple[str, str]]] = {}
    for row in rows_of(folder.lessons(arm)):
        sources[row["id"]] = [(row["benchmark"], id) for id in row["source_ids"]]
        for item in map(found.__getitem__, sources[row["id"]]):
            item["lessons"] += 1
            item["kept"] += row["status"] == "kept"
            item["diagnosis"] = item["diagnosis"] or diagnoses.get(row["request_key"], "")
    for row in rows_of(folder.training_set):
        for item in map(found.__getitem__, sources.get(row["id"], [])):
            item["lesson_ids"].append(row["id"])
            # nobody was asked: the item whose answer was trained on is what was shown
            item["asked"] = item["asked"] or not diagnoses
        if row["source"] in ("replay", ROLLOUT):
            found[row["benchmark"], row["id"]]["replayed" if row["source"] == "replay" else "asked"] = True
    return found


# -- what the ledger says

GROUPS = ("shown", "held_out", "rest")
"""Errors that the instructor saw, that were kept from it, and the others."""


def fix_rates(ledger: pd.DataFrame) -> pd.DataFrame:
    """Did it learn, or memorise? A row per arm and iteration over the items that were wrong before: how many of those
    shown to the instructor, of those held out, and of the rest were fixed, and shown minus held out with its 95 %
    interval (Newcombe) and Fisher's exact p.
    """
    rows = []
    columns = [
        "arm",
        "iteration",
        *(f"{group}_{part}" for group in GROUPS for part in ("n", "fixed", "rate", "low", "high")),
    ]
    columns += ["difference", "difference_low", "difference_high", "p_value"]
    wrong = ledger[ledger["flip"].isin(["fixed", "still_wrong"])]
    for (arm, iteration), part in wrong.groupby(["arm", "iteration"], sort=False):
        groups = {"shown": part["asked"], "held_out": part["held_out"], "rest": ~part["asked"] & ~part["held_out"]}
        row: dict[str, Any] = {"arm": arm, "iteration": iteration}
        counts = []
        for name, chosen in groups.items():
            n, fixed = int(chosen.sum()), int((part.loc[chosen, "flip"] == "fixed").sum())
            low, high = stats.wilson(fixed, n)
            row |= {f"{name}_n": n, f"{name}_fixed": fixed, f"{name}_rate": fixed / n if n else None}
            row |= {f"{name}_low": low, f"{name}_high": high}
            counts += [fixed, n]
        shown, held = row["shown_rate"], row["held_out_rate"]
        row["difference"] = None if shown is None or held is None else shown - held
        row["difference_low"], row["difference_high"] = stats.difference(*counts[:4])
        rows.append(row | {"p_value": stats.fisher(*counts[:4])})
    return pd.DataFrame(rows, columns=columns)


def by_cluster(ledger: pd.DataFrame) -> pd.DataFrame:
    """What became of each cluster of the untouched target's map: a row per arm, iteration and cluster with n, the four
    flips, delta, McNemar's p, p after Holm over the clusters, and ``forgot``, the alarm: more broken than fixed beyond
    chance.
    """
    rows = []
    for (arm, iteration, cluster), part in ledger.groupby(["arm", "iteration", "cluster"], sort=False):
        counts = {name: int((part["flip"] == name).sum()) for name in FLIPS.values()}
        row = {"arm": arm, "iteration": iteration, "cluster": int(cluster), "n": len(part)}
        row["name"] = part["cluster_name"].iloc[0] if cluster >= 0 else "(in no cluster)"
        row |= counts | {"delta": (counts["fixed"] - counts["broken"]) / len(part)}
        rows.append(row | {"p_value": stats.mcnemar(counts["fixed"], counts["broken"])})
    columns = ["arm", "iteration", "cluster", "name", "n", *FLIPS.values(), "delta", "p_value", "p_holm", "forgot"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    for _, part in table.groupby(["arm", "iteration"], sort=False):
        table.loc[part.index, "p_holm"] = stats.holm(part["p_value"].tolist())
    table["forgot"] = (table["delta"] < 0) & (table["p_holm"].astype(float) < 0.05)
    order = table["cluster"].where(table["cluster"] >= 0, len(ledger))
    return table.assign(order=order).sort_values(["arm", "iteration", "order"], kind="stable").drop(columns="order")


def lessons_ranked(p: StageParameters, ledger: pd.DataFrame) -> pd.DataFrame:
    """Lessons that were trained on, by what they may have repaired: a row each with the error it came from and what
    became of it, and ``fixed``, ``still_wrong``, ``broken``: the items to which it was the nearest lesson of its arm's
    iteration. Nearness is no proof of cause; it says where to look.
    """
    run, parts = RunDir.named(p.run), []
    for (arm, k, name), part in ledger.groupby(["arm", "iteration", "benchmark"], sort=False):
        folder = run.iteration(str(arm), int(k))
        used = {id for ids in part["lesson_ids"] for id in ids}
        # an arm that learns from rollouts or trajectories has no lessons
        taught = pd.DataFrame([row for row in rows_of(folder.lessons(str(arm))) if row["id"] in used] if used else [])
        if taught.empty:
            continue
        vectors = embed([*taught["question"], *part["question"]])
        at = nearest(vectors[len(taught) :], vectors[: len(taught)], 1)[0][:, 0]
        counts = pd.crosstab(at, part["flip"].to_numpy()).reindex(range(len(taught)), fill_value=0)
        flips = dict(zip(part["id"], part["flip"], strict=True))
        sources = [", ".join(ids) for ids in taught["source_ids"]]
        own = [", ".join(flips.get(id, "") for id in ids) for ids in taught["source_ids"]]
        about = {"arm": arm, "iteration": k, "benchmark": name, "lesson": taught["id"], "question": taught["question"]}
        about |= {"source": sources, "source_flip": own}
        about |= {flip: counts[flip].to_numpy() if flip in counts else 0 for flip in ("fixed", "still_wrong", "broken")}
        parts.append(pd.DataFrame(about))
    columns = ["arm", "iteration", "benchmark", "lesson", "fixed", "still_wrong", "broken", "source", "source_flip"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*columns, "question"])
    table["net"] = table["fixed"] - table["broken"]
    ordered = table.sort_values("net", ascending=False, kind="stable", ignore_index=True)
    return joined.shortened(ordered)[[*columns, "net", "question"]]


def write(p: StageParameters, ledger: pd.DataFrame, ranked: pd.DataFrame) -> None:
    """Write into ``compare/``: ``effects.parquet`` (a row per item, arm and iteration), ``effects.csv`` (the flips of
    each cluster), ``fix_rates.csv`` and ``lessons.csv``."""
    lists = {name: ledger[name].map(json.dumps) for name in ("neighbour_ids", "lesson_ids")}
    with written_whole(RunDir.named(p.run).compare / "effects.parquet") as half:
        ledger.assign(**lists).to_parquet(half, index=False)
    save(RunDir.named(p.run), effects=by_cluster(ledger), fix_rates=fix_rates(ledger), lessons=ranked)


def metrics(ledger: pd.DataFrame, gained: pd.DataFrame) -> dict[str, Any]:
    """What notebook 06 records: fix rates of shown and held-out errors, alarms and advice, e.g. by ``lec.2``."""
    rates = fix_rates(ledger).to_dict("records")
    alarms = by_cluster(ledger)
    names = ("shown_rate", "held_out_rate", "difference", "p_value")
    return {
        "fix_rates": {f"{row['arm']}.{row['iteration']}": {name: row[name] for name in names} for row in rates},
        "forgot_clusters": alarms.loc[alarms["forgot"].astype(bool), "name"].tolist(),
        "advice": {f"{row.arm}.{row.iteration}": row.advice for row in gained.itertuples(index=False)},
    }
