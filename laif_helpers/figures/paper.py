"""Draws the published tables and figures in our style, a run's numbers beside them if given. All in per cent."""

import math
from typing import Any

import pandas as pd

from laif_helpers.figures.markup import as_markdown, tabular, tex
from laif_helpers.figures.style import COLUMN, GREY, WIDTH, Figure, arm_look, canvas

TITLES = {"mmlu": "MMLU †", "gsm8k": "GSM8K †", "mbpp": "MBPP †", "arc_challenge": "ARC-Challenge"} | {
    "gsm_plus": "GSM-Plus",
    "humaneval": "HumanEval",
    "bbh": "BBH",
}
"""Names as the paper prints them; †: its train split supplied errors there."""
BY_EYE = "read off the figure by eye (±0.3)"
"""How a published number was found that stands in no table."""


def iteration_panels(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Accuracy over iterations, a panel per benchmark, a line per arm; of the paper, and of a run in panels of its own.

    ``rows``: model, arm, iteration, benchmark, accuracy (per cent), how. Hollow marks: read off the paper's figure.
    ``width``: inches; a column of a page takes two panels beside each other, a page four.
    """
    panels = list(dict.fromkeys(zip(rows["model"], rows["benchmark"], strict=True)))
    columns = 4 if width > COLUMN else 2
    lines = math.ceil((len(panels) + 1) / columns)
    with canvas(lines, columns, figsize=(width, 0.4 + 1.75 * lines)) as (figure, axes):
        shown: dict[str, Any] = {}
        for axis, (model, name) in zip(axes.flat, panels, strict=False):
            _panel(axis, rows[(rows["model"] == model) & (rows["benchmark"] == name)], shown)
            published = rows.loc[rows["model"] == model, "how"].iloc[0] != "measured"
            axis.set_title(TITLES.get(name, name) if published else f"{name}\nrun {model}", loc="left")
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("right answers (%)")
        # The place after the last panel holds the legend: one is always free.
        place = list(axes.flat)[len(panels)]
        place.set_visible(True)
        place.axis("off")
        (hollow,) = place.plot([], [], marker="o", color=GREY, markerfacecolor="white", linestyle="")
        handles = [*shown.values(), hollow]
        place.legend(handles, [*shown, "hollow: read off the\nfigure by eye (±0.3)"], loc="center left")
    return figure


def _panel(axis: Any, part: pd.DataFrame, shown: dict[str, Any]) -> None:
    for arm in dict.fromkeys(part["arm"]):
        line = part[part["arm"] == arm].sort_values("iteration")
        colour, marker, dashes = arm_look(str(arm))
        (drawn,) = axis.plot(line["iteration"], line["accuracy"], color=colour, marker=marker, linestyle=dashes)
        by_eye = line[line["how"] == BY_EYE]
        look = {"color": colour, "marker": marker, "markerfacecolor": "white", "linestyle": ""}
        axis.plot(by_eye["iteration"], by_eye["accuracy"], **look)
        shown.setdefault(str(arm), drawn)
    axis.set_xticks(sorted(set(part["iteration"])))
    axis.set_xlabel("iteration")


def radar(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Arms of a model as areas over its benchmarks, a circle per model. ``rows``: model, arm, benchmark, accuracy.

    Each spoke runs over that benchmark's own range, whose ends are written on it: what is compared is arms.
    ``width``: inches; a column of a page takes one circle, a page two beside each other.
    """
    models = list(dict.fromkeys(rows["model"]))
    columns = min(2 if width > COLUMN else 1, len(models))
    lines = math.ceil(len(models) / columns)
    with canvas(lines, columns, figsize=(width, 3.6 * lines), subplot_kw={"projection": "polar"}) as (figure, axes):
        for axis, model in zip(axes.flat, models, strict=False):
            _circle(axis, rows[rows["model"] == model])
            axis.set_title(model, pad=18)
        for axis in list(axes.flat)[len(models) :]:
            axis.set_visible(False)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5 if width > COLUMN else 3)
    return figure


def _circle(axis: Any, part: pd.DataFrame) -> None:
    names = list(dict.fromkeys(part["benchmark"]))
    turns = [2 * math.pi * at / len(names) for at in range(len(names))]
    range_of = {name: _range(part.loc[part["benchmark"] == name, "accuracy"]) for name in names}
    for arm in dict.fromkeys(part["arm"]):
        values = part[part["arm"] == arm].set_index("benchmark")["accuracy"]
        low_high = [(name, *range_of[name]) for name in names]
        radii = [(values[name] - low) / (high - low) for name, low, high in low_high]
        colour, marker, dashes = arm_look(str(arm))
        look = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 3, "label": arm}
        axis.plot([*turns, turns[0]], [*radii, radii[0]], **look)
    labels = [f"{TITLES.get(name, name)}\n{range_of[name][0]:g}–{range_of[name][1]:g} %" for name in names]
    axis.set_xticks(turns, labels)
    axis.tick_params(axis="x", pad=14, labelsize=7)
    axis.set_yticks([0.25, 0.5, 0.75, 1.0], [])
    axis.set_ylim(0, 1.05)
    axis.set_theta_zero_location("N")
    axis.set_theta_direction(-1)


def _range(values: pd.Series) -> tuple[float, float]:
    """Round numbers of five around the values, with room below so that the worst arm is not the centre."""
    low, high = float(values.min()), float(values.max())
    return max(0.0, 5 * math.floor((low - (high - low) / 2) / 5)), max(5.0, 5 * math.ceil((high + 0.1) / 5))


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table with what the marks mean."""
    marks = "Right answers in per cent; †: in-domain, its train split supplied errors; –: not measured."
    return f"{as_markdown(table)}\n{marks}\n"


def latex(table: pd.DataFrame, label: str) -> str:
    """A LaTeX tabular with booktabs rules, a rule between models, the best arm of a model in bold."""
    names = [column for column in table.columns if column not in ("model", "arm")]
    body: list[list[str]] = []
    for model, part in table.groupby("model", sort=False):
        best = {name: max(part[name].replace("–", "-1").astype(float)) for name in names}
        for row in part.to_dict("records"):
            cells = [rf"\textbf{{{row[n]}}}" if len(part) > 1 and row[n] == f"{best[n]:.1f}" else row[n] for n in names]
            body.append([tex(str(model)), tex(row["arm"]), *(cell.replace("–", "--") for cell in cells)])
        body.append([])
    return tabular(["model", "arm", *names], body[:-1], "ll" + "r" * len(names), label)
