"""Exports lessons to a folder that ``datasets``, TRL, axolotl and LLaMA-Factory read, with its card."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from laif_helpers import arms, benchmarks
from laif_helpers.arms import ARMS
from laif_helpers.figures.html import render
from laif_helpers.key_types import values_in
from laif_helpers.paths import RunDir, short_names
from laif_helpers.records import Lesson, Message, Row, read_jsonl, write_jsonl, write_text

FILE = "train.jsonl"
READERS = {
    "messages": "TRL's SFTTrainer as it is; axolotl with `type: chat_template`; LLaMA-Factory with "
    "`formatting: sharegpt`, `columns: {messages: messages}` and the tags role, content, user, assistant",
    "alpaca": "axolotl with `type: alpaca`; LLaMA-Factory with `formatting: alpaca`",
    "sharegpt": "axolotl with `type: chat_template`, `field_messages: conversations` and the properties from, value; "
    "LLaMA-Factory with `formatting: sharegpt`",
}
"""Formats, and the setting with which a trainer reads each."""
CHECKS = {
    "unparsable": "could be read",
    "wrong": "right: sums recomputed, letters looked up, code run on its examples",
    "duplicate": "no repeat of another lesson",
    "contaminated": "no test question, nor one in other words",
    "too_long": "fits a training sample",
    "surplus": "needed for the budget",
}
"""What a lesson of each other status failed to be."""


def export(run: str, arm: str, *, format: str = "messages", iteration: int = 0, out: str = "") -> Path:
    """Write an arm's kept lessons and their card; the folder, which ``datasets.load_dataset`` reads.

    ``iteration``: 0 for the latest that has lessons. ``out``: the folder; by default ``export/`` of the run.
    Raises ValueError or FileNotFoundError for an unknown run, arm, iteration or format, for lessons of which none
    was kept, and for a folder that holds other things.
    """
    if format not in READERS:
        raise ValueError(f"format {format!r}: choose one of {', '.join(READERS)}, inspect")
    folder = RunDir.named(run)
    iteration = iteration or _latest(folder, arm)
    path = folder.iteration(arm, iteration).lessons(arm)
    if not path.is_file():
        raise FileNotFoundError(f"arm {arm!r} of run {run!r} has no lessons in iteration {iteration}: no {path}")
    results = read_jsonl(path, Lesson)
    names = short_names(lesson.benchmark for lesson in results)  # a path says where somebody works
    rows = [_row(lesson, format, names[lesson.benchmark]) for lesson in results if lesson.status == "kept"]
    if not rows:
        raise ValueError(f"{path} holds {len(results)} lessons, none of them kept: there is nothing to export")
    target = Path(out).expanduser() if out else folder.path / "export" / f"{arm}-iter{iteration}-{format}"
    _empty(target)
    write_jsonl(target / FILE, rows)
    settings = values_in(folder.recipe) or values_in(RunDir(folder.path.parent.parent).recipe)  # a point's: the sweep's
    write_text(target / "README.md", _card(results, settings, f"{folder.path.name}, {arm}", format))
    return target


def _latest(folder: RunDir, arm: str) -> int:
    if not folder.path.is_dir():
        raise FileNotFoundError(f"no run {folder.path.name!r}: {folder.path} does not exist")
    found = [int(path.parts[-3].removeprefix("iter")) for path in folder.path.glob(f"{arm}/iter*/lessons/{arm}.jsonl")]
    if found:
        return max(found)
    known = [name for name in ARMS if any(folder.path.glob(f"{name}/iter*/lessons/*.jsonl"))]
    raise FileNotFoundError(
        f"run {folder.path.name!r} has no lessons of arm {arm!r}; arms with lessons: {', '.join(known) or 'none yet'}"
    )


# -- rows


def _row(lesson: Lesson, format: str, benchmark: str) -> Row:
    asked = benchmarks.get(lesson.benchmark).messages_for(lesson.question)
    about = {"id": lesson.id, "benchmark": benchmark, "source_ids": lesson.source_ids}
    return FORMATS[format]([*asked, {"role": "assistant", "content": lesson.response}]) | about


def _alpaca(turns: list[Message]) -> Row:
    asked = "\n\n".join(turn["content"] for turn in turns[:-1])
    return {"instruction": asked, "input": "", "output": turns[-1]["content"]}


def _sharegpt(turns: list[Message]) -> Row:
    speaker = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": speaker[turn["role"]], "value": turn["content"]} for turn in turns]}


FORMATS: dict[str, Callable[[list[Message]], Row]] = {
    "messages": lambda turns: {"messages": turns},
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


# -- files


def _empty(target: Path) -> None:
    """Remove an earlier export; refuse a folder that is no export."""
    known = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if other := sorted(known - {"README.md", FILE}):
        raise ValueError(f"{target} holds {other[0]!r}, which no export wrote; name an empty folder with --out")
    for name in known:
        (target / name).unlink()
    target.mkdir(parents=True, exist_ok=True)


# -- the card


def _card(results: list[Lesson], settings: Mapping[str, Any], title: str, format: str) -> str:
    kept = [lesson for lesson in results if lesson.status == "kept"]
    sources = Counter(benchmark for benchmark, _ in {(each.benchmark, id) for each in kept for id in each.source_ids})
    names, refused = short_names(sources), Counter(lesson.status for lesson in results)
    front = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": FILE}]}]}
    values: dict[str, Any] = {"title": title, "format": format, "reader": READERS[format], "first": results[0]}
    values |= {"written": len(results), "kept": len(kept), "settings": settings}
    values |= {
        "front": yaml.safe_dump(front | {"tags": ["laif", "instruction-tuning"]}, sort_keys=False).strip(),
        "what": "errors" if arms.studies_errors(results[0].arm) else "items",
        "sources": sources.total(),
        "by_benchmark": [f"{names[benchmark]} {count:,}" for benchmark, count in sorted(sources.items())],
        "measured": settings.get("test_split", "test") == settings.get("error_split"),
        "instructors": sorted({lesson.instructor for lesson in results}),
        "checks": {check: refused[status] for status, check in CHECKS.items()},
        "tested": list(short_names(settings.get("benchmarks", [])).values()),
    }
    return render(Path(__file__).with_name("card.md.j2"), **values)
