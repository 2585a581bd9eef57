"""Keeps one map for all iterations: later maps are drawn into the map of the untouched target."""

import numpy as np
import pandas as pd

from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters

LEAST_SHARED = 0.3
"""Share of a cluster's items that must lie in an earlier cluster's neighbourhood for it to be the same weakness."""


def of_untouched(p: StageParameters) -> pd.DataFrame | None:
    """Places and clusters of the untouched target's map (``vanilla/iter0/errors.parquet``); None for that map itself,
    and if there was none to draw (too few errors, or 02 has not run on it)."""
    path = RunDir.named(p.run).iteration("vanilla", 0).errors
    if p.iteration == 0 or not path.is_file():
        return None
    base = pd.read_parquet(path, columns=["benchmark", "id", "x", "y", "near", "cluster_name"])
    return base if base["x"].notna().all() else None


def fitted(points: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """``points`` in the frame's places, clusters renumbered: one that lies in an earlier cluster's neighbourhood keeps
    that cluster's number, and so its colour; the others get numbers the frame has not used. If the frame lacks an
    item (another limit), the map keeps a frame of its own.
    """
    keys = ["benchmark", "id"]
    placed = points[keys].merge(base, on=keys, how="left", validate="one_to_one")
    if absent := int(placed["x"].isna().sum()):
        print(f"{absent:,} items are not on the untouched target's map: this map has its own frame.")
        return points
    numbers = _numbers(points["cluster"].to_numpy(), placed["near"].to_numpy(dtype=int), int(base["near"].max()) + 1)
    renamed = {name: points[name].map(lambda number: numbers.get(number, -1)) for name in ("cluster", "near")}
    return points.assign(x=placed["x"].to_numpy(), y=placed["y"].to_numpy(), **renamed)


def _numbers(cluster: np.ndarray, earlier: np.ndarray, used: int) -> dict[int, int]:
    """New cluster -> the number it keeps: the assignment that shares most items, each earlier number once."""
    from scipy.optimize import linear_sum_assignment

    own = range(int(cluster.max()) + 1)
    shared = np.array([[int(((cluster == new) & (earlier == old)).sum()) for old in range(used)] for new in own])
    numbers: dict[int, int] = {}
    if shared.size:
        for new, old in zip(*linear_sum_assignment(-shared), strict=True):
            if shared[new, old] >= LEAST_SHARED * int((cluster == new).sum()):
                numbers[int(new)] = int(old)
    fresh = iter(range(used, used + len(own)))
    return {new: numbers[new] if new in numbers else next(fresh) for new in own}
