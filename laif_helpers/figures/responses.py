"""Draws how long answers are, and whether right answers are shorter or longer than wrong ones."""

import numpy as np
import pandas as pd

from laif_helpers.figures.style import BLACK, COLUMN, RED, Figure, canvas
from laif_helpers.paths import short_names

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
