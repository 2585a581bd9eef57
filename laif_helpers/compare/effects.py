"""Follows each error: its lessons, and whether the next iteration answers the question right.

error -> diagnosis -> neighbours -> lessons -> trained on -> fixed or not, one row per item of the error split, arm and
iteration. Everything is read from files that the other stages left; what is not there is left empty.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, stats
from laif_helpers.answers import joined
from laif_helpers.answers.joined import FLIPS
from laif_helpers.embeddings import embed, nearest
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import ROLLOUT, Response, rows_of, write_text, written_whole

COLUMNS = (
    *("arm", "iteration", "benchmark", "id", "question", "cluster", "cluster_name", "held_out", "asked", "diagnosis"),
    *("neighbour_ids", "lessons", "kept", "lesson_ids", "trained", "replayed", "before", "after", "flip"),
)
"""Columns of ``compare/effects.parquet``. ``asked``: the item was shown to the instructor (of arms that ask none: an
answer to it was trained on); ``lessons``, ``kept``, ``trained``: how many came of it, passed the checks, were used;
``replayed``: it was rehearsed as a right item; ``before``, ``after``: what the model said."""


@dataclass
class _Lineage:
    """What one arm's one iteration made of its items, by (benchmark, id)."""

    asked: set[tuple[str, str]] = field(default_factory=set)
    neighbours: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    diagnoses: dict[tuple[str, str], str] = field(default_factory=dict)
    lessons: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    trained: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    replayed: set[tuple[str, str]] = field(default_factory=set)


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
                about = {"arm": arm, "iteration": k, "benchmark": name}
                lineage = _lineage(run.iteration(arm, k), arm)
                parts += [_row(p, about, pair, lineage, questions, places) for pair in pairs]
    return pd.DataFrame(parts, columns=list(COLUMNS))


def _pairs(before: list[Response], after: list[Response], who: str) -> list[tuple[Response, Response]]:
    now = {response.id: response for response in after}
    if different := {response.id for response in before} ^ now.keys():
        raise ValueError(
            f"{who} answered other items of {before[0].benchmark}, {before[0].split} than the iteration before "
            f"({len(different)} in one only); they cannot be paired: evaluate both alike"
        )
    return [(response, now[response.id]) for response in before]


def _row(
    p: StageParameters,
    about: dict[str, Any],
    pair: tuple[Response, Response],
    lineage: _Lineage,
    questions: dict[str, str],
    places: dict[str, tuple[int, str]],
) -> dict[str, Any]:
    before, after = pair
    key = (before.benchmark, before.id)
    cluster, name = places.get(before.id, (-1, ""))
    trained = lineage.trained.get(key, [])
    return about | {
        **{"id": before.id, "question": questions.get(before.id, ""), "cluster": cluster, "cluster_name": name},
        **{"held_out": joined.held_out(p, before.benchmark, before.id), "asked": key in lineage.asked},
        **{"diagnosis": lineage.diagnoses.get(key, ""), "neighbour_ids": lineage.neighbours.get(key, [])},
        **{"lessons": lineage.lessons[key], "kept": lineage.kept[key], "lesson_ids": trained, "trained": len(trained)},
        **{"replayed": key in lineage.replayed, "before": before.text, "after": after.text},
        "flip": FLIPS[before.correct, after.correct],
    }


def _places(folder: IterationDir, benchmark: str) -> dict[str, tuple[int, str]]:
    """Cluster number and name of every item of the untouched target's error map, right items by neighbourhood."""
    if not folder.errors.is_file():
        return {}
    table = pd.read_parquet(folder.errors, columns=["id", "benchmark", "near", "cluster_name"])
    mine = table[table["benchmark"] == benchmark]
    return dict(zip(mine["id"], zip(mine["near"].tolist(), mine["cluster_name"], strict=True), strict=True))


def _lineage(folder: IterationDir, arm: str) -> _Lineage:
    found = _Lineage()
    for row in rows_of(folder.requests(arm)):
        for id in row["source_ids"]:
            found.asked.add((row["benchmark"], id))
            found.neighbours[row["benchmark"], id] = row["neighbour_ids"]
    diagnoses = {row["request_key"]: row["diagnosis"] for row in rows_of(folder.diagnoses(arm))}
    sources: dict[str, list[tuple[str, str]]] = {}
    for row in rows_of(folder.lessons(arm)):
        sources[row["id"]] = [(row["benchmark"], id) for id in row["source_ids"]]
        for key in sources[row["id"]]:
            found.lessons[key] += 1
            found.kept[key] += row["status"] == "kept"
            found.diagnoses.setdefault(key, diagnoses.get(row["request_key"], ""))
    for row in rows_of(folder.training_set):
        if row["source"] == "replay":
            found.replayed.add((row["benchmark"], row["id"]))
        for key in sources.get(row["id"], []):
            found.trained[key].append(row["id"])
            if not diagnoses:  # nobody was asked: the item whose answer was trained on is what was shown
                found.asked.add(key)
        if row["source"] == ROLLOUT:
            found.asked.add((row["benchmark"], row["id"]))
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


def lessons_ranked(p: StageParameters, ledger: pd.DataFrame, embedding: str = "tfidf") -> pd.DataFrame:
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
        texts = [*taught["question"], *part["question"]]
        vectors = embed(texts, embedding)
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
    folder = RunDir.named(p.run).compare
    lists = {name: ledger[name].map(json.dumps) for name in ("neighbour_ids", "lesson_ids")}
    with written_whole(folder / "effects.parquet") as half:
        ledger.assign(**lists).to_parquet(half, index=False)
    tables = {"effects": by_cluster(ledger), "fix_rates": fix_rates(ledger), "lessons": ranked}
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False))


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
