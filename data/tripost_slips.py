"""Puts errors into right answers for `make_tripost_nano.py`: single ones, and slips that all later lines follow.

``step_mutations`` changes one place and leaves the rest right. People and models rather make a slip and go
on from it; a slip here is one wrong result, letter or word, with every later line derived from it.
"""

import random
import re
from collections.abc import Callable

import make_reasoning
from step_mutations import mutants

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, multistep_arithmetic, word_sorting

FOLLOWED = 0.6
"""Share of errors that later lines follow."""
Slip = Callable[[str, multistep_arithmetic.Tree], tuple[str, int]]
"""Of an expression and its tree: the chain of its reductions, one of them wrong, and the number that it ends in."""
OFF = (-20, -10, -3, -2, -1, 1, 2, 3, 10, 20)


def wrong_attempt(name: str, question: str, rng: random.Random) -> str:
    """An answer with one error; it may happen to be right, so check it."""
    if rng.random() < FOLLOWED:
        return SLIPS[name](question, rng)
    return rng.choice(list(mutants(name, question, rng))).text


def slipped_sum(question: str, rng: random.Random) -> str:
    """One operation with a wrong result, in a group or in the combination."""
    item = multistep_arithmetic.read(question)
    return _followed(item, rng.randrange(len(item.groups) + 1), lambda first, tree: _slipped_chain(first, tree, rng))


def _followed(item: multistep_arithmetic.Item, at: int, slip: Slip) -> str:
    """The answer with a slip in group ``at`` (the combination, if that is their number), which later lines follow."""
    groups, values = len(item.groups), list(item.values)
    solved = list(map(str, multistep_arithmetic.solve(item)))
    if at < groups:
        chain, values[at] = slip(item.groups[at], item.trees[at])
        letter = multistep_arithmetic.LETTERS[at]
        solved[at + 1] = f"({at + 2}) Let's calculate {letter} = {chain}."
    found = re.sub("[A-Z]", lambda letter: str(values[multistep_arithmetic.LETTERS.index(letter[0])]), item.form)
    tree = multistep_arithmetic.parse(found)
    if at == groups:
        chain, value = slip(found, tree)
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


# -- errors as the target itself makes them: hard operations, and words in other words' places


def like_own(name: str, question: str, rng: random.Random) -> str:
    """An answer with an error of the kind that the target makes; it may happen to be right, so check it."""
    if rng.random() < 0.85:
        return OWN[name](question, rng)
    return rng.choice(list(mutants(name, question, rng))).text


def off(tree: multistep_arithmetic.Tree, rng: random.Random | None) -> multistep_arithmetic.Tree:
    """The innermost and leftmost operation worked out; off by a digit, or of the other sign, if there is a ``rng``."""
    left, operator, right = tree
    if isinstance(left, tuple):
        return off(left, rng), operator, right
    if isinstance(right, tuple):
        return left, operator, off(right, rng)
    value = multistep_arithmetic.evaluate(tree)
    if not rng:
        return value
    if rng.random() < 0.15 and value:
        return -value
    if abs(value) < 10:
        return value + rng.choice((1, -1, 2, -2, 3, -3, 4, 10, -10))
    steps_off = [1, 2, -1, -2, *(10, -10) * 2, 20, -20, 30, -30]
    if abs(value) >= 100:
        steps_off = [*(10, -10) * 2, 20, -20, 30, -30, 50, -50, *(100, -100) * 2, 1, -1, 2, -2, 200, -200]
    if abs(value) >= 1000:
        steps_off += [1000, -1000, 500, -500, -300, 300, 90, -90]
    return value + rng.choice(steps_off)


def _hardness(tree: multistep_arithmetic.Tree) -> float:
    """How often the target slips at an operation of two numbers, by its sign and its digits; in no unit."""
    left, operator, right = tree
    digits = len(str(abs(left))) + len(str(abs(right)))
    hard = {"*": 3.0 if digits > 2 else 0.7}.get(operator, 1.0 if digits > 2 else 0.4)
    return hard * (digits - 1)


def _operations(tree: multistep_arithmetic.Tree) -> list[multistep_arithmetic.Tree]:
    """The operations of a tree in the order in which they are worked out."""
    found = []
    while isinstance(tree, tuple):
        inner = tree
        while isinstance(inner[0], tuple) or isinstance(inner[2], tuple):
            inner = inner[0] if isinstance(inner[0], tuple) else inner[2]
        found.append(inner)
        tree = off(tree, None)
    return found


def _own_chain(first: str, tree: multistep_arithmetic.Tree, rng: random.Random) -> tuple[str, int]:
    operations = _operations(tree)
    slip = rng.choices(range(len(operations)), [_hardness(each) for each in operations])[0]
    parts = [multistep_arithmetic.show(tree)]
    for at in range(len(operations)):
        tree = off(tree, rng if at == slip else None)
        parts.append(multistep_arithmetic.show(tree))
    return " = ".join(parts if parts[0] == first else [first, *parts]), tree


def own_sum(question: str, rng: random.Random) -> str:
    """One operation with a wrong result, a hard one more often, which all later lines follow."""
    item = multistep_arithmetic.read(question)
    hardness = [sum(map(_hardness, _operations(tree))) for tree in (*item.trees, item.combined)]
    at = rng.choices(range(len(hardness)), hardness)[0]
    return _followed(item, at, lambda first, tree: _own_chain(first, tree, rng))


def own_order(question: str, rng: random.Random) -> str:
    """Another word in a word's place, mostly from the second line on; now and then an error of ``slipped_order``."""
    if rng.random() >= 0.65:
        return slipped_order(question, rng)
    words, known = word_sorting.read(question), make_reasoning.words()
    lines = steps.write(word_sorting.solve(words)).split("\n")
    lost, kind = rng.choice(words), rng.random()
    if kind < 0.6:
        other = rng.choice([word for word in words if word != lost])
    elif kind < 0.88:
        other = rng.choice([word for word in known if word[0] == lost[0] and word != lost] or known)
    else:
        other = rng.choice(known)
    holding = [at for at, line in enumerate(lines) if re.search(rf"\b{lost}\b", line)]
    begin = 1 if rng.random() < 0.6 else rng.choice(holding)
    end = len(lines) if rng.random() < 0.75 else begin + 1
    lines[begin:end] = [re.sub(rf"\b{lost}\b", other, line) for line in lines[begin:end]]
    return "\n".join(lines)


OWN = {"word_sorting": own_order, "multistep_arithmetic": own_sum}
