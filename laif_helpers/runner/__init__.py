"""Runs a plan: what is ready side by side, what is done left alone, what fails told in one screen.

One loop in one thread starts child processes and watches them: Linux ties a child's life to the *thread* that
started it, so that threads of their own would make a killed runner leave trainings behind.
"""

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laif_helpers.records import write_json
from laif_helpers.runner import executors, manifest, plan, shared_folders
from laif_helpers.runner import report as report_run
from laif_helpers.runner.plan import COMPARE, Plan, Stage
from laif_helpers.runner.run_lock import lock, write_holder

POLL_S = 0.05
GOOD = ("done", "unchanged")


@dataclass
class Progress:
    """State of one call: ``status`` of every settled stage, the running ones, and the rows written."""

    made: Plan
    status: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    running: dict[str, "Attempt"] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Attempt:
    """A running stage: its process, its row so far and the files through which it talks to the runner."""

    stage: Stage
    handle: Any
    row: dict[str, Any]
    result: Path
    launched: float


def run(made: Plan, *, executor: str = "local", workers: int = 0, redo: tuple[str, ...] = ()) -> int:
    """Run or resume a plan; returns the exit status: 0, 1 after a failed stage, 130 after Ctrl-C or SIGTERM.

    ``redo`` holds beginnings of notebook names (``05``) that run again although nothing changed. Raises
    ValueError before anything runs where the executor is missing or the run is being run already.
    """
    _known_notebooks(made, redo)
    with lock(made.run) as holder, executors.interruptible():
        engine = executors.get(executor)
        for change in manifest.write_recipe(made):
            print(f"changed since the last call: {change}")
        shared_folders.link(made)
        progress = Progress(made)
        try:
            _loop(progress, engine, workers or made.settings.workers, redo, holder)
        except KeyboardInterrupt:
            _interrupt(progress)
            print("\ninterrupted; the same command goes on from here")
            return 130
        finally:
            engine.end([attempt.handle for attempt in progress.running.values()])
        _collect(progress)
        report_run.show_end(made, progress.rows, progress.status)
    return int("failed" in progress.status.values())


def _loop(progress: Progress, engine: Any, workers: int, redo: tuple[str, ...], holder: Path) -> None:
    stages = progress.made.stages
    weight = _weights(stages)
    with report_run.bar(len(stages)) as bar:
        while len(progress.status) < len(stages):
            before = len(progress.status), sorted(progress.running)
            for stage in sorted(stages, key=lambda stage: -weight[stage.key]):
                if len(progress.running) < workers and _ready(stage, progress):
                    _begin(stage, progress, engine, workers, redo)
            for attempt in list(progress.running.values()):
                if (code := attempt.handle.poll()) is not None:
                    _finish(attempt, code, progress)
            report_run.advance(bar, progress.status, progress.reasons, progress.rows, list(progress.running))
            if before == (len(progress.status), sorted(progress.running)):
                time.sleep(POLL_S)
            else:
                write_holder(holder, list(progress.running))


def _weights(stages: list[Stage]) -> dict[str, int]:
    """Stages that follow each, in the longest line: what many wait for goes first, error maps fill the gaps."""
    weight = dict.fromkeys((stage.key for stage in stages), 0)
    for stage in reversed(stages):
        for key in stage.after:
            weight[key] = max(weight[key], weight[stage.key] + 1)
    return weight


def _ready(stage: Stage, progress: Progress) -> bool:
    waiting = stage.key not in progress.status and stage.key not in progress.running
    return waiting and all(key in progress.status for key in stage.after)


