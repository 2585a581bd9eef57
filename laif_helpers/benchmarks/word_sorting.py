"""Word sorting: two to twenty words in alphabetical order.

The form is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0) with the buckets of
https://arxiv.org/abs/2310.13522. The words, common ones of a to z, are this project's own list (``words.txt``,
Apache-2.0), and so are all items. One raw example::

    {"question": "Sort the following words alphabetically:\\nList: tulip amber", "answer": "amber tulip"}

BIG-Bench Hard's items (``input``, ``target``) are read as well. Metric: exact order of all words.
"""

import random
from functools import cache
from pathlib import Path

from laif_helpers.benchmarks._reasoning import Task

SEEN = ("2-3", "4-7")
UNSEEN = ("8-10", "11-15", "16-20")
SIZES = {
    "train": {"2-3": 250, "4-7": 350},
    "validation": dict.fromkeys(SEEN, 40),
    "test": dict.fromkeys((*SEEN, *UNSEEN), 100),
}
ALIKE = 0.3
"""Share of the words that are drawn among the neighbours of a word of the list, so that letters tie."""


@cache
def words() -> list[str]:
    return sorted(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())


def draw(rng: random.Random, cell: str) -> str:
    """A question whose number of words lies in a bucket such as ``4-7``."""
    low, high = map(int, cell.split("-"))
    size, known = rng.randint(low, high), words()
    chosen = [rng.randrange(len(known))]
    while len(chosen) < size:
        near = rng.choice(chosen) + rng.randint(-6, 6) if rng.random() < ALIKE else rng.randrange(len(known))
        if near not in chosen and 0 <= near < len(known):
            chosen.append(near)
    rng.shuffle(chosen)
    return f"Sort the following words alphabetically:\nList: {' '.join(known[at] for at in chosen)}"


def bucket(listed: tuple[str, ...]) -> str:
    return next((b for b in (*SEEN, *UNSEEN) if len(listed) <= int(b.split("-")[1])), "21+")


BENCHMARKS = {"word_sorting": Task("word_sorting", draw, bucket, SEEN, SIZES).benchmark("text")}
