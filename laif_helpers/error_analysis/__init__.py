"""Stage 2: clusters wrong items by what distinguishes them from right items, and maps both.

A question's embedding says what it is about; nearby questions share objects and phrasing, not difficulty. So
what is clustered is the *contrast*: the embedding minus the mean of its nearest right-answered neighbours. On
the practice world this is what makes the planted gaps visible (``docs/LOG.md`` has what was tried).
"""

import json
from typing import Any

import numpy as np
import pandas as pd

from laif_helpers import cluster_names, figures
from laif_helpers.answers import joined
from laif_helpers.embeddings import nearest
from laif_helpers.error_analysis import places
from laif_helpers.figures.style import Figure
from laif_helpers.recipe import StageParameters
from laif_helpers.records import written_whole
from laif_helpers.stats import wilson

MIN_ERRORS = 15
"""Below this a map shows nothing that a list does not."""

NEIGHBOURS = 5
"""Right neighbours that a question is contrasted with."""


def collect(p: StageParameters) -> pd.DataFrame:
    """Every answered item of the splits that supply errors, wrong ones first, benchmarks in the recipe's order; but for
    those that 01's two graders read differently.

    Columns as ``joined.table``; from iteration 1 on also ``flip``, against the iteration before. Raises
    FileNotFoundError when 01 has not been run, ValueError when the recipe has no in-domain benchmark or other graders
    graded the iteration before.
    """
    if not p.in_domain:
        raise ValueError("in_domain is empty: name the benchmark whose errors are to be analysed")
    items = pd.concat([joined.table(p, p.folder, name, p.error_split) for name in p.in_domain], ignore_index=True)
    items = items[items["correct"] | items["is_error"]]
    items = _with_flips(p, items) if p.iteration else items
    return items.sort_values("correct", kind="stable", ignore_index=True)


def _with_flips(p: StageParameters, items: pd.DataFrame) -> pd.DataFrame:
    """``items`` with what became of each since the iteration before; as they are if that has not been answered."""
    before: dict[tuple[str, str], bool] = {}
    for name in p.in_domain:
        path = p.previous.responses(name, p.error_split)
        if path.is_file():
            now = p.folder.responses(name, p.error_split)
            joined.same_graders(path, now, f"{p.arm}, iteration {p.iteration}: {name}, {p.error_split}")
            before |= {(name, response.id): response.correct for response in joined.responses(path)}
    keys = list(zip(items["benchmark"], items["id"], strict=True))
    if not all(key in before for key in keys):
        return items
    return items.assign(flip=[joined.FLIPS[before[key], now] for key, now in zip(keys, items["correct"], strict=True)])