def _begin(stage: Stage, progress: Progress, engine: Any, workers: int, redo: tuple[str, ...]) -> None:
    """Settle a ready stage at once where nothing is to do, else start its process."""
    replaced: dict[str, Any] = {}
    if stage.notebook == COMPARE:
        replaced, reason = _comparable(stage, progress)
    else:
        reason = _stopped_by(stage, progress)
    if reason:
        _skip(stage, reason, progress)
        return
    made = progress.made
    parameters = plan.parameters(stage, made.parameters[stage.notebook], **replaced)
    found = manifest.inputs(stage, parameters, made.notebooks)
    last = manifest.latest(stage.run).get(stage.key)
    why = "asked for" if stage.notebook.startswith(redo or ("-",)) else manifest.why(stage, last, found)
    if last and not why:
        progress.status[stage.key] = "ended" if last["status"] == "ended" else "unchanged"
        progress.reasons[stage.key] = last.get("reason", "")
        return
    alone = [other for other in made.stages if not other.after] == [stage]
    threads = max(1, executors.cores() // (1 if alone else workers))
    progress.running[stage.key] = _start(stage, parameters, found, why, progress, engine, threads)


def _stopped_by(stage: Stage, progress: Progress) -> str:
    """Why a stage cannot run although all before it are settled; "" where it can."""
    for key in stage.after:
        state = progress.status[key]
        if state == "ended":
            return f"the arm ended at {key}: {progress.reasons[key]}"
        if state not in GOOD:
            return progress.reasons[key] if state == "skipped" else f"{key} failed"
    return ""


def _comparable(stage: Stage, progress: Progress) -> tuple[dict[str, Any], str]:
    """The arms to compare: those that came through. None of them, or no untouched target: nothing to compare."""
    vanilla, *ends = stage.after
    arms = [arm for arm, key in zip(stage.recipe.arms, ends, strict=False) if not _broken(key, progress)]
    missing = [arm for arm in stage.recipe.arms[: len(ends)] if arm not in arms]
    if progress.status[vanilla] not in GOOD or (missing and not arms):
        return {}, "nothing to compare: " + ("no arm" if progress.status[vanilla] in GOOD else vanilla) + " finished"
    if missing:
        progress.reasons[stage.key] = f"without {', '.join(missing)}, which failed"
    return ({"arms": arms} if ends else {}), ""


def _broken(key: str, progress: Progress) -> bool:
    return progress.status[key] == "failed" or (
        progress.status[key] == "skipped" and "the arm ended at" not in progress.reasons[key]
    )


def _skip(stage: Stage, reason: str, progress: Progress) -> None:
    progress.status[stage.key], progress.reasons[stage.key] = "skipped", reason
    before = [row for row in manifest.rows(stage.run) if row["stage"] == stage.key]
    if not before or (before[-1]["status"], before[-1].get("reason")) != ("skipped", reason):
        manifest.record(stage.run, _row(stage) | {"status": "skipped", "reason": reason})


def _start(
    stage: Stage,
    parameters: dict[str, Any],
    found: dict[str, Any],
    why: str,
    progress: Progress,
    engine: Any,
    threads: int,
) -> Attempt:
    output = stage.folder.notebooks / f"{stage.notebook}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    stage.metrics.unlink(missing_ok=True)
    launched = time.time()
    # Beside the run, not in /tmp: a stage may run on another machine that shares only the run folder.
    name = stage.key.replace("/", "__")
    result = progress.made.run.path / ".jobs" / f"{name}.result.json"
    result.unlink(missing_ok=True)
    job = result.with_name(f"{name}.json")
    write_json(
        job,
        {
            "stage": stage.key,
            "notebook": str(progress.made.notebooks / f"{stage.notebook}.ipynb"),
            "output": str(output),
            "parameters": parameters,
            "metrics": str(stage.metrics),
            "result": str(result),
            "launched": launched,
        },
    )
    row = _row(stage) | {"status": "running", "why": why, "inputs_hash": manifest.digest(found), "inputs": found}
    row |= {"started": _stamp(launched)}
    manifest.record(stage.run, row)
    gpus = stage.recipe.num_processes if stage.notebook == plan.TRAIN else int(stage.notebook == plan.EVALUATE)
    handle = engine.start(job, progress.made.run.path / "run.log", threads, gpus)
    return Attempt(stage, handle, row, result, launched)


def _row(stage: Stage) -> dict[str, Any]:
    return {"stage": stage.key, "notebook": stage.notebook, "arm": stage.arm, "iteration": stage.iteration}


def _finish(attempt: Attempt, code: int, progress: Progress) -> None:
    """Turn the child's result, or its silence, into a manifest row, and show a failure."""
    stage = attempt.stage
    if attempt.result.is_file():
        result = json.loads(attempt.result.read_text(encoding="utf-8"))
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        result = {"status": "failed", "reason": f"its process ended without a result ({how}); see run.log"}
    source, traceback = result.pop("source", ""), result.pop("traceback", [])
    _close(attempt, result, progress)
    if result["status"] == "failed":
        report_run.show_failure(stage, result["reason"], source, traceback)


def _close(attempt: Attempt, result: dict[str, Any], progress: Progress) -> None:
    stage, ended = attempt.stage, time.time()
    row = {
        **attempt.row,
        **result,
        "seconds": round(ended - attempt.launched, 3),
        "ended": _stamp(ended),
        "outputs": manifest.outputs(stage),
        "versions": manifest.versions(),
    }
    manifest.record(stage.run, row)
    report_run.mark(stage, result["status"], result.get("reason", ""))
    progress.rows.append(row)
    progress.status[stage.key] = result["status"]
    progress.reasons.setdefault(stage.key, result.get("reason", ""))
    progress.running.pop(stage.key)


def _interrupt(progress: Progress) -> None:
    attempts = list(progress.running.values())
    for attempt in attempts:
        attempt.handle.poll()
        manifest.record(attempt.stage.run, attempt.row | {"status": "failed", "reason": "interrupted", "outputs": []})


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _collect(progress: Progress) -> None:
    """A sweep's one table and figure, once its points are through."""
    made = progress.made
    if not made.swept or made.settings.stops_early or not any((made.run.path / "points").glob("*/compare/results.csv")):
        return
    os.environ.setdefault("MPLBACKEND", "Agg")
    from laif_helpers import compare

    compare.collect_points(made.run.path)


def _known_notebooks(made: Plan, redo: tuple[str, ...]) -> None:
    for start in redo:
        if not any(stem.startswith(start) for stem in made.parameters):
            raise ValueError(
                f"--redo {start!r}: no notebook of this run begins so; it has {', '.join(made.parameters)}"
            )
