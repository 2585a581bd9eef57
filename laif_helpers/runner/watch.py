"""Shows a run while it goes on: each stage, its place, how far it is, how fast, and what it has cost."""

import time

from laif_helpers.instructors import ledger
from laif_helpers.records import sound_rows
from laif_helpers.runner import attempts, executors, manifest, run_lock, scratch
from laif_helpers.runner.plan import TRAIN, RunPlan, Stage

COLUMNS = ("stage", "state", "where", "done so far", "items/s", "dollars")
EVERY_S = 2.0
_Seen = tuple[float, int]
"""When, and how many items of a stage were seen then."""


def table(run_plan: RunPlan, seen: dict[str, _Seen]) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each planned stage; ``seen`` is kept from look to look, for the speed."""
    running = run_lock.lock_holder(run_plan.run).get("running", [])
    return [_row(run_plan, stage, stage.key in running, seen) for stage in run_plan.stages]


def _row(run_plan: RunPlan, stage: Stage, runs: bool, seen: dict[str, _Seen]) -> tuple[str, ...]:
    last = manifest.latest(stage.run).get(stage.key, {})
    paid = ledger.totals(stage.folder.replies(stage.arm))["usd"] if stage.makes_lessons else 0.0
    cost = f"{paid:.2f}" if paid else ""
    if not runs:
        state = str(last.get("status", "to do")).replace("running", "killed")
        took = f"{last['seconds']:.0f} s" if "seconds" in last else ""
        return stage.key, state, str(last.get("host", "")), took, "", cost
    worker = scratch.worker(attempts.job_of(run_plan, stage))
    where = f"{worker['host']}:{worker['pid']}" if worker else ""
    items, of = _progress(stage)
    now, before = time.monotonic(), seen.get(stage.key)
    speed = f"{(items - before[1]) / (now - before[0]):.1f}" if before and now > before[0] else ""
    seen[stage.key] = now, items
    done = f"{items:,}" + (f" of {of:,}" if of else "") if items else ""
    return stage.key, "running" if worker else "waiting", where, done, speed, cost


def _progress(stage: Stage) -> tuple[int, int]:
    """Answers, replies or training steps that a running stage has on the disk, and of how many; 0 if unknown."""
    folder = stage.folder
    if stage.notebook == TRAIN:
        last = (sound_rows(folder.train_log, more=False) or [{}])[-1]
        return last.get("step", 0), last.get("of", 0)
    if stage.makes_lessons:
        return int(ledger.totals(folder.replies(stage.arm))["replies"]), 0
    part = f".{stage.part}" if stage.part else ""
    return sum(path.read_bytes().count(b"\n") for path in folder.path.rglob(f".*{part}.partial")), 0


def watch(run_plan: RunPlan, every: float = EVERY_S) -> None:
    """Redraw the table until the run has ended; on no terminal, print it once. Ctrl-C leaves, and the run goes on."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console, seen = Console(), dict[str, _Seen]()

    def drawn() -> Table:
        drawing = Table(title=run_plan.run.path.name, title_justify="left", box=None)
        for name in COLUMNS:
            drawing.add_column(name, justify="right" if name in COLUMNS[3:] else "left", overflow="fold")
        for row in table(run_plan, seen):
            drawing.add_row(*row)
        return drawing

    if not console.is_terminal:
        console = Console(width=160)
        console.print(drawn())
        return
    try:
        with executors.interruptible(), Live(drawn(), console=console, auto_refresh=False) as live:
            while run_lock.lock_holder(run_plan.run):
                time.sleep(every)
                live.update(drawn(), refresh=True)
    except KeyboardInterrupt:
        return
