"""What the tests of requests, instructors and ledger share: parameters, and answers as stage 1 leaves them."""

from typing import Any

from laif_helpers import benchmarks, recipe
from laif_helpers.records import Response, write_jsonl

PRACTICE = benchmarks.get("practice")
TRAIN = PRACTICE.load("train")[:60]


def parameters(arm: str = "le", **more: Any) -> recipe.StageParameters:
    values = {"run": "r", "arm": arm, "iteration": 1, "budget": 40, "replay_fraction": 0.5}
    return recipe.build(recipe.StageParameters, values | more)


def answer_items(p: recipe.StageParameters, wrong: int = 12, text: str = "I do not know.\n#### 0") -> None:
    """Response files of the previous iteration: the first ``wrong`` items wrong, the others right."""
    rows = []
    for at, example in enumerate(TRAIN):
        said = text if at < wrong else str(PRACTICE.gold_response(example))
        grade = PRACTICE.grade(example, said)
        rows.append(
            Response(
                example.id, "practice", "train", PRACTICE.messages(example), example.gold, said, grade.extracted,
                at >= wrong, grade.readable, grade.reason, 10, 10, "m",
            )
        )  # fmt: skip
    write_jsonl(p.previous.responses("practice", "train"), rows)
