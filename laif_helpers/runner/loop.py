"""Runs a plan: what is ready runs side by side, what is done is left alone, a failure is shown in one screen.

One loop in one thread starts child processes and watches them: Linux ties a child's life to the *thread* that
started it, so that threads of their own would make a killed runner leave trainings behind.
"""

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import Any

from laif_helpers import machine
from laif_helpers.records import digest, read_json
from laif_helpers.runner import (
    attempts,
    executors,
    forecast,
    history,
    manifest,
    outputs,
    plan,
    scratch,
    shared_folders,
)
from laif_helpers.runner import report as report_run
from laif_helpers.runner.attempts import Outcome
from laif_helpers.runner.plan import COMPARE, RunPlan, Stage
from laif_helpers.runner.run_lock import Say, lock

POLL_S = 0.05


@dataclass
class Progress:
    """State of one call: what to run and how, the outcome of every settled stage, the running ones, the rows written.

    Attributes:
        redo: beginnings of notebook names that run again although nothing changed.
        answers_come: at the beginning of the call, some answers were yet to be graded.
    """

    plan: RunPlan
    engine: Any
    workers: int
    redo: tuple[str, ...] = ()
    answers_come: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, attempts.Attempt] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def run(run_plan: RunPlan, *, executor: str = "local", workers: int = 0, redo: tuple[str, ...] = ()) -> int:
    """Run or resume a plan; returns the exit status: 0, 1 after a failed stage, 130 after Ctrl-C or SIGTERM.

    ``redo`` holds beginnings of notebook names (``05``) that run again although nothing changed. Raises
    ValueError before anything runs if the executor is missing or the run is being run already.
    """
    known_notebooks(run_plan, redo)
    if why := forecast.target_missing(run_plan):
        raise ValueError(why)
    with lock(run_plan.run) as say, executors.interruptible():
        place = engine(executor, run_plan.settings.slurm)
        workers = workers or run_plan.settings.workers
        progress = Progress(run_plan, place, workers, redo, manifest.answers_come(run_plan.stages))
        try:
            place.check(run_plan.run.path, attempts.most_processes(run_plan))
            for change in manifest.write_recipe(run_plan):
                report_run.say(f"changed since the last call: {change}")
            for warning in forecast.warnings(run_plan.stages):
                print(warning)
            shared_folders.link(run_plan)
            scratch.remove_all(run_plan.run)
            _loop(progress, say)
        except KeyboardInterrupt:
            _interrupt(progress)
            print("\ninterrupted; the same command goes on from here")
            return 130
        finally:
            place.end([attempt.handle for attempt in progress.running.values()])
            scratch.remove_all(run_plan.run)
            with contextlib.suppress(OSError):  # a full disk: the long form holds the same
                for run in {stage.run for stage in run_plan.stages}:
                    history.compact(run.manifest)
        _collect(run_plan)
        report_run.show_end(run_plan, progress.rows, progress.outcomes)
    return int(any(outcome.status == "failed" for outcome in progress.outcomes.values()))


def engine(name: str, slurm: dict[str, Any] | None = None) -> Any:
    """The executor of that name; ``slurm``: options for sbatch. Raises ValueError for an unknown name, a missing extra
    or a machine without SLURM."""
    if name not in ("local", "ray", "slurm"):
        raise ValueError(f"unknown executor {name!r}; known: local, ray, slurm")
    if name == "slurm":
        from laif_helpers.runner.slurm_jobs import Slurm

        return Slurm(slurm or {})
    if name == "ray":
        from laif_helpers.runner.ray_tasks import Ray

        return Ray()
    return executors.Local()


def _loop(progress: Progress, say: Say) -> None:
    from tqdm.auto import tqdm

    stages = progress.plan.stages
    order = _order(stages)
    # silent if the output is no terminal
    with tqdm(total=len(stages), unit="stage", disable=None, leave=False) as bar:
        while len(progress.outcomes) < len(stages):
            before = len(progress.outcomes), sorted(progress.running)
            for stage in order:
                if len(progress.running) < progress.workers and _ready(stage, progress):
                    _begin(stage, progress)
            for attempt in list(progress.running.values()):
                if (code := attempt.handle.poll()) is not None:
                    _finish(attempt, code, progress)
            bar.set_postfix_str(", ".join(progress.running)[:60], refresh=False)
            bar.update(len(progress.outcomes) - bar.n)
            if before == (len(progress.outcomes), sorted(progress.running)):
                time.sleep(POLL_S)
            else:
                say(list(progress.running))


