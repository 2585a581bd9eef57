"""Multistep arithmetic: two, four or eight groups of signed one-digit numbers under + - *, in a binary tree.

The form is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0) in the cells of
"Teaching Language Models to Self-Improve through Interactive Demonstrations" (https://arxiv.org/abs/2310.13522):
``l3d22`` has three numbers in each of four groups. All items are drawn here. One raw example::

    {"question": "((7 - -1 + -1 + -4) - (-7 + 7 * 3 * -9)) =", "answer": "199"}

BIG-Bench Hard's items (``input``, ``target``) are read as well. Metric: the integer of the final response.
"""

import random

from laif_helpers.benchmarks._reasoning import Task
from laif_helpers.graders.steps.multistep_arithmetic import Item

SEEN = ("l3d2", "l4d2", "l3d22", "l4d22")
UNSEEN = ("l3d222", "l4d222", "l5d2", "l6d2", "l5d22", "l6d22", "l5d222", "l6d222")
SIZES = {
    "train": dict.fromkeys(SEEN, 150),
    "validation": dict.fromkeys(SEEN, 20),
    "test": dict.fromkeys(SEEN, 60) | dict.fromkeys(UNSEEN, 40),
}


def draw(rng: random.Random, cell: str) -> str:
    """A question of a cell, ``l<numbers in a group>d<2 for each level of the tree>``."""
    length, levels = cell[1:].split("d")
    rows = [_row([str(rng.randint(-9, 9)) for _ in range(int(length))], rng) for _ in range(2 ** len(levels))]
    while len(rows) > 1:
        rows = [_row(rows[at : at + 2], rng) for at in range(0, len(rows), 2)]
    return f"{rows[0]} ="


def _row(parts: list[str], rng: random.Random) -> str:
    return "(" + "".join(part + f" {rng.choice('+-*')} " for part in parts[:-1]) + f"{parts[-1]})"


def bucket(item: Item) -> str:
    """``l3-4d22``: the numbers in a group, in pairs, and the tree's levels."""
    length = item.groups[0].count(" ") // 2 + 1
    longer = "3-4" if length <= 4 else "5-6"
    return f"l{longer}d{'2' * (len(item.groups).bit_length() - 1)}"


BENCHMARKS = {
    "multistep_arithmetic": Task("multistep_arithmetic", draw, bucket, ("l3-4d2", "l3-4d22"), SIZES).benchmark("math")
}
