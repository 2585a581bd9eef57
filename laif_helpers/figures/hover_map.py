"""Draws the map of a model's errors: a still picture for the record, and a page with hover texts and a lasso.

The page and JupyterLab share one renderer, ``error_map.js``, over plotly.js. plotly was taken because it is the one
library of those tried that has hover, lasso and search by itself in both places without a network (``docs/LOG.md``).
"""

import base64
import gzip
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from laif_helpers.figures.html import cut
from laif_helpers.figures.style import WIDTH, Figure, canvas, cluster_look
from laif_helpers.paths import short_names
from laif_helpers.records import write_text

FOLDER = Path(__file__).parent
RENDERER = FOLDER / "error_map.js"
MOST_POINTS = 20_000
"""More points than this are shown as a density, with a seeded sample of the wrong ones as marks over it."""
MOST_MARKS = 10_000
LONGEST = {"question": 500, "text": 400, "reason": 160, "gold": 120, "extracted": 120}
"""Characters of each text that the map carries; the files in the run folder have them whole."""


def error_map(points: pd.DataFrame, legend: int = 18) -> Figure:
    """The map of wrong items over the right ones. ``points``: x, y, correct, cluster, cluster_name.

    The ``legend`` largest clusters are named beside the map; numbers on the map stand just above the clusters' medians.
    """
    import matplotlib.patheffects as effects

    right, wrong = points[points["correct"]], points[~points["correct"]]
    with canvas(figsize=(WIDTH, 4.2)) as (figure, axes):
        axis = axes[0, 0]
        if len(points) > MOST_POINTS:
            look = {"gridsize": 90, "cmap": "Greys", "bins": "log", "linewidths": 0, "alpha": 0.6}
            axis.hexbin(points["x"], points["y"], **look)
            axis.set_title(f"{len(points):,} points: density of all, marks for {MOST_MARKS:,} of the wrong", loc="left")
            wrong = wrong.sample(min(MOST_MARKS, len(wrong)), random_state=0)
        else:
            axis.scatter(
                right["x"], right["y"], s=4, color="#C4C4C4", linewidths=0, label=f"right (N = {len(right):,})"
            )
        sizes = wrong["cluster"].value_counts()
        named = {number for number in sizes.index[: legend + 1] if number >= 0}
        for number, part in sorted(wrong.groupby("cluster"), key=lambda item: (item[0] < 0, -len(item[1]))):
            colour, marker = cluster_look(int(number))
            text = f"{number}: {part['cluster_name'].iloc[0]} (N = {len(part):,})"
            label = text if number in named else f"in no cluster (N = {len(part):,})" if number < 0 else None
            axis.scatter(part["x"], part["y"], s=13, color=colour, marker=marker, linewidths=0.7, label=label)
            if number >= 0:
                at = (part["x"].median(), part["y"].median())
                halo = [effects.withStroke(linewidth=2.5, foreground="white")]
                axis.annotate(str(number), at, (0, 7), textcoords="offset points", ha="center", path_effects=halo)
        axis.set(xticks=[], yticks=[], xlabel="UMAP 1 (no unit)", ylabel="UMAP 2 (no unit)")
        axis.grid(False)
        title = f"wrong (N = {len(wrong):,}), by cluster"
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=title, markerscale=1.5)
    return figure


def error_map_html(points: pd.DataFrame, path: Path, still: Path | None = None) -> None:
    """Write the map as one page with plotly.js and the points inside, both compressed; it needs no network.

    ``points``: as for ``error_map``, plus id, benchmark, near, question, gold, extracted, text, reason and, if there
    is an earlier iteration, flip. Model text is put into the page as text, never as HTML. ``still``: a PNG of the map,
    seen at once, while plotly.js unpacks.
    """
    page = (FOLDER / "error_map.html.j2").read_text(encoding="utf-8")
    wrong = int((~points["correct"]).sum())
    values = {
        "title": escape(f"Error map: {wrong:,} wrong over {len(points) - wrong:,} right"),
        "renderer": RENDERER.read_text(encoding="utf-8"),
        "plotly": base64.b64encode(plotly_js()).decode("ascii"),
        "payload": base64.b64encode(payload(points)).decode("ascii"),
        "still": _image(still) if still else "Unpacking …",
    }
    for name, value in values.items():
        page = page.replace("{{ " + name + " }}", value)
    write_text(path, page)