def contrast(items: pd.DataFrame, vectors: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Each item's vector minus the mean of its k nearest right-answered items of the same benchmark, as unit
    vectors (n, d); a right item is no neighbour of its own. Without right items: minus the mean of all.
    """
    result = np.zeros_like(vectors)
    right = items["correct"].to_numpy(dtype=bool)
    for name in items["benchmark"].unique():
        mine = (items["benchmark"] == name).to_numpy()
        pool = vectors[mine & right]
        for group in (mine & ~right, mine & right):
            own = int(group[right].any()) if group.any() else 0
            take = min(k + own, len(pool))
            if take <= own:
                result[group] = vectors[group] - vectors[mine].mean(axis=0)
                continue
            neighbours = nearest(vectors[group], pool, take)[0][:, own:]
            result[group] = vectors[group] - pool[neighbours].mean(axis=1)
    norms = np.linalg.norm(result, axis=1, keepdims=True)
    return result / np.where(norms > 1e-6, norms, 1.0)


def texts(items: pd.DataFrame, embedded: str = "question") -> list[str]:
    """What is embedded of each item: its question, the model's response, or both."""
    if embedded == "both":
        return [f"{question}\n{text}" for question, text in zip(items["question"], items["text"], strict=True)]
    return items["question" if embedded == "question" else "text"].fillna("").tolist()


def locate(items: pd.DataFrame, vectors: np.ndarray, seed: int, base: pd.DataFrame | None = None) -> pd.DataFrame:
    """``items`` with their place on the map: x, y, cluster, cluster_name and near.

    ``cluster``: number of the wrong item's cluster, largest first, -1 in none (and for right items).
    ``near``: the cluster near which the item lies, right items too, -1 if none. Fewer than 15 wrong
    items: no map, x and y are NaN and there are no clusters. ``base`` (``places.of_untouched``): the untouched map;
    places are then taken from it, and a cluster that lies where one of its clusters lay keeps that number.
    """
    points = items.assign(x=np.nan, y=np.nan, cluster=-1, near=-1, cluster_name="")
    wrong = ~items["correct"].to_numpy(dtype=bool)
    if wrong.sum() < MIN_ERRORS:
        return points
    if blank := int((~vectors.any(axis=1)).sum()):
        print(
            f"The embedding sees no word in {blank:,} of {len(vectors):,} texts, which then lie nowhere: set EMBEDDING "
            "to a sentence-transformers model, or EMBEDDED to the text that has words."
        )
    if blank == len(vectors):
        return points
    space = contrast(items, vectors)
    if len(np.unique(space[wrong].round(5), axis=0)) < MIN_ERRORS:
        return points
    at, cluster = places.place(space, wrong, seed)
    points["x"], points["y"], points["cluster"] = at[:, 0], at[:, 1], cluster
    points["cluster"] = cluster_names.merged(points)
    points["near"] = places.neighbourhoods(space, wrong, points["cluster"].to_numpy())
    names = cluster_names.name(points)
    points["cluster_name"] = [names.get(number, "") for number in points["near"]]
    return points if base is None else places.fitted(points, base)


def table(points: pd.DataFrame) -> pd.DataFrame:
    """A row per cluster, largest first: cluster, name, wrong, right_nearby, error_rate and its 95 % interval,
    ``weakness`` (the interval lies above the share of wrong items in all), the most typical question, and, if an
    instructor was asked (``sentences.added``), its ``sentence``.

    The last row, cluster -1, holds the wrong items of no cluster.
    """
    overall = float((~points["correct"]).mean()) if len(points) else 0.0
    rows = []
    for number in [*range(int(points["cluster"].max()) + 1), -1]:
        part = points[points["near"] == number]
        wrong = part[~part["correct"]]
        if wrong.empty:
            continue
        low, high = wilson(len(wrong), len(part))
        row = {"cluster": number, "name": part["cluster_name"].iloc[0] if number >= 0 else "(in no cluster)"}
        row |= {"wrong": len(wrong), "right_nearby": len(part) - len(wrong), "error_rate": len(wrong) / len(part)}
        row |= {"ci_low": low, "ci_high": high, "weakness": bool(number >= 0 and low > overall)}
        row |= {"sentence": part["sentence"].iloc[0]} if "sentence" in points else {}
        rows.append(row | {"example": typical(wrong)["question"].iloc[0]})
    columns = ["cluster", "name", "wrong", "right_nearby", "error_rate", "ci_low", "ci_high", "weakness", "example"]
    columns[2:2] = ["sentence"] if "sentence" in points else []
    return pd.DataFrame(rows, columns=columns)


def typical(part: pd.DataFrame, n: int = 1) -> pd.DataFrame:
    """The n items nearest to the middle of their part of the map; the first n if there is no map."""
    distance = (part["x"] - part["x"].median()).abs() + (part["y"] - part["y"].median()).abs()
    return part.loc[distance.fillna(0.0).sort_values(kind="stable").index[:n]]


def found_gaps(points: pd.DataFrame) -> dict[str, Any]:
    """How far the clusters found the planted gaps of the practice world; {} for items without such labels.

    A *claim* is a cluster that ``table`` calls a weakness, found from questions and grades alone; labels only
    score it. It is true if at least half of its wrong items carry a gap concept, and finds the gap that at
    least half of them carry. ``precision``: true claims of all claims; ``recall``: gaps found of all gaps that
    occur among the items.
    """
    labels = points["fields"].map(lambda fields: fields.get("concept") if fields.get("gap") else None)
    if not points["fields"].map(lambda fields: "gap" in fields).any():
        return {}
    planted = sorted(set(labels.dropna()))
    clusters = table(points)
    claims = []
    for number, name in clusters.loc[clusters["weakness"], ["cluster", "name"]].itertuples(index=False):
        own = labels[points["cluster"] == number]
        counts = own.value_counts()
        half = len(own) / 2
        gap = str(counts.index[0]) if len(counts) and counts.iloc[0] >= half else ""
        claims.append({"cluster": number, "name": name, "wrong": len(own), "of_a_gap": int(own.notna().sum())})
        claims[-1] |= {"true": bool(own.notna().sum() >= half), "gap": gap}
    found = sorted({claim["gap"] for claim in claims} - {""})
    true = sum(claim["true"] for claim in claims)
    return {
        "precision": true / len(claims) if claims else None,
        "recall": len(found) / len(planted) if planted else None,
        "claims": claims,
        "found": found,
        "missed": sorted(set(planted) - set(found)),
    }


def save(p: StageParameters, points: pd.DataFrame) -> None:
    """Write ``errors.parquet``: every item with its place, cluster and grade; ``fields`` as JSON text."""
    with written_whole(p.folder.errors) as half:
        points.assign(fields=points["fields"].map(json.dumps)).to_parquet(half, index=False)


def draw(p: StageParameters, points: pd.DataFrame) -> Figure | pd.DataFrame:
    """Write error_map.png, .pdf and .html and return the figure; without a map, say why and return the errors."""
    if points["x"].notna().any():
        figure = figures.error_map(points)
        figures.save(figure, p.folder.path / "error_map")
        figures.error_map_html(points, p.folder.error_map, p.folder.error_map.with_suffix(".png"))
        return figure
    wrong = points[~points["correct"]]
    print(f"No map: {len(wrong)} wrong of {len(points)}, a map needs {MIN_ERRORS} that differ. All errors:")
    for suffix in (".png", ".pdf", ".html"):
        p.folder.error_map.with_suffix(suffix).unlink(missing_ok=True)
    return wrong[["id", "question", "gold", "extracted", "reason"]]


def metrics(points: pd.DataFrame) -> dict[str, Any]:
    """What notebook 02 records: counts, clusters, and how far planted gaps were found."""
    wrong = points[~points["correct"]]
    clustered = wrong[wrong["cluster"] >= 0]
    gaps = found_gaps(points)
    return {
        "items": len(points),
        "wrong": len(wrong),
        "unreadable": int((~points["readable"]).sum()),
        "clusters": int(clustered["cluster"].nunique()),
        "in_no_cluster": len(wrong) - len(clustered),
        "weaknesses": table(points).query("weakness")["name"].tolist() if len(clustered) else [],
        **({f"gap_{key}": gaps[key] for key in ("precision", "recall", "found", "missed")} if gaps else {}),
    }
