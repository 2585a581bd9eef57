"""Multistep arithmetic: two, four or eight groups of signed one-digit numbers under + - *, in a binary tree.

The form is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0) in the cells of
"Teaching Language Models to Self-Improve through Interactive Demonstrations" (https://arxiv.org/abs/2310.13522):
``l3d22`` has three numbers in each of four groups. All items are drawn here. One raw example::

    {"question": "((7 - -1 + -1 + -4) - (-7 + 7 * 3 * -9)) =", "answer": "199"}

BIG-Bench Hard's items (``input``, ``target``) are read as well. Metric: the integer of the final response.
"""

from laif_helpers.benchmarks._reasoning import Task
from laif_helpers.graders.steps.multistep_arithmetic import Item


def bucket(item: Item) -> str:
    """``l3-4d22``: the numbers in a group, in pairs, and the tree's levels."""
    length = item.groups[0].count(" ") // 2 + 1
    longer = "3-4" if length <= 4 else "5-6"
    return f"l{longer}d{'2' * (len(item.groups).bit_length() - 1)}"


BENCHMARKS = {"multistep_arithmetic": Task("multistep_arithmetic", bucket, ("l3-4d2", "l3-4d22")).benchmark("math")}
