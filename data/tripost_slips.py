"""Puts errors into right answers for `make_tripost_nano.py`: single ones, and slips that all later lines follow.

``step_mutations`` changes one place and leaves the rest right. People and models rather make a slip and go
on from it; a slip here is one wrong result, letter or word, with every later line derived from it.
"""

import random
import re

from step_mutations import mutants

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, multistep_arithmetic, word_sorting

FOLLOWED = 0.6
"""Share of errors that later lines follow."""
OFF = (-20, -10, -3, -2, -1, 1, 2, 3, 10, 20)


def wrong_attempt(name: str, question: str, rng: random.Random) -> str:
    """An answer with one error; it may happen to be right, so check it."""
    if rng.random() < FOLLOWED:
        return SLIPS[name](question, rng)
    return rng.choice(list(mutants(name, question, rng))).text


def slipped_sum(question: str, rng: random.Random) -> str:
    """One operation with a wrong result, in a group or in the combination."""
    item = multistep_arithmetic.read(question)
    solved = list(map(str, multistep_arithmetic.solve(item)))
    at, groups, values = rng.randrange(len(item.groups) + 1), len(item.groups), list(item.values)
    if at < groups:
        chain, values[at] = _slipped_chain(item.groups[at], item.trees[at], rng)
        letter = multistep_arithmetic.LETTERS[at]
        solved[at + 1] = f"({at + 2}) Let's calculate {letter} = {chain}."
    found = re.sub("[A-Z]", lambda letter: str(values[multistep_arithmetic.LETTERS.index(letter[0])]), item.form)
    tree = multistep_arithmetic.parse(found)
    if at == groups:
        chain, value = _slipped_chain(found, tree, rng)
    else:
        chain, value = multistep_arithmetic.chain(found, tree), multistep_arithmetic.evaluate(tree)
    solved[-2:] = [
        f"({groups + 2}) Then, the final equation is {item.form} = {chain}.",
        f"({FINAL}) So the answer is {value}.",
    ]
    return "\n".join(solved)


def _slipped_chain(first: str, tree: multistep_arithmetic.Tree, rng: random.Random) -> tuple[str, int]:
    """The reductions of a tree, one of them wrong, and the number that they end in."""
    operations = len(list(multistep_arithmetic.reductions(tree))) - 1
    slip, parts = rng.randrange(operations), [multistep_arithmetic.show(tree)]
    for at in range(operations):
        tree = _reduced(tree, rng if at == slip else None)
        parts.append(multistep_arithmetic.show(tree))
    return " = ".join(parts if parts[0] == first else [first, *parts]), tree


def _reduced(tree: multistep_arithmetic.Tree, rng: random.Random | None) -> multistep_arithmetic.Tree:
    """The innermost and leftmost operation worked out; wrongly if there is a ``rng``."""
    left, operator, right = tree
    if isinstance(left, tuple):
        return _reduced(left, rng), operator, right
    if isinstance(right, tuple):
        return left, operator, _reduced(right, rng)
    value = multistep_arithmetic.evaluate(tree)
    if not rng:
        return value
    return -value if rng.random() < 0.15 else value + rng.choice(OFF)


def slipped_order(question: str, rng: random.Random) -> str:
    """A word left out, a letter misread, or two words exchanged at the end."""
    words, kind = word_sorting.read(question), rng.random()
    if kind < 0.3 and len(words) > 2:
        left_out = rng.choice(words)
        return steps.write(word_sorting.solve(tuple(word for word in words if word != left_out)))
    if kind < 0.75:
        word = rng.choice(words)
        at = 0 if rng.random() < 0.5 else rng.randrange(min(4, len(word)))
        fake = word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        if fake not in words:
            misread = word_sorting.solve(tuple(fake if each == word else each for each in words))
            return re.sub(rf"\b{fake}\b", word, steps.write(misread))
    order, lines = sorted(words), steps.write(word_sorting.solve(words)).split("\n")
    at = rng.randrange(len(order) - 1)
    order[at], order[at + 1] = order[at + 1], order[at]
    listed = " < ".join(f'"{word}"' for word in order)
    lines[-2:] = [
        f"{lines[-2].partition(' Hence')[0]} Hence, we have {listed}.",
        f"({FINAL}) So the answer is: {' '.join(order)}.",
    ]
    return "\n".join(lines)


SLIPS = {"word_sorting": slipped_order, "multistep_arithmetic": slipped_sum}
