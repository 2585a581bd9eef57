"""Exact nearest right items of every error: ours, and scikit-learn's brute force beside it.

    python bench/neighbours.py [ERRORS] [RIGHT ITEMS]

Unit vectors of 384 dimensions, float32, drawn around a thousand topics, since texts are no noise. The comparison runs
at a twentieth of both sizes; neighbours are compared, so that nobody is fast by being wrong.
"""

import resource
import sys
import time

import numpy as np
from sklearn.neighbors import NearestNeighbors

from laif_helpers.embeddings import nearest

DIMENSIONS = 384
K = 10
TOPICS = 1000


def vectors(n: int, rng: np.random.Generator, topics: np.ndarray) -> np.ndarray:
    """Unit vectors made in blocks: what is measured must be the search's memory, not the making's."""
    result = np.empty((n, DIMENSIONS), dtype=np.float32)
    for at in range(0, n, 50_000):
        block = result[at : at + 50_000]
        block[:] = topics[rng.integers(len(topics), size=len(block))]
        block += rng.standard_normal(block.shape, dtype=np.float32) * np.float32(0.05)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return result


def main(errors: int, right: int) -> None:
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, DIMENSIONS), dtype=np.float32)
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    queries, pool = vectors(errors, rng, topics), vectors(right, rng, topics)
    few, some = queries[: max(errors // 20, 1)], pool[: max(right // 20, K)]

    start = time.perf_counter()
    indices, distances = nearest(few, some, K)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    theirs, others = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(some).kneighbors(few)[::-1]
    brute = time.perf_counter() - start
    same = np.mean([len({*a} & {*b}) / K for a, b in zip(indices.tolist(), theirs.tolist(), strict=True)])
    print(
        f"{len(few):,} x {len(some):,}: ours {ours:.2f} s, scikit-learn {brute:.2f} s, {brute / ours:.2f} x; ", end=""
    )
    print(f"{100 * same:.2f} % the same neighbours, distances differ by {np.abs(distances - others).max():.1e} at most")

    start = time.perf_counter()
    nearest(queries, pool, K)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{errors:,} x {right:,}: {seconds:.1f} s, peak memory {peak:.2f} GiB with the vectors themselves")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ("10000", "1000000")))