def _weights(stages: list[Stage]) -> dict[str, int]:
    """Stages that follow each, in the longest line: what many wait for goes first, error maps fill the gaps."""
    weight = dict.fromkeys((stage.key for stage in stages), 0)
    for stage in reversed(stages):
        for key in stage.after:
            weight[key] = max(weight[key], weight[stage.key] + 1)
    return weight


def _order(stages: list[Stage]) -> list[Stage]:
    """Point by point of a sweep, so that one that is cut off has finished points; within each by ``_weights``."""
    point = {path: at for at, path in enumerate(dict.fromkeys(stage.run.path for stage in stages))}
    weight = _weights(stages)
    return sorted(stages, key=lambda stage: (point[stage.run.path], -weight[stage.key]))


def _ready(stage: Stage, progress: Progress) -> bool:
    waiting = stage.key not in progress.outcomes and stage.key not in progress.running
    return waiting and all(key in progress.outcomes for key in stage.after)


def _begin(stage: Stage, progress: Progress) -> None:
    """Settle a ready stage at once if nothing is to do, else start its process."""
    replaced: dict[str, Any] = {}
    if stage.notebook == COMPARE:
        replaced, stopped = _comparable(stage, progress)
    else:
        stopped = _stopped_by(stage, progress)
    if stopped:
        _skip(stage, stopped, progress)
        return
    parameters = plan.parameters(stage, progress.plan.parameters[stage.notebook], **replaced)
    found = manifest.inputs(stage, parameters, progress.plan.notebooks)
    last = manifest.latest(stage.run).get(stage.key)
    why = manifest.why(stage, last, found, progress.answers_come)
    if stage.notebook.startswith(progress.redo or ("-",)):
        why = "asked for"
    if last and not why:
        ended = last["status"] == "ended"
        _settle(stage, Outcome("ended" if ended else "unchanged", last.get("reason", ""), ended), progress)
        return
    known = digest(found)[:16]
    attempt = attempts.adopt(stage, last, known, progress.plan, progress.engine) if why != "asked for" else None
    if not attempt:
        row = _row(stage) | {"status": "running", "why": why, "inputs_hash": known, "inputs": found}
        row["threads"] = _threads(stage, progress)
        attempt = attempts.start(stage, parameters, row, progress.plan, progress.engine)
    progress.running[stage.key] = attempt


def _stopped_by(stage: Stage, progress: Progress) -> Outcome | None:
    """Why a stage cannot run although all before it are settled; None if it can."""
    for key in (key for key in stage.after if key not in stage.optional):
        before = progress.outcomes[key]
        if before.status == "ended":
            return Outcome("skipped", f"the arm ended at {key}: {before.reason}", arm_ended=True)
        if before.status == "skipped":
            return before
        if not before.good:
            return Outcome("skipped", f"{key} failed")
    return None


def _came_through(stage: Stage, progress: Progress) -> tuple[Outcome, dict[str, bool]]:
    """Of a comparison: the untouched target's outcome, and whether each arm came through or ended well before."""
    vanilla, *ends = (progress.outcomes[key] for key in stage.after if key not in stage.optional)
    return vanilla, {arm: end.good or end.arm_ended for arm, end in zip(stage.recipe.arms, ends, strict=False)}


def _comparable(stage: Stage, progress: Progress) -> tuple[dict[str, Any], Outcome | None]:
    """The arms to compare: those that came through. None of them, or no untouched target: nothing to compare."""
    vanilla, through = _came_through(stage, progress)
    arms = [arm for arm, good in through.items() if good]
    if not vanilla.good or (through and not arms):
        lacking = "no arm finished" if vanilla.good else f"{stage.after[0]} failed"
        return {}, Outcome("skipped", f"nothing to compare: {lacking}")
    return ({"arms": arms} if through else {}), None


