"""Finds the nearest right answers of an error, without those that repeat it."""

from collections.abc import Iterable, Sequence

from laif_helpers import embeddings
from laif_helpers.answers.pools import Answered, Study
from laif_helpers.instruct.requests import Near
from laif_helpers.lessons.filters import resembles
from laif_helpers.recipe import StageParameters

SPARE = 8
"""Neighbours looked up beyond k at first, since some may repeat the error."""


def nearest_right(
    p: StageParameters, study: Study, wrong: Sequence[Answered], k: int = 0
) -> tuple[dict[str, Near], int]:
    """Each wrong item's ``k`` (default ``p.k``) nearest right items of the same benchmark, by id, exact.

    A right item that repeats the error (``lessons.filters.resembles``) is passed over, since beside it nothing
    sets the error apart; the second value says how often that happened. Raises ValueError if the target
    answered fewer than k items right.
    """
    k = k or p.k
    if k > len(study.right):
        raise ValueError(
            f"k = {k}, but only {len(study.right)} item(s) of {study.bench.name} were answered right; lower k, "
            "or use arm le"
        )
    asked, known = ([study.bench.question_text(item.example) for item in side] for side in (wrong, study.right))
    vectors = embeddings.embed([*asked, *known], p.embedding, cache=p.vectors)
    own, pool = vectors[: len(wrong)], vectors[len(wrong) :]
    chosen: dict[int, tuple[Near, int]] = {}
    left, take = list(range(len(wrong))), min(k + SPARE, len(known))
    while left:
        indices, distances = embeddings.nearest(own[left], pool, take)
        for at, row, far in zip(left, indices.tolist(), distances.tolist(), strict=True):
            kept, passed = _apart(asked[at], zip(row, far, strict=True), known, k)
            if len(kept) == k or take == len(known):
                chosen[at] = [(study.right[i].example.id, distance) for i, distance in kept], passed
        left, take = [at for at in left if at not in chosen], min(4 * take, len(known))
    found = {item.example.id: chosen[at][0] for at, item in enumerate(wrong)}
    return found, sum(passed for _, passed in chosen.values())


def _apart(
    asked: str, row: Iterable[tuple[int, float]], known: Sequence[str], k: int
) -> tuple[list[tuple[int, float]], int]:
    """The first k of ``row`` that do not repeat the question, and how many were passed over on the way."""
    near: list[tuple[int, float]] = []
    passed = 0
    for i, distance in row:
        if len(near) == k:
            break
        if resembles(asked, known[i]):
            passed += 1
        else:
            near.append((i, distance))
    return near, passed
