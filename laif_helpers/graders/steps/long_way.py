"""Works a sum or product out digit by digit, as one does on paper: each part is a fact about one-digit numbers.

A check by the long way finds slips that a second look at the short way repeats: ``120 + 22`` is ``0+2=2 2+2=4 1+0=1``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from laif_helpers.graders.arithmetic import OPERATIONS


@dataclass(frozen=True, slots=True)
class Operation:
    """What one part of a chain of "=" computes, and what the next part has in its place."""

    left: int
    operator: str
    right: int
    written: int

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"

    @property
    def value(self) -> int:
        return int(OPERATIONS[self.operator](self.left, self.right))

    @property
    def checked(self) -> str:
        """The operation, its digits if it has several, its value, the written one, and whether the two are equal."""
        by = work(self.left, self.operator, self.right)
        same = "yes" if self.value == self.written else "no"
        return f"{self}: {by}{' ' * bool(by)}{self.value} / {self.written} {same}"


def operation(before: Any, after: Any) -> Operation | None:
    """The innermost and leftmost operation of a tree; None unless the tree ``after`` is equal but for a number in its
    place. A tree is a number or ``(left, operator, right)``."""
    if not isinstance(before, tuple):
        return None
    left, sign, right = before
    if not isinstance(left, tuple) and not isinstance(right, tuple):
        plain = all(isinstance(each, int) for each in (left, right, after))
        return Operation(left, sign, right, after) if plain else None
    if not isinstance(after, tuple) or after[1] != sign:
        return None
    if isinstance(left, tuple):
        return operation(left, after[0]) if after[2] == right else None
    return operation(right, after[2]) if after[0] == left else None


def work(a: int, operator: str, b: int) -> str:
    """The digits of ``a operator b`` (+, - or *) from the right; "" if the operation is a single fact.

    A larger operation begins with what is computed without signs: ``-(40-11) 10-1=9 3-1=2`` for ``11 + -40``.
    """
    if max(abs(a), abs(b)) < 10 or 0 in (a, b) or (operator == "*" and 1 in (abs(a), abs(b))):
        return ""
    large, small = sorted((abs(a), abs(b)), reverse=True)
    if operator == "*":
        return f"{'-' * ((a < 0) != (b < 0))}({large}*{small}) {_product(large, small)}"
    b = -b if operator == "-" else b
    if (a < 0) == (b < 0):
        return f"{'-' * (a < 0)}({abs(a)}+{abs(b)}) {_sum(abs(a), abs(b))}"
    return f"{'-' * (a + b < 0)}({large}-{small}) {_difference(large, small)}"


def _digits(number: int) -> list[int]:
    return [int(digit) for digit in reversed(str(number))]


def _sum(a: int, b: int) -> str:
    facts, carry = [], 0
    for one, other in zip_longest(_digits(a), _digits(b), fillvalue=0):
        found = one + other + carry
        facts.append(f"{one}+{other}{f'+{carry}' if carry else ''}={found}")
        carry = found // 10
    return " ".join(facts)


def _difference(large: int, small: int) -> str:
    facts, borrowed = [], 0
    for one, other in zip_longest(_digits(large), _digits(small), fillvalue=0):
        one -= borrowed
        borrowed = int(one < other)
        one += 10 * borrowed
        facts.append(f"{one}-{other}={one - other}")
    return " ".join(facts)


def _product(large: int, small: int) -> str:
    """Digit by digit of the smaller one; each further part is added to the sum of those before it."""
    parts, total = list[str](), 0
    for place, digit in enumerate(_digits(small)):
        if not digit:
            continue
        facts, carry, value = [], 0, large * digit * 10**place
        for one in _digits(large):
            found = one * digit + carry
            facts.append(f"{one}*{digit}{f'+{carry}' if carry else ''}={found}")
            carry = found // 10
        parts.append(" ".join([*facts, *[str(value)] * (small > 9)]))
        if total:
            last = place == len(str(small)) - 1
            parts.append(_sum(total, value) + ("" if last else f" {total + value}"))
        total += value
    return ", ".join(parts)


def through(place: int, amount: int, length: Callable[[int], tuple[str, int]]) -> Iterator[str]:
    """``place + amount`` where a period has a length: of period ``at`` (0: the one that is begun in) its name and how
    many places it has."""
    if amount >= 0:
        yield added(place, amount)
        place, at = place + amount, 0
        while True:
            name, size = length(at)
            yield f"{name} has {size}"
            if place <= size:
                return
            yield added(place, -size)
            place, at = place - size, at + 1
    elif place > -amount:
        yield added(place, amount)
    else:
        short, at = -amount - place, -1
        yield added(-amount, -place)
        while True:
            name, size = length(at)
            yield f"{name} has {size}"
            if short < size:
                yield added(size, -short)
                return
            yield added(short, -size)
            short, at = short - size, at - 1


def added(number: int, amount: int) -> str:
    """``(30+3) 0+3=3 3+0=3 33``."""
    by = work(number, "+" if amount >= 0 else "-", abs(amount))
    return f"{by}{' ' * bool(by)}{number + amount}" if by else f"{number}{amount:+}={number + amount}"
