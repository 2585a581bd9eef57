"""How far the runner and the way from errors to lessons reach, if no model has to think.

    python bench/scale.py lessons 100 1000 10000         errors: wall time, peak memory, files, bytes
    python bench/scale.py runner 1000 --workers 1 4 16 64    stages: seconds, seconds of an idle resume, manifest
    python bench/scale.py stage                          what an empty stage costs, kernel start and imports included
    python bench/scale.py ray 0 --workers 1 2            the quickstart by the local executor, then by Ray; 200: with
                                                         so many items of each split, and one turn
    python bench/scale.py write                          docs/scale.md and figures/scale.png from the rows so far

Real: recipe, plan, runner, manifest, ledger, the join of answers and items, the scripted instructor, the checks, the
writer of lessons. Simulated: the target, which answers every question wrong, and, for ``runner``, the stages: they take
``THINKS_S`` and leave small files of the right names. Each size runs in a process of its own. The rows are appended to
``scale.json`` in the folder that ``--out`` names.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from laif_helpers import benchmarks, instruct, recipe
from laif_helpers.benchmarks import practice
from laif_helpers.evaluate import grading
from laif_helpers.paths import ROOT, IterationDir
from laif_helpers.records import Completion, read_json, write_json, write_jsonl, write_text
from laif_helpers.runner import executors, loop, plan

THINKS_S = 0.05
ERRORS = {"errors": "errors", "lessons": "lessons", "seconds": "seconds", "cpu_seconds": "CPU seconds"}
ERRORS |= {"peak_gb": "peak GB", "files": "files", "mb": "MB on disk", "load": "load of the machine"}
STAGES = {"stages": "stages", "workers": "workers", "thinking": "the stages' own seconds", "seconds": "seconds"}
STAGES |= {"cpu_seconds": "CPU seconds", "idle_resume": "idle resume, s", "idle_resume_cpu": "idle resume, CPU s"}
STAGES |= {"peak_gb": "peak GB", "files": "files", "manifest_mb": "manifest MB", "load": "load of the machine"}
RAY = {"items": "items of a split (0: all)", "workers": "workers", "local_seconds": "local, s", "ray_seconds": "Ray, s"}
RAY |= {"load": "load of the machine"}
EMPTY = {"cpu_seconds": "CPU seconds", "seconds": "seconds", "load": "load of the machine"}
PAGE = """# How far it scales

