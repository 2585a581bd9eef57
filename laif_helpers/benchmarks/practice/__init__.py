"""The practice world: procedural word problems with labelled concepts and planted gaps.

Made by this project (Apache-2.0); nothing is downloaded. ``practice`` is in-domain (train, test);
``practice_plus`` is its out-of-domain twin (test), each item with one ``twist``, in the manner of GSM-Plus
(https://arxiv.org/abs/2402.19255). A reversed item follows the form of MetaMath's backward questions
(https://arxiv.org/abs/2309.12284). One raw row::

    {"id": "practice-0c6…", "question": "Mia has 3 pairs of eggs. She loses 2 eggs. How many eggs does Mia have now?",
     "answer": "Mia has 3 * 2 = 6 eggs.\\nMia has 6 - 2 = 4 eggs.\\n#### 4", "concepts": ["pair", "lose"], …}

The gaps are concepts that the nano target never met in its practice data: words for a quantity, never a way of
calculating. They are known here to score a diagnosis; no instructor sees them.
"""

import hashlib
import random
from functools import cache, partial
from typing import Any

from laif_helpers.benchmarks import Benchmark
from laif_helpers.benchmarks._files import DataDir, check_split
from laif_helpers.benchmarks.practice.concepts import CONCEPTS
from laif_helpers.benchmarks.practice.reading import recognise
from laif_helpers.benchmarks.practice.world import TWISTS, Problem, compose, draw_concepts
from laif_helpers.graders.families import asking
from laif_helpers.records import Example

GAPS = frozenset({"dozen", "score", "fortnight", "dime", "spider", "quarter", "quadruple"})
PRACTISED = tuple(name for name in CONCEPTS if name not in GAPS)

GAP_SHARE = 0.25
"""Share of questions that a gap decides: about 0.75 accuracy for a target that knows all the rest."""
SIZES = {("practice", "train"): 2400, ("practice", "test"): 1200, ("practice_plus", "test"): 1200}
_SEED = 20240700


def draw(rng: random.Random, gap_share: float = GAP_SHARE, twist: str = "") -> Problem:
    """One problem of the world's mix: half of one step, half of two; a gap in ``gap_share`` of them."""
    gap = rng.random() < gap_share
    focus = rng.choice(sorted(GAPS) if gap else PRACTISED)
    return compose(rng, draw_concepts(rng, focus, rng.choice((1, 2)), PRACTISED), twist)


@cache
def _world() -> dict[tuple[str, str], list[Example]]:
    """Every split, drawn once in a fixed order from a fixed seed; no question occurs twice in all of them."""
    rng = random.Random(_SEED)
    taken: set[str] = set()
    world: dict[tuple[str, str], list[Example]] = {}
    for (name, split), size in SIZES.items():
        examples: list[Example] = []
        while len(examples) < size:
            twist = TWISTS[len(examples) % len(TWISTS)] if name == "practice_plus" else ""
            problem = draw(rng, twist=twist)
            if problem.question not in taken:
                taken.add(problem.question)
                id, about = _identity(name, problem.question), _attributes(problem)
                gold, rationale = str(problem.answer), problem.rationale
                examples.append(Example(id, name, split, problem.question, gold, rationale, about))
        world[name, split] = examples
    return world


def _identity(name: str, question: str) -> str:
    return f"{name}-{hashlib.sha256(' '.join(question.split()).encode()).hexdigest()[:12]}"


def _attributes(problem: Problem) -> dict[str, Any]:
    """Labels of an item. ``concept`` is the one that decides it: the gap if there is one, else the last."""
    steps = problem.steps
    deciding = next((step for step in steps if step.concept in GAPS), steps[-1])
    largest = max(problem.numbers)
    return {
        "concept": deciding.concept,
        "concepts": list(problem.concepts),
        "operation": CONCEPTS[deciding.concept].operation,
        "steps": len(steps),
        "magnitude": "ones" if largest < 10 else "tens" if largest < 100 else "hundreds",
        "phrasing": deciding.phrasing,
        "gap": deciding.concept in GAPS,
        **({"twist": problem.twist} if problem.twist else {}),
    }


def _load(
    name: str, splits: tuple[str, ...], split: str, data_dir: DataDir = None, limit: int | None = None
) -> list[Example]:
    """Items of a split, always the same ones in the same order; made on the spot, ``data_dir`` is not read."""
    check_split(name, split, splits)
    return _world()[name, split][: limit or None]


def _from_row(name: str, row: dict[str, Any]) -> Example:
    """A row with ``question`` and ``answer`` (worked, ending in ``#### number``); missing labels are read from
    the question if it belongs to this world. Raises ValueError naming the field that is missing or wrong."""
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str):
            raise ValueError(f"{name} row: field {key!r} must be a text, found {row.get(key)!r}")
    rationale, mark, gold = row["answer"].rpartition("####")
    if not mark or not gold.strip():
        raise ValueError(f"{name} row: field 'answer' must end in '#### <number>', found {row['answer'][-40:]!r}")
    known = ("concept", "concepts", "operation", "steps", "magnitude", "phrasing", "gap", "twist")
    labels = {key: row[key] for key in known if key in row} or _labels(row["question"])
    split, question = row.get("split", ""), row["question"]
    return Example(_identity(name, question), name, split, question, gold.strip(), rationale.rstrip("\n"), labels)


def _labels(question: str) -> dict[str, Any]:
    try:
        return _attributes(recognise(question))
    except ValueError:
        return {}


def _benchmark(name: str, splits: tuple[str, ...], facets: tuple[str, ...]) -> Benchmark:
    return Benchmark(
        name=name,
        splits=splits,
        family="math",
        load=partial(_load, name, splits),
        from_row=partial(_from_row, name),
        facets=facets,
        **asking("math"),
    )


_FACETS = ("concept", "operation", "steps", "magnitude", "phrasing", "gap")
BENCHMARKS = {
    "practice": _benchmark("practice", ("train", "test"), _FACETS),
    "practice_plus": _benchmark("practice_plus", ("test",), ("twist", *_FACETS)),
}
