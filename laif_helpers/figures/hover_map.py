"""The map of a model's errors: a still picture for the record, and a page that a person hovers over."""

import textwrap
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laif_helpers.figures.style import BLUE, RED, WIDTH, canvas, cluster_look
from laif_helpers.records import write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def error_map(points: "pd.DataFrame", legend: int = 18) -> "Figure":
    """The map of wrong items over the right ones. ``points``: x, y, correct, cluster, cluster_name.

    The ``legend`` largest clusters are named beside the map; numbers on the map stand just above the clusters' medians.
    """
    import matplotlib.patheffects as effects

    right, wrong = points[points["correct"]], points[~points["correct"]]
    with canvas(figsize=(WIDTH, 4.2)) as (figure, axes):
        axis = axes[0, 0]
        axis.scatter(right["x"], right["y"], s=4, color="#C4C4C4", linewidths=0, label=f"right (N = {len(right):,})")
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
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=f"wrong (N = {len(wrong):,}), by cluster")
    return figure


def error_map_html(points: "pd.DataFrame", path: Path) -> Any:
    """Write ``interactive(points)`` as one page with plotly.js inside, which needs no network; returns the figure."""
    figure = interactive(points)
    write_text(path, figure.to_html(include_plotlyjs=True, config={"displaylogo": False}))
    return figure


def interactive(points: "pd.DataFrame") -> Any:
    """The map as a plotly figure.

    ``points``: as for ``error_map``, plus id, question, gold, extracted, text, reason. Hover shows them with
    the model's text escaped, so that HTML or script in it is shown, never run; buttons switch what is shown
    and coloured; every point carries its id as ``customdata``.
    """
    import plotly.graph_objects as go

    right, wrong = points[points["correct"]], points[~points["correct"]]
    traces = [_trace(go, right, "right", "#C4C4C4", "circle", 4)]
    for number, part in sorted(wrong.groupby("cluster"), key=lambda item: (item[0] < 0, -len(item[1]))):
        name = "in no cluster" if number < 0 else f"{number}: {part['cluster_name'].iloc[0]}"
        colour, marker = cluster_look(int(number))
        traces.append(_trace(go, part, name, colour, SYMBOLS[marker], 8))
    figure = go.Figure(traces)
    figure.update_layout(
        title=f"Error map: {len(wrong):,} wrong over {len(right):,} right",
        template="plotly_white",
        height=680,
        hoverlabel={"align": "left", "font": {"size": 11}},
        legend={"itemsizing": "constant"},
        updatemenus=[_buttons([trace.marker.color for trace in traces])],
    )
    figure.update_xaxes(showticklabels=False, title="UMAP 1 (no unit)")
    figure.update_yaxes(showticklabels=False, title="UMAP 2 (no unit)")
    return figure


SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"} | {
    "X": "x",
    "x": "x-thin-open",
}
"""plotly's names of matplotlib's markers."""


def _trace(go: Any, part: "pd.DataFrame", name: str, colour: str, symbol: str, size: int) -> Any:
    # WebGL draws many points fast; SVG draws few everywhere, also where a browser has no WebGL.
    kind = go.Scattergl if len(part) > 2_000 else go.Scatter
    return kind(
        x=part["x"].round(4).tolist(),
        y=part["y"].round(4).tolist(),
        customdata=part["id"].tolist(),
        hovertext=[_hover(row) for row in part.to_dict("records")],
        hoverinfo="text",
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": size},
        name=f"{escape(name)} (N = {len(part):,})",
    )


def _buttons(colours: list[str]) -> dict[str, Any]:
    clusters = len(colours) - 1
    choices = [
        ("colour by cluster", [{"marker.color": colours, "visible": True}]),
        ("right and wrong", [{"marker.color": [BLUE] + [RED] * clusters, "visible": True}]),
        ("wrong only", [{"marker.color": colours, "visible": [False] + [True] * clusters}]),
    ]
    buttons = [{"label": label, "method": "restyle", "args": args} for label, args in choices]
    return {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.07, "buttons": buttons}


def _hover(row: dict[str, Any]) -> str:
    grade = "right" if row["correct"] else "wrong"
    parts = [
        ("question", row["question"], 500),
        ("gold", row["gold"], 120),
        ("read", row["extracted"] or "nothing", 120),
        ("response", row["text"], 500),
        (grade, row["reason"], 160),
        ("cluster", row["cluster_name"] or "none", 80),
        ("id", row["id"], 80),
    ]
    return "<br>".join(f"<b>{label}</b> {wrapped(str(text), most)}" for label, text, most in parts)


def wrapped(text: str, most: int, width: int = 80) -> str:
    """At most ``most`` characters, in lines of ``width``, escaped for HTML, line breaks as ``<br>``."""
    if len(text) > most:
        text = text[:most] + " …"
    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, width) or [""]]
    return "<br>".join(escape(line) for line in lines)
