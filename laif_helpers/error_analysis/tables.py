"""What notebook 02 shows: tables and sentences made from the numbers. All model text is escaped."""

import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from laif_helpers.error_analysis import MIN_ERRORS, typical
from laif_helpers.figures.hover_map import interactive
from laif_helpers.recipe import StageParameters
from laif_helpers.safe_html import escaped

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

MOST_POINTS_INLINE = 5_000
"""Points that the notebook itself carries (about 1 kB each); the page in the run folder has them all."""


def counts(items: pd.DataFrame) -> pd.DataFrame:
    """One row per benchmark: items, right, wrong, of these unreadable, and the share of wrong items."""
    rows = []
    for name, part in items.groupby("benchmark", sort=False):
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
        f"of the wrong items ({100 * explained / wrong:.0f} %):\n"
    ]
    for row in weak.head(12).itertuples():
        share = f"{row.wrong} wrong, error rate {100 * row.error_rate:.0f} % "
        lines.append(f"- `{row.name}`: {share}[{100 * row.ci_low:.0f}, {100 * row.ci_high:.0f}]")
    return "\n".join(lines)


def hover(p: StageParameters, points: pd.DataFrame) -> "DisplayHandle | None":
    """Show the interactive map in place; too many points for a notebook, or no map: a sentence instead."""
    from IPython.display import display

    if not points["x"].notna().any():
        print("No map, see above.")
        return None
    if len(points) > MOST_POINTS_INLINE:
        print(f"{len(points):,} points: open {os.path.relpath(p.folder.error_map, p.folder.notebooks)} in a browser.")
        return None
    figure = interactive(points)
    text = f"interactive map: {p.folder.error_map}"
    return display({"application/vnd.plotly.v1+json": figure.to_plotly_json(), "text/plain": text}, raw=True)


def examples(points: pd.DataFrame, clusters: pd.DataFrame, most: int = 6, each: int = 2) -> str:
    """HTML table of the most typical errors of the ``most`` largest clusters (of all errors where there are none)."""
    numbers = [number for number in clusters["cluster"] if number >= 0][:most] or [-1]
    wrong = points[~points["correct"]]
    parts = [typical(wrong[wrong["cluster"] == number], each) for number in numbers if len(wrong)]
    rows = pd.concat(parts) if parts else wrong
    table = rows[["cluster", "cluster_name", "question", "gold", "extracted", "text"]].astype(object)
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