Made by `python bench/scale.py` on {day}, on {cores} cores that other work shared: read CPU seconds and ratios first.
The runner, the manifest, the ledger, the checks and the writers are real; target, instructor and the stages' work are
simulated. Seconds of lessons count 03 alone: plan, ask, read, check, choose."""


# -- from errors to lessons


def lessons(errors: int, folder: Path) -> dict[str, Any]:
    """Seconds of each step of 03 for so many wrong answers, and what they leave."""
    practice.SIZES["practice", "train"] = errors
    seconds: dict[str, float] = {}
    begin = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal begin
        seconds[step], begin = round(time.perf_counter() - begin, 2), time.perf_counter()

    bench = benchmarks.get("practice")
    items = bench.load("train")
    lap("world")
    values = {"budget": errors, "replay_fraction": 0.0, "holdout_fraction": 0.0, "limit": 0, "workers": 2}
    p = recipe.build(recipe.StageParameters, {**values, "run": str(folder), "arm": "le", "iteration": 1})
    wrong = [Completion("He has #### -1", 40, 8, "stop")] * len(items)
    write_jsonl(p.previous.responses("practice", "train"), grading.to_responses(bench, items, wrong, "none", "train"))
    del items, wrong  # 03 reads them itself
    lap("answers")
    before = time.process_time()
    planned = instruct.plan(p)
    lap("plan")
    replies = instruct.ask(planned, p)
    lap("ask")
    found = instruct.read_lessons(planned, replies, p)
    lap("read")
    checked = instruct.check(found, planned, p)
    lap("check")
    chosen = instruct.choose(checked, p)
    lap("choose")
    kept, cpu = sum(lesson.status == "kept" for lesson in chosen), round(time.process_time() - before, 1)
    row = {"errors": errors, "lessons": len(chosen), "kept": kept, "cpu_seconds": cpu, "steps": seconds}
    return row | _left(folder, seconds)


def _left(folder: Path, seconds: dict[str, float]) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    after = round(sum(value for step, value in seconds.items() if step not in ("world", "answers")), 2)
    size = sum(path.stat().st_size for path in files) / 1e6
    return {"seconds": after, "peak_gb": round(peak, 2), "files": len(files), "mb": round(size, 1)}


# -- the runner


class Simulated:
    """An executor whose stages think for a moment and leave small files of the right names."""

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> Any:
        worker = threading.Timer(THINKS_S, _leave, (read_json(job),))
        worker.start()
        return type("Stage", (), {"poll": lambda self: None if worker.is_alive() else 0})()

    def find(self, job: Path) -> None:
        return None

    def threads(self, workers: int) -> int:
        return 1

    def check(self, run: Path, processes: int) -> None:
        return None

    def end(self, handles: Any) -> None:
        assert not list(handles)


def _leave(job: dict[str, Any]) -> None:
    folder = IterationDir(Path(job["metrics"]).parents[1])
    stem = Path(job["notebook"]).stem
    if stem == plan.EVALUATE:
        for split in ("train", "test"):
            write_text(folder.responses("practice", split), "{}\n")
    elif stem == plan.TRAIN:
        write_text(folder.checkpoint / "model.safetensors", job["stage"])
    elif stem != plan.COMPARE:
        write_text(folder.lessons(job["parameters"].get("ARM", "le")), job["stage"])
    write_json(Path(job["metrics"]), {})
    write_json(Path(job["result"]), {"status": "done"})


def stages(wanted: int, workers: int, folder: Path) -> dict[str, Any]:
    """Seconds of a run of so many stages and of its idle resume: a sweep over seeds, four stages a point."""
    os.environ["LAIF_RUNS"] = str(folder)
    loop.engine = lambda name, slurm=None: Simulated()
    values = {"target": "data/nano", "benchmarks": ["practice"], "in_domain": ["practice"], "arms": ["le"]}
    values |= {"iterations": 1, "seed": list(range(max(1, wanted // 4))), "map_iterations": False}
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(values))
    took, cpu = [], []
    for _ in range(2):
        begin, before = time.perf_counter(), time.process_time()
        planned = plan.make(path)
        assert loop.run(planned, workers=workers) == 0
        took.append(round(time.perf_counter() - begin, 1))
        cpu.append(round(time.process_time() - before, 1))
    left = _left(planned.run.path, {})
    manifests = sum(path.stat().st_size for path in planned.run.path.rglob("manifest.jsonl")) / 1e6
    ideal = len(planned.stages) * THINKS_S / workers
    return left | {
        "stages": len(planned.stages),
        "workers": workers,
        "seconds": took[0],
        "cpu_seconds": cpu[0],
        "thinking": round(ideal, 1),
        "idle_resume": took[1],
        "idle_resume_cpu": cpu[1],
        "manifest_mb": round(manifests, 2),
    }


# -- an empty stage


def stage(folder: Path) -> dict[str, Any]:
    """Processor seconds of a stage whose notebook is one assignment: its process, its kernel, and their imports."""
    cells = [
        {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": "A = 1", "outputs": []},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": f"open({str(folder / 'm')!r}, 'w').write('{{}}')"},
    ]
    cells = [{"execution_count": None, "outputs": [], **cell} for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    write_json(folder / "n.ipynb", {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    job = {"stage": "empty", "notebook": str(folder / "n.ipynb"), "output": str(folder / "out.ipynb")}
    job |= {"parameters": {"A": 2}, "metrics": str(folder / "m"), "result": str(folder / "r.json")}
    write_json(folder / "job.json", job | {"launched": time.time()})
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    assert executors.run_here(str(folder / "job.json"), str(folder / "log"), 1) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert read_json(folder / "r.json")["status"] == "done"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_seconds": round(cpu, 2), "seconds": round(time.perf_counter() - begin, 2)}


# -- Ray beside the local executor


def on_ray(limit: int, workers: int, folder: Path) -> dict[str, Any]:
    """Seconds of the quickstart by each executor, Ray's own start and end included."""
    smaller = ["--set", f"limit={limit}", "--set", "iterations=1"] if limit else []
    free = {name: value for name, value in os.environ.items() if name not in executors.THREADS}
    row: dict[str, Any] = {"items": limit, "workers": workers}
    for name in ("local", "ray"):
        argv = [sys.executable, "-m", "laif_helpers.cli", "run", str(ROOT / "papermill_runs" / "quickstart.yaml")]
        argv += ["--executor", name, "--set", f"workers={workers}", *smaller]
        begin = time.perf_counter()
        subprocess.run(argv, env=free | {"LAIF_RUNS": str(folder / name)}, stdout=sys.stderr, check=True)
        row[f"{name}_seconds"] = round(time.perf_counter() - begin, 1)
    return row


