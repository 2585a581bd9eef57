"""Reads one side of a comparison of two logs: a run folder, a file of responses, or a log of another tool."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from laif_helpers import benchmarks
from laif_helpers.answers import folders, joined, logs, replay
from laif_helpers.answers.logs import Logged
from laif_helpers.graders import turns
from laif_helpers.key_types import values_in
from laif_helpers.machine import cores
from laif_helpers.paths import RunDir, places_of, short_names

Key = tuple[str, str]
"""(task, item)."""
_PARTS = re.compile("right|wrong", re.IGNORECASE)


@dataclass
class Log:
    """One side of a comparison. ``items``: the samples of each item, by (task, item); ``place``: where it lies."""

    name: str
    items: dict[Key, list[Logged]]
    notes: list[str] = field(default_factory=list)
    of_run: bool = False
    place: Path = Path()

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for task, _ in self.items))


def load(spec: str) -> Log:
    """A run folder (its answers to test splits), a file of responses, or a log of another tool, file or folder;
    ``#<model>`` behind it picks one of several models.

    Raises FileNotFoundError naming the places searched, ValueError if nothing can be read, several models answered,
    or an id repeats.
    """
    name, model = replay.named(spec)
    place = _place(name)
    of_run = place.is_dir() and next(place.glob("**/responses"), None) is not None
    answers = _of_run(place) if of_run else _of_files(place)
    models = sorted({answer.model for answer in answers})
    if model:
        answers = [answer for answer in answers if answer.model == model]
    if not answers:
        raise ValueError(f"{spec}: no answers in it; {_what_is_there(place, models)}")
    if len(models) > 1 and not model and _repeats(answers):
        raise ValueError(f"{spec}: {len(models)} models in one log; pick one with '#', e.g. {name}#{models[0]}")
    if (twice := _repeats(answers)) and twice[0].source != twice[1].source:
        files = " and in ".join(sorted({answer.source for answer in twice}))
        raise ValueError(f"{spec}: item {twice[0].id!r} of {twice[0].task} stands in {files}; name one of these files")
    if twice:
        raise ValueError(
            f"{spec}: item {twice[0].id!r} of {twice[0].task} stands there {len(twice)} times; give each row an id, "
            "or number the samples of one item in a field 'sample'"
        )
    items: dict[Key, list[Logged]] = {}
    replay.items.cache_clear()  # a kernel lives long
    with ThreadPoolExecutor(cores()) as pool:  # programs run in child processes
        today = list((pool.map if any(answer.benchmark for answer in answers) else map)(_as_of_today, answers))
    anew = sum(now.gold != then.gold or now.label != then.label for now, then in zip(today, answers, strict=True))
    notes = [f"{anew:,} of {len(answers):,} answers of {spec} are graded anew: the benchmark's file has changed."]
    for answer in today:
        items.setdefault((answer.task, answer.id), []).append(answer)
    turn = f"{place.parent.name}/{place.name}" if place.name.startswith("iter") else place.name
    return Log(turn if of_run else answers[0].model, items, notes if anew else [], of_run, place)


def _place(name: str) -> Path:
    tried = [path.absolute() for path in (Path(name).expanduser(), RunDir.named(name).path, *places_of(name))]
    if found := next((path for path in tried if path.exists()), None):
        return found
    listed = ", ".join(map(str, dict.fromkeys(tried)))
    raise FileNotFoundError(f"{name}: not found as {listed}; give its path, or a run's name")


def _what_is_there(place: Path, models: list[str]) -> str:
    tried = folders.files(place)
    empty = f"name one of its files to see what it lacks, e.g. {tried[0]}" if tried else "none of its files is a log"
    return f"it holds {', '.join(models)}" if models else empty


def _as_of_today(answer: Logged) -> Logged:
    """An answer to a file of the user's own, with the gold answer and the label that the file gives it now."""
    try:
        bench, ours = benchmarks.get(answer.benchmark or ""), answer.item.keys() == {"id"}
        item = replay.item_of(answer) if ours and bench.own_files else None
    except (ValueError, FileNotFoundError):  # none of ours, or the file or its item is gone: the label stands
        return answer
    if item is None or answer.prompt != json.dumps(bench.messages(item)):
        return answer
    return replace(answer, gold=item.gold, label=our_grade(answer))


