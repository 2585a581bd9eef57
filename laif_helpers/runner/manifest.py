"""Records what a run has done: ``manifest.jsonl``, the hashes that say whether a stage must run again, ``recipe.yaml``.

A stage's truth is its row here, never the executed notebook's metadata: after a killed kernel papermill leaves
every cell marked ``completed``.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from laif_helpers import arms
from laif_helpers import benchmarks as _benchmarks
from laif_helpers.answers import joined
from laif_helpers.evaluate.grading import graders_hash
from laif_helpers.key_types import values_in
from laif_helpers.paths import SENTINEL, RunDir, data_dirs, file_label
from laif_helpers.recipe import Recipe
from laif_helpers.records import write_text
from laif_helpers.runner import history, notebook, plan
from laif_helpers.runner.outputs import damaged, file_hash
from laif_helpers.runner.plan import RunPlan, Stage
from laif_helpers.target import Target

NO_INPUTS = {"RUN", "WORKERS"}
"""Parameters that no result depends on."""
OUTPUTS = {
    plan.EVALUATE: ["responses/*.jsonl"],
    plan.PART: [],
    plan.ANALYSE: ["errors.parquet", "error_map.*", "weaknesses.*"],
    "03_instruct_LE": ["instruct/*.jsonl", "lessons/*.jsonl"],
    "04_instruct_LEC": ["instruct/*.jsonl", "lessons/*.jsonl"],
    plan.TRIPOST: ["trajectories.jsonl", "records.jsonl"],
    plan.REPAIR: ["repair/*.jsonl"],
    plan.SELF: ["attempts.jsonl", "lessons/*.jsonl"],
    plan.DISTIL: ["records.jsonl"],
    plan.TRAIN: ["train.jsonl", "train_metrics.json", f"checkpoint/{SENTINEL}", "checkpoint/*.safetensors"],
    plan.COMPARE: ["results.csv", "report.html", "effects.*"],
}


def rows(run: RunDir) -> list[dict[str, Any]]:
    """Rows of a run folder's manifest, one for each attempt, oldest first; none if nothing has run."""
    return history.rows(run.manifest)


def latest(run: RunDir) -> dict[str, dict[str, Any]]:
    """Each stage's last attempt. A skip records no files, so the attempt before the skip counts."""
    return {row["stage"]: row for row in rows(run) if row["status"] != "skipped"}


def inputs(stage: Stage, parameters: dict[str, Any], notebooks: Path) -> dict[str, Any]:
    """What a stage's result depends on: parameter values, the notebook's source, the files it reads.

    ``NO_INPUTS`` are left out: a run folder can be renamed, and more workers redo nothing. The helper's own code is
    left out too: a new release does not redo finished training; ``--redo`` does.
    """
    return {
        "parameters": {name: value for name, value in parameters.items() if name not in NO_INPUTS},
        "notebook": notebook.source_hash(notebooks / f"{stage.notebook}.ipynb"),
        "files": {label: file_hash(path) for label, path in sorted(_files_read(stage)) if not _beside_weights(label)},
    }


def outputs(stage: Stage) -> list[str]:
    """Files that a stage has left, relative to its run folder."""
    patterns = [*OUTPUTS[stage.notebook], f"metrics/{stage.name}.json"]
    found = (path for pattern in patterns for path in stage.folder.path.glob(pattern) if path.name[0] != ".")
    return sorted(path.relative_to(stage.run.path).as_posix() for path in found)


def answers_come(stages: Sequence[Stage]) -> bool:
    """Whether an evaluation of a run is yet to come, which today's graders will grade. None comes of an arm that ended
    because it had nothing left to learn."""
    rows = {run: latest(run) for run in {stage.run for stage in stages}}
    over = {(run, row.get("arm")) for run, found in rows.items() for row in found.values() if row["status"] == "ended"}
    asked = [stage for stage in stages if stage.notebook == plan.EVALUATE and (stage.run, stage.arm) not in over]
    return any(rows[stage.run].get(stage.key, {}).get("status") != "done" for stage in asked)


