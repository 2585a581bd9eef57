"""Binds a worked solution to its question: each number is one of the question's, a result, or a known constant."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from laif_helpers.graders.arithmetic import Tree
from laif_helpers.graders.numbers import Number
from laif_helpers.instructors.symbolic.numbers import find
from laif_helpers.instructors.symbolic.program import NotVariable, Program, parse, worth
from laif_helpers.instructors.symbolic.wording import demanded, parts_of, stays, usual
from laif_helpers.lessons.equations import equations, unknowns

_MARK = re.compile(r"<<([^<>]*)>>")
_TERM = r"\$?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?"
_RIGHT = re.compile(r"=\s*\$?\s?(\d[\d,]*(?:\.\d+)?%?|\.\d+%?)(?!\s*[-+*/x×÷–−]\s*\$?\d)")
_CHAINED = re.compile(rf"=\s*{_TERM}\s*[-–−+*/x×÷]\s*{_TERM}\s*=")
_ALGEBRA = re.compile(
    r"\b[Ll]et(?:'s|’s)? .*\b(?:be|=|equal|represent|call|say)\b"
    r"|\d[a-zA-Z]\b(?<!\d[xmgLl])|\b[xyzXYZ] ?=|\d ?\*? ?[xyXYZ] ?[-+=]"
)
_SLOPPY = re.compile(r"approx|round|about \d|nearest|≈|~|\bremainder\b|at least|at most|no more than", re.IGNORECASE)


@dataclass
class Solution:
    """A question and its worked solution, every number accounted for.

    ``slots``: the question's numbers with the leaf that each shows, or None if it stays; ``tokens``: the
    numbers of ``rationale`` (marks removed) with the register that each shows; ``frozen``: leaves that must
    keep their value because a number could be read in two ways; ``steps``: registers of the equations' results
    in order, ``equations`` their text; ``used``: leaves that the answer's equations read; ``spent``: registers
    that an equation has read; ``percents``: registers shown as percentages; ``constants``: numbers that the
    wording explains, True if an equal quantity could not be distinguished from them.
    """

    question: str
    rationale: str
    program: Program
    slots: list[tuple[Number, int | None]]
    tokens: list[tuple[Number, int]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    equations: list[str] = field(default_factory=list)
    answer: int = -1
    frozen: set[int] = field(default_factory=set)
    percents: set[int] = field(default_factory=set)
    constants: dict[Fraction, bool] = field(default_factory=dict)
    spent: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)

    def look_up(self, value: Fraction, prefer: Sequence[int] = (), *, operand: bool = False) -> int:
        """The register that shows ``value``; if two different quantities could, both are frozen.

        A result that no equation has used yet is what an equation's number means: solutions compute what they
        then use. Raises NotVariable if nothing accounts for the value.
        """
        same = [r for r in dict.fromkeys(prefer) if self.program.value(r) == value] or self._readings(value)
        if not same:
            raise NotVariable("a number of the solution is unaccounted for")
        fresh = [r for r in same if r not in self.spent and self.program.support[r]]
        if len(fresh) == 1 and operand and not self.constants.get(value):
            same = fresh
        elif operand and value in self.constants:
            same = list(dict.fromkeys([*same, self.program.constant(value)]))
        for register in same:
            if len(same) > 1:
                self.frozen |= self.program.support[register]
        if operand:
            self.spent.update(same)
            self.used |= self.program.support[same[0]]
        return same[0]

    def _readings(self, value: Fraction) -> list[int]:
        shown = dict.fromkeys([*self.steps, *range(len(self.program.leaves))])
        same = [r for r in shown if self.program.value(r) == value]
        if value in self.constants and (self.constants[value] or not same):
            same.append(self.program.constant(value))
        return list(dict.fromkeys(same)) or self._percent_forms(value)

    def _percent_forms(self, value: Fraction) -> list[int]:
        """A percentage p written as p/100, 1 ± p/100 or 100 ± p."""
        program, found = self.program, []
        unit, hundred = program.constant(Fraction(1)), program.constant(Fraction(100))
        for percent in sorted(self.percents):
            p = program.value(percent)
            if value == p / 100:
                found.append(program.apply("/", percent, hundred))
            if value in (1 - p / 100, 1 + p / 100):
                symbol = "+" if value > 1 else "-"
                found.append(program.apply(symbol, unit, program.apply("/", percent, hundred)))
            if value in (100 - p, 100 + p):
                found.append(program.apply("+" if value > 100 else "-", hundred, percent))
        return list(dict.fromkeys(found))

    def bind(self, tree: Tree, leaves: list[int]) -> int:
        """The register of an equation's left side; the registers of its numbers are added to ``leaves``."""
        if isinstance(tree, Fraction):
            leaves.append(self.look_up(tree, operand=True))
            return leaves[-1]
        symbol, left, right = tree
        if symbol == "/" and isinstance(left, Fraction) and isinstance(right, Fraction):
            share = left / right
            if share.denominator > 1 and any(n.value == share and i is None for n, i in self.slots):
                leaves += [self.program.constant(left), self.program.constant(right)]
                return self.program.apply("/", leaves[-2], leaves[-1])
        a = self.program.constant(left) if symbol == "-" and left == 0 else self.bind(left, leaves)
        return self.program.apply(symbol, a, self.bind(right, leaves))