def our_grade(answer: Logged) -> bool | None:
    """By our graders; None if none of them knows the task, or if the item is gone."""
    if answer.benchmark is None:
        return None
    try:
        item = replay.item_of(answer)
    except replay.Gone:
        return None
    # as stage 1 grades: inside a thought that never ends nothing is an answer
    return not turns.split(answer.text).open and benchmarks.get(answer.benchmark).grade(item, answer.text).correct


def _of_run(place: Path) -> list[Logged]:
    """Answers to the test splits below a folder, or, as of a recording, to the error split if there are no others; a
    task is named by arm and iteration if there are several."""
    tested, learned = list[tuple[Logged, str]](), list[tuple[Logged, str]]()
    recipe = next((up / "recipe.yaml" for up in (place, *place.parents) if (up / "recipe.yaml").is_file()), None)
    settings = values_in(recipe) if recipe else {"error_split": ""}
    error_split = settings.get("error_split", "train")
    apart = error_split != settings.get("test_split", "test")
    for path in sorted(place.glob("**/responses/[!.]*.jsonl")):
        where, version = path.parent.parent.relative_to(place).as_posix(), joined.graders_of(path)[:8]
        for answer in logs.read(path):
            learning = apart and answer.split == error_split
            if learning and tested:
                break
            stamped = replace(answer, grader=version and f"version {version} of our graders")
            (learned if learning else tested).append((stamped, f", {where}" if where != "." else ""))
    found = tested or learned
    # a file of the user's own may lie elsewhere in the other run
    short = short_names(answer.task for answer, _ in found)
    return [replace(answer, task=short[answer.task] + where) for answer, where in found]


def _of_files(place: Path) -> list[Logged]:
    """Answers of a file or folder; each reading of a log that reads answers in several ways is a task of its own.

    Rows without an id that ask the same, in one file or one split into right and wrong, are samples of one item.
    """
    found = [answer for _, answers in folders.read(place) for answer in answers]
    short, readings = short_names(answer.task for answer in found), dict[str, set[str]]()
    for answer in found:
        readings.setdefault(answer.task, set()).add(answer.reading)
    several = {task for task, names in readings.items() if len(names) > 1}
    times: Counter[tuple[str, ...]] = Counter()
    for place_in_list, answer in enumerate(found):
        apart = answer.task in several and answer.reading
        task = short[answer.task] + f" [{answer.reading}]" * bool(apart)
        found[place_in_list] = replace(answer, task=task)
        if not answer.id:
            key = (_PARTS.sub("", answer.source), answer.model, task, item_key(answer))
            found[place_in_list] = replace(answer, task=task, id=key[-1], sample=times[key])
            times[key] += 1
    return found


def content_key(answer: Logged) -> str:
    """An item's key by its question: the same in every tool's log."""
    return _hashed(answer.question)


def item_key(answer: Logged) -> str:
    """An item's key by its question and, because two questions may share their words, its options."""
    options = answer.item.get("choices") or [answer.item[key] for key in "ABCDEFGHIJ" if key in answer.item]
    listed = options.get("text", ()) if isinstance(options, dict) else options
    return _hashed("\n".join([answer.question, *map(str, listed)]))


def _hashed(text: str) -> str:
    text = unicodedata.normalize("NFC", " ".join(text.replace("’", "'").split())).casefold()
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _repeats(answers: list[Logged]) -> list[Logged]:
    """The rows of the first item that is there twice with one number of sample."""
    count = Counter((answer.task, answer.id, answer.sample) for answer in answers)
    key = next((key for key, times in count.items() if times > 1), None)
    return [answer for answer in answers if (answer.task, answer.id, answer.sample) == key] if key else []
