"""Draws new numbers for a bound solution under constraints, recomputes it exactly, writes it, and reads it again."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from laif_helpers.graders.numbers import Number
from laif_helpers.instructors.symbolic.chain import Solution, equations_hold
from laif_helpers.instructors.symbolic.numbers import find, places, plain, replace
from laif_helpers.instructors.symbolic.program import Exact
from laif_helpers.instructors.symbolic.wording import answer_limit, limit, relations

_TRIES = 300
_UNITS = [u * 10**e for e in range(9) for u in (1, 5)]


@dataclass(frozen=True)
class Variation:
    """One new problem: its question, its response (rationale and ``#### n``) and the answer."""

    question: str
    response: str
    answer: Exact


class Variator:
    """Draws variations of one solution. ``free``: leaves that may change, with the values each may take."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.program = program = solution.program
        side = {value: leaf for leaf, value in enumerate(program.leaves)}
        sums = relations([number for number, _ in solution.slots])
        self.sums = [tuple(side.get(value, value) for value in values) for values in sums]
        candidates = solution.used - solution.frozen - _restated(solution)
        self.free = {leaf: values for leaf in sorted(candidates) if (values := _choices(solution, leaf))}
        self.ranked = _ranked(solution)
        self.bounds = [_bounds(program.value(r), r in solution.percents) for r in range(len(program.prints))]
        if cap := answer_limit(solution.question, program.value(solution.answer)):
            low, high, denominator = self.bounds[solution.answer]
            self.bounds[solution.answer] = low, min(high, float(cap) + 0.001), denominator

    def draw(self, rng: random.Random, leaves: set[int]) -> Variation | None:
        """A variation that changes all of ``leaves`` if that can be had, else some, else one, for which every value is
        tried; None if none was found."""
        varied = sorted(leaves & self.free.keys())
        for attempt in range(_TRIES if varied else 0):
            chosen = varied if attempt < _TRIES // 2 else [leaf for leaf in varied if rng.random() < 0.5]
            if new := self._with({leaf: rng.choice(self.free[leaf]) for leaf in chosen}):
                return new
        single = [{leaf: value} for leaf in varied for value in self.free[leaf]]
        return next(filter(None, map(self._with, rng.sample(single, len(single)))), None)

    def _with(self, changes: dict[int, Fraction]) -> Variation | None:
        """The problem on these values, if they keep its wording and every number's reading true."""
        values = self._propose(changes)
        registers = self.program.run(values, self._accept) if values else []
        same = registers and registers[self.solution.answer] == self.program.value(self.solution.answer)
        if not registers or same or not self._keeps_rank(registers):
            return None
        return _write(self.solution, registers)

    def _propose(self, changes: dict[int, Fraction]) -> list[Fraction]:
        """New leaves that keep sums and the order between the question's numbers; [] if these changes do not."""
        new, chosen = list(self.program.leaves), changes.keys()
        for leaf, value in changes.items():
            new[leaf] = value
        for total, low, high in self.sums:
            together = _worth(low, new) + _worth(high, new)
            if isinstance(total, int) and total in chosen:
                new[total] = together
            if together != _worth(total, new):
                return []
        return new if new != self.program.leaves else []

    def _accept(self, register: int, value: Exact) -> bool:
        low, high, denominator = self.bounds[register]
        return low < value < high and denominator % value.denominator == 0

    def _keeps_rank(self, registers: list[Exact]) -> bool:
        now = [_worth(side, registers) for side in self.ranked]
        return all(a < b for a, b in itertools.pairwise(now))


def _worth(side: Exact, values: Sequence[Any]) -> Any:
    """What a number is worth now: ``side`` is a register's index (int) or a number that stays (Fraction)."""
    return values[side] if isinstance(side, int) else side


def _bounds(old: Fraction, percent: bool) -> tuple[float, float, int]:
    """Open interval for a register's new value and what its denominator must divide.

    Integers stay integers, decimals have no more than two places (or as many as before), sign, side of 1, and
    order of magnitude stay; 0 and 1 stay what they are.
    """
    decimals = places(old)
    denominator = old.denominator if decimals == 99 else 1 if decimals == 0 else 10 ** max(decimals, 2)
    if old in (0, 1):
        return float(old) - 0.01, float(old) + 0.01, 1
    if old < 0:
        return float(old * 8), float(old / 8), denominator
    low, high = (0.0, 1.0) if old < 1 else (max(1.0, float(old / 8)), float(old * 8))
    return low, min(high, 100.0) if percent and 1 < old < 100 else high, denominator


def _choices(solution: Solution, leaf: int) -> list[Fraction]:
    """Values that the leaf may take: half to twice the old value, as round as it, written in words if possible."""
    old = solution.program.leaves[leaf]
    shown = [number for number, index in solution.slots if index == leaf]
    caps = [cap for number in shown if (cap := limit(solution.question, number))]
    if any(number.style == "word" for number in shown + [n for n, r in solution.tokens if r == leaf]):
        caps.append(Fraction(20 if old <= 20 else 99))
    decimals = max(places(old), max(number.decimals for number in shown) if old.denominator > 1 else 0)
    scaled = int(old * 10**decimals)
    rough = any(number.percent for number in shown) and old % 5 == 0
    unit = max(u for u in _UNITS if u == 1 or (scaled % u == 0 and scaled >= (2 if rough and u == 5 else 6) * u))
    low = max(unit, -(-scaled // (2 * unit)) * unit)
    values = [Fraction(value, 10**decimals) for value in range(low, 2 * scaled + 1, unit)]
    fits = [v for v in values if v != old and (v > 1) == (old > 1) and v != 1 and (v.denominator > 1) == (decimals > 0)]
    return [v for v in fits if all(v <= max(cap, old) for cap in caps)]


def _ranked(solution: Solution) -> list[Exact]:
    """Registers and fixed numbers, lowest first: with another order of any two, where a solution weighs them or a
    question sets a condition, another solution would be right."""
    program = solution.program
    slots = [(n.value, leaf) for n, leaf in solution.slots if not n.percent]
    sides: dict[Fraction, Exact] = {value: value for value, leaf in slots if leaf is None}
    sides |= {value: leaf for value, leaf in slots if leaf is not None}
    sides |= {program.value(register): register for register in solution.steps if register not in solution.percents}
    return [sides[value] for value in sorted(sides)]


def _restated(solution: Solution) -> set[int]:
    """Leaves whose results the question states again in a number that the solution does not use."""
    program = solution.program
    frozen: set[int] = set()
    unused = {
        n.value for n, i in solution.slots if n.style in ("digits", "word") and (i is None or i not in solution.used)
    }
    unused -= {program.value(r) for r in solution.spent if not program.support[r]} | {Fraction(1)}
    for register in range(len(program.leaves), len(program.prints)):
        if program.value(register) in unused:
            frozen |= program.support[register]
    for number in unused:
        # "Ann and her 4 friends" are five: the solution's 5 need not be the 5 of the question.
        frozen |= {leaf for leaf in solution.used if program.leaves[leaf] == number + 1 <= 12}
        for a in solution.used:
            for b in solution.used:
                x, y = program.leaves[a], program.leaves[b]
                if a != b and number in (x * y, x / y, x - y):
                    frozen |= {a, b}
    return frozen


def _write(solution: Solution, registers: list[Exact]) -> Variation | None:
    slots: list[tuple[Number, Exact]] = [
        (number, number.value if leaf is None else registers[leaf]) for number, leaf in solution.slots
    ]
    tokens = [(number, registers[register]) for number, register in solution.tokens]
    answer = registers[solution.answer]
    if places(answer) == 99 or any(places(v) == 99 for n, v in tokens if n.style not in ("spoken", "fraction")):
        return None
    commas = any("," in number.text for number, _ in slots + tokens)
    rationale = replace(solution.rationale, tokens, commas=commas)
    new = Variation(replace(solution.question, slots, commas=commas), f"{rationale}\n#### {plain(answer)}", answer)
    return new if _reads_back(solution, new, slots) else None


def _reads_back(solution: Solution, new: Variation, slots: list[tuple[Number, Exact]]) -> bool:
    """Read the new question afresh: the same numbers in the same places, and the chain gives the same answer."""
    found = find(new.question)
    if [n.value for n in found] != [value for _, value in slots]:
        return False
    leaves = list(solution.program.leaves)
    for number, (_, leaf) in zip(found, solution.slots, strict=True):
        if leaf is not None:
            leaves[leaf] = number.value
    registers = solution.program.run(leaves)
    return bool(registers) and registers[solution.answer] == new.answer and equations_hold(new.response)
