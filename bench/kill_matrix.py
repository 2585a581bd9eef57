"""SIGKILL to a rank, the launcher, the kernel or the runner, early, in the middle or while a state is being written.

    python bench/kill_matrix.py              three cases, one of each moment
    python bench/kill_matrix.py all          all twelve, about a minute each on two idle cores
    python bench/kill_matrix.py rank/save …  the ones named
    … --zero3                                     under ZeRO-3, which scatters the weights too

Every case is a real `laif run`: notebook 05 under papermill, DeepSpeed's launcher, two ranks with ZeRO-2 on the CPU.
After the kill no process of the run may be left; the same command must then go on from the last whole state (an early
kill has none) and end with the step count and the losses of a run that nobody killed.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from laif_helpers.paths import ROOT, IterationDir
from laif_helpers.records import write_text
from laif_helpers.train import snapshots
from laif_helpers.train.settings import read_json, read_log

WHO = {
    "rank": "laif_helpers.train.child",
    "launcher": "deepspeed.launcher.launch",
    "kernel": "laif_helpers.runner.kernel",
    "runner": "laif_helpers.cli",
}
WHEN = ("early", "middle", "save")
TOLERANCE = 1e-3  # of every logged loss; two ranks add up in another order from run to run
RECIPE = """
target: data/nano
benchmarks: [practice]
in_domain: [practice]
arms: [fine_tuning]
iterations: 1
map_iterations: false
limit: 150
budget: 100
replay_fraction: 0
max_new_tokens: 32
deepspeed: zero2
num_processes: 2
batch_size: 8
epochs: 12
save_steps: 20
workers: 1
"""
PATIENCE = 300


class Run:
    """One run folder, made from the prepared one; starts, watches and counts its processes."""

    def __init__(self, runs: Path, recipe: Path) -> None:
        self.runs, self.recipe = runs, recipe
        self.folder = IterationDir(runs / recipe.stem / "fine_tuning" / "iter1")
        self.env = os.environ | {"LAIF_RUNS": str(runs), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

    def start(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "laif_helpers.cli", "run", str(self.recipe)]
        log = (self.runs / "output").open("ab")
        return subprocess.Popen(argv, env=self.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def steps(self) -> int:
        rows = read_log(self.folder.path / "train_log.jsonl")
        return rows[-1]["step"] if rows else 0

    def processes(self) -> Iterator[psutil.Process]:
        """Every living process that was started for this run, told by its environment."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                same = process.environ().get("LAIF_RUNS") == str(self.runs)
                if same and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def victim(self, who: str) -> psutil.Process | None:
        """The process of that role; of the ranks the second, which writes no log."""
        found = [p for p in self.processes() if WHO[who] in p.cmdline()]
        if who == "rank":
            found = [p for p in found if "deepspeed.launcher.launch" not in p.cmdline()]
        return max(found, key=lambda process: process.pid) if found else None

    def half_written(self) -> list[Path]:
        states = self.folder.path / "checkpoint.steps"
        return [path for path in states.glob("checkpoint-*") if not (path / snapshots.MARKER).exists()]

    def whole(self) -> list[Path]:
        return list((self.folder.path / "checkpoint.steps").glob(f"checkpoint-*/{snapshots.MARKER}"))