def why(stage: Stage, row: dict[str, Any] | None, now: dict[str, Any], answers_come: bool) -> str:
    """Why a stage has to run, in a few words; "" if its last attempt still stands. ``answers_come``: see there."""
    if row is None:
        return "not done yet"
    if row["status"] not in ("done", "ended"):
        return "failed last time" if row["status"] == "failed" else "was interrupted"
    if lost := [path for path in row["outputs"] if not (stage.run.path / path).exists()]:
        return f"{lost[0]} is missing"
    if torn := damaged(stage.run.path, row.get("hashes", {})):
        return f"{torn} is damaged"
    before = row["inputs"]
    if before["notebook"] != now["notebook"]:
        return "the notebook changed"
    for kind in ("parameters", "files"):
        known = (before[kind] | now[kind]).keys() - NO_INPUTS  # a release before this one wrote WORKERS down
        if changed := sorted(k for k in known if before[kind].get(k) != now[kind].get(k) and not _beside_weights(k)):
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return f"{changed[0].removeprefix('data/')}{more} changed"  # a file of one's own lies anywhere
    return _other_graders(stage, answers_come)


def _beside_weights(label: str) -> bool:
    """Whether a file of a model's folder decides no answer: its card, or what a clone or a download hides there."""
    return label.startswith(("target/", "checkpoint/")) and (label.endswith("/README.md") or "/." in label)


def _other_graders(stage: Stage, answers_come: bool) -> str:
    """Why 01 grades finished answers anew; "" if it need not.

    A finished run keeps its verdicts whatever changes in the graders. But a run that goes on after a change, or went
    on, holds verdicts of two graders, which must not be compared: all of them become today's.
    """
    if stage.notebook != plan.EVALUATE:
        return ""
    # the untouched target's answers are paired with those of every point of a sweep
    beside = stage.run.path.glob("points/*") if stage.arm == "vanilla" else ()
    found = (path for folder in (stage.run.path, *beside) for path in folder.glob("*/iter*/responses/*.jsonl"))
    stamped = {path: joined.graders_of(path) for path in found}
    own = {stamped[path] for path in stage.folder.path.glob("responses/*.jsonl")} - {""}
    mixed = answers_come or len(set(stamped.values()) - {""}) > 1
    return "the run holds answers that other graders graded" if mixed and own - {graders_hash()} else ""


def _files_read(stage: Stage) -> Iterator[tuple[str, Path]]:
    """``(label, path)`` of the files behind a stage; labels hold no path of this machine."""
    settings, stem = stage.recipe, stage.notebook
    splits = [f"{file_label(name)}.{settings.error_split}.jsonl" for name in settings.in_domain]
    if stem in (plan.EVALUATE, plan.PART):
        yield from _model(stage, stage.iteration)
        yield from _benchmark_files(settings)
    elif stem in (plan.TRIPOST, plan.REPAIR):
        yield from _model(stage, stage.iteration - (stem == plan.TRIPOST))
    elif stem == plan.ANALYSE:
        yield from _present(stage.run, *sorted(stage.folder.path.glob("responses/*.jsonl")))
        if stage.iteration > 0:
            yield from _present(stage.run, stage.run.iteration("vanilla", 0).errors)
    elif stem == plan.COMPARE:
        for arm in settings.all_arms:
            yield from _present(stage.run, *_compared(stage, arm))
    else:
        yield from _present(stage.run, *(stage.previous.path / "responses" / name for name in splits))
        if stem == plan.TRAIN:
            # fine_tuning's lessons are gold answers, which 05 itself writes down: no input of its own
            lessons = [stage.folder.lessons(stage.arm)] if stage.row.notebook else []
            yield from _present(stage.run, *lessons, stage.folder.repair_records)
            yield from _model(stage, stage.iteration - 1)
        else:
            if stem in (plan.SELF, plan.DISTIL):
                yield from _model(stage, stage.iteration - 1)
            clusters = [stage.previous.errors] if stage.row.studies_errors else []
            yield from _present(stage.run, stage.previous.selection, *clusters)
            yield from _benchmark_files(settings)


def _compared(stage: Stage, arm: str) -> Iterator[Path]:
    """Answers and what the report shows beside them."""
    settings = stage.recipe
    for k in range(1, settings.iterations + 1) if arm != "vanilla" else [0]:
        folder = stage.run.iteration(arm, k)
        yield from (folder.responses(name, settings.test_split) for name in settings.benchmarks)
        yield from (folder.responses(name, settings.error_split) for name in settings.in_domain)
        yield from (folder.requests(arm), folder.lessons(arm), folder.training_set)
        yield from (folder.repairs(name, settings.test_split) for name in settings.benchmarks)
        teaches = arms.row(arms.strategy(arm, k, settings.iterations)).notebook
        yield from (folder.metrics(stem) for stem in (teaches, plan.TRAIN) if stem)
        yield folder.train_metrics
        if k == 0:
            yield folder.errors


