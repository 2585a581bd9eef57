"""Says how answers are drawn, by a model of this machine and by a server alike."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from laif_helpers import arguments
from laif_helpers.records import Message


@dataclass(frozen=True)
class Sampling:
    """``max_new_tokens``: longest answer to each conversation; shorter if the model's context ends. ``temperature``: 0
    is greedy; above it sampled, seeded by ``seed``, each prompt's own text and its number. ``numbers``: which sample of
    its conversation each is, from 0, so that a sample does not depend on what is asked beside it."""

    max_new_tokens: Sequence[int]
    temperature: float
    seed: int
    numbers: Sequence[int]


def limits(most: int | Sequence[int], count: int, n: int = 1) -> list[int]:
    """The longest answer to each of ``n`` samples of each conversation, from one number or one of each. Raises
    ValueError for other numbers."""
    each = [most] * count if not isinstance(most, Iterable) or isinstance(most, str) else list(most)
    if len(each) != count:
        raise ValueError(f"max_new_tokens has {len(each)}, not {count}: give one number or one for each conversation")
    return [arguments.number("max_new_tokens", limit, 1, int) for limit in each for _ in range(n)]


def sample_numbers(conversations: list[list[Message]]) -> list[int]:
    """Which sample of its conversation each is: how many equal ones stand before it."""
    before: Counter[str] = Counter()
    found = []
    for turns in conversations:
        key = json.dumps(turns)
        found.append(before[key])
        before[key] += 1
    return found
