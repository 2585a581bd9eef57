"""Draws every plot of the project.

Functions take a table and return a matplotlib Figure that is closed for pyplot, so that a notebook shows it
once. ``save`` writes PNG and PDF. The error map has a module of its own.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from laif_helpers.figures.hover_map import error_map, error_map_html
from laif_helpers.figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    RED,
    SKY,
    Figure,
    arm_look,
    canvas,
    percent_axis,
    save,
)
from laif_helpers.paths import short_names


def accuracy(summary: pd.DataFrame) -> Figure:
    """Accuracy with its 95 % interval and the chance level, a row per benchmark and split.

    ``summary``: columns benchmark, split, n, accuracy, ci_low, ci_high, chance.
    """
    rows = summary.to_dict("records")
    with canvas(figsize=(COLUMN + 1, 0.7 + 0.32 * len(rows))) as (figure, axes):
        axis = axes[0, 0]
        for y, row in enumerate(rows):
            share = row["accuracy"]
            axis.errorbar(share, y, xerr=_spread(row, "accuracy", "ci"), fmt="o", color=BLUE, capsize=2.5)
            axis.plot([row["chance"]] * 2, [y - 0.3, y + 0.3], color=RED, linestyle=(0, (2, 1)))
            axis.annotate(f"{100 * share:.1f}", (share, y), (0, 5), textcoords="offset points", ha="center", fontsize=7)
        axis.set_yticks(range(len(rows)), [f"{row['benchmark']}, {row['split']}\nN = {row['n']:,}" for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.6)
        axis.set_xlim(-0.02, 1.02)
        percent_axis(axis.xaxis, "right answers")
        axis.set_title("Point and bar: accuracy, 95 % interval. Dashes: chance.", loc="left")
    return figure


def _spread(row: Mapping[str, Any], name: str, ends: str) -> list[list[float]]:
    """Lengths of the error bar below and above; rounding must not make one negative."""
    return [[max(0.0, row[name] - row[f"{ends}_low"])], [max(0.0, row[f"{ends}_high"] - row[name])]]


LOOKS = (("right", "#9CD0F0", ""), ("wrong", RED, "//////"), ("unreadable", BLACK, ""))
"""Light, hatched and black: apart in grey too, where they stand on each other."""


def lengths(df: pd.DataFrame) -> Figure:
    """Histogram of answer lengths for each benchmark, right, wrong and unreadable ones stacked.

    ``df``: benchmark, correct, readable, text, new_tokens. Lengths are tokens, or characters if none were counted.
    """
    names = short_names(df["benchmark"])
    with canvas(max(len(names), 1), 1, figsize=(COLUMN + 1, 0.5 + 1.3 * max(len(names), 1))) as (figure, axes):
        for axis, name in zip(axes[:, 0], names, strict=True):
            part = df[df["benchmark"] == name]
            counted = bool((part["new_tokens"] > 0).any())
            size = part["new_tokens"] if counted else part["text"].str.len()
            correct, readable = part["correct"].astype(bool), part["readable"].astype(bool)
            groups = [size[correct], size[~correct & readable], size[~readable]]
            edges = np.histogram_bin_edges(size, bins=min(40, max(5, size.nunique())))
            looks = [f"{label} ({len(group):,})" for (label, _, _), group in zip(LOOKS, groups, strict=True)]
            colours, hatches = [colour for _, colour, _ in LOOKS], [hatch for _, _, hatch in LOOKS]
            bars = axis.hist(groups, bins=edges, stacked=True, color=colours, label=looks)[2]
            for part_of_all, hatch in zip(bars, hatches, strict=True):
                for bar in part_of_all:
                    bar.set(hatch=hatch, edgecolor="white", linewidth=0)
            axis.set_title(names[name], loc="left")
            axis.set_xlabel("tokens" if counted else "characters")
            axis.set_ylabel("answers")
            axis.legend()
    return figure


def funnel(counts: Mapping[str, int]) -> Figure:
    """How many lessons survive each step; per cent of the first step."""
    steps, values = list(counts), list(counts.values())
    first = max(values[0] if values else 0, 1)
    with canvas(figsize=(COLUMN + 1, 0.6 + 0.26 * max(len(steps), 1))) as (figure, axes):
        axis = axes[0, 0]
        axis.barh(range(len(steps)), values, color=BLUE, height=0.65)
        for y, value in enumerate(values):
            text = f"{value:,} ({100 * value / first:.0f} %)"
            axis.annotate(text, (value, y), (3, 0), textcoords="offset points", va="center", fontsize=7)
        axis.set_yticks(range(len(steps)), steps)
        axis.invert_yaxis()
        axis.set_xlim(0, max([*values, 1]) * 1.3)
        axis.set_xlabel("lessons (count; per cent of the first step)")
        axis.grid(False, axis="y")
    return figure


def loss_curve(log: pd.DataFrame) -> Figure:
    """Training loss over steps, with its running mean if there are enough steps. ``log``: step, loss."""
    log = log.dropna(subset=["loss"])
    with canvas(figsize=(COLUMN + 1, 2.2)) as (figure, axes):
        axis = axes[0, 0]
        axis.plot(log["step"], log["loss"], color=SKY, marker="." if len(log) < 60 else None, label="as logged")
        if len(log) >= 10:
            mean = log["loss"].rolling(max(3, len(log) // 10), min_periods=1, center=True).mean()
            axis.plot(log["step"], mean, color=BLUE, linestyle=(0, (4, 1)), label="running mean")
            axis.legend()
        axis.set_ylim(bottom=0)
        axis.set(xlabel="optimiser step", ylabel="loss (nats per answer token)")
    return figure


def iteration_lines(results: pd.DataFrame) -> Figure:
    """Accuracy over iterations, a line per arm and a panel per benchmark (or per ``panel`` if given).

    ``results``: arm, iteration, benchmark, n, accuracy, ci_low, ci_high; every line starts at vanilla's point.
    """
    column = "panel" if "panel" in results else "benchmark"
    panels = list(dict.fromkeys(results[column]))
    rows = max(1, math.ceil(len(panels) / 4))
    columns = math.ceil(len(panels) / rows)
    arms = [arm for arm in dict.fromkeys(results["arm"]) if arm != "vanilla"]
    with canvas(rows, columns, figsize=(max(COLUMN + 1, 2.1 * columns), 0.5 + 2.1 * rows)) as (figure, axes):
        for axis, panel in zip(axes.flat, panels, strict=False):
            _lines(axis, results[results[column] == panel], arms)
            axis.set_title(panel, loc="left")
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("right answers (%), 95 % interval")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return figure


def _lines(axis: Any, part: pd.DataFrame, arms: list[str]) -> None:
    start = part[part["arm"] == "vanilla"]
    for number, arm in enumerate(arms or ["vanilla"]):
        rows = part[part["arm"] == arm]
        if rows.empty:
            continue
        line = rows if arm == "vanilla" or start.empty else pd.concat([start, rows])
        line = line.sort_values("iteration")
        # Side by side rather than on top of each other: intervals stay readable.
        dodge = 0.06 * (number - (len(arms) - 1) / 2) if arms else 0.0
        colour, marker, dashes = arm_look(arm)
        spread = [line["accuracy"] - line["ci_low"], line["ci_high"] - line["accuracy"]]
        axis.errorbar(
            line["iteration"] + dodge * (line["iteration"] > 0),
            *(line["accuracy"], [side.clip(lower=0) for side in spread]),
            **{"color": colour, "marker": marker, "linestyle": dashes, "capsize": 2, "elinewidth": 0.8, "label": arm},
        )
    if not start.empty:
        axis.axhline(start["accuracy"].iloc[0], color=BLACK, linestyle=(0, (1, 1)), linewidth=0.9, label="untouched")
    axis.set_xticks(sorted(set(part["iteration"])))
    axis.set_xlabel(f"iteration (N = {_range_of(part['n'])})")
    percent_axis(axis.yaxis, "")
    axis.set_ylabel("")


def _range_of(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


FLIPS = (
    ("still_right", "still right", "#D9D9D9", ""),
    ("fixed", "fixed", GREEN, "////"),
    ("broken", "broken", RED, "xxxx"),
    ("still_wrong", "still wrong", "#8C8C8C", ""),
)


def flips(table: pd.DataFrame, title: str = "") -> Figure:
    """What became of the items, a bar per row, in per cent of its items.

    ``table``: label, n, still_right, fixed, broken, still_wrong (counts).
    """
    rows = table.to_dict("records")
    with canvas(figsize=(COLUMN + 1, 0.9 + 0.2 * len(rows))) as (figure, axes):
        axis = axes[0, 0]
        for y, row in enumerate(rows):
            left = 0.0
            for key, label, colour, hatch in FLIPS:
                width = row[key] / max(row["n"], 1)
                look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
                axis.barh(y, width, left=left, height=0.72, label=label if y == 0 else None, **look)
                if key in ("fixed", "broken") and width > 0.06:
                    box = {"boxstyle": "round,pad=0.1", "color": "white", "linewidth": 0}
                    axis.text(left + width / 2, y, str(row[key]), ha="center", va="center", fontsize=7, bbox=box)
                left += width
        axis.set_yticks(range(len(rows)), [f"{row['label']} (N = {row['n']:,})" for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(0, 1)
        axis.grid(False, axis="y")
        percent_axis(axis.xaxis, "items")
        axis.set_title(title, loc="left")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def learned_kept(table: pd.DataFrame, title: str = "") -> Figure:
    """What each arm taught against what it kept, a point per arm with both 95 % intervals; up and right is better.

    ``table``: arm, learned, kept and the bounds of both (``_low``, ``_high``), shares.
    """
    thin = {"linestyle": "", "elinewidth": 0.6, "capsize": 1, "markersize": 7, "markeredgewidth": 0.4}
    with canvas(figsize=(COLUMN + 1.6, 3.2)) as (figure, axes):
        axis = axes[0, 0]
        for row in table.to_dict("records"):
            bars = (_spread(row, name, name) for name in ("kept", "learned"))
            colour, marker, _ = arm_look(row["arm"])
            look: dict[str, Any] = {"color": colour, "marker": marker, "label": row["arm"], "markeredgecolor": "white"}
            axis.errorbar(row["learned"], row["kept"], *bars, **look, **thin)
        percent_axis(axis.xaxis, "learned: of what was wrong, right now")
        percent_axis(axis.yaxis, "kept: of what was right, still right")
        axis.set_title(title, loc="left")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return figure


def budget_curves(df: pd.DataFrame) -> Figure:
    """Accuracy over budgets, a line per arm: mean over seeds ± one standard deviation.

    ``df``: budget, seed, arm, iteration, panel, accuracy; rows of ``vanilla`` give the horizontal line. Rows of
    the figure are iterations, columns are panels.
    """
    after = df[df["arm"] != "vanilla"]
    iterations, panels = sorted(set(after["iteration"])), list(dict.fromkeys(df["panel"]))
    size = (max(COLUMN + 1, 2.35 * len(panels)), 0.6 + 2.0 * max(len(iterations), 1))
    with canvas(max(len(iterations), 1), len(panels), figsize=size, sharex=True, sharey="col") as (figure, axes):
        for row, iteration in enumerate(iterations):
            for axis, panel in zip(axes[row], panels, strict=True):
                _budget_panel(axis, after[(after["iteration"] == iteration) & (after["panel"] == panel)])
                level = df[(df["arm"] == "vanilla") & (df["panel"] == panel)]["accuracy"]
                if len(level):
                    axis.axhline(level.mean(), color=BLACK, linestyle=(0, (1, 1)), label="untouched")
                axis.set_title(f"{panel}, iteration {iteration}", loc="left")
                percent_axis(axis.yaxis, "right answers")
                axis.set_ylabel(axis.get_ylabel() if axis is axes[row, 0] else "")
        for axis in axes[-1]:
            axis.set_xlabel("budget (training items)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        note = f"mean ± sd over {df['seed'].nunique()} seed{'s' * (df['seed'].nunique() > 1)}"
        figure.legend(handles, labels, loc="outside lower center", ncols=min(max(len(labels), 1), 5), title=note)
    return figure


def _budget_panel(axis: Any, part: pd.DataFrame) -> None:
    arms = list(dict.fromkeys(part["arm"]))
    for number, arm in enumerate(arms):
        seeds = part[part["arm"] == arm].groupby("budget")["accuracy"].agg(["mean", "std"]).fillna(0.0)
        colour, marker, dashes = arm_look(arm)
        # Budgets are spread evenly on a log axis; a few per cent aside keeps the bars of two arms apart.
        at = seeds.index * (1 + 0.025 * (number - (len(arms) - 1) / 2))
        look = {"color": colour, "marker": marker, "linestyle": dashes, "capsize": 2, "elinewidth": 0.8, "label": arm}
        axis.errorbar(at, seeds["mean"], seeds["std"], **look)
    budgets = sorted(set(part["budget"]))
    if budgets:
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axis.minorticks_off()
