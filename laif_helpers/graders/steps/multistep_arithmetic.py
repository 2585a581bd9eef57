"""Multistep arithmetic: groups of signed one-digit numbers under + - *, computed one bracket at a time.

A question reads ``((7 - -1 + -1 + -4) - (-7 + 7 * 3 * -9)) =``: two, four or eight groups in a binary tree. Its answer
names the groups, computes each, and combines them. The verifier asks that every group is the question's own, that each
part of a chain of "=" equals the part before it, and that the combination uses the computed values.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from laif_helpers.graders import steps
from laif_helpers.graders.arithmetic import OPERATIONS
from laif_helpers.graders.steps import FINAL, MAX_NUMBER, Fault, Step
from laif_helpers.graders.steps.long_way import Operation, operation

Tree = Any
"""An integer, a letter, or ``(left, operator, right)``."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STRANGE = re.compile(r"[^-0-9A-Z+*() ]+|\d +\d|\d[A-Z]|[A-Z][A-Z\d]")
_SIGNS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
LONGEST = 500
"""Characters of an expression: twice the longest of a task, and far from the depth that recursion allows."""
_REWRITE = re.compile(r'This equation can be written as "([^"]*)", where (.*?)\.?')
_CALCULATE = re.compile(r"Let's calculate ([A-Z]) = (.*?)\.?")
_COMBINE = re.compile(r"Then, the final equation is (.*?)\.?")
_ANSWER = re.compile(r"So the answer is (-?\d+)\.?")


class TooLarge(ValueError):
    """A number that no item of this task leads to."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question as read: each group's own text and tree, the form over letters, and their values."""

    groups: tuple[str, ...]
    trees: tuple[Tree, ...]
    form: str
    values: tuple[int, ...]
    combined: Tree = None
    value: int = 0

    @property
    def substituted(self) -> str:
        return re.sub("[A-Z]", lambda letter: str(self.values[LETTERS.index(letter[0])]), self.form)


def read(question: str) -> Item:
    """Raises ValueError for a text that is no expression of this task."""
    text = question.strip().removeprefix("Q:").strip().removesuffix("=").strip()
    groups = tuple(re.findall(r"\([^()]*\)", text))
    if not re.fullmatch("[-0-9+*() ]+", text) or not 2 <= len(groups) <= len(LETTERS) or len(text) > 2000:
        raise ValueError(f"not an expression of 2 to {len(LETTERS)} groups: {text[:60]!r}")
    letters = iter(LETTERS)
    form = re.sub(r"\([^()]*\)", lambda _: next(letters), text)
    trees = tuple(parse(group) for group in groups)
    item = Item(groups, trees, form, tuple(evaluate(tree) for tree in trees))
    combined = parse(item.substituted)
    return replace(item, combined=combined, value=evaluate(combined))


def parse(text: str) -> Tree:
    """An expression as a tree, ``*`` before ``+`` and ``-``. Raises ValueError naming what is wrong with it."""
    if strange := _STRANGE.search(text):
        raise ValueError(f"an invalid equation at {strange[0]!r}")
    if len(text) > LONGEST:
        raise ValueError(f"an equation of more than {LONGEST} characters")
    if re.search(r"\d{13}", text):
        raise TooLarge(f"a number beyond {MAX_NUMBER}")
    plain = re.sub(r"\b0+(?=\d)", "", text).strip()
    try:
        return _tree(ast.parse(plain, mode="eval").body)
    except SyntaxError:
        raise ValueError(f"an invalid equation: {text.strip()!r}") from None


