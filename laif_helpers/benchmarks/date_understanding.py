"""Date understanding: a date that is given, one to five relations, and five or six dates to choose from.

The idea is BIG-Bench's task of this name (https://github.com/google/BIG-bench, Apache-2.0); the generator is this
project's own, because the public items are few and some of their labels are wrong. One raw example::

    {"question": "Today is June 18, 2019. What is the date yesterday in MM/DD/YYYY?\\nOptions:\\n(A) 06/19/2019\\n…",
     "answer": "E"}

BIG-Bench Hard's items (``input``, ``target``) are read and graded as well; those that the solver cannot read have no
rationale. Metric: the letter of the final response.
"""

import random
from datetime import date, timedelta
from itertools import pairwise

from laif_helpers.benchmarks._reasoning import Task
from laif_helpers.graders.steps.date_understanding import MONTHS, Item, read, write

SEEN = ("1", "2")
UNSEEN = ("3", "4", "5")
SIZES = {
    "train": dict.fromkeys(SEEN, 300),
    "validation": dict.fromkeys(SEEN, 40),
    "test": {"1": 100, "2": 100, "3": 80, "4": 60, "5": 60},
}
EVENTS = (
    "the concert",
    "the exam",
    "the wedding",
    "the match",
    "the meeting",
    "the party",
    "the parade",
    "the delivery",
    "the interview",
    "the recital",
    "the launch",
    "the harvest",
)
PEOPLE = ("Mia", "Tom", "Ada", "Leo", "Ruth", "Omar", "Nina", "Karl")
_WORDS = ("one", "two", "three", "four", "five", "six")


def draw(rng: random.Random, cell: str) -> str:
    """A question of as many steps as the cell says, which the solver can answer."""
    while True:
        question = _question(rng, int(cell))
        try:
            return f"{question}\nOptions:\n{_options(rng, question)}"
        except ValueError:  # a month without that day
            continue


def _question(rng: random.Random, size: int) -> str:
    subjects = [*rng.sample(EVENTS, size - 1), "today"]
    day = date(1950, 1, 1) + timedelta(days=rng.randrange(365 * 100))
    sentences = [_given(rng, subjects[0], day)]
    for known, subject in pairwise(subjects):
        verb = "is" if subject == "today" else "was"
        sentences.append(f"{subject.capitalize()} {verb} {_amount(rng)} {rng.choice(('before', 'after'))} {known}.")
    when = rng.choice(("tomorrow", "yesterday", f"{_amount(rng)} ago", f"{_amount(rng)} from today"))
    return f"{' '.join(sentences)} What is the date {when} in MM/DD/YYYY?"


def _given(rng: random.Random, subject: str, day: date) -> str:
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


def _amount(rng: random.Random) -> str:
    unit, most = rng.choice((("day", 30), ("day", 6), ("week", 4), ("month", 4), ("year", 3)))
    size = rng.randint(1, most)
    number = _WORDS[size - 1] if size <= len(_WORDS) and rng.random() < 0.5 else str(size)
    return f"{number} {unit}{'s' * (size != 1)}"


def _options(rng: random.Random, question: str) -> str:
    """The right date among four or five near ones."""
    right = _answer(question)
    near = [right + timedelta(days=days) for days in (-7, -2, -1, 1, 2, 7, 14, 30, -30, 365, -365)]
    swapped = [date(right.year, right.day, right.month)] if right.day <= 12 and right.day != right.month else []
    listed = [right, *rng.sample(near + swapped, rng.choice((4, 5)))]
    rng.shuffle(listed)
    return "\n".join(f"({letter}) {write(day)}" for letter, day in zip("ABCDEF", listed, strict=False))


def _answer(question: str) -> date:
    item = read(f"{question}\nOptions:\n(A) 01/01/2000\n(B) 01/02/2000")
    day = item.given
    for relation in item.relations:
        day = relation.apply(day)
    return day


def bucket(item: Item) -> str:
    return "1-2" if len(item.relations) <= 2 else "3+"


BENCHMARKS = {"date_understanding": Task("date_understanding", draw, bucket, ("1-2",), SIZES).benchmark("choice")}