def _image(still: Path) -> str:
    data = base64.b64encode(still.read_bytes()).decode("ascii")
    return f'<img alt="The map; it can be used in a moment." src="data:image/png;base64,{data}">'


@cache
def plotly_js() -> bytes:
    """plotly.js as the plotly package carries it, gzipped: 1.4 MB instead of 4.8."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode("utf-8"), mtime=0)


def payload(points: pd.DataFrame) -> bytes:
    """What the renderer draws, gzipped JSON: one array per column, every text once in a table of its own."""
    density, shown, note = None, points, ""
    if len(points) > MOST_POINTS:
        wrong = points[~points["correct"]]
        shown = wrong.sample(min(MOST_MARKS, len(wrong)), random_state=0)
        density = _density(points)
        note = f"{len(points):,} points are too many for marks: grey is their density, marks are {len(shown):,} of "
        note += f"the {len(wrong):,} wrong ones"
    names = short_names(points["benchmark"])
    order = {name: place for place, name in enumerate(names)}
    texts: dict[str, int] = {}
    columns = {key: _column(shown[name], LONGEST[name], texts) for key, name in _TEXTS.items()}
    near = shown[shown["near"] >= 0].drop_duplicates("near")
    labels = {int(row.near): f"{row.near}: {row.cluster_name}" for row in near.itertuples()}
    clusters = {number: {"name": label, "look": plotly_look(number)} for number, label in labels.items()}
    for row in near.itertuples():
        clusters[int(row.near)] |= {"sentence": row.sentence} if getattr(row, "sentence", "") else {}
    value: dict[str, Any] = {
        **{
            "note": note,
            "density": density,
            "benchmarks": list(names.values()),
            "clusters": clusters,
            "id": shown["id"].tolist(),
        },
        **{axis: shown[axis].astype(float).round(3).tolist() for axis in ("x", "y")},
        **{"right": shown["correct"].astype(int).tolist(), "cluster": shown["cluster"].astype(int).tolist()},
        **{"near": shown["near"].astype(int).tolist(), "benchmark": [order[name] for name in shown["benchmark"]]},
        **columns,
        **({"flip": shown["flip"].str.replace("_", " ").tolist()} if "flip" in shown else {}),
        "texts": list(texts),
    }
    return gzip.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"), mtime=0)


_TEXTS = {"question": "question", "gold": "gold", "extracted": "extracted", "response": "text", "reason": "reason"}
"""The renderer's name of each text, and the column that it comes from."""


def _column(texts: pd.Series, most: int, table: dict[str, int]) -> list[int]:
    """Each text's place in ``table``, which grows by those that are new."""
    shown = [cut(str(text or ""), most) for text in texts.astype(object).where(texts.notna(), "")]
    return [table.setdefault(text, len(table)) for text in shown]


def _density(points: pd.DataFrame) -> dict[str, Any]:
    counts, x, y = np.histogram2d(points["x"], points["y"], bins=150)
    logs = np.where(counts.T > 0, np.log10(counts.T + 1).round(2), np.nan)
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in logs]
    middles = [((edges[1:] + edges[:-1]) / 2).round(3).tolist() for edges in (x, y)]
    return {"x": middles[0], "y": middles[1], "z": rows}


SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"} | {
    "X": "x",
    "x": "x-thin-open",
}
"""plotly's names of matplotlib's markers."""


def plotly_look(cluster: int) -> tuple[str, str]:
    """Colour and plotly symbol of a cluster, the same as in the still picture."""
    colour, marker = cluster_look(cluster)
    return colour, SYMBOLS[marker]
