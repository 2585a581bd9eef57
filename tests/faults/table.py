"""The table of the fault matrix, row by row, and docs/faults.md made of what a run of it has recorded."""

import functools
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import cells
from cells import ANSWER, COMPARE, MAP, RANKS, TEACH, TRAIN, Cell

WRITES = {
    ANSWER: {
        "answers as they come": r"\.practice\.test\.partial",
        "answers": r"responses/practice\.test\.jsonl$",
        "the answers' stamp": r"\.practice\.test\.made$",
    },
    MAP: {"the error map's table": r"errors\.parquet$", "weaknesses": r"weaknesses\.json$"},
    TEACH: {
        "requests": r"le\.requests\.jsonl$",
        "diagnoses": r"le\.diagnoses\.jsonl$",
        "lessons": r"lessons/le\.jsonl$",
    },
}
OPENED = {
    ANSWER: {
        "answers as they come": r"\.practice\.test\.partial$",
        "answers": r"responses/\.practice\.test\.jsonl\.",
        "the answers' stamp": r"\.practice\.test\.made\.",
    },
    MAP: {"weaknesses": r"weaknesses\.json\."},
    TEACH: {
        "requests": r"le\.requests\.jsonl\.",
        "the ledger": r"le\.replies\.sqlite\.lock$",
        "lessons": r"lessons/\.le\.jsonl\.",
    },
}
SEEDS = {"kill -9": ("answers",), "full disk": ("the ledger",), "permission lost": (), "out of memory": ()}


def all_cells() -> list[Cell]:
    """Every cell; names are unique."""
    found = [*_writes(), *_moments(), *_trainings(), *_servers(), *_damage(), *_others()]
    assert len({cell.name for cell in found}) == len(found)
    return found


def _writes() -> Iterator[Cell]:
    """One write of a stage is broken."""
    for stage, named in WRITES.items():
        for what, match in named.items():
            act = functools.partial(cells.kill, stage=stage, match=match)
            yield Cell("stage", f"writing {what}", "kill -9", "small", act, seed=what in SEEDS["kill -9"])
    for stage, named in OPENED.items():
        for what, match in named.items():
            act = functools.partial(cells.full_disk, stage=stage, match=match)
            yield Cell("stage", f"writing {what}", "full disk", "small", act, seed=what in SEEDS["full disk"])
            folder = {ANSWER: "vanilla/iter0/responses", MAP: "vanilla/iter0"}.get(stage, "le/iter1/lessons")
            if what not in ("requests", "the ledger"):
                act = functools.partial(cells.denied, stage=stage, match=match, below=folder)
                yield Cell("stage", f"writing {what}", "permission lost", "small", act)
    for what in ("answers as they come", "answers"):
        act = functools.partial(cells.no_memory, stage=ANSWER, match=OPENED[ANSWER][what])
        yield Cell("stage", f"writing {what}", "out of memory", "small", act)
    whole = {"action": "fill", "event": "open", "disk_mb": 24, "whole": True}
    for what, match in (
        ("the manifest", r"manifest\.jsonl$"),
        ("the executed notebook", r"03_instruct_LE\.ipynb"),
        ("a job", r"\.jobs/\.?le__.*json"),
    ):
        yield Cell("runner", f"writing {what}", "full disk", "small", functools.partial(
            cells.during_write, stage=TEACH, match=match, **whole
        ))  # fmt: skip
    for what, match in (("answers", r"responses/practice\.test\.jsonl$"), ("metrics", r"metrics/01_evaluate\.json$")):
        act = functools.partial(
            cells.during_write, stage=ANSWER, match=match, action="kill", victim="laif_helpers.cli", whole=True
        )
        yield Cell("runner", f"while a kernel writes {what}", "kill -9", "small", act)
    for what, match, event in (
        ("the manifest's line", r"manifest\.jsonl$", "open"),
        ("a job", r"\.jobs/le__.*03_instruct_LE\.json$", "os.rename"),
    ):
        act = functools.partial(cells.during_write, stage=TEACH, match=match, event=event, action="kill", whole=True)
        yield Cell("runner", f"writing {what}", "kill -9", "small", act)


