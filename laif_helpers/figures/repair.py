"""Draws what self-repair gives and takes over the iterations."""

from typing import Any

import pandas as pd

from laif_helpers.figures.style import COLUMN, GREEN, RED, Figure, arm_look, canvas, percent_axis
from laif_helpers.stats import wilson


def repair_lines(table: pd.DataFrame) -> Figure:
    """A column of panels per benchmark: first and last answers above, contribution and harm below.

    ``table``: arm, iteration, benchmark, n, accuracy_first, accuracy_last, contribution, harm; one row each. Thin lines
    are 95 % Wilson intervals of the last answers, and of contribution and harm.
    """
    names = list(dict.fromkeys(table["benchmark"]))
    arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != "vanilla"]
    size = (max(COLUMN + 1, 2.6 * len(names)), 4.2)
    with canvas(2, len(names), figsize=size, sharex=True, sharey="row") as (figure, axes):
        for column, name in enumerate(names):
            above, below = axes[:, column]
            here = table[table["benchmark"] == name]
            for at, arm in enumerate(arms or ["vanilla"]):
                line = here[here["arm"].isin(["vanilla", arm])].sort_values("iteration")
                aside = (at - (len(arms) - 1) / 2) * 0.8 / max(1, len(arms))
                _lines(above, line, arm, aside / 8)
                _bars(below, line[line["iteration"] > 0], aside, len(arms))
            _bars(below, here[here["arm"] == "vanilla"], 0.0, len(arms))
            above.set_title(f"{name} (N = {int(here['n'].iloc[0]):,})", loc="left")
            below.axhline(0, color="black", linewidth=0.8)
            below.set_xticks(sorted(set(here["iteration"])))
            below.set_xlabel("iteration")
            for axis, label in ((above, "right answers"), (below, "− harm, + contribution")):
                percent_axis(axis.yaxis, label if column == 0 else "")
                axis.set_ylabel(axis.get_ylabel() if column == 0 else "")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _lines(axis: Any, line: pd.DataFrame, arm: str, aside: float) -> None:
    colour, marker, _ = arm_look(arm)
    look: dict[str, Any] = {"color": colour, "marker": marker}
    first = {"markerfacecolor": "white", "linestyle": (0, (2, 2)), "label": f"{arm}, first answer"}
    axis.plot(line["iteration"], line["accuracy_first"], **look, **first)
    axis.plot(line["iteration"], line["accuracy_last"], **look, label=f"{arm}, last answer")
    for _, row in line.iterrows():
        axis.vlines(row["iteration"] + aside, *_interval(row, "accuracy_last"), color=colour, linewidth=0.8)


def _bars(axis: Any, rows: pd.DataFrame, aside: float, arms: int) -> None:
    """Contribution above the axis, harm below it; the edge has the arm's colour."""
    for _, row in rows.iterrows():
        look: dict[str, Any] = {"width": 0.7 / max(1, arms), "edgecolor": arm_look(row["arm"])[0], "linewidth": 1.2}
        axis.bar(row["iteration"] + aside, row["contribution"], color=GREEN, **look)
        axis.bar(row["iteration"] + aside, -row["harm"], color=RED, hatch="xxxx", **look)
        for key, sign in (("contribution", 1), ("harm", -1)):
            low, high = _interval(row, key)
            axis.vlines(row["iteration"] + aside, sign * low, sign * high, color="black", linewidth=0.6)


def _interval(row: Any, key: str) -> tuple[float, float]:
    return wilson(round(row[key] * row["n"]), int(row["n"]))
