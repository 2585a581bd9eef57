"""Computes a program of exact arithmetic over a few free numbers."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from laif_helpers.graders import arithmetic
from laif_helpers.graders.arithmetic import OPERATIONS, Tree

Exact = Fraction | int


class NotVariable(ValueError):
    """This solution cannot be varied safely; the message is the reason."""


def parse(expression: str) -> Tree:
    """The expression as a tree. Raises NotVariable if it is more than sums and products."""
    try:
        tree = arithmetic.parse(expression)
    except ValueError:
        raise NotVariable("an equation is not plain arithmetic") from None
    if "^" in expression or "**" in expression:
        raise NotVariable("an equation is not plain arithmetic")
    return tree


def worth(tree: Tree) -> Fraction:
    """The value of a parsed expression. Raises NotVariable on a division by zero."""
    try:
        return arithmetic.worth(tree)
    except ZeroDivisionError:
        raise NotVariable("an equation divides by zero") from None


@dataclass
class Program:
    """Straight-line arithmetic over ``leaves`` (the question's numbers that may vary).

    Register i < len(leaves) is leaf i; each further one is a constant or an operation on earlier registers.
    ``prints[i]`` is register i's value at several settings of the leaves, the first being the question's own:
    two registers with equal prints are the same quantity, however each was written.
    """

    leaves: list[Fraction]
    code: list[tuple[str, int, int] | Fraction] = field(default_factory=list)
    prints: list[tuple[Fraction, ...]] = field(default_factory=list)
    support: list[frozenset[int]] = field(default_factory=list)
    known: dict[tuple[Fraction, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(len(self.leaves))
        for i, leaf in enumerate(self.leaves):
            self._append((leaf, *(Fraction(rng.randrange(10_000, 90_000), 97) for _ in range(2))), frozenset([i]))

    def _append(self, values: tuple[Fraction, ...], support: frozenset[int]) -> int:
        self.prints.append(values)
        self.support.append(support)
        return self.known.setdefault(values, len(self.prints) - 1)

    def constant(self, value: Fraction) -> int:
        values = (value,) * 3
        if values not in self.known:
            self.code.append(value)
            self._append(values, frozenset())
        return self.known[values]

    def apply(self, symbol: str, left: int, right: int) -> int:
        """The register of ``left symbol right``. Raises NotVariable on a division by zero."""
        try:
            pairs = zip(self.prints[left], self.prints[right], strict=True)
            values = tuple(Fraction(OPERATIONS[symbol](a, b)) for a, b in pairs)
        except ZeroDivisionError:
            raise NotVariable("an equation divides by zero") from None
        if values not in self.known:
            self.code.append((symbol, left, right))
            self._append(values, self.support[left] | self.support[right])
        return self.known[values]

    def value(self, register: int) -> Fraction:
        return self.prints[register][0]

    def run(self, leaves: Sequence[Exact], accept: Callable[[int, Exact], bool] | None = None) -> list[Exact]:
        """Values of all registers; [] as soon as ``accept(register, value)`` refuses one.

        Whole numbers are carried as ints, which are several times faster than fractions.
        """
        values: list[Exact] = [_slim(leaf) for leaf in leaves]
        for line in self.code:
            if not isinstance(line, tuple):
                values.append(_slim(line))
                continue
            symbol, left, right = line
            a, b = values[left], values[right]
            if symbol != "/":
                values.append(OPERATIONS[symbol](a, b))
            elif b == 0:
                return []
            else:
                values.append(a // b if a % b == 0 else Fraction(a) / b)
            if accept and not accept(len(values) - 1, values[-1]):
                return []
        return values


def _slim(value: Exact) -> Exact:
    return value.numerator if value.denominator == 1 else value
