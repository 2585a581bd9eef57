"""Grades recorded answers again with our graders, and compares the grades with the recorded labels."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import benchmarks
from laif_helpers.answers import replay
from laif_helpers.answers.replay import Recorded
from laif_helpers.evaluate.grading import grade_all, graders_hash, items_hash, to_responses
from laif_helpers.evaluate.jobs import write_graded
from laif_helpers.figures.html import escaped
from laif_helpers.paths import stamp_of
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Grade, read_state
from laif_helpers.target import Target


def evaluate(p: StageParameters, wanted: list[tuple[str, str]]) -> list[Path]:
    """Grade the recorded answers to the splits ``wanted``; a split without answers is left out, and a line says so.

    Raises ValueError when the file holds several models and none is named, or no answer to anything wanted.
    """
    spec = Target.of(p.target).name
    recorded = replay.load(spec, p.data_dir or None)
    if len(known := sorted({item.model for item in recorded})) > 1:
        raise ValueError(
            f"target {p.target!r} holds the answers of {len(known)} models ({', '.join(known)}); pick one with '#', "
            f"e.g. target: replay:{spec.partition('#')[0]}#{known[0]}"
        )
    paths = []
    for name, split in wanted:
        items = _of_split(p, recorded, name, split)
        if not items:
            print(f"{name}, {split}: no recorded answers, left out")
            continue
        print(f"{name}, {split}: grading {len(items):,} recorded answers of {known[0]}")
        paths.append(p.folder.responses(name, split))
        _grade_into(paths[-1], items, name, split, p.audit)
    if not paths:
        found = sorted({f"{item.example.benchmark}, {item.example.split or 'unknown split'}" for item in recorded})
        raise ValueError(
            f"target {p.target!r} holds no answers to {'; '.join(f'{n}, {s}' for n, s in wanted)}; "
            f"it holds {'; '.join(found)}: set benchmarks, error_split or test_split accordingly"
        )
    return paths


def _grade_into(path: Path, items: list[Recorded], name: str, split: str, audit: bool) -> None:
    """Grade and write the file, unless these very answers were graded by these graders before."""
    keys, examples = [json.dumps([item.text, item.model]) for item in items], [item.example for item in items]
    stamp: dict[str, Any] = {"graders": graders_hash(), "items": items_hash(keys, examples), "audit": audit}
    if path.is_file() and read_state(stamp_of(path)) == stamp:
        return
    answers = [Completion(item.text, 0, 0) for item in items]
    graded = to_responses(benchmarks.get(name), examples, answers, items[0].model, split, audit)
    write_graded(path, graded, [item.sample for item in items], stamp)


def _of_split(p: StageParameters, recorded: list[Recorded], name: str, split: str) -> list[Recorded]:
    """Recorded answers to one split, in the split's own order if its questions are on this machine; ``limit`` applies.

    The order matters: files of right and of wrong answers come one after the other, and a limit must not see
    right answers only.
    """
    items = [item for item in recorded if item.example.benchmark == name and item.example.split in (split, "")]
    try:
        places = {e.id: place for place, e in enumerate(benchmarks.get(name).load(split, p.data_dir or None))}
    except (FileNotFoundError, ConnectionError):
        places = {}
    unknown = [item.example.id for item in items if item.example.split != split and item.example.id not in places]
    if again := sum(id.rpartition("-")[0] in places for id in unknown):
        print(f"{name}, {split}: {again} answers repeat an item and are left out; number them in a field 'sample'")
    items = [item for item in items if item.example.split == split or item.example.id in places]
    items.sort(key=lambda item: places.get(item.example.id, len(places)))
    taken = set(list(dict.fromkeys(item.example.id for item in items))[: p.limit or None])
    return [item for item in items if item.example.id in taken]


def agreement(p: StageParameters, df: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our grades beside the recorded labels, for every model of the file, even if the target names one.

    Returns ``(table, disagreements)``: per benchmark and model n, agree, share and how the two differ; and one
    row per disagreement with what we read and why. Both are empty if the target is no recording.
    ``df``: graded answers, which are not graded again.
    """
    target = Target.of(p.target)
    loaded = replay.load(target.name.partition("#")[0], p.data_dir or None) if target.kind == "replay" else []
    recorded = [item for item in loaded if item.label is not None and item.example.benchmark in p.benchmarks]
    done = {
        (row["model"], row["id"], row["text"]): Grade(row["correct"], row["extracted"], row["readable"], row["reason"])
        for row in df.to_dict("records")
    }
    rows = []
    for name, model in dict.fromkeys((item.example.benchmark, item.model) for item in recorded):
        items = [item for item in recorded if (item.example.benchmark, item.model) == (name, model)]
        # evenly from the whole list: recorded right answers come before wrong ones
        rows += _graded(name, items[:: -(-len(items) // p.limit)] if p.limit else items, done)
    columns = ["benchmark", "model", "id", "gold", "read", "ours", "recorded", "reason", "text"]
    compared = pd.DataFrame(rows, columns=columns).astype({"ours": bool, "recorded": bool})
    ours, theirs = compared["ours"], compared["recorded"]
    marks = {"agree": ours == theirs, "only_ours_right": ours & ~theirs, "only_recorded_right": theirs & ~ours}
    groups = compared.assign(**marks, n=1, share=ours == theirs).groupby(["benchmark", "model"], sort=False)
    counts = groups.agg({"n": "sum", "agree": "sum", "share": "mean", **dict.fromkeys([*marks][1:], "sum")})
    return counts.reset_index(), compared[ours != theirs].reset_index(drop=True)


def _graded(name: str, items: list[Recorded], done: dict[tuple[str, str, str], Grade]) -> list[dict[str, Any]]:
    """A row of the comparison for each answer; only those that are not ``done`` are graded."""
    keys = [(item.model, item.example.id, item.text) for item in items]
    new = [item for item, key in zip(items, keys, strict=True) if key not in done]
    answers = [Completion(item.text, 0, 0) for item in new]
    fresh = iter(grade_all(benchmarks.get(name), [item.example for item in new], answers))
    rows = []
    for item, key in zip(items, keys, strict=True):
        grade = done[key] if key in done else next(fresh)
        about: dict[str, Any] = {"benchmark": name, "model": item.model, "id": item.example.id}
        about |= {"gold": item.example.gold, "read": grade.extracted, "ours": grade.correct, "recorded": item.label}
        rows.append(about | {"reason": grade.reason, "text": item.text})
    return rows


def observation(table: pd.DataFrame) -> str:
    """What ``agreement``'s table says, as Markdown."""
    if table.empty:
        return "**Observation.** The target is no recording with labels: there is nothing to compare with."
    n, agree = int(table["n"].sum()), int(table["agree"].sum())
    return (
        f"**Observation.** {agree:,} of {n:,} grades ({100 * agree / n:.2f} %) agree with the recorded labels; "
        f"{n - agree:,} do not: {int(table['only_ours_right'].sum()):,} are right by ours alone, "
        f"{int(table['only_recorded_right'].sum()):,} by the recorded label alone."
    )


def listing(p: StageParameters, disagreements: pd.DataFrame) -> str:
    """HTML of every disagreement, model text escaped; with the answers' texts they go to ``disagreements.csv``."""
    if disagreements.empty:
        return ""
    disagreements.to_csv(p.folder.path / "disagreements.csv", index=False)
    shown = escaped(disagreements.drop(columns=["text", "benchmark"]), 120)
    return f'<div style="max-height:30em;overflow:auto">{shown}</div>'
