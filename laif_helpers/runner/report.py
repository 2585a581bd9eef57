"""Prints what the runner shows: a line per finished stage, a failure in one screen, where the seconds went."""

import os
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from laif_helpers.paths import NOTEBOOKS, RunDir, runs_dir
from laif_helpers.records import read_json
from laif_helpers.runner import manifest, plan
from laif_helpers.runner.attempts import Outcome
from laif_helpers.runner.plan import RunPlan, Stage
from laif_helpers.terminal import plain

SCREEN = 14  # lines shown of a failing cell, and of its traceback


def settled(key: str, outcome: Outcome, row: dict[str, Any]) -> None:
    """Print a line about a stage that has been settled; ``row``: of its attempt, {} if it did not run."""
    again = row.get("why", "") if row.get("why") != "not done yet" else ""
    say(_line(outcome.status, key, row, again, outcome.reason))


def _line(state: str, key: str, row: dict[str, Any], *notes: str) -> str:
    """State, seconds and key of a stage, with the first lines of what is to be said of it."""
    took = f"{row['seconds']:7.1f} s" if "seconds" in row else " " * 9
    said = "; ".join(note.splitlines()[0][:160] for note in notes if note)
    return f"{state:<11} {took}  {key}" + (f"  ({said})" if said else "")


def say(text: str) -> None:
    """Print a line without tearing the bar. Models and servers have written parts of it."""
    from tqdm.auto import tqdm

    tqdm.write(plain(text), file=sys.stdout)
    sys.stdout.flush()


def show_failure(stage: Stage, reason: str, source: str, traceback: list[str]) -> None:
    """The failing cell's source and error in one screen."""
    line = "-" * min(shutil.get_terminal_size().columns, 100)
    trace = plain("\n".join(traceback)).removesuffix(plain(reason)).splitlines()
    parts = [line, f"FAILED {stage.key}", *_ends(source.splitlines(), first=True)]
    parts += [line, *_ends(trace, first=False)] if trace else []
    parts += [line, reason, f"the notebook so far: {stage.folder.notebooks / stage.name}.ipynb", line]
    say("\n".join(parts))


def show_end(run_plan: RunPlan, rows: list[dict[str, Any]], outcomes: dict[str, Outcome]) -> None:
    """The run's end: seconds by notebook, where the results lie, and what failed."""
    if rows:
        print(f"\n{_seconds_table(rows)}\n")
    counted = Counter(outcome.status for outcome in outcomes.values())
    counts = ", ".join(f"{n} {status}" for status, n in counted.items())
    print(f"{run_plan.run.path.name}: {counts}" if rows else f"{run_plan.run.path.name}: nothing to do ({counts})")
    for stage in run_plan.stages if run_plan.settings.quote_only else []:
        if quoted := quote(stage):
            print(f"quote      {stage.key}: {quoted}")
    for label, path in _results(run_plan):
        if path.exists():
            print(f"{label:<10} {path}")
    if failed := [key for key, outcome in outcomes.items() if outcome.status == "failed"]:
        print(f"{run_plan.run.path.name} FAILED at {', '.join(failed)}; the same command goes on from here")


def quote(stage: Stage) -> str:
    """What this stage's requests would cost, as its notebook recorded it; "" if it has none."""
    found = read_json(stage.folder.metrics(stage.notebook), {})
    if not found.get("quote_requests"):
        return ""
    cost = "{:,.2f} to {:,.2f} dollars".format(*usd) if (usd := found.get("quote_usd")) else "no price given"
    return f"{found['quote_requests']:,} requests, {cost}"


def _seconds_table(rows: list[dict[str, Any]]) -> str:
    by_notebook: dict[str, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["notebook"]):
        by_notebook[row["notebook"]].append(row["seconds"])
    by_notebook["in all"] = [row["seconds"] for row in rows]
    head = f"{'notebook':<22}{'runs':>5}{'seconds':>10}"
    return "\n".join([head, *(f"{name:<22}{len(took):>5}{sum(took):>10.1f}" for name, took in by_notebook.items())])


def _results(run_plan: RunPlan) -> list[tuple[str, Path]]:
    folder = run_plan.run
    early = run_plan.stages if run_plan.settings.stops_early else []
    return [
        *[("lessons", stage.folder.lessons(stage.arm)) for stage in early if stage.makes_lessons],
        ("report", folder.compare / "report.html"),
        ("results", folder.compare / "results.csv"),
        ("figures", folder.compare),
        ("error map", folder.iteration("vanilla", 0).error_map),
        ("log", folder.path / "run.log"),
        ("manifest", folder.manifest),
    ]


def _ends(lines: list[str], first: bool) -> list[str]:
    """The first or last lines of a long text, with a mark if some are left out."""
    if len(lines) <= SCREEN:
        return lines
    return [*lines[:SCREEN], "…"] if first else ["…", *lines[-SCREEN:]]


def status_table(run_plan: RunPlan, running: list[str]) -> str:
    """Every planned stage with its last attempt's state, seconds and reason."""
    lines = []
    for stage in run_plan.stages:
        row = manifest.latest(stage.run).get(stage.key, {})
        state = "running" if stage.key in running else row.get("status", "to do").replace("running", "killed")
        lines.append(_line(state, stage.key, row, str(row.get("reason", ""))))
    return plain("\n".join(lines))


def dry_run(run_plan: RunPlan) -> str:
    """What a run would do: each stage with why it would run; what follows a stage that runs is decided then."""
    lines, moving, answers_come = [], set[str](), manifest.answers_come(run_plan.stages)
    for stage in run_plan.stages:
        parameters = plan.parameters(stage, run_plan.parameters[stage.notebook])
        row = manifest.latest(stage.run).get(stage.key)
        why = manifest.why(stage, row, manifest.inputs(stage, parameters, run_plan.notebooks), answers_come)
        if moving & set(stage.after):
            moving.add(stage.key)
            why = why or "if what it reads changes"
        elif why:
            moving.add(stage.key)
        lines.append(f"{'run' if why else 'unchanged':<9}  {stage.key}" + (f"  ({why})" if why else ""))
    return "\n".join(lines)


def contents(most: int = 20) -> str:
    """The newest runs on this machine as Markdown, with links that work from the folder of the notebooks."""
    planned = {path.parent: path for path in runs_dir().glob("*/recipe.yaml")}
    found = {path.parents[1]: path for path in runs_dir().glob("*/*/iter*")} | planned  # those by hand have no recipe
    if not found:
        return "None yet."
    lines = ["| run | stages done | report | error map | executed notebooks |", "|---" * 5 + "|"]
    for path in sorted(found, key=lambda path: -found[path].stat().st_mtime)[:most]:
        run = RunDir(path)
        runs = (run, *map(RunDir, run.path.glob("points/*")))  # a sweep's points keep their own rows
        rows = [row for each in runs for row in manifest.latest(each).values()]
        done = sum(row["status"] in ("done", "ended") for row in rows) if path in planned else "by hand"
        vanilla = run.iteration("vanilla", 0)
        places = (run.compare / "report.html", vanilla.error_map, vanilla.notebooks / "01_evaluate.ipynb")
        links = [f"[{place.name}]({os.path.relpath(place, NOTEBOOKS)})" if place.is_file() else "–" for place in places]
        lines.append(f"| {run.path.name} | {done} | {' | '.join(links)} |")
    return "\n".join(lines)
