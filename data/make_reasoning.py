"""Draw the items of the four step by step tasks into ``data/reasoning/``: `python data/make_reasoning.py`.

All items are made by this project (Apache-2.0) from fixed seeds. A task is *seen* in the cells of its train split and
*unseen* in harder ones, which only its test split holds. No paragraph (a question without its options) stands in two
splits, or twice in one.
"""

import gzip
import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from reasoning_orders import ORDER_SIZES, draw_orders

from laif_helpers.benchmarks._reasoning import FOLDER, SPLITS
from laif_helpers.graders.steps.date_understanding import MONTHS, read, write

# -- multistep arithmetic: a cell is l<numbers in a group>d<2 for each level of the tree

SUM_SEEN = ("l3d2", "l4d2", "l3d22", "l4d22")
SUM_UNSEEN = ("l3d222", "l4d222", "l5d2", "l6d2", "l5d22", "l6d22", "l5d222", "l6d222")
SUM_SIZES = {
    "train": dict.fromkeys(SUM_SEEN, 150),
    "validation": dict.fromkeys(SUM_SEEN, 20),
    "test": dict.fromkeys(SUM_SEEN, 60) | dict.fromkeys(SUM_UNSEEN, 40),
}


def draw_sums(rng: random.Random, cell: str) -> str:
    """A question of a cell, ``l<numbers in a group>d<2 for each level of the tree>``."""
    length, levels = cell[1:].split("d")
    rows = [_sum_row([str(rng.randint(-9, 9)) for _ in range(int(length))], rng) for _ in range(2 ** len(levels))]
    while len(rows) > 1:
        rows = [_sum_row(rows[at : at + 2], rng) for at in range(0, len(rows), 2)]
    return f"{rows[0]} ="


def _sum_row(parts: list[str], rng: random.Random) -> str:
    return "(" + "".join(part + f" {rng.choice('+-*')} " for part in parts[:-1]) + f"{parts[-1]})"


# -- word sorting: a cell is how many words

WORD_SEEN = ("2-3", "4-7")
WORD_UNSEEN = ("8-10", "11-15", "16-20")
WORD_SIZES = {
    "train": {"2-3": 250, "4-7": 350},
    "validation": dict.fromkeys(WORD_SEEN, 40),
    "test": dict.fromkeys((*WORD_SEEN, *WORD_UNSEEN), 100),
}
ALIKE = 0.3
"""Share of the words that are drawn among the neighbours of a word of the list, so that letters tie."""


@cache
def words() -> list[str]:
    return sorted((FOLDER / "words.txt").read_text(encoding="utf-8").split())


def draw_words(rng: random.Random, cell: str) -> str:
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


# -- date understanding: a cell is how many relations

DATE_SEEN = ("1", "2")
DATE_UNSEEN = ("3", "4", "5")
DATE_SIZES = {
    "train": dict.fromkeys(DATE_SEEN, 300),
    "validation": dict.fromkeys(DATE_SEEN, 40),
    "test": {"1": 100, "2": 100, "3": 80, "4": 60, "5": 60},
}
_EVENTS = "concert exam wedding match meeting party parade delivery interview recital launch harvest"
EVENTS = tuple(f"the {event}" for event in _EVENTS.split())
PEOPLE = ("Mia", "Tom", "Ada", "Leo", "Ruth", "Omar", "Nina", "Karl")
_COUNT_WORDS = ("one", "two", "three", "four", "five", "six")


def draw_dates(rng: random.Random, cell: str) -> str:
    """A question of as many steps as the cell says, which the solver can answer."""
    while True:
        question = date_question(rng, int(cell))
        try:
            return f"{question}\nOptions:\n{_date_options(rng, question)}"
        except ValueError:  # a month without that day
            continue


