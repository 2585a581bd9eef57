"""Shows tables and sentences in notebook 02. All model text is escaped."""

from typing import Any

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.error_analysis import MIN_ERRORS, typical
from laif_helpers.error_analysis.profile import rate_of
from laif_helpers.figures.html import escaped
from laif_helpers.recipe import StageParameters


def counts(items: pd.DataFrame) -> pd.DataFrame:
    """One row per benchmark: items, right, wrong, of these unreadable, and the share of wrong items."""
    rows = []
    for name, part in shortened(items).groupby("benchmark", sort=False):
        wrong = ~part["correct"]
        row = {"benchmark": name, "split": part["split"].iloc[0], "items": len(part), "right": int((~wrong).sum())}
        row |= {"wrong": int(wrong.sum()), "of these unreadable": int((~part["readable"]).sum())}
        rows.append(row | {"share wrong": round(float(wrong.mean()), 3)})
    return pd.DataFrame(rows)


def observation(points: pd.DataFrame, clusters: pd.DataFrame) -> str:
    """The answer to the notebook's question in a few sentences of Markdown."""
    wrong = int((~points["correct"]).sum())
    if wrong == 0:
        return f"**Observation.** No wrong item among {len(points):,}: there is nothing to learn from, a success."
    if not points["x"].notna().any():
        return (
            f"**Observation.** {wrong} wrong of {len(points):,} items; a map and clusters need {MIN_ERRORS} "
            "wrong items that differ. Read them one by one below."
        )
    weak = clusters[clusters["weakness"]]
    explained = int(weak["wrong"].sum())
    lines = [
        f"**Observation.** {wrong:,} wrong of {len(points):,} ({100 * wrong / len(points):.0f} %), in "
        f"{int((clusters['cluster'] >= 0).sum())} clusters. {len(weak)} of them are weaknesses and hold {explained:,} "
        f"of the wrong items ({100 * explained / wrong:.0f} %)"
        + (":\n" if len(weak) else "; with more items some may show.")
    ]
    for row in weak.head(12).to_dict("records"):
        lines.append(f"- `{row['name']}`: {row['wrong']} wrong, error rate {rate_of(row)}")
    return "\n".join(lines)


def hover(p: StageParameters, points: pd.DataFrame) -> Any:
    """The interactive map, live in JupyterLab: a lassoed region is written to ``selection.json`` at once.

    Without a map a sentence instead.
    """
    if not points["x"].notna().any():
        print("No map, see above.")
        return None
    from laif_helpers.figures.map_widget import ErrorMap

    return ErrorMap(points, p.folder.selection)


def examples(points: pd.DataFrame, clusters: pd.DataFrame, most: int = 6, each: int = 2) -> str:
    """HTML table of the largest clusters' errors: ``each`` typical ones and one borderline one of each (of all errors
    if there are no clusters)."""
    numbers = [number for number in clusters["cluster"] if number >= 0][:most] or [-1]
    wrong = points[~points["correct"]]
    parts = []
    for number in numbers:
        part = wrong[wrong["cluster"] == number]
        shown = typical(part, each).assign(which="typical")
        edge = typical(part, len(part)).drop(shown.index).tail(1) if number >= 0 else part.head(0)
        parts += [shown, edge.assign(which="borderline")]
    columns = ["cluster", "cluster_name", "which", "question", "gold", "extracted", "text"]
    table = pd.concat(parts)[columns].astype(object)
    return escaped(table.rename(columns={"text": "response"}))


def claims(found: dict[str, Any]) -> pd.DataFrame:
    """One row per claimed weakness: cluster, name, wrong items, how many carry a gap, and which gap it found."""
    columns = ["cluster", "name", "wrong", "of_a_gap", "true", "gap"]
    return pd.DataFrame(found.get("claims", []), columns=columns)


def gap_observation(found: dict[str, Any]) -> str:
    """Precision and recall of the diagnosis in words."""
    if not found:
        return "These items carry no planted gaps; there is nothing to score the diagnosis against."
    if not found["claims"]:
        return (
            f"**Observation.** No cluster was claimed a weakness; gaps missed: {', '.join(found['missed']) or 'none'}."
        )
    true = sum(claim["true"] for claim in found["claims"])
    recall = "none occurs" if found["recall"] is None else f"recall {found['recall']:.2f}"
    return (
        f"**Observation.** {true} of {len(found['claims'])} claims are of a gap (precision {found['precision']:.2f}); "
        f"found {len(found['found'])} of {len(found['found']) + len(found['missed'])} gaps ({recall}): "
        f"{', '.join(found['found']) or 'none'}. Missed: {', '.join(found['missed']) or 'none'}."
    )