def understand(question: str, solution: str) -> Solution:
    """Read a GSM8K-style solution (``<<expr=value>>`` marks, last line ``#### n``) against its question.

    Raises NotVariable with the reason if a number is unaccounted for or an equation does not hold exactly.
    """
    rationale, _, final = solution.partition("####")
    if not final.strip():
        raise NotVariable("the correct answer has no worked solution")
    if _SLOPPY.search(rationale) or re.search(r"\bround|nearest|remainder|approx|whole", question, re.IGNORECASE):
        raise NotVariable("the solution rounds")
    if re.search(r"\btriang|\bpolygon", question, re.IGNORECASE) and re.search(r"\bsides?\b|\bangles?\b", question):
        raise NotVariable("other sides or angles might close no figure")
    if _ALGEBRA.search(rationale):
        raise NotVariable("the solution uses algebra")
    result = _read_question(question, rationale)
    _read_rationale(result, rationale.rstrip())
    answer = Fraction(re.sub(r"[^\d.-]", "", final.split()[0]) or "0")
    steps = [r for r in result.steps if result.program.value(r) == answer]
    if not steps:
        raise NotVariable("the final answer is no equation's result")
    result.answer = steps[-1]
    return result


def _read_question(question: str, rationale: str) -> Solution:
    numbers = [(number, stays(question, number)) for number in find(question)]
    fixed = {number.value for number, reason in numbers if reason}
    values = sorted({number.value for number, _ in numbers} - fixed)
    slots = [(number, None if number.value in fixed else values.index(number.value)) for number, _ in numbers]
    result = Solution(question, "", Program(values), slots)
    fixed_parts = [parts_of(number) for number, leaf in slots if leaf is None]
    certain = fixed.union(*fixed_parts) | demanded(question)
    possible = usual([number for number, _ in numbers]) | demanded(_MARK.sub("", rationale))
    result.constants = dict.fromkeys(possible, False) | dict.fromkeys(certain, True)
    result.percents |= {leaf for number, leaf in slots if number.percent and leaf is not None}
    return result


def _read_rationale(result: Solution, rationale: str) -> None:
    """Walk the solution left to right: equations make results, every number in between must be one of those."""
    marks, text = _strip_marks(rationale)
    if _CHAINED.search(text):
        raise NotVariable("an equation runs on (a = b = c)")
    result.rationale = text
    equations = dict(marks)
    for place, left, right in _shown(text):
        if not any(place <= marked <= place + 3 for marked in equations):
            equations[place] = f"{left}={right}"
    places = sorted(equations)
    waiting: list[Number] = []
    last: list[int] = []
    for number in find(text, fractions=False):
        while places and number.start >= places[0]:
            place = places.pop(0)
            last = _equation(result, equations[place], waiting, last)
            waiting = []
            if not text[place : number.start].strip("$ "):
                _show(result, number, last[-1])
                break
        else:
            waiting.append(number)
    for place in places:
        last = _equation(result, equations[place], waiting, last)
        waiting = []
    _words(result, waiting, [], last)


