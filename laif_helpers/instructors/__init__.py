"""Calls instructors: each answers chat messages with a diagnosis and numbered samples, in one reply format.

One file here and one row of ``INSTRUCTORS`` make an instructor; the file is imported when it is asked.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from laif_helpers import benchmarks
from laif_helpers.instructors.ledger import Asked, Ledger, Reply
from laif_helpers.models import tokenizers


@dataclass(frozen=True)
class Instructor:
    """What an instructor costs, and which arms and benchmarks it can teach.

    Attributes:
        paid: replies cost money or another machine's time; its file has ``ask(requests, p, ledger)``, and what it says
            is kept at any price. A free one has ``answer(messages, seed=…) -> str``, which says the same again.
        families: of items that it can write lessons for.
        benchmarks: the only ones of those families that it knows; () for all.
        groups: it can be asked about several errors at once (``per: cluster``).
        solutions: it puts new numbers into an item's worked solution, so items without one teach nothing.
    """

    paid: bool
    families: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    groups: bool = True
    solutions: bool = False


INSTRUCTORS = {
    "scripted": Instructor(False, ("math",), ("practice", "practice_plus")),
    "symbolic": Instructor(False, ("math",), groups=False, solutions=True),
    "llm": Instructor(True, ("math", "choice", "code")),
}
"""Names as recipes write them."""
LOOKED_AT = 200
"""Worked solutions of a user's file that are tried before a run; if one of them can be varied, the run goes on."""


def can_teach(name: str, benchmark: str) -> bool:
    """Whether an instructor can write lessons about a benchmark's items."""
    bench, row = benchmarks.get(benchmark), INSTRUCTORS[name]
    return bench.family in row.families and (not row.benchmarks or bench.name in row.benchmarks)


def unable(name: str, in_domain: Sequence[str], per: str = "error") -> str:
    """Why an instructor cannot teach what a recipe asks for, with what can be done instead; "" if it can."""
    if per == "cluster" and not INSTRUCTORS[name].groups:
        return f"instructor {name!r} writes lessons about one error at a time: set per: error, or another instructor"
    for benchmark in in_domain:
        if not can_teach(name, benchmark):
            others = [other for other in INSTRUCTORS if can_teach(other, benchmark)]
            instead = f"set instructor to {' or '.join(others)}" if others else "no instructor can"
            family = benchmarks.get(benchmark).family
            return (
                f"instructor {name!r} writes no lessons about {benchmark} (family {family!r}): {instead}, take it out "
                "of in_domain, or leave out the arms that ask an instructor"
            )
    return ""


def problem(recipe: Any, needs: str = "instructor") -> str:
    """Why whoever an arm ``needs`` cannot teach it: ``unable`` for a recipe's instructor (a quote shows what a language
    model would read and write, whoever is named), ``tokenizers.vocabulary_problem`` for its teacher. "" if they can."""
    if needs == "teacher":
        return tokenizers.vocabulary_problem(recipe.target, recipe.teacher)
    return unable("llm" if recipe.quote_only else recipe.instructor, recipe.in_domain, recipe.per)


def warning(recipe: Any) -> str:
    """A sentence if a recipe's instructor needs worked solutions and a file of the user's has none that it can vary."""
    if not INSTRUCTORS[recipe.instructor].solutions or recipe.quote_only:
        return ""
    own = (bench for bench in map(benchmarks.get, recipe.in_domain) if bench.own_files)
    return next(filter(None, (_unsolved(bench, recipe.error_split) for bench in own)), "")


def _unsolved(bench: benchmarks.Benchmark, split: str) -> str:
    from laif_helpers.instructors import symbolic

    items = bench.load(split)
    solved = [(bench.question_text(item), bench.gold_response(item) or "") for item in items if item.rationale]
    tried = symbolic.coverage(solved[:LOOKED_AT])
    if tried["varied"]:
        return ""
    why = f" (the first {tried.total()} cannot be varied: {tried.most_common(1)[0][0]})" if solved else ""
    return (
        "instructor 'symbolic' puts new numbers into worked solutions, so there will be no lessons: "
        f"{len(solved)} of {len(items)} {split} items of {bench.name} have one{why}; write calculations into the rows' "
        "'solution', such as 3 * 4 = 12, or set instructor to llm"
    )


def ask(requests: Sequence[Asked], p: Any, ledger: Ledger) -> None:
    """Put every request to ``p.instructor``; each reply is written into the ledger as it comes."""
    module = importlib.import_module(f"{__name__}.{p.instructor}")
    if INSTRUCTORS[p.instructor].paid:
        module.ask(requests, p, ledger)
        return
    for request in tqdm(requests, desc=p.instructor, unit="request", disable=not requests):
        text = module.answer(request.messages, seed=int(request.key[:8], 16))
        ledger.reserve(request.key, "", 0.0)
        ledger.record(Reply(request.key, text))