def date_question(rng: random.Random, size: int) -> str:
    subjects = [*rng.sample(EVENTS, size - 1), "today"]
    day = date(1950, 1, 1) + timedelta(days=rng.randrange(365 * 100))
    sentences = [_date_given(rng, subjects[0], day)]
    for known, subject in pairwise(subjects):
        verb = "is" if subject == "today" else "was"
        sentences.append(
            f"{subject.capitalize()} {verb} {_date_amount(rng)} {rng.choice(('before', 'after'))} {known}."
        )
    when = rng.choice(("tomorrow", "yesterday", f"{_date_amount(rng)} ago", f"{_date_amount(rng)} from today"))
    return f"{' '.join(sentences)} What is the date {when} in MM/DD/YYYY?"


def _date_given(rng: random.Random, subject: str, day: date) -> str:
    """The sentence that gives ``day`` as the day of ``subject``; every fifth one names a person who is mistaken too."""
    verb = "is" if subject == "today" else "was on"
    if rng.random() < 0.2:
        right, mistaken = rng.sample(PEOPLE, 2)
        wrong = day + timedelta(days=rng.choice((-1, 1, 7)))
        pair = [(right, day), (mistaken, wrong)]
        rng.shuffle(pair)
        (first, this), (second, that) = pair
        return (
            f"{first} thinks {subject} is {write(this)}, but {second} thinks it is {write(that)}, and {right} is right."
        )
    forms = (write(day), f"{day.month}/{day.day}/{day.year}", f"{MONTHS[day.month]} {day.day}, {day.year}")
    return f"{subject.capitalize()} {verb} {rng.choice(forms)}."


def _date_amount(rng: random.Random) -> str:
    unit, most = rng.choice((("day", 30), ("day", 6), ("week", 4), ("month", 4), ("year", 3)))
    size = rng.randint(1, most)
    number = _COUNT_WORDS[size - 1] if size <= len(_COUNT_WORDS) and rng.random() < 0.5 else str(size)
    return f"{number} {unit}{'s' * (size != 1)}"


def _date_options(rng: random.Random, question: str) -> str:
    """The right date among four or five near ones."""
    right = _date_answer(question)
    near = [right + timedelta(days=days) for days in (-7, -2, -1, 1, 2, 7, 14, 30, -30, 365, -365)]
    swapped = [date(right.year, right.day, right.month)] if right.day <= 12 and right.day != right.month else []
    listed = [right, *rng.sample(near + swapped, rng.choice((4, 5)))]
    rng.shuffle(listed)
    return "\n".join(f"({letter}) {write(day)}" for letter, day in zip("ABCDEF", listed, strict=False))


def _date_answer(question: str) -> date:
    item = read(f"{question}\nOptions:\n(A) 01/01/2000\n(B) 01/02/2000")
    day = item.given
    for relation in item.relations:
        day = relation.apply(day)
    return day


DRAW: dict[str, Callable[[random.Random, str], str]] = {
    "multistep_arithmetic": draw_sums,
    "word_sorting": draw_words,
    "date_understanding": draw_dates,
    "logical_deduction": draw_orders,
}
SIZES: dict[str, Any] = {
    "multistep_arithmetic": SUM_SIZES,
    "word_sorting": WORD_SIZES,
    "date_understanding": DATE_SIZES,
    "logical_deduction": ORDER_SIZES,
}
"""Items of each cell in each split, by task."""


def world(name: str) -> list[dict[str, str]]:
    """Every split from one seed, cells mixed; a paragraph that was drawn before is drawn again."""
    rng = random.Random(f"{name}-1")
    taken: set[str] = set()
    rows = []
    for split in SPLITS:
        cells = [cell for cell, n in SIZES[name][split].items() for _ in range(n)]
        rng.shuffle(cells)
        for cell in cells:
            while (question := DRAW[name](rng, cell)).partition("\nOptions:")[0] in taken:
                pass
            taken.add(question.partition("\nOptions:")[0])
            rows.append({"split": split, "question": question})
    return rows


if __name__ == "__main__":
    for name in DRAW:
        text = "".join(json.dumps(row) + "\n" for row in world(name))
        (FOLDER / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
