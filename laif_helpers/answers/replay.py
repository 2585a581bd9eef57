"""Reads recorded responses of a model as if the target had just answered.

What files are read: ``logs``. Recorded labels are kept beside the answers, never trusted in their place.
"""

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path

from laif_helpers import benchmarks
from laif_helpers.answers import folders, lm_eval, logs
from laif_helpers.benchmarks._files import unique_ids
from laif_helpers.paths import places_of
from laif_helpers.records import Example

DataDir = str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded answer. ``label``: what its recorder held of it, None if the file does not say; ``sample``: its
    number if the item was answered several times."""

    example: Example
    text: str
    model: str
    label: bool | None
    source: str
    sample: int = 0


class Gone(ValueError):
    """An answer's item is no longer in its benchmark."""


def load(spec: str, data_dir: DataDir = None) -> list[Recorded]:
    """Recorded answers of a file or of every ``.jsonl``, ``.json`` or ``.eval`` file below a folder, in their order.

    ``spec``: absolute, or relative to the project root or to a data folder; ``#<model>`` behind it picks one of
    several models. Ids are those that ``Benchmark.load`` gives the same items. Raises FileNotFoundError naming the
    places searched, ValueError naming file, row and field.
    """
    items.cache_clear()  # a kernel lives long, and its user may put gold answers right meanwhile
    name, model = named(spec, data_dir)
    place = find(name, data_dir)
    read = folders.read(place)
    found = [record for path, answers in read for record in _recorded(path, answers, data_dir)]
    if not found:
        tried = ", ".join(str(path) for path, _ in read)
        raise ValueError(f"{place}: no recorded answers in it (files tried: {tried or 'none'})")
    if model:
        known = models(found)
        found = [record for record in found if record.model == model]
        if not found:
            raise ValueError(f"{place}: no answers of model {model!r}; it holds {', '.join(known)}")
    return _with_unique_ids(found)


def named(spec: str, data_dir: DataDir = None) -> tuple[str, str]:
    """Place and model of ``<place>#<model>``; the name of a place may hold the sign too."""
    name, sign, model = spec.rpartition("#")
    alone = not sign or any(place.exists() for place in places_of(spec, data_dir))
    return (spec, "") if alone else (name, model)


def models(found: list[Recorded]) -> list[str]:
    """Names of the models that answered, in order of appearance."""
    return list(dict.fromkeys(record.model for record in found))


def find(name: str, data_dir: DataDir = None) -> Path:
    """A file or folder of recorded answers. Raises FileNotFoundError naming the places searched."""
    tried = places_of(name, data_dir)
    if place := next((place for place in tried if place.exists()), None):
        return place
    raise FileNotFoundError(
        f"{name}: not found as {', '.join(map(str, tried))}; "
        "give an absolute path, or name its folder by data_dir or the environment variable LAIF_DATA"
    )


def _recorded(path: Path, answers: list[logs.Logged], data_dir: DataDir) -> list[Recorded]:
    """A file's answers with their items. An answer that a log reads in several ways comes once, right if any reading
    found it right; EvalPlus' second test set and lm-eval's votes are left out.
    """
    found: dict[tuple[str, int, int], Recorded] = {}
    gone: list[str] = []
    for logged in answers:
        if logged.reading == "plus" or lm_eval.is_vote(logged.reading):
            continue
        try:
            example = item_of(logged, data_dir)
        except Gone as error:
            gone.append(str(error))
            continue
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: row {logged.row}: {error}") from None
        record = Recorded(example, logged.text, logged.model, logged.label, logged.source, logged.sample)
        key = (logged.model, logged.sample, logged.row)
        if logged.reading:
            key = (f"{logged.task}\n{logged.id}", logged.sample, 0)
        if key in found:
            record = replace(found[key], label=found[key].label or record.label)
        found[key] = record
    if gone and not found:
        raise ValueError(f"{path}: {gone[0]}")
    if gone:
        print(f"{path.name}: {len(gone)} answers to items that are not there are left out (the first: {gone[0]})")
    return list(found.values())


def item_of(logged: logs.Logged, data_dir: DataDir = None) -> Example:
    """The item that an answer is to. Raises ValueError if no benchmark has it, or if its data is not here."""
    name, item = logged.benchmark, logged.item
    if name is None:
        raise ValueError(
            f"task {logged.task!r} is none of the benchmarks known here; its items look like none: laif compare reads "
            "its labels, a recipe needs rows with the item's fields, e.g. question, answer ('#### 12') and response"
        )
    if item.keys() == {"task_id"}:  # as tools give it: HumanEval/0, Mbpp/2, 2
        id = str(item["task_id"])
        return _by_id(name, id if name == "humaneval" else f"mbpp-{id.rpartition('/')[2]}", "", data_dir)
    if item.keys() == {"id"}:
        return _by_id(name, item["id"], logged.split, data_dir)
    return replace(benchmarks.get(name).from_row(item), split=logged.split)


def _by_id(name: str, id: str, split: str, data_dir: DataDir) -> Example:
    """The item of that id, of ``split`` if it stands there. Raises Gone."""
    for other in sorted(benchmarks.get(name).splits, key=lambda each: each != split):
        if item := items(name, other, str(data_dir) if data_dir else None).get(id):
            return item
    raise Gone(f"benchmark {name!r} has no item {id!r}")


@functools.lru_cache(maxsize=8)
def items(benchmark: str, split: str, data_dir: str | None) -> dict[str, Example]:
    """A split's items by id; none if its data is absent."""
    try:
        return {example.id: example for example in benchmarks.get(benchmark).load(split, data_dir)}
    except FileNotFoundError:
        return {}


def _with_unique_ids(found: list[Recorded]) -> list[Recorded]:
    """Items that occur twice in a split get the ids that ``Benchmark.load`` gives them, per model."""
    result: list[Recorded] = list(found)
    groups: dict[tuple[str, str, str, int], list[int]] = {}
    for place, record in enumerate(found):
        key = (record.model, record.example.benchmark, record.example.split, record.sample)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        for place, example in zip(places, unique_ids([found[place].example for place in places]), strict=True):
            result[place] = replace(found[place], example=example)
    return result
