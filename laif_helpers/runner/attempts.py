"""Starts a stage's process, or finds the one that a killed runner has left at work; describes how a stage ended."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from laif_helpers.records import read_json, write_json
from laif_helpers.runner import history, plan, scratch
from laif_helpers.runner.plan import RunPlan, Stage
from laif_helpers.runner.scratch import RESULT


@dataclass
class Attempt:
    """A running stage: its process, its row so far and the files through which it talks to the runner."""

    stage: Stage
    handle: Any
    row: dict[str, Any]
    result: Path
    launched: float


@dataclass(frozen=True)
class Outcome:
    """A settled stage.

    Attributes:
        status: ``done``, ``unchanged``, ``ended`` (its arm has nothing left to learn), ``skipped`` or ``failed``.
        reason: for people; "" if nothing needs saying.
        arm_ended: the arm ended well, at this stage or an earlier one.
    """

    status: str
    reason: str = ""
    arm_ended: bool = False

    @property
    def good(self) -> bool:
        return self.status in ("done", "unchanged")


def job_of(run_plan: RunPlan, stage: Stage) -> Path:
    """Beside the run, not in /tmp: a stage may run on another machine that shares only the run folder."""
    return scratch.jobs(run_plan.run) / f"{stage.key.replace('/', '__')}.json"


def gpus_of(stage: Stage) -> int:
    """GPUs that a stage wants: one to answer, all of a training to train, or for a server that may spread over them."""
    if stage.notebook != plan.TRAIN and stage.notebook not in plan.ASK:
        return 0
    return stage.recipe.num_processes if stage.notebook == plan.TRAIN or stage.recipe.serve else 1


def most_processes(run_plan: RunPlan) -> int:
    """Processes of the largest training; one over several nodes reaches them by its hostfile."""
    trained = [stage.recipe for stage in run_plan.stages if stage.notebook == plan.TRAIN and not stage.recipe.hostfile]
    return max((recipe.num_processes for recipe in trained), default=1)


def start(stage: Stage, parameters: dict[str, Any], row: dict[str, Any], run_plan: RunPlan, engine: Any) -> Attempt:
    """Start a stage's process; ``row["threads"]`` are its cores."""
    output = stage.folder.notebooks / f"{stage.name}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    stage.metrics.unlink(missing_ok=True)
    launched, job, log = time.time(), job_of(run_plan, stage), run_plan.run.path / "run.log"
    result, threads = job.with_suffix(RESULT), row.pop("threads")
    result.unlink(missing_ok=True)
    gpus = gpus_of(stage)
    write_json(
        job,
        {
            "stage": stage.key,
            "notebook": str(run_plan.notebooks / f"{stage.notebook}.ipynb"),
            "output": str(output),
            "parameters": parameters,
            "metrics": str(stage.metrics),
            "result": str(result),
            "launched": launched,
            "needs": {"threads": threads, "gpus": gpus, "log": str(log)},
        },
    )
    row |= {"started": stamp(launched)}
    history.append(stage.run.manifest, row)
    return Attempt(stage, engine.start(job, log, threads, gpus), row, result, launched)


def adopt(
    stage: Stage, last: dict[str, Any] | None, inputs_hash: str, run_plan: RunPlan, engine: Any
) -> Attempt | None:
    """The stage as a killed runner has left it, if it is still at work somewhere on these very inputs, or if it came to
    a good end since; None if it has to run again."""
    if not last or last["status"] != "running" or last["inputs_hash"] != inputs_hash:
        return None
    job = job_of(run_plan, stage)
    result, launched = job.with_suffix(RESULT), read_json(job, {}).get("launched", 0.0)
    if stamp(launched) != last["started"]:
        return None
    good = read_json(result, {}).get("status") in ("done", "ended")
    handle = SimpleNamespace(poll=lambda: 0) if good else engine.find(job)  # it ended while no runner watched
    return Attempt(stage, handle, last | {"why": "taken over"}, result, launched) if handle else None


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
