"""Places items on the map: UMAP of the errors, HDBSCAN's dense places, and the right items beside them."""

import contextlib

import numpy as np
import pandas as pd

from laif_helpers.embeddings import nearest
from laif_helpers.paths import RunDir
from laif_helpers.recipe import StageParameters

MOST_FITTED = 10_000
"""Wrong items that UMAP is fitted on; 10,000 take under a minute on two cores, and more shift no dense place."""
LEAST_SHARED = 0.3
"""Share of a cluster's items that must lie in an earlier cluster's neighbourhood for it to be the same weakness."""


def place(space: np.ndarray, wrong: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) of all items and the cluster of each wrong one, -1 in none and for right items.

    More than ``MOST_FITTED`` wrong items: UMAP and HDBSCAN see a seeded sample, the others follow their nearest.
    """
    fitted = np.flatnonzero(wrong)
    if len(fitted) > MOST_FITTED:
        fitted = np.sort(np.random.default_rng(seed).choice(fitted, MOST_FITTED, replace=False))
        print(f"{int(wrong.sum()):,} wrong items: the map is fitted on {MOST_FITTED:,} of them, the others follow.")
    chosen = np.zeros(len(space), dtype=bool)
    chosen[fitted] = True
    at = _umap(space, chosen, seed)
    cluster = np.full(len(space), -1)
    cluster[chosen] = _clusters(at[chosen])
    if (rest := wrong & ~chosen).any():
        cluster[rest] = cluster[chosen][nearest(space[rest], space[chosen], 1)[0][:, 0]]
    return at, cluster


def _umap(space: np.ndarray, wrong: np.ndarray, seed: int) -> np.ndarray:
    """2-d places. The frame is the wrong items'; right ones are put beside the errors they resemble: fitted
    together, the many right items tear the errors' clusters apart."""
    import warnings

    with warnings.catch_warnings():
        # umap tells that a fixed seed means one thread: that is what we ask for.
        warnings.simplefilter("ignore")
        from umap import UMAP

        _keep_compiled()
        neighbours = min(15, int(wrong.sum()) - 1)
        # exact, and umap's own search compiles for 7 s
        index, distance = nearest(space[wrong], space[wrong], neighbours)
        options = {"n_neighbors": neighbours, "min_dist": 0.0, "random_state": seed, "n_jobs": 1}
        fitted_places = UMAP(**options, precomputed_knn=(index, distance)).fit_transform(space[wrong])
    places = np.empty((len(space), 2), dtype=np.float32)
    places[wrong] = fitted_places
    if not wrong.all():
        # What UMAP's own transform starts from; its refinement compiles for 5 s and moves the points little.
        index, distance = nearest(space[~wrong], space[wrong], neighbours)
        closeness = np.exp(-(distance - distance[:, :1]) / (distance.std() + 1e-6))
        places[~wrong] = (fitted_places[index] * closeness[:, :, None]).sum(axis=1) / closeness.sum(axis=1)[:, None]
    return places


def _keep_compiled() -> None:
    """Let numba keep on disk what it would compile anew in every process, for 9 s: umap asks for that only in part."""
    from umap import layouts, umap_

    for module, name in (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    ):
        # another version of umap, or no folder that may be written: then they are compiled, as ever
        with contextlib.suppress(AttributeError, RuntimeError):
            getattr(module, name).enable_caching()


def _clusters(places: np.ndarray) -> np.ndarray:
    """HDBSCAN's leaves, as many as there are dense places; -1 for items in none."""
    from sklearn.cluster import HDBSCAN

    # A fortieth of the errors: more would hide the small weaknesses. Five
    # neighbours make a dense place: with HDBSCAN's default two thirds of real errors (GSM8K, MMLU) stay outside.
    smallest = max(5, len(places) // 40)
    leaves = HDBSCAN(min_cluster_size=smallest, min_samples=5, cluster_selection_method="leaf", copy=True)
    return leaves.fit_predict(places)


def neighbourhoods(space: np.ndarray, wrong: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The cluster of every wrong item, and for right items the nearest centroid within the distance that holds
    nine tenths of that cluster's own items."""
    near = cluster.copy()
    count = int(cluster.max()) + 1
    if count == 0 or wrong.all():
        return near
    centroids = np.stack([space[cluster == number].mean(axis=0) for number in range(count)])
    radii = [
        np.quantile(np.linalg.norm(space[cluster == number] - centroids[number], axis=1), 0.9)
        for number in range(count)
    ]
    closest, distance = nearest(space[~wrong], centroids, 1)
    near[~wrong] = np.where(distance[:, 0] <= np.asarray(radii)[closest[:, 0]], closest[:, 0], -1)
    return near


# -- one map for all iterations: later maps are drawn into that of the untouched target


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