# -- the page


def write(rows: list[dict[str, Any]]) -> None:
    """The page and its figure. Of rows with equal sizes the last one counts."""
    last = {(row["what"], *map(row.get, ("errors", "stages", "items", "workers"))): row for row in rows}
    kinds = ("lessons", "runner", "stage", "ray")
    ways = {what: [row for row in last.values() if row["what"] == what] for what in kinds}
    parts = [PAGE.format(day=time.strftime("%Y-%m-%d"), cores=os.cpu_count())]
    parts += [
        "## From errors to lessons",
        _table(ways["lessons"], ERRORS),
        "![seconds and memory](../figures/scale.png)",
    ]
    parts += ["## The runner", _table(ways["runner"], STAGES), "## An empty stage", _table(ways["stage"], EMPTY)]
    parts += ["## Ray beside the local executor, on the quickstart", _table(ways["ray"], RAY)] if ways["ray"] else []
    parts += ["## Where it ends", _limits(max(ways["lessons"], key=lambda row: row["errors"]), ways["runner"])]
    write_text(ROOT / "docs" / "scale.md", "\n\n".join(parts) + "\n")
    _draw(sorted(ways["lessons"], key=lambda row: row["errors"]))


def _limits(largest: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    rate, minutes = min(row["stages"] / row["cpu_seconds"] for row in runs), largest["cpu_seconds"] / 60
    return (
        f"The largest size that ran is {largest['errors']:,} errors of one benchmark: {minutes:.0f} minutes of one "
        f"core and\n{largest['peak_gb']:.1f} GB of memory, which is the first limit, because 03 holds its requests, "
        f"replies and lessons\nin memory. The runner settles {rate:.0f} stages a second of processor time, so that "
        f"stages of {64 / rate:.1f} s or\nmore keep 64 workers busy."
    )


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    lines = [" | ".join(columns.values()), " | ".join("---" for _ in columns)]
    ordered = sorted(rows, key=lambda row: [row[key] for key in columns])
    lines += [" | ".join(f"{row[key]:,}" for key in columns) for row in ordered]
    return "\n".join(f"| {line} |" for line in lines)


def _draw(rows: list[dict[str, Any]]) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    errors = [row["errors"] for row in rows]
    for axis, key, name in ((left, "seconds", "seconds, 03 to lessons"), (right, "peak_gb", "peak memory, GB")):
        axis.plot(errors, [row[key] for row in rows], marker="o")
        axis.set(xscale="log", yscale="log", xlabel="errors", ylabel=name)
        for side, steps in ((axis.xaxis, (1,)), (axis.yaxis, (1, 3))):
            side.set_major_locator(LogLocator(subs=steps))
            side.set_major_formatter("{x:,.7g}")
            side.set_minor_locator(NullLocator())
    figure.savefig(ROOT / "figures" / "scale.png", dpi=150)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["lessons", "runner", "stage", "ray", "write"])
    options.add_argument("sizes", nargs="*", type=int, default=[0])
    options.add_argument("--workers", nargs="*", type=int, default=[1])
    options.add_argument("--out", type=Path, default=Path("scale"))
    options.add_argument("--alone", action="store_true", help="in this process, the row on the last line")
    given = options.parse_args()
    if given.alone:
        with tempfile.TemporaryDirectory() as place:
            folder, size = Path(place), given.sizes[0]
            ways = {"lessons": lambda: lessons(size, folder), "stage": lambda: stage(folder)}
            ways["runner"] = lambda: stages(size, given.workers[0], folder)
            ways["ray"] = lambda: on_ray(size, given.workers[0], folder)
            print(json.dumps(ways[given.what]()))
        return
    if given.what == "write":
        write(read_json(given.out / "scale.json", []))
        return
    for size in given.sizes:
        for workers in given.workers:
            argv = [sys.executable, __file__, given.what, str(size), "--workers", str(workers), "--alone"]
            done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
            row = {"what": given.what, "load": round(os.getloadavg()[0], 1)} | json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(row), flush=True)
            # read again: another size may have been measured beside this one
            write_json(given.out / "scale.json", [*read_json(given.out / "scale.json", []), row])


if __name__ == "__main__":
    main()
