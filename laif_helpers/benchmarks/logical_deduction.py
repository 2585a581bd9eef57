"""Logical deduction: three, five or seven objects in one fixed order, given by clues.

The form is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0). Objects, scenes and items
are this project's own; the solver proves that the clues of each leave one order, and that none of them is needless.
One raw example::

    {"question": "On a shelf, there are three cups: a blue cup, a red cup, and a tall cup. The …\\nOptions:\\n(A) …",
     "answer": "B"}

BIG-Bench Hard's items (``input``, ``target``) are read as well. Metric: the letter of the final response.
"""

from laif_helpers.benchmarks._reasoning import Task
from laif_helpers.graders.steps.logical_deduction import Item


def bucket(item: Item) -> str:
    return str(len(item.objects))


BENCHMARKS = {"logical_deduction": Task("logical_deduction", bucket, ("3", "5")).benchmark("choice")}