def _moments() -> Iterator[Cell]:
    """One process is killed at a moment of a whole `laif run`."""
    for who in ("runner", "stage", "kernel"):
        for when, stage, moment, delays in (
            ("at the start", ANSWER, cells.started, {}),
            ("in the middle of answers", ANSWER, cells.answered, {"target": 0.05}),
            ("in the middle of lessons", TEACH, cells.taught, {"instructor": 0.5}),
        ):
            if who == "stage" and when == "at the start":
                continue
            act = functools.partial(cells.at_moment, stage=stage, who=who, moment=moment, delays=delays)
            yield Cell(who, when, "kill -9", "small", act)
    act = functools.partial(cells.any_moments, times=20)
    yield Cell("any process", "at random moments", "kill -9, up to 20 times", "small", act)


def _trainings() -> Iterator[Cell]:
    moments = {"in the first steps": cells.early, "in the middle": cells.middle, "writing a state": cells.saving}
    for who in ("rank", "launcher"):
        for when, moment in moments.items():
            act = functools.partial(cells.training_stopped, stage=RANKS, who=who, moment=moment)
            yield Cell(who, f"training over two ranks, {when}", "kill -9", "ranks", act)
    for who in ("rank", "kernel"):
        for when, moment in moments.items():
            act = functools.partial(cells.training_stopped, stage=TRAIN, who=who, moment=moment)
            yield Cell(who, f"training, {when}", "kill -9", "train", act)
    for what, match, event in (
        ("the state's seal", r"laif_whole\.json$", "os.rename"),
        ("the metrics", r"train_metrics\.json$", "os.rename"),
        ("the checkpoint's name", r"/checkpoint$", "os.rename"),
        ("away old states", r"checkpoint\.steps$", "shutil.rmtree"),
        ("the training set", r"train\.jsonl$", "os.rename"),
    ):
        act = functools.partial(cells.kill, stage=TRAIN, match=match, event=event)
        yield Cell("training", f"writing {what}", "kill -9", "train", act)
    for what, match in (
        ("a state", r"checkpoint\.steps/checkpoint-\d+/config\.json"),
        ("the checkpoint", r"checkpoint\.(?!steps)[^/]*/config\.json"),
        ("the training set", r"\.train\.jsonl\."),
    ):
        act = functools.partial(cells.full_disk, stage=TRAIN, match=match, disk_mb=96)
        yield Cell("training", f"writing {what}", "full disk", "train", act)
    for how, fault in (
        ("kill -9", {"action": "kill", "event": "os.rename"}),
        ("full disk", {"action": "fill", "event": "open", "disk_mb": 96}),
    ):
        act = functools.partial(cells.during_write, stage=COMPARE, match=r"report\.html", whole=True, **fault)
        yield Cell("kernel", "writing the report", how, "full", act)


def _servers() -> Iterator[Cell]:
    for who, stage, middle in (("target", ANSWER, cells.answered), ("instructor", TEACH, cells.taught)):
        at = functools.partial(cells.server_killed, stage=stage, who=who)
        yield Cell(
            f"{who} server", "before the first request", "down", "small", functools.partial(at, moment=cells.at_start)
        )
        yield Cell(f"{who} server", "in the middle", "kill -9", "small", functools.partial(at, moment=middle))
        act = functools.partial(at, moment=middle, back_after=2.0)
        yield Cell(f"{who} server", "in the middle", "kill -9, back after 2 s", "small", act)
        for how, sign in (("no answer, Ctrl-C", signal.SIGINT), ("no answer, kill -9", signal.SIGKILL)):
            act = functools.partial(cells.stalled, stage=stage, who=who, sign=sign)
            yield Cell(f"{who} server", "waiting", how, "small", act)