def _left_out(stage: Stage, progress: Progress) -> str:
    """What a comparison has to do without; "" if nothing."""
    if stage.notebook != COMPARE:
        return ""
    missing = [arm for arm, good in _came_through(stage, progress)[1].items() if not good]
    missing += [key for key in stage.optional if progress.outcomes[key].status in ("failed", "skipped")]
    return f"without {', '.join(missing)}, which failed" if missing else ""


def _settle(stage: Stage, outcome: Outcome, progress: Progress, row: dict[str, Any] | None = None) -> None:
    progress.outcomes[stage.key] = outcome
    report_run.settled(stage.key, outcome, row or {})


def _skip(stage: Stage, outcome: Outcome, progress: Progress) -> None:
    _settle(stage, outcome, progress)
    before = [row for row in manifest.rows(stage.run) if row["stage"] == stage.key]
    if not before or (before[-1]["status"], before[-1].get("reason")) != ("skipped", outcome.reason):
        history.append(stage.run.manifest, _row(stage) | {"status": "skipped", "reason": outcome.reason})


def _threads(stage: Stage, progress: Progress) -> int:
    """Threads of a stage: its share of the cores, or all of them if no other stage can run beside it."""
    alone = [other for other in progress.plan.stages if not other.after] == [stage]
    return max(1, progress.engine.threads(1 if alone else progress.workers))


def _row(stage: Stage) -> dict[str, Any]:
    return {"stage": stage.key, "notebook": stage.notebook, "arm": stage.arm, "iteration": stage.iteration}


def _finish(attempt: attempts.Attempt, code: int, progress: Progress) -> None:
    """Turn the child's result, or its silence, into a manifest row, and show a failure."""
    stage = attempt.stage
    if attempt.result.is_file():
        result = read_json(attempt.result)
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        lost = f"its process ended without a result ({how}); see run.log"
        result = {"status": "failed", "reason": getattr(attempt.handle, "failure", "") or lost}
    if begun_again := getattr(attempt.handle, "lost", []):
        result["lost"] = begun_again
    source, traceback = result.pop("source", ""), result.pop("traceback", [])
    _close(attempt, result, progress)
    if result["status"] == "failed":
        report_run.show_failure(stage, result["reason"], source, traceback)


def _close(attempt: attempts.Attempt, result: dict[str, Any], progress: Progress) -> None:
    stage, ended = attempt.stage, time.time()
    left = manifest.outputs(stage)
    row = {
        **attempt.row,
        **result,
        "seconds": round(ended - attempt.launched, 3),
        "ended": attempts.stamp(ended),
        "outputs": left,
        "hashes": outputs.hashes(stage.run.path, left),
        "versions": machine.versions(),
    }
    history.append(stage.run.manifest, row)
    status, reason = result["status"], result.get("reason", "")
    progress.rows.append(row)
    progress.running.pop(stage.key)
    _settle(stage, Outcome(status, _left_out(stage, progress) or reason, status == "ended"), progress, row)


def _interrupt(progress: Progress) -> None:
    for attempt in list(progress.running.values()):
        attempt.handle.poll()
        history.append(attempt.stage.run.manifest, attempt.row | {"status": "interrupted", "outputs": []})


def _collect(run_plan: RunPlan) -> None:
    """A sweep's one table and figure, once its points are through."""
    folder = run_plan.run.path
    if not run_plan.swept or run_plan.settings.stops_early or not any(folder.glob("points/*/compare/results.csv")):
        return
    os.environ["MPLBACKEND"] = "Agg"  # whatever a user has set for programs with windows
    from laif_helpers import compare

    compare.collect_points(folder)


def known_notebooks(run_plan: RunPlan, redo: tuple[str, ...]) -> None:
    for start in redo:
        if not any(stem.startswith(start) for stem in run_plan.parameters):
            raise ValueError(
                f"--redo {start!r}: no notebook of this run begins so; it has {', '.join(run_plan.parameters)}"
            )
