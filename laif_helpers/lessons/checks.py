"""Checks whether a lesson is right: recomputes sums, looks up letters, runs code in the sandbox."""

import ast
import re
from fractions import Fraction

from laif_helpers.graders.arithmetic import DIGITS, value
from laif_helpers.lessons.equations import computes, equations, unknowns
from laif_helpers.lessons.text import words

_NUMBER = re.compile(DIGITS)
_FINAL = re.compile(r"####\s*(.+?)\s*$")

_DENIES = re.compile(r"\b(?:not?|never|nor|unlike|except|rather|instead|wrong|incorrect|false|cannot)\b|n['’]t\b", re.I)
CPU_S = 3
"""Seconds that a code lesson's examples may compute."""
Problem = str
"""Why a lesson is wrong, in one sentence; "" if nothing was found."""


# -- math: every equation again, in exact rational arithmetic


def check_math(response: str) -> Problem:
    """Every equation of the rationale must hold, and the final number be the value computed last.

    A number computed earlier is accepted if the last line states it (``so the most he can earn is $480``). An
    equation that holds words (``x = 5``, ``cost - 2 = 3``) is not read; a rationale without any that can be read is
    not accepted, because nothing in it was checked.
    """
    marked = _FINAL.search(response)
    final = value(marked[1]) if marked else None
    if marked is None or final is None:
        return "no final number after ####"
    lines = response[: marked.start()].strip().splitlines()
    variables, results, checked = unknowns(response), [], False
    for line in lines:
        for left, right, true in equations(line, variables):
            if not true:
                return f"{left} = {right} does not hold"
            results.append(right)
            checked = checked or computes(left) or computes(right)
    if not checked:
        return "no equation that can be recomputed"
    if _is(final, results[-1]) or (
        any(_is(final, item) for item in results)
        and any(value(number) == final for number in _NUMBER.findall(lines[-1]))
    ):
        return ""
    return f"the final number {marked[1]} is not the last value computed ({results[-1]})"


def _is(final: Fraction, text: str) -> bool:
    return final in (value(text, percent=True), value(text))


# -- choice: the letter is one of the options, and they differ


def options_of(question: str) -> list[tuple[str, str]]:
    """(letter, text) of each option line."""
    return re.findall(r"^([A-J])\. (.+)$", question, re.M)


def check_choice(question: str, response: str) -> Problem:
    """Two or more distinct options, lettered from A without a gap, and an answer among them that its reason bears out.

    The reason's sums must hold; if it ends on one option's number or words, the letter must be that option's.
    """
    options = options_of(question)
    letters = [letter for letter, _ in options]
    texts = [" ".join(text.casefold().split()).rstrip(".") for _, text in options]
    if len(options) < 2:
        return f"{len(options)} option(s); a choice needs two"
    if letters != list("ABCDEFGHIJ"[: len(letters)]):
        return f"options are lettered {', '.join(letters)}"
    if len(set(texts)) < len(texts):
        return "two options are the same"
    match = re.search(r"The answer is ([A-J])\.\s*$", response)
    if not match or match[1] not in letters:
        return f"the answer {match[1] if match else response[:20]!r} is not among the options {', '.join(letters)}"
    return _reason_against(response[: match.start()].strip(), options, match[1])


def _reason_against(reason: str, options: list[tuple[str, str]], letter: str) -> Problem:
    """Why the reason does not lead to the letter: a false sum, a last value or last words that are another option's."""
    sums = [found for line in reason.splitlines() for found in equations(line, unknowns(reason))]
    if false := next((f"{left} = {right}" for left, right, true in sums if not true), ""):
        return f"{false} does not hold"
    shown = {option: _NUMBER.findall(text) for option, text in options}
    if sums and all(len(numbers) == 1 for numbers in shown.values()):
        named = [option for option, (number,) in shown.items() if _is(value(number) or Fraction(), sums[-1][1])]
    elif _DENIES.search(reason):
        named = []
    else:
        wording = _spaced(reason)
        named = [option for option, text in options if _spaced(text) in wording]
    if len(named) != 1 or named[0] == letter:
        return ""
    return f"the answer is {letter}, but its reason speaks of option {named[0]} alone"


def _spaced(text: str) -> str:
    """Words alone, a space around each: what one text must hold to name another."""
    return f" {' '.join(words(text))} "


# -- code: it parses, defines what was asked, and passes its own examples in the cage


def check_code(question: str, response: str, timeout_s: float = 10.0) -> Problem:
    """The solution parses, defines the function asked for, and passes the doctest examples, if it has any.

    The question's examples count; the solution's own docstring only if the question has none.
    """
    source = response.removeprefix("```python\n").removesuffix("```")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the code does not parse: {error.args[0] if error.args else error}"
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    asked = re.findall(r"^\s*(?:async\s+)?def\s+(\w+)", question, re.M)
    if not defined or (asked and asked[-1] not in defined):
        return f"the code defines {', '.join(defined) or 'no function'}, asked for was {asked[-1] if asked else 'one'}"
    docstrings = [ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)]
    examples = question if ">>>" in question else "\n".join(text for text in docstrings if ">>>" in text)
    return _run_examples(source, examples, timeout_s) if ">>>" in examples else ""


def _run_examples(source: str, examples: str, timeout_s: float) -> Problem:
    from laif_helpers import sandbox

    text = examples.replace('"""', "\n").replace("'''", "\n")
    program = (
        f"{source}\nimport doctest as _doctest\n"
        f"_test = _doctest.DocTestParser().get_doctest({text!r}, globals(), 'lesson', None, 0)\n"
        "_result = _doctest.DocTestRunner(verbose=False).run(_test)\n"
        "assert _result.attempted and not _result.failed, f'{_result.failed} of {_result.attempted} examples fail'\n"
    )
    # computing time, so that a busy machine refuses no lesson that an idle one keeps
    result = sandbox.run_python(program, timeout_s=timeout_s, cpu_s=CPU_S)
    if result.status == "passed":
        return ""
    last_line = (result.stderr.strip().splitlines() or [""])[-1]
    return f"run on its examples: {result.status}" + (f" ({last_line[:120]})" if last_line else "")
