"""Draws what the last two rounds of `make_tripost_nano.py` learn from: feedback that checks each step before its
verdict, on errors like the target's own, and drills of such checks.

A check that says "yes" nineteen times in twenty is soon learned as "yes". In the drills two results in five are wrong,
and what is written of a wrong one weighs four times as much in the loss.
"""

import random
import re

import make_reasoning
from tripost_conversations import CELLS, DRILLS, Drawn
from tripost_slips import like_own, off

from laif_helpers.graders import steps
from laif_helpers.graders.steps import multistep_arithmetic as sums
from laif_helpers.graders.steps.long_way import Operation, operation
from laif_helpers.tripost.trajectories import conversation, feedback

LISTS = {"2-3": 2, "4-7": 6}
WRONG_ONE = re.compile(r'/ -?\d+ no|" no')
"""What a check says of a wrong result: the written one and "no"."""
EMPHASIS = 4.0


def draw(rng: random.Random, wrong: float, sorting: float, drills: float, forbidden: set[str]) -> Drawn:
    """A drill in the share ``drills``, else a conversation, about words in the share ``sorting``."""
    if rng.random() < drills:
        return drill(rng, sorting, forbidden)
    name = "word_sorting" if rng.random() < sorting else "multistep_arithmetic"
    return talk(rng, name, wrong, forbidden)


def talk(rng: random.Random, name: str, wrong: float, forbidden: set[str]) -> Drawn:
    """A question, its gold answer and praise; or an attempt with an error, its feedback, its repair, and praise of that
    in three of ten."""
    module, question = steps.task(name), _question(rng, name, forbidden)
    gold = steps.write(module.solve(module.read(question)))
    if rng.random() < wrong:
        attempt = like_own(name, question, rng)
        verdict = module.check(question, attempt)
        if not verdict.correct:
            repaired = steps.repair(module, question, attempt, verdict)
            texts = [attempt, feedback("worked", name, question, attempt), repaired]
            if rng.random() < 0.3:
                texts.append(feedback("worked", name, question, repaired))
            return conversation(name, question, *texts)[:-1], [False, *[True] * (len(texts) - 1)]
    return conversation(name, question, gold, feedback("worked", name, question, gold))[:-1], [True, True]


def _question(rng: random.Random, name: str, forbidden: set[str]) -> str:
    cells = LISTS if name == "word_sorting" else CELLS[name]
    while True:
        question: str = make_reasoning.DRAW[name](rng, rng.choices(list(cells), list(cells.values()))[0])
        if question not in forbidden:
            return question


def drill(rng: random.Random, sorting: float, forbidden: set[str]) -> Drawn:
    if rng.random() < sorting:
        return listed(rng) if rng.random() < 0.6 else DRILLS[rng.choice(["copy", "letters"])](rng)
    return chained(rng, forbidden) if rng.random() < 0.6 else single(rng)


def _turns(asked: str, said: str) -> Drawn:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], [True]


def chained(rng: random.Random, forbidden: set[str]) -> Drawn:
    """Two chains of a question, two operations in five wrong, and the check of each."""
    item = sums.read(_question(rng, "multistep_arithmetic", forbidden))
    asked, said = [], []
    for tree in rng.sample([*item.trees, sums.parse(item.substituted)], 2):
        parts, checks = [sums.show(tree)], list[str]()
        while isinstance(tree, tuple):
            after = off(tree, rng if rng.random() < 0.4 else None)
            found = operation(tree, after)
            assert found
            tree = after
            parts.append(sums.show(tree))
            checks.append(found.checked)
            if abs(found.written) > 10**7:
                break
        asked.append(f"{' = '.join(parts)}.")
        said.append(", ".join(checks))
    return _turns("\n".join(asked), "\n".join(said))


def single(rng: random.Random) -> Drawn:
    """Sums and products of larger numbers, two in five wrong, and the check of each."""
    asked, said = [], []
    for _ in range(rng.randint(4, 9)):
        rng.random()  # for nothing; the weights in git were made so
        sign, left, right = rng.choice("++--**"), _large(rng), _large(rng)
        if sign == "*" and rng.random() < 0.6:
            right = rng.randint(-9, 9)
        value = Operation(left, sign, right, 0).value
        written = off((left, sign, right), rng) if rng.random() < 0.4 else value
        found = Operation(left, sign, right, written)
        asked.append(f"{found} = {written}")
        said.append(found.checked)
    return _turns(", ".join(asked), ", ".join(said))


def _large(rng: random.Random) -> int:
    ranges = ((10, 99), (10, 99), (1, 9), (100, 999), (10, 60))
    return rng.choice([rng.randint(*ends) for ends in ranges]) * rng.choice((1, -1))


def listed(rng: random.Random) -> Drawn:
    """A list, a line in which some of its words are missing, and for each word whether it stands there."""
    known = make_reasoning.words()
    words = rng.sample(known, rng.randint(3, 7))
    there = []
    for word in words:
        kind = rng.random()
        if kind >= 0.8:
            other = rng.choice([each for each in known if each[0] == word[0]] if rng.random() < 0.7 else known)
        else:
            other = word if kind < 0.6 else rng.choice(words)
        there.append(other)
    rng.shuffle(there)
    lines = (
        "We now have: " + " < ".join(f'({ord(word[0]) - 96}) "{word}"' for word in there) + ".",
        "Hence, we have " + " < ".join(f'"{word}"' for word in there) + ".",
        "So the answer is: " + " ".join(there) + ".",
    )
    checks = ", ".join(f'"{word}" {"yes" if there.count(word) == 1 else "no"}' for word in words)
    return _turns(f"List: {' '.join(words)}\n(2) {rng.choice(lines)}", f"(2) {checks}")


def emphasised(text: str, offsets: list[tuple[int, int]]) -> list[float]:
    """The weight of each token of a check; ``offsets``: where it begins and ends in ``text``."""
    weights = [1.0] * len(offsets)
    for match in WRONG_ONE.finditer(text):
        for at, (start, end) in enumerate(offsets):
            if start < match.end() and end > match.start():
                weights[at] = EMPHASIS
    return weights