def _strip_marks(rationale: str) -> tuple[dict[int, str], str]:
    """The text without marks, and each mark's content by the place in that text where it stood."""
    marks: dict[int, str] = {}
    text, position = "", 0
    for match in _MARK.finditer(rationale):
        text += rationale[position : match.start()]
        position = match.end()
        marks[len(text)] = match[1]
    return marks, text + rationale[position:]


def _equation(result: Solution, equation: str, before: list[Number], last: list[int]) -> list[int]:
    """One more equation: bind its left side, check it, account for the words that led to it.

    Returns the registers of its numbers, the result last.
    """
    plain = re.sub(r"[$\s]", "", equation).translate(str.maketrans("x×÷–−", "**/--"))
    left, _, right = plain.partition("=")
    registers: list[int] = []
    register = result.bind(parse(left), registers)
    if worth(parse(right.rstrip("%"))) not in (result.program.value(register), 100 * result.program.value(register)):
        raise NotVariable("an equation does not hold exactly")
    # The words just before the equals sign are the left side itself, number by number.
    cut = len(before) - len(registers)
    shown = [result.program.value(r) for r in registers]
    if cut < 0 or [number.value for number in before[cut:]] != shown:
        cut = len(before)
    _words(result, before[:cut], [*registers, register], last)
    for number, operand in zip(before[cut:], registers, strict=False):
        _show(result, number, operand)
    registers.append(register)
    result.steps.append(register)
    result.equations.append(f"{left}={right}")
    return registers


def _words(result: Solution, numbers: list[Number], ahead: list[int], behind: list[int]) -> None:
    """Account for the numbers between two equations: those of the equation ahead, else of the one behind."""
    for number in numbers:
        near = [r for r in ahead if result.program.value(r) == number.value]
        if number.style in ("ordinal", "clock", "spoken") or _numbers_a_line(result.rationale, number):
            register = result.program.constant(number.value)
        else:
            register = result.look_up(number.value, near or behind)
            if not near and register < len(result.program.leaves) and not _same_unit(result, number, register):
                # "after 3 foldings" in a problem about 3 inches: a count of the solution's own.
                result.frozen.add(register)
        _show(result, number, register)


def _show(result: Solution, number: Number, register: int) -> None:
    if result.program.value(register) != number.value:
        register = result.look_up(number.value)
    if number.percent:
        result.percents.add(register)
    result.tokens.append((number, register))


def _same_unit(result: Solution, number: Number, leaf: int) -> bool:
    """Whether the solution speaks of the leaf's value as the question does: of money, percent or the same things."""
    ours = _unit(result.rationale, number)
    shown = [slot for slot, index in result.slots if index == leaf]
    return any(number.kind == slot.kind != "count" or ours == _unit(result.question, slot) for slot in shown)


def _unit(text: str, number: Number) -> str:
    """The first four letters of the word after a number, "" if none follows."""
    match = re.match(r"[\s-]*([A-Za-z]+)", text[number.end :])
    return match[1].lower()[:4] if match else ""


def _numbers_a_line(text: str, number: Number) -> bool:
    at_start = not text[: number.start].rpartition("\n")[2].strip()
    return at_start and bool(re.match(r"[.)]\s", text[number.end :]))


def _shown(text: str) -> list[tuple[int, str, str]]:
    """Equations that ``text`` shows: where the right side starts, the left side without its words, the right side.

    ``7 days/week * $2 = $14`` gives ``7 * $2``; an equation without a number on its left gives "".
    """
    found = []
    for match in _RIGHT.finditer(text):
        line = text[: match.start()].rpartition("\n")[2]
        left = re.split(r"=|[:;?!]|[.,](?!\d)|\b(?:is|are|so|because|that|equals|then)\b", line)[-1]
        words = re.sub(r"(?:(?<=[A-Za-z])\s?/\s?|/\s?(?=[A-Za-z]))?(?!x\b)[A-Za-z][A-Za-z.'’-]*", " ", left)
        found.append((match.start(1), words.strip(" -–*/x"), match[1]))
    return found


def equations_hold(text: str) -> bool:
    """Whether every equation that can be read in ``text`` holds, as the lessons' own check reads them."""
    variables = unknowns(text)
    return all(true for line in text.splitlines() for _, _, true in equations(line, variables))