def _present(run: RunDir, *paths: Path) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_file():
            yield path.relative_to(run.path).as_posix(), path


def _model(stage: Stage, k: int) -> Iterator[tuple[str, Path]]:
    """A checkpoint's sentinel, which holds its weights' hash, or every file of a model or of recorded answers."""
    if k > 0:
        checkpoint = stage.run.iteration(stage.arm, k).checkpoint
        named = checkpoint / SENTINEL
        yield from _tree("checkpoint", named if named.is_file() else checkpoint)
        return
    target = Target.of(stage.recipe.target)
    if target.kind == "replay":
        yield from _tree("target", target.recording(stage.recipe.data_dir))
    elif target.path:
        yield from _tree("target", target.path)


def _benchmark_files(settings: Recipe) -> Iterator[tuple[str, Path]]:
    named = Counter[str]()
    for name in settings.benchmarks:
        if sources := _benchmarks.get(name).own_files:
            for path in sources:
                again = f" ({named[path.name]})" if named[path.name] else ""  # train.jsonl of another folder
                named[path.name] += 1
                yield f"data/{path.name}{again}", path
            continue
        folders = [folder / name for folder in data_dirs(settings.data_dir)]
        yield from _tree(f"data/{name}", next((folder for folder in folders if folder.is_dir()), folders[0]))


def _tree(label: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield f"{label}/{path.name}", path
    for child in sorted(path.rglob("*")) if path.is_dir() else []:
        if child.is_file():
            yield f"{label}/{child.relative_to(path).as_posix()}", child


def recipe_text(values: dict[str, Any], origins: dict[str, str]) -> str:
    """A whole recipe (every key) as YAML, each value followed by a comment that says where it came from."""
    lines = [f"{_yaml(key, value)}  # {origins.get(key, 'default')}" for key, value in values.items()]
    return "\n".join(["# The resolved recipe of this run, and where each value came from.", *lines, ""])


def parameters_text(values: dict[str, Any]) -> str:
    """Values as papermill parameters: ``papermill notebooks/0N_….ipynb out.ipynb -f recipe-params.yaml``."""
    return "\n".join([*(_yaml(key.upper(), value) for key, value in values.items()), ""])


def write_recipe(run_plan: RunPlan) -> list[str]:
    """Write ``recipe.yaml`` and ``recipe-params.yaml`` of a run and of its points; return what changed since."""
    before = values_in(run_plan.run.recipe)
    # the lists of a sweep as they were written, first and in their order, which makes the points' names: who reads the
    # file finds the same points
    swept = {key: run_plan.values[key] for key in run_plan.axes}
    _put(run_plan.run.recipe, recipe_text(swept | run_plan.settings.model_dump() | swept, run_plan.origins))
    for point, settings in run_plan.points.items():
        folder = run_plan.folder(point)
        _put(folder.parameters, parameters_text({"run": plan.run_name(folder), **settings.model_dump()}))
        if point:
            _put(folder.recipe, recipe_text(settings.model_dump(), run_plan.origins))
    now = values_in(run_plan.run.recipe)
    return [f"{key}: {before[key]!r} -> {now[key]!r}" for key in now if key in before and before[key] != now[key]]


def _put(path: Path, text: str) -> None:
    """Write what changed; forcing 250 equal files to the disk takes seconds."""
    if not (path.is_file() and path.read_bytes() == text.encode()):
        write_text(path, text)


def _yaml(key: str, value: Any) -> str:
    """``key: value`` on one line; a list or mapping in brackets."""
    return _dumped(key, json.dumps(value, ensure_ascii=False))


@functools.lru_cache(maxsize=4096)
def _dumped(key: str, as_json: str) -> str:
    """Kept, because the points of a sweep differ in a few keys and YAML is slow: 100 points took half the resume."""
    value = json.loads(as_json)
    if isinstance(value, list | dict):
        return f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).strip()}"
    return yaml.safe_dump({key: value}, default_flow_style=False, width=10_000, allow_unicode=True).strip()
