"""Joins answers with the items they answer, for error analysis, instruction, training and comparison.

Files and benchmarks are read once a process: both readers are cached by path, size and time of change.
"""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laif_helpers import benchmarks
from laif_helpers.paths import IterationDir, data_dirs, file_label, short_names, stamp_of
from laif_helpers.recipe import Recipe
from laif_helpers.records import Example, Response, read_jsonl, read_state
from laif_helpers.target import Target

if TYPE_CHECKING:
    import pandas as pd

FLIPS = {(False, True): "fixed", (True, False): "broken", (False, False): "still_wrong", (True, True): "still_right"}
"""What became of an item, by (right before, right after)."""
_KEPT = ("id", "benchmark", "split", "gold", "text", "extracted", "correct", "readable", "reason", "model")


def pairs(p: Recipe, folder: IterationDir, benchmark: str, split: str) -> list[tuple[Example, Response]]:
    """Every answer of an iteration to a split with the item it answers, in the file's order.

    Raises FileNotFoundError when the split was not answered, ValueError when an answer's item is not known or 01 ran
    with another ``limit``.
    """
    path = folder.responses(benchmark, split)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run 01_evaluate on this arm and iteration first")
    answers, known = responses(path), examples(p, benchmark, split)
    strangers = [answer.id for answer in answers if answer.id not in known]
    if _other_limit(p, path, answers, known):
        raise ValueError(
            f"LIMIT = {p.limit} takes {len(known):,} items of {benchmark}'s split {split!r}, but {path.name} of "
            f"{'/'.join(folder.path.parts[-2:])} holds {len(answers):,} answers: set LIMIT as 01_evaluate had it, or "
            "run 01 again with this one"
        )
    if strangers:
        raise ValueError(
            f"{path.name}: {len(strangers)} of {len(answers)} answers (first: {strangers[0]}) have no question in "
            f"{benchmark}'s split {split!r}; use the TARGET and DATA_DIR that 01_evaluate used"
        )
    return [(known[answer.id], answer) for answer in answers]


def _other_limit(p: Recipe, path: Path, answers: list[Response], known: dict[str, Example]) -> bool:
    """Whether 01 took another number of items. A file that 01 did not write (it has no stamp) may hold fewer."""
    count = len({answer.id for answer in answers})
    if Target.of(p.target).kind == "replay":
        return False
    return (count > len(known) and p.limit > 0) or (count < len(known) and stamp_of(path).is_file())


def table(p: Recipe, folder: IterationDir, benchmark: str, split: str) -> "pd.DataFrame":
    """``pairs`` as a table, a row for each item: the columns of ``Response`` without messages, plus ``question`` (all
    that a person would be shown), ``chance``, ``fields`` (the benchmark's own labels), ``is_error``
    (``Response.is_error``), ``share`` and ``samples`` (right answers of all that were drawn; the other columns are the
    first answer's) and ``origin`` (what the item was made from; by default itself).
    """
    import pandas as pd

    bench = benchmarks.get(benchmark)
    rows: dict[str, dict[str, Any]] = {}
    drawn: dict[str, list[bool]] = {}
    for example, answer in pairs(p, folder, benchmark, split):
        drawn.setdefault(answer.id, []).append(answer.correct)
        if answer.id in rows:
            continue
        row: dict[str, Any] = {name: getattr(answer, name) for name in _KEPT}
        row |= {"question": bench.question_text(example), "chance": bench.chance(example), "fields": example.fields}
        rows[answer.id] = row | {"is_error": answer.is_error, "origin": origin(example)}
    found = pd.DataFrame(list(rows.values()), columns=[*_KEPT, "question", "chance", "fields", "is_error", "origin"])
    shares = [sum(drawn[id]) / len(drawn[id]) for id in found["id"]]
    return found.assign(share=shares, samples=[len(drawn[id]) for id in found["id"]])


def origin(example: Example) -> str:
    """What an item was made from: the seed question of GSM-Plus' eight variants, else the item itself."""
    return str(example.fields.get("seed_question") or "") or example.id


