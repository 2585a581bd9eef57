"""Grades LaTeX and symbolic answers with math-verify, in child processes that end when an item takes too long.

math-verify (https://github.com/huggingface/Math-Verify) times itself with signals, which work in a main thread only
and not inside long integer arithmetic; so its own timeouts are off, and the kernel's timer of processor time ends the
child. Of a response, sympy's parser gets to see what math-verify's patterns take for LaTeX, or digits and operators.
"""

import atexit
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laif_helpers import machine
from laif_helpers.graders.numbers import numbers
from laif_helpers.graders.turns import own_turn
from laif_helpers.records import Grade

TIMEOUT_S = 5.0
"""Of processor time for one answer, which a busy machine does not stretch; the import comes on top."""
_TAIL = 4000
_MARK = "verdict: "
"""Begins each line of the child; what else is printed there comes from a start-up file of the user's."""
_MEMORY = 4 << 30
_STATES = re.compile(r"####|\banswer[*_]*\s*(?:is\b|:)", re.IGNORECASE)
_PROSE = re.compile(r"\n.*\S|[A-Za-z]{3,}\s+[A-Za-z]{2,}")
_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\(?:boxed|fbox)")
_SUPERSCRIPT = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_UNIT_WORDS = re.compile(r"(?:(?<=[\d})])|(?<=pi))\s+[a-z]{3,}(?:\s[a-z]+){0,2}\W*\Z")
_ONE = r"[-−]?\s?(?:\d+(?:\.\d+)?(?:\s?/\s?\d+)?|\\[dt]?frac\{-?\d+\}\{\d+\})"
_LIST = re.compile(rf"\\?\{{?\s*{_ONE}(?:(?:\s?[,;]\s*|,?\s+and\s+|,?\s*\\text\{{\s?and\s?\}}\s*)+{_ONE})+\s*\\?\}}?")
_IN_ORDER = re.compile(r"(?i)\b(?:sort|order|arrange|ascending|descending|smallest to|largest to|sequence|terms|next)")
_BASE = re.compile(r"\d_\{?(\d+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``right`` is None if math-verify read nothing, or ran out of time or memory."""

    right: bool | None
    read: str


class Judge:
    """One child process, started when first asked; started anew after it had to end itself."""

    def __init__(self, timeout_s: float = TIMEOUT_S):
        self.timeout_s = timeout_s
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def ask(self, gold: str, text: str) -> Verdict:
        """Whether the answer that ``text`` ends on equals ``gold``. Raises RuntimeError if math-verify is broken."""
        with self._lock:
            child = self._child = self._child or self._started()
            assert child.stdin
            try:
                child.stdin.write(json.dumps([gold, text[-_TAIL:]]) + "\n")
                child.stdin.flush()
                line = _next(child)
            except BrokenPipeError:
                line = ""
            if not line:
                self._child = None
                child.wait()
                return Verdict(None, "out of time or memory")
        return Verdict(*json.loads(line))

    def close(self) -> None:
        child, self._child = self._child, None
        if child and child.stdin:
            child.kill()
            child.communicate()

    def _started(self) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        child = subprocess.Popen(
            [sys.executable, "-m", "laif_helpers.graders.latex", str(self.timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": path},
        )
        why = json.loads(_next(child) or '"its process ended"')
        if why:  # a child for each answer would end in the same way, for hours
            child.communicate()
            raise RuntimeError(f"math-verify cannot be loaded ({why}); install the packages of environment.yml")
        return child


def _next(child: "subprocess.Popen[str]") -> str:
    """The child's next answer; "" if it has ended."""
    assert child.stdout
    lines = iter(child.stdout.readline, "")
    return next((line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)), "")


ask = Judge().ask
"""Asks this process's own judge."""


def ask_all(pairs: Sequence[tuple[str, str]], workers: int = 0, timeout_s: float = TIMEOUT_S) -> list[Verdict]:
    """A verdict for each (gold, text), in order; many pairs are shared out to one child per usable core."""
    number = max(1, min(workers or machine.cores(), -(-len(pairs) // 2000)))
    judges = [Judge(timeout_s) for _ in range(number)]
    try:
        with ThreadPoolExecutor(number) as pool:
            parts = pool.map(lambda n: [judges[n].ask(*pair) for pair in pairs[n::number]], range(number))
        verdicts = list(parts)
        return [verdicts[place % number][place // number] for place in range(len(pairs))]
    finally:
        for judge in judges:
            judge.close()
            atexit.unregister(judge.close)


def grade(gold: str, text: str) -> Grade:
    """Grade a response against a formula; one that is stated without LaTeX's marks is found by the words before it."""
    text = _tex(own_turn(text))
    verdict = ask(_tex(gold), text)
    if not verdict.right and (stated := _undelimited(text)):
        verdict = ask(_tex(gold), f"${_of_program(stated)}$")
    bases = _BASE.findall(gold)[-1:], _BASE.findall(text)[-1:]  # math-verify knows none
    verdict = replace(verdict, right=False) if all(bases) and bases[0] != bases[1] else verdict
    if verdict.right is None:
        return Grade(False, None, False, f"math-verify: {verdict.read or 'no formula found'}")
    return Grade(
        verdict.right, verdict.read, True, f"math-verify: {verdict.read} {'=' if verdict.right else 'is not'} {gold}"
    )


def is_list(gold: str) -> bool:
    """Whether a gold answer is some numbers: "1, -2" or "2 and 3"."""
    return _LIST.fullmatch(gold.strip()) is not None


def grade_list(gold: str, text: str, question: str) -> Grade:
    """All the numbers of a gold answer and no other, in any order unless the question asks for one."""
    answer = own_turn(text)[-_TAIL:]
    ends = [match.end() for match in _STATES.finditer(answer)]
    parts = [answer[ends[-1] :].strip().partition("\n")[0]] if ends else []
    parts += [re.sub(r".*:(?=.*\d)", "", part) for part in reversed(re.split(r"(?<=\w[.!?])\s|\n", answer))]
    boxed = [" , ".join(re.findall(r"\\boxed\s?\{((?:[^{}]|\{[^{}]*\})+)\}", part)) or part for part in parts]
    read = next(filter(None, map(numbers, boxed)), [])
    found, wanted = ([number.value for number in row] for row in (read, numbers(gold)))
    if not _IN_ORDER.search(question):
        found, wanted = sorted(found), sorted(wanted)
    said = ", ".join(number.text for number in read)
    return Grade(
        found == wanted, said or None, bool(read), f"{said or 'nothing'} {'=' if found == wanted else 'is not'} {gold}"
    )


def _undelimited(text: str) -> str:
    """The line behind the last statement of an answer; "" if math-verify finds the formula in it by itself."""
    ends = [match.end() for match in _STATES.finditer(text)]
    text = _UNIT_WORDS.sub("", text)
    formula = not _PROSE.search(text)  # and nothing else
    line = text[max(ends, default=0 if formula else len(text)) :].strip().partition("\n")[0].strip(" .*")
    return "" if len(line) > 200 or _DELIMITED.search(line) else line


def _tex(formula: str) -> str:
    """A formula with LaTeX's names for roots, pi and the like, without the unknown that lies in an interval."""
    formula = _SUPERSCRIPT.sub(lambda power: f"^{{{unicodedata.normalize('NFKC', power[0])}}}", formula)
    formula = re.sub(r"\A\s*[a-z]\s*\\in\b\s*", "", formula).replace(r"\varnothing", r"\emptyset")
    formula = re.sub(r"(?<!\\)(?:\bsqrt|√)\s?(?:\(([^()]*)\)|(\d+|[a-z]))", r"\\sqrt{\1\2}", formula)
    formula = re.sub(r"\\mathrm\s?\{([a-z])\}", r"\1", re.sub(r"(?<![\\a-zA-Z])pi\b", r"\\pi", formula))
    return formula.replace("π", r"\pi ").replace("∞", r"\infty ")


def _of_program(formula: str) -> str:
    """A formula with LaTeX's powers, products and functions for a program's: x**10, 2*log(3)."""
    formula = re.sub(r"(?:\*\*|\^)\s?(\([^()]*\)|-?(?:\d+|[a-zA-Z]))", r"^{\1}", formula)  # x^5y is x^5 y
    formula = re.sub(r"\s?[*⋅]\s?", r" \\cdot ", formula)
    return re.sub(r"(?<![\\a-zA-Z])(sin|cos|tan|log|ln|exp)(?=\s?\()", r"\\\1", formula)


def _small(wanted: Any, read: Any) -> bool:
    """Whether two numbers are taken for equal only because both are almost nothing: 1/2^99 and 1/2^98."""
    if not all(
        getattr(formula, "is_number", False) and getattr(formula, "is_real", False) for formula in (wanted, read)
    ):
        return False
    first, second = wanted.evalf(20), read.evalf(20)
    return bool(0 < abs(first) < 1e-4 and abs(second / first - 1) > 1e-4)


def _serve(timeout_s: float) -> None:
    """Say why it cannot (nothing if it can), then answer lines of standard input until it closes.

    The timer has no handler, so it ends the process.
    """
    import logging
    import resource
    import signal

    with contextlib.suppress(ValueError):  # macOS refuses a limit on the address space; the time is limited there too
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        from math_verify import parse, verify
    except Exception as error:
        print(_MARK + json.dumps(str(error) or type(error).__name__), flush=True)
        return
    print(_MARK + json.dumps(""), flush=True)
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        gold, text = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, timeout_s)
        try:
            plain = (re.fullmatch(r"[-\d.,/% ]+", gold) and not is_list(gold)) or "$" in gold
            wanted = parse(gold if plain else f"${gold}$", parsing_timeout=None)
            read = parse(text, parsing_timeout=None)
            right = bool(verify(wanted, read, timeout_seconds=None)) if wanted and read else None
            if right is False and getattr(read[0], "is_Boolean", False):  # an inequality, of a gold interval
                right = bool(verify(read, wanted, timeout_seconds=None))
            right = right and not _small(wanted[0], read[0])
            reading = str(read[-1])[:200] if read else ""
        except (Exception, RecursionError) as error:  # what a parser of other people's LaTeX may raise is anything
            right, reading = None, f"{type(error).__name__}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(_MARK + json.dumps([right, reading]), flush=True)


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
