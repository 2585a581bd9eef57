"""Lists the families of items: one row says how a family's lessons are written, read, checked and compared."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from laif_helpers import benchmarks
from laif_helpers.lessons import checks, text


class _Strict(BaseModel):
    # OpenAI's strict schemas want every field required and no other allowed.
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, coerce_numbers_to_str=True)


class MathSample(_Strict):
    """A word problem, its steps and its number."""

    question: str = Field(min_length=1, description="with all numbers that are needed")
    answer: str = Field(description="the solution, one step a line, each calculation an equation such as 6 * 4 = 24")
    final: str = Field(min_length=1, description="the final number alone")


class Options(_Strict):
    """The texts of the four options."""

    A: str
    B: str
    C: str
    D: str


class ChoiceSample(_Strict):
    """A question with four options."""

    question: str = Field(min_length=1, description="without its options")
    options: Options
    letter: str = Field(pattern="^[A-D]$", description="of the right option")
    why: str = Field(description="why this option is right and the tempting ones are not")


class CodeSample(_Strict):
    """A function to write, and the function."""

    question: str = Field(
        min_length=1, description="imports, one signature, a docstring with two or three >>> examples"
    )
    answer: str = Field(min_length=1, description="Python: the imports and the complete function")


_BOXED = re.compile(r"^.*\\boxed\{([^{}]*)\}.*$", re.DOTALL)
Lines = tuple[list[str], list[str]]
"""A sample's question and answer, line by line, as a reply in plain text has them."""


def _math_lines(sample: Any) -> Lines:
    steps = [line for line in sample.answer.split("\n") if not line.lstrip().startswith("####")]
    final = _BOXED.sub(r"\1", sample.final)
    return [sample.question], [*steps, f"#### {final}"]


def _choice_lines(sample: Any) -> Lines:
    options = [f"{letter}. {text}" for letter, text in sample.options.model_dump().items()]
    return [sample.question, *options], [f"{sample.letter} - {sample.why}"]


def _code_lines(sample: Any) -> Lines:
    return [_fenced(sample.question) if "def " in sample.question else sample.question], [_fenced(sample.answer)]


def _fenced(code: str) -> str:
    return code if "```" in code else f"```python\n{code}\n```"


@dataclass(frozen=True)
class Family:
    """How lessons of one family of items are handled.

    Attributes:
        sample: a lesson as the JSON schema of a reply has it; ``lines`` puts it into plain text.
        read: question and answer lines -> (question, response) in the one form that is trained on; None if they
            hold no lesson, because ``needed`` is missing.
        check: (question, response) -> what is wrong with them, "" if nothing is.
        gram: words in a row that, on the same numbers, make a lesson a copy of a test question.
        by_numbers: questions on other numbers are other questions, however alike their words.
        by_letter: the instructor can be asked again, and its letters compared (``agreement``).
    """

    sample: type[BaseModel]
    lines: Callable[[Any], Lines]
    read: Callable[[list[str], list[str]], text.Sample | None]
    needed: str
    check: Callable[[str, str], checks.Problem]
    gram: int = 13
    by_numbers: bool = False
    by_letter: bool = False


FAMILIES = {
    "math": Family(
        MathSample,
        _math_lines,
        text.math,
        "no final number (#### 72) ends the answer",
        lambda question, response: checks.check_math(response),
        gram=8,  # word problems are short: a copy rarely holds 13 words in a row once a name is changed
        by_numbers=True,
    ),
    "choice": Family(
        ChoiceSample,
        _choice_lines,
        text.choice,
        "no option lines (A. …) or no letter that answers",
        checks.check_choice,
        by_letter=True,
    ),
    "code": Family(CodeSample, _code_lines, text.code, "no code", checks.check_code),
}
"""By the names that ``Benchmark.family`` has. ``text`` has no row: its gold answers can be trained on, but no lesson
about it can be read or checked."""


def get(name: str) -> Family:
    """A family's row. Raises ValueError that lists the known names."""
    if name not in FAMILIES:
        raise ValueError(f"no lessons can be read for family {name!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def gram(benchmark: str) -> int:
    """Words in a row that make a copy of a test question, for a benchmark without a row too."""
    row = FAMILIES.get(benchmarks.get(benchmark).family)
    return row.gram if row else Family.gram


def of(benchmark: str) -> Family:
    """The row of a benchmark's items. Raises ValueError as ``get``."""
    return get(benchmarks.get(benchmark).family)
