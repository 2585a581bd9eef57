"""Answers joined with the questions they answer: what error analysis and comparison both start from."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laif_helpers import benchmarks
from laif_helpers.paths import IterationDir, short_names, stamp_of
from laif_helpers.recipe import Recipe
from laif_helpers.records import Example, Response, read_jsonl

if TYPE_CHECKING:
    import pandas as pd


def read(p: Recipe, folder: IterationDir, benchmark: str, split: str) -> "pd.DataFrame":
    """One row per answered item, in the file's order: the columns of ``Response`` without messages, plus
    ``question`` (all that a person would be shown), ``chance``, ``fields`` (the benchmark's own labels) and
    ``is_error`` (wrong, and no second grader disputes it).

    Raises FileNotFoundError when the split was not answered, ValueError when answers have no known question.
    """
    import pandas as pd

    path = folder.responses(benchmark, split)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run 01_evaluate on this arm and iteration first")
    answers = read_jsonl(path, Response)
    known = examples(p, benchmark, split)
    if strangers := [answer.id for answer in answers if answer.id not in known]:
        raise ValueError(
            f"{path.name}: {len(strangers)} of {len(answers)} answers (first: {strangers[0]}) have no question in "
            f"{benchmark}'s split {split!r}; use the target and data_dir that 01_evaluate used"
        )
    bench = benchmarks.get(benchmark)
    kept = ("id", "benchmark", "split", "gold", "text", "extracted", "correct", "readable", "reason", "model")
    rows = []
    for answer in answers:
        example = known[answer.id]
        row: dict[str, Any] = {name: getattr(answer, name) for name in kept}
        row |= {"question": bench.question_text(example), "chance": bench.chance(example), "fields": example.fields}
        row["is_error"] = answer.is_error
        rows.append(row)
    return pd.DataFrame(rows, columns=[*kept, "question", "chance", "fields", "is_error"])


def same_graders(before: Path, after: Path, who: str) -> None:
    """Refuse to pair two files of responses that different graders graded: a flip might be the graders' doing.

    ``who`` names arm, iteration and benchmark of ``after``. A file without a stamp passes. Raises ValueError.
    """
    then, now = (_graders(path) for path in (before, after))
    if then and now and then != now:
        raise ValueError(
            f"{who}: graded by another version of the graders ({now}) than the answers it is paired with ({then}, "
            f"{'/'.join(before.parts[-4:-2])}); run 01_evaluate again on both (laif run … --redo 01), which grades "
            "finished answers anew and asks for none"
        )


def _graders(responses: Path) -> str:
    path = stamp_of(responses)
    return str(json.loads(path.read_text(encoding="utf-8")).get("graders", "")) if path.is_file() else ""


def shortened(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table for people: its column ``benchmark`` holds names, where rows and keys of files hold paths."""
    return table.assign(benchmark=table["benchmark"].map(short_names(table["benchmark"])))


def held_out(p: Recipe, benchmark: str, id: str) -> bool:
    """Whether an item of the error split is kept from instructor and training alike, in every arm and iteration.

    What becomes of such items tells learning from memorising. The draw is a hash of seed, benchmark and id, so it
    depends neither on the order of items nor on how many there are.
    """
    drawn = hashlib.sha256(f"{p.seed}-{benchmark}-{id}-held-out".encode()).digest()[:8]
    return int.from_bytes(drawn, "big") < p.holdout_fraction * 2**64


def examples(p: Recipe, benchmark: str, split: str) -> dict[str, Example]:
    """Items by id: from the recorded answers themselves where those are the target, else from the benchmark."""
    if p.target.startswith("replay:"):
        from laif_helpers.answers import replay

        recorded = replay.load(p.target.removeprefix("replay:"), p.data_dir or None)
        return {item.example.id: item.example for item in recorded if item.example.benchmark == benchmark}
    items = benchmarks.get(benchmark).load(split, p.data_dir or None, p.limit or None)
    return {item.id: item for item in items}
