"""Families of items: one row says how a family's items are asked and graded; its lessons have a row in ``lessons``."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from laif_helpers.graders import choice, code, word_problem


@dataclass(frozen=True)
class Family:
    """``asks``: the module with the functions of a ``Benchmark`` that all items of the family share; None if each
    benchmark brings its own. ``runs_programs``: grades are made in child processes, so that threads keep cores busy."""

    asks: ModuleType | None = None
    runs_programs: bool = False


FAMILIES = {"math": Family(word_problem), "choice": Family(choice), "code": Family(code, True), "text": Family()}
"""By the names that ``Benchmark.family`` has."""
GRADINGS = {"numeric": "math", "choice": "choice", "exact": "text"}
"""How a row of a user's own file may be graded, and the family of such items; one file may mix them."""
_SHARED = ("question_text", "messages_for", "gold_response", "grade", "chance")


def asking(family: str) -> dict[str, Any]:
    """The functions that ask and grade a family's items, as a ``Benchmark`` takes them."""
    module = FAMILIES[family].asks
    return {name: getattr(module, name) for name in _SHARED if hasattr(module, name)}