def _tree(node: ast.expr) -> Tree:
    """What Python's parser, which runs nothing, has read, as a tree; numbers have a sign of their own."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and (sign := _SIGNS.get(type(node.op))):
        return _tree(node.left), sign, _tree(node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -_tree(node.operand)
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError(f"an invalid equation at {ast.unparse(node)!r}")


def evaluate(tree: Tree) -> int:
    """The exact value. Raises ValueError for letters and for values beyond 10^12."""
    if isinstance(tree, tuple):
        value: int = OPERATIONS[tree[1]](evaluate(tree[0]), evaluate(tree[2]))
        if abs(value) > MAX_NUMBER:
            raise TooLarge(f"a number beyond {MAX_NUMBER}")
        return value
    if isinstance(tree, int):
        return tree
    raise ValueError(f"an invalid equation: {tree} is no number")


def show(tree: Tree) -> str:
    """Fully bracketed."""
    return f"({show(tree[0])} {tree[1]} {show(tree[2])})" if isinstance(tree, tuple) else str(tree)


def reductions(tree: Tree) -> Iterator[str]:
    """The tree fully bracketed, then after each of its operations, innermost and leftmost first."""
    yield show(tree)
    while isinstance(tree, tuple):
        tree = _reduced(tree)
        yield show(tree)


def _reduced(tree: Tree) -> Tree:
    left, operator, right = tree
    if isinstance(left, tuple):
        return _reduced(left), operator, right
    if isinstance(right, tuple):
        return left, operator, _reduced(right)
    return OPERATIONS[operator](left, right)


def chain(first: str, tree: Tree) -> str:
    parts = list(reductions(tree))
    return " = ".join(parts if parts[0] == first else [first, *parts])


def solve(item: Item) -> list[Step]:
    """The canonical answer."""
    named = [f"{letter} = {group}" for letter, group in zip(LETTERS, item.groups, strict=False)]
    where = f"{', '.join(named[:-1])} and {named[-1]}"
    solved = [Step("1", f'This equation can be written as "{item.form}", where {where}.', "rewrite")]
    for at, group in enumerate(item.groups):
        text = f"Let's calculate {LETTERS[at]} = {chain(group, item.trees[at])}."
        solved.append(Step(str(at + 2), text, at))
    combined = f"{item.form} = {chain(item.substituted, item.combined)}"
    solved.append(Step(str(len(item.groups) + 2), f"Then, the final equation is {combined}.", "combine"))
    return [*solved, Step(FINAL, f"So the answer is {item.value}.", "final")]


def judge(item: Item, want: Step, text: str) -> Fault | None:
    """What is wrong with a line that differs from the canonical one."""
    if want.data == "rewrite":
        return _rewrite(item, text)
    if want.data == "combine":
        return _combine(item, text)
    if want.data == "final":
        match = _ANSWER.fullmatch(text)
        if not match:
            return Fault("format", text, "the line gives no integer as the answer", False)
        reason = f"it is not the value {item.value} of the step before"
        return None if int(match[1]) == item.value else Fault("final_answer", match[1], reason)
    return _calculate(item, want.data, text)


def _rewrite(item: Item, text: str) -> Fault | None:
    match = _REWRITE.fullmatch(text)
    if not match:
        return Fault("format", text, "the line does not name the parts of the equation", False)
    if _bare(match[1]) != _bare(item.form):
        return Fault("structure", match[1], "it is not built as the equation of the question")
    named = re.split(r", (?=[A-Z] = )| and (?=[A-Z] = )", match[2])
    for letter, group, found in zip(LETTERS, item.groups, [*named, *[""] * len(item.groups)], strict=False):
        if _bare(found) != _bare(f"{letter} = {group}"):
            return Fault("copy", found or match[2], f"the question has another part at {letter}")
    return Fault("copy", match[2], "the question has fewer parts") if len(named) > len(item.groups) else None


def _bare(text: str) -> str:
    return text.replace(" ", "")


def _calculate(item: Item, at: int, text: str) -> Fault | None:
    match = _CALCULATE.fullmatch(text)
    if not match:
        return Fault("format", text, f"the line does not calculate {LETTERS[at]}", False)
    if match[1] != LETTERS[at]:
        return Fault("order", f"{match[1]} =", f"{LETTERS[at]} must be calculated here")
    parts = match[2].split("=")
    if len(parts) == 1:
        return Fault("no_working", match[2], f"it gives {match[1]} without its calculation")
    if _bare(parts[0]) != _bare(item.groups[at]):
        return Fault("expression", parts[0].strip(), f"step (1) has another expression for {match[1]}")
    return _chain(parts)


def _combine(item: Item, text: str) -> Fault | None:
    match = _COMBINE.fullmatch(text)
    if not match:
        return Fault("format", text, "the line does not combine the parts", False)
    parts = match[1].split("=")
    if _bare(parts[0]) != _bare(item.form):
        return Fault("structure", parts[0].strip(), "step (1) has another equation")
    if len(parts) < 3:
        return Fault("no_working", match[1], "it gives the result without the calculated values")
    if _bare(parts[1]) != _bare(item.substituted):
        return Fault("substitution", parts[1].strip(), "it does not use the values calculated before")
    return _chain(parts[1:])


def _chain(parts: list[str]) -> Fault | None:
    """Whether each part equals the one before it, and the last one is a number."""
    before, tree = 0, None
    for at, part in enumerate(parts):
        above = tree
        try:
            tree = parse(part)
            value = evaluate(tree)
        except ValueError as error:
            large = isinstance(error, TooLarge)
            return Fault("too_large" if large else "malformed", part.strip(), f"it holds {error}", not large)
        if at and value != before:
            pair = f"{parts[at - 1].strip()} = {part.strip()}"
            return Fault("arithmetic", pair, f"{before} is not equal to {value}")
        # a wrong product times 0 changes nothing
        if (step := operation(above, tree)) and step.value != step.written:
            return Fault("arithmetic", f"{step} = {step.written}", f"{step.value} is not equal to {step.written}")
        if at and not _follows(parts[at - 1], part):
            return Fault("invented", part.strip(), "it has numbers that no step from the part before gives")
        before = value
    if not re.fullmatch(r"\s*-?\d+\s*", parts[-1]):
        return Fault("unreduced", parts[-1].strip(), "the calculation does not end in a number")
    return None


def _follows(before: str, after: str) -> bool:
    """Whether evaluating can lead from one part to the next: each operation takes two numbers and leaves one.

    Equal values are not enough: ``9 + -2`` is no step from ``8 + -1``, nor ``7 * 0`` from ``5 * 0``.
    """
    old, new = (Counter(map(int, re.findall(r"\d+", part))) for part in (before, after))
    return (new - old).total() <= old.total() - new.total()


def working(item: Item, found: list[str]) -> Iterator[str]:
    """Each operation of the lines' chains, worked out the long way, beside what the chain has in its place, up to the
    first that differs: ``(2) (11 + -40): -(40-11) 10-1=9 3-1=2 -29 / -39 no``."""
    for line in found:
        label, _, text = line.partition(" ")
        group, combined = _CALCULATE.fullmatch(text), _COMBINE.fullmatch(text)
        parts = group[2].split(" = ") if group else combined[1].split(" = ")[1:] if combined else []
        if checks := [step.checked for step in _operations(parts)]:
            yield f"{label} {', '.join(checks)}"


def _operations(parts: list[str]) -> Iterator[Operation]:
    """The operations of a chain, up to the first wrong one, or the first part that takes several at once."""
    for one, other in pairwise(parts):
        try:
            before, after = parse(one), parse(other)
        except ValueError:
            return
        if before != after:
            step = operation(before, after)
            if not step:
                return
            yield step
            if step.value != step.written:
                return


check = partial(steps.verify, read, solve, judge)
"""Of a question and an attempt: the first wrong step, or that all is right; see ``steps.Verdict``. Never raises."""