def _damage() -> Iterator[Cell]:
    """A file of a finished run is damaged, or of one that had to go on."""
    answers, lessons, ledger = (
        "vanilla/iter0/responses/practice.train.jsonl",
        "le/iter1/lessons/le.jsonl",
        "le/iter1/instruct/le.replies.sqlite",
    )
    for file, hows in (
        (answers, ("cut in half", "a block of zeros", "emptied")),
        (lessons, ("cut in half", "another file's bytes")),
        ("vanilla/iter0/errors.parquet", ("cut in half", "a block of zeros")),
        ("vanilla/iter0/metrics/01_evaluate.json", ("cut in half",)),
        ("vanilla/iter0/notebooks/01_evaluate.ipynb", ("cut in half",)),
        ("manifest.jsonl", ("cut in half", "a block of zeros", "another file's bytes", "emptied")),
        ("recipe.yaml", ("another file's bytes",)),
    ):
        for how in hows:
            act = functools.partial(cells.damaged, file=file, how=how)
            yield Cell(Path(file).name, "finished run", how, "small", act)
    for file, how in (
        ("vanilla/iter0/responses/.practice.train.made", "another file's bytes"),
        (answers, "a block of zeros"),
    ):
        act = functools.partial(cells.damaged, file=file, how=how, stage=ANSWER)
        yield Cell(Path(file).name, "stage again", how, "small", act, seed=file != answers)
    for how in ("cut in half", "another file's bytes", "a block of zeros"):
        act = functools.partial(cells.damaged, file=ledger, how=how, stage=TEACH, advice="le.replies.sqlite")
        yield Cell("le.replies.sqlite", "stage again", how, "small", act)
    checkpoint = "le/iter1/checkpoint"
    for file, how in (
        (f"{checkpoint}/model.safetensors", "cut in half"),
        (f"{checkpoint}/model.safetensors", "a block of zeros"),
        (f"{checkpoint}/laif_done.json", "another file's bytes"),
    ):
        yield Cell(Path(file).name, "training again", how, "train", functools.partial(
            cells.damaged, file=file, how=how, stage=TRAIN
        ))  # fmt: skip


def _others() -> Iterator[Cell]:
    for what, stage in (("answers as they come", ANSWER), ("requests", TEACH)):
        act = functools.partial(cells.clock_back, stage=stage, match=OPENED[stage][what])
        yield Cell("clock", f"while writing {what}", "three hours back", "small", act)
    act = functools.partial(cells.clock_back, stage=TEACH, match=r"le\.requests\.jsonl\.", whole=True)
    yield Cell("clock", "in a whole run", "three hours back", "small", act)
    yield Cell("two runners", "at once", "one run", "small", cells.two_drivers)
    yield Cell(
        "two runners",
        "at once",
        "a file system without locks",
        "small",
        functools.partial(cells.two_drivers, locks=False),
    )
    act = functools.partial(cells.two_drivers, first_killed=True)
    yield Cell("two runners", "the second starts as the first dies", "kill -9", "small", act)


INTRO = """# What a fault does

Made by `make faults`: each row is a real run that was really broken (`tests/faults/`). After each one the same command
ran again, and these had to hold: it completes; every artefact equals that of a run which nobody disturbed, byte by byte
(times are left out; losses of two ranks within {tolerance:g}); no question and no paid request is repeated beyond those
that were in flight; no process and no temporary file is left.

The table has {planned} cells. Recorded here: {count}, of which {good} recovered, in {seconds:,.0f} seconds of one
process ({cpu:,.0f} of processor time), on two cores that other programs shared. A + behind a commit: with changes that
came into a later one.

| who or what | when | how | found | s | date | commit |
|---|---|---|---|---:|---|---|
"""


def write(record: Path, page: Path) -> int:
    """docs/faults.md, of each cell's last result, in the order of the table; 1 if a cell has not recovered."""
    from world import TOLERANCE

    rows = {row["cell"]: row for row in map(json.loads, record.read_text(encoding="utf-8").splitlines())}
    known = [rows[cell.name] for cell in all_cells() if cell.name in rows]
    lines = []
    for row in known:
        found = row["found"] if row["ok"] else f"**not recovered**: {row['found']}"
        who, when, how = row["cell"].split(" · ")
        lines.append(f"| {who} | {when} | {how} | {found} | {row['seconds']:.0f} | {row['date']} | {row['commit']} |")
    good, seconds = sum(row["ok"] for row in known), sum(row["seconds"] for row in known)
    cpu = sum(row.get("cpu", 0) for row in known)
    counts = {"cpu": cpu, "planned": len(all_cells()), "count": len(known), "good": good}
    head = INTRO.format(tolerance=TOLERANCE, seconds=seconds, **counts)
    missing = [cell.name for cell in all_cells() if cell.name not in rows]
    behind = ["", "Not recorded yet:", "", *(f"- {name}" for name in missing)] if missing else []
    page.write_text(head + "\n".join([*lines, *behind]) + "\n", encoding="utf-8")
    print(f"{good} of {len(known)} recovered; {page}")
    return int(good < len(known))


if __name__ == "__main__":
    from test_fault_matrix import RECORD

    from laif_helpers.paths import ROOT

    sys.exit(write(RECORD, ROOT / "docs" / "faults.md"))