def wait(condition: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {PATIENCE} s")
        time.sleep(0.002)


def kill(run: Run, who: str, when: str) -> None:
    """Wait for the moment, then kill the one process."""
    if when == "early":
        wait(lambda: run.steps() >= 1, "first step")
    elif when == "middle":
        wait(lambda: run.steps() >= 45 and run.whole(), "step 45")
    victim = run.victim(who)
    if when == "save":
        wait(lambda: run.steps() >= 25 and run.whole(), "first whole state")
        victim = run.victim(who)  # found before the moment, which lasts some ten milliseconds
        wait(run.half_written, "state being written")
    if victim is None:
        raise RuntimeError(f"no {who} to kill")
    victim.send_signal(signal.SIGKILL)


def left(run: Run, runner: "subprocess.Popen[bytes]") -> int:
    """End the rest of the attempt as a user would (Ctrl-C, if the runner lives), and count what is still there."""
    deadline = time.monotonic() + 15
    asked = False
    while (alive := list(run.processes())) and time.monotonic() < deadline:
        training = [p for p in alive if any(WHO[w] in p.cmdline() for w in ("rank", "launcher"))]
        if not training and runner.poll() is None and not asked:
            runner.send_signal(signal.SIGINT)
            asked = True
        time.sleep(0.2)
    runner.poll()
    return len(alive)


def finish(run: Run) -> None:
    """Run until the training is done; evaluation and comparison are of no interest here."""
    runner = run.start()
    wait(lambda: (run.folder.checkpoint / "laif_done.json").is_file() or runner.poll() is not None, "checkpoint")
    wait(lambda: run.folder.train_metrics.is_file() or runner.poll() is not None, "metrics")
    if runner.poll() is None:
        runner.send_signal(signal.SIGINT)
    runner.wait(60)


def case(prepared: Path, recipe: Path, who: str, when: str, expected: list[float]) -> str:
    """Kill, go on, compare; "" where all is well, else what is not."""
    with tempfile.TemporaryDirectory(prefix="laif-kill-") as place:
        runs = Path(place) / "runs"
        shutil.copytree(prepared, runs, symlinks=True)
        run = Run(runs, recipe)
        runner = run.start()
        kill(run, who, when)
        torn = bool(run.half_written())
        if orphans := left(run, runner):
            return f"{orphans} processes left"
        stood = max(
            (snapshots.read(path.parent).step for path in run.whole() if snapshots.read(path.parent)), default=0
        )
        finish(run)
        metrics = read_json(run.folder.train_metrics)
        found = [row["loss"] for row in read_log(run.folder.path / "train_log.jsonl")]
        worst = max((abs(a - b) for a, b in zip(expected, found, strict=False)), default=9.0)
        print(f"  went on from {metrics['resumed_from']}, half-written state: {torn}, largest difference {worst:.1e}")
        problems = [
            "other step count" if len(found) != len(expected) else "",
            f"went on from {metrics['resumed_from']}, not {stood}" if metrics["resumed_from"] != stood else "",
            "nothing to go on from" if when != "early" and not stood else "",
            "no state was being written" if when == "save" and not torn else "",
            f"losses differ by {worst}" if worst > TOLERANCE else "",
            f"{len(rest)} processes left after the end" if (rest := list(run.processes())) else "",
        ]
        return "; ".join(filter(None, problems))


def main(chosen: list[str]) -> int:
    cases = [f"{who}/{when}" for who, when in itertools.product(WHO, WHEN)]
    recipe_text = RECIPE.replace("zero2", "zero3") if "--zero3" in chosen else RECIPE
    chosen = [name for name in chosen if name != "--zero3"]
    chosen = {"": ["runner/early", "launcher/middle", "rank/save"], "all": cases}.get(" ".join(chosen), chosen)
    if unknown := set(chosen) - set(cases):
        raise SystemExit(f"unknown case {sorted(unknown)[0]!r}; known: {', '.join(cases)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="laif-kill-") as place:
        recipe, prepared = Path(place) / "killed.yaml", Path(place) / "runs"
        prepared.mkdir()
        write_text(recipe, recipe_text)
        reference = Run(prepared, recipe)
        finish(reference)
        expected = [row["loss"] for row in read_log(reference.folder.path / "train_log.jsonl")]
        print(f"nobody killed: {len(expected)} steps, last loss {expected[-1]:.4f}", flush=True)
        shutil.rmtree(reference.folder.path)
        for name in chosen:
            begin = time.perf_counter()
            try:
                problem = case(prepared, recipe, *name.split("/"), expected)
            except (TimeoutError, RuntimeError, OSError, json.JSONDecodeError) as error:
                problem = str(error)
            failed += bool(problem)
            print(f"{name:<18} {problem or 'ok'}  ({time.perf_counter() - begin:.0f} s)", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} recovered, no process left")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
