"""Word sorting: two to twenty words in alphabetical order.

The form is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0) with the buckets of
https://arxiv.org/abs/2310.13522. The words, common ones of a to z, are this project's own list (Apache-2.0), and so
are all items. One raw example::

    {"question": "Sort the following words alphabetically:\\nList: tulip amber", "answer": "amber tulip"}

BIG-Bench Hard's items (``input``, ``target``) are read as well. Metric: exact order of all words.
"""

from laif_helpers.benchmarks._reasoning import Task

BUCKETS = ("2-3", "4-7", "8-10", "11-15", "16-20")


def bucket(listed: tuple[str, ...]) -> str:
    return next((b for b in BUCKETS if len(listed) <= int(b.split("-")[1])), "21+")


BENCHMARKS = {"word_sorting": Task("word_sorting", bucket, BUCKETS[:2]).benchmark("text")}
