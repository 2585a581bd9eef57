"""Draws what `make_dates_nano.py` learns from: conversations about dates with errors put in by a script, and drills."""

import random
import re

import make_reasoning
from step_mutations import mutants
from tripost_conversations import Drawn

from laif_helpers import benchmarks
from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, Step
from laif_helpers.graders.steps import date_understanding as dates
from laif_helpers.tripost.trajectories import conversation, feedback

NAME = "date_understanding"
CELLS = {"1": 2, "2": 3}
"""How often a question of one relation is drawn, and one of two."""
DECIDING = re.compile(r"((?:\d+|\([A-F]\)|[a-z]+) no\b)| yes\b")
"""What a check decides: that a part differs, or that all is equal."""


def held_out() -> set[str]:
    """The questions of all splits, none of which is learned from."""
    return {e.question for split in ("train", "validation", "test") for e in benchmarks.get(NAME).load(split)}


def draw(rng: random.Random, wrong: float, drills: float, forbidden: set[str]) -> Drawn:
    """A drill in the share ``drills``, else a conversation."""
    return drill(rng, forbidden) if rng.random() < drills else talk(rng, wrong, forbidden)


def talk(rng: random.Random, wrong: float, forbidden: set[str]) -> Drawn:
    """A question, its gold answer and praise; or (share ``wrong``) an attempt with an error, its feedback, its repair,
    and praise of that in three of ten. The attempt itself is not learned."""
    question = _question(rng, forbidden)
    gold = steps.write(dates.solve(dates.read(question)))
    if rng.random() < wrong:
        attempt = slipped(question, rng) if rng.random() < 0.92 else rng.choice(list(mutants(NAME, question, rng))).text
        verdict = dates.check(question, attempt)
        if not verdict.correct:
            repaired = steps.repair(dates, question, attempt, verdict)
            texts = [attempt, feedback("worked", NAME, question, attempt), repaired]
            if rng.random() < 0.3:
                texts.append(feedback("worked", NAME, question, repaired))
            return conversation(NAME, question, *texts)[:-1], [False, *[True] * (len(texts) - 1)]
    return conversation(NAME, question, gold, feedback("worked", NAME, question, gold))[:-1], [True, True]


def _question(rng: random.Random, forbidden: set[str]) -> str:
    while True:
        question = make_reasoning.draw_dates(rng, rng.choices(list(CELLS), list(CELLS.values()))[0])
        if question not in forbidden:
            return question


def slipped(question: str, rng: random.Random) -> str:
    """An answer with one slip, which all later lines follow: another option, a date that is counted or copied wrongly,
    or "before" for "after"."""
    item = dates.read(question)
    solved = dates.solve(item)
    if rng.random() < 0.3:
        letter = rng.choice([each for each in item.options if each != solved[-1].data])
        return steps.write([*solved[:-1], _chosen(letter)])
    at, day, lines = rng.randrange(len(item.relations)), dates.write(item.given), list[Step]()
    for place, relation in enumerate(item.relations):
        text, here = str(relation), rng.random() if place == at else 1.0
        if here < 0.12:
            day = near(day, rng)
        elif here < 0.2:
            text = re.sub("before|after", lambda word: "after" if word[0] == "before" else "before", text)
        reached = _reached(relation, day)
        if 0.12 <= here < 1:
            reached = near(reached, rng)
        lines.append(Step(str(place + 1), f"{text} ({day}), so it is {reached}."))
        day = reached
    same = [letter for letter, option in item.options.items() if option == day]
    letter = same[0] if same else solved[-1].data if rng.random() < 0.5 else rng.choice(list(item.options))
    return steps.write([*lines, _chosen(letter)])


def _chosen(letter: str) -> Step:
    return Step(FINAL, f"So the answer is ({letter}).")


def _reached(relation: dates.Relation, day: str) -> str:
    """Where a relation leads from a day that may not exist; then it leads nowhere."""
    try:
        return dates.write(relation.apply(dates.day_of(day)))
    except ValueError:
        return day


def near(text: str, rng: random.Random) -> str:
    """Another date, as a slip gives it: off by some days, by a digit, a month or a year. It may not exist."""
    month, day, year = map(int, text.split("/"))
    kind = rng.random()
    if kind < 0.5:
        day += rng.choice((-1, 1, -1, 1, -2, 2, -3, 3) if kind < 0.35 else (-10, 10, -20, 20, -9, 9, 11, -11))
    elif kind < 0.7:
        month += rng.choice((-1, 1, -1, 1, 2, -2))
    elif kind < 0.85:
        year += rng.choice((-1, 1, -1, 1, -10, 10))
    else:
        month, day = month + rng.choice((-1, 0, 1)), rng.randint(1, 28)
    return f"{(month - 1) % 12 + 1:02}/{min(max(1, day), 31):02}/{year}"


def drill(rng: random.Random, forbidden: set[str]) -> Drawn:
    """Single relations, two in five of them wrong, and the check of each; or the options of a question."""
    if rng.random() < 0.6:
        asked, said = [], []
        for number in range(1, rng.randint(3, 6) + 1):
            relation, start, right = _relation(rng)
            written = near(right, rng) if rng.random() < 0.4 else right
            asked.append(f"({number}) {relation} ({start}), so it is {written}.")
            counted = dates.counted(relation, dates.day_of(start))
            beside = dates.compared(right, written)
            said.append(f"({number}) {relation.distance} {start}: {counted}, {right}: {beside}")
        return _turns("\n".join(asked), "\n".join(said))
    question = _question(rng, forbidden)
    item = dates.read(question)
    letter = dates.solve(item)[-1].data
    chosen = _chosen(letter if rng.random() < 0.5 else rng.choice(list(item.options)))
    listed = "\n".join(f"({each}) {option}" for each, option in item.options.items())
    asked_of = f"so it is {item.options[letter]}.\n{chosen}\nOptions:\n{listed}"
    return _turns(asked_of, f"({FINAL}) {dates.options_compared(item, letter, chosen.text)}")


def _relation(rng: random.Random) -> tuple[dates.Relation, str, str]:
    """A relation, a date, and where it leads from there."""
    while True:
        question = make_reasoning.date_question(rng, 1)
        item = dates.read(f"{question}\nOptions:\n(A) 01/01/2000\n(B) 01/02/2000")
        try:
            return item.relations[0], dates.write(item.given), dates.write(item.relations[0].apply(item.given))
        except ValueError:  # a month without that day
            continue


def _turns(asked: str, said: str) -> Drawn:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], [True]


def emphasised(text: str, offsets: list[tuple[int, int]]) -> list[float]:
    """The weight of each token of a check; ``offsets``: where it begins and ends in ``text``."""
    weights = [1.0] * len(offsets)
    for match in DECIDING.finditer(text):
        for at, (start, end) in enumerate(offsets):
            if start < match.end() and end > match.start():
                weights[at] = 4.0 if match[1] else 2.0
    return weights