def same_graders(before: Path, after: Path, who: str) -> None:
    """Refuse to pair two files of responses that different graders graded: a flip might be the graders' doing.

    ``who`` names arm, iteration and benchmark of ``after``. A file without a stamp passes. Raises ValueError.
    """
    then, now = (graders_of(path) for path in (before, after))
    if then and now and then != now:
        raise ValueError(
            f"{who}: graded by another version of the graders ({now}) than the answers it is paired with ({then}, "
            f"{'/'.join(before.parts[-4:-2])}); run 01_evaluate again on both (laif run … --redo 01), which grades "
            "finished answers anew and asks for none"
        )


def graders_of(responses: Path) -> str:
    """Hash of the graders that graded a file of responses; "" if it has no stamp."""
    return str(read_state(stamp_of(responses)).get("graders", ""))


def shortened(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table for people: its column ``benchmark`` holds names, whereas rows and keys of files hold paths."""
    return table.assign(benchmark=table["benchmark"].map(short_names(table["benchmark"])))


def held_out(p: Recipe, benchmark: str, id: str) -> bool:
    """Whether an item of the error split is kept from instructor and training alike, in every arm and iteration.

    What becomes of such items tells learning from memorising. The draw is a hash of seed, benchmark and id, so it
    depends neither on the order of items nor on how many there are.
    """
    drawn = hashlib.sha256(f"{p.seed}-{benchmark}-{id}-held-out".encode()).digest()[:8]
    return int.from_bytes(drawn, "big") < p.holdout_fraction * 2**64


def learnable(p: Recipe, benchmark: str, *, hidden: bool = False) -> list[Example]:
    """Items of the error split that an arm may learn from; ``hidden``: those that are held out instead."""
    items = examples(p, benchmark, p.error_split).values()
    return [item for item in items if held_out(p, benchmark, item.id) == hidden]


# -- read once


def responses(path: Path) -> list[Response]:
    """The rows of a file of responses; do not change the list, others hold it too."""
    return _responses(path, _state(path))


@functools.lru_cache(maxsize=64)
def _responses(path: Path, state: tuple[int, int]) -> list[Response]:
    return read_jsonl(path, Response)


def examples(p: Recipe, benchmark: str, split: str) -> dict[str, Example]:
    """Items by id: from the recorded answers themselves if those are the target, else from the benchmark.

    Do not change the mapping, others hold it too.
    """
    states = tuple((str(path), *_state(path)) for path in _sources(p, benchmark, split))
    target = Target.of(p.target)
    recorded = target.name if target.kind == "replay" else ""
    return _examples(recorded, benchmark, split, (p.data_dir, p.limit), states)


@functools.lru_cache(maxsize=32)
def _examples(
    recorded: str, benchmark: str, split: str, taken: tuple[str, int], states: tuple[tuple[str, int, int], ...]
) -> dict[str, Example]:
    """``taken``: data folder and limit. ``states``: of the files behind the items; a changed file is read again."""
    data_dir, limit = taken
    if recorded:
        from laif_helpers.answers import replay

        found = replay.load(recorded, data_dir or None)
        return {item.example.id: item.example for item in found if item.example.benchmark == benchmark}
    return {item.id: item for item in benchmarks.get(benchmark).load(split, data_dir or None, limit or None)}


def _sources(p: Recipe, benchmark: str, split: str) -> Iterator[Path]:
    """The files that items come from, where they lie on this machine."""
    target, bench = Target.of(p.target), benchmarks.get(benchmark)
    if target.kind == "replay":
        places = [target.recording(p.data_dir), *bench.own_files]
    else:
        names = bench.sources[split].files if split in bench.sources else ()
        places = [folder / file_label(benchmark) / name for folder in data_dirs(p.data_dir) for name in names]
        places += [*bench.own_files, *(folder / name for folder in data_dirs(p.data_dir) for name in names)]
    for place in places:
        yield from sorted(place.rglob("*")) if place.is_dir() else [place] if place.is_file() else []


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
