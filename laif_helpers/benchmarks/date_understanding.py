"""Date understanding: a date that is given, one to five relations, and five or six dates to choose from.

The idea is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0); the generator is this
project's own, because the public items are few and some of their labels are wrong. One raw example::

    {"question": "Today is June 18, 2019. What is the date yesterday in MM/DD/YYYY?\\nOptions:\\n(A) 06/19/2019\\n…",
     "answer": "E"}

BIG-Bench Hard's items (``input``, ``target``) are read and graded as well; those that the solver cannot read have no
rationale. Metric: the letter of the final response.
"""

from laif_helpers.benchmarks._reasoning import Task
from laif_helpers.graders.steps.date_understanding import Item


def bucket(item: Item) -> str:
    return "1-2" if len(item.relations) <= 2 else "3+"


BENCHMARKS = {"date_understanding": Task("date_understanding", bucket, ("1-2",)).benchmark("choice")}
