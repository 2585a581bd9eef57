"""The cells of the fault matrix: who or what is broken, when, and how; each is a real run that is really broken.

A cell returns what was found, in a few words; it raises AssertionError if the run did not recover.
"""

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import world as worlds
from world import Run, Servers, World, differences, wait

ANSWER, MAP, TEACH = worlds.SMALL_STAGES
TRAIN, RANKS, COMPARE = "le/iter1/05_train_deepspeed", "fine_tuning/iter1/05_train_deepspeed", "compare/06_compare"
NO_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
"""root without the power to write where the mode forbids it."""


@dataclass(frozen=True)
class Cell:
    """One row of the table. ``seed``: it runs in ``make test`` too."""

    who: str
    when: str
    how: str
    world: str
    act: Callable[[World], str]
    seed: bool = False

    @property
    def name(self) -> str:
        return f"{self.who} · {self.when} · {self.how}"


# -- what must hold after each


def recovered(world: World, run: Run, servers: Servers | None, *, in_flight: int = 0, before: int = 0) -> str:
    """Everything the matrix asks of a rerun. ``before``: answers that were paid for before the fault."""
    tolerance = worlds.TOLERANCE if world.name == "ranks" else 0.0
    assert not (left := run.left()), f"left behind: {left}"
    other = differences(world.expected, worlds.artefacts(run.dir.path), tolerance)
    assert not other, f"other than undisturbed: {other[:6]}\n{run.output[-2000:]}"
    assert not (litter := run.litter()), f"temporary files left: {litter}"
    if not servers:
        return "identical"
    again = len(servers.asked()) - len(set(servers.asked()))
    assert again <= in_flight, f"{again} questions were asked again, {in_flight} were in flight"
    paid = servers.paid() + before
    assert paid <= world.paid + in_flight, f"{paid} answers paid for, {world.paid} needed, {in_flight} were in flight"
    return f"identical; {again} questions asked again, {max(0, paid - world.paid)} answers paid again"


@contextmanager
def broken(world: World, *undone: str, **settings: Any) -> Iterator[tuple[Run, Servers | None]]:
    """A copy of the world without what ``undone`` stages did, and its servers."""
    with world.copy(*undone) as run:
        if world.name != "small":
            yield run, None
            return
        with Servers(run.folder, world.ports, **settings) as servers:
            yield run, servers


# -- kill -9 and other blows during one write


def during_write(
    world: World, *, stage: str, match: str, event: str = "os.rename", whole: bool = False, **fault: Any
) -> str:
    """Break the write of one file; the rerun must make good. ``whole``: by `laif run`, else the stage alone."""
    with broken(world, stage) as (run, servers):
        run.fault = {"event": event, "match": match, **fault}
        by = "" if whole else stage
        status = run.finish(by)
        assert run.happened, f"nothing opened or renamed {match}\n{run.output[-1500:]}"
        assert status != 0 or whole, "the process ended well although it was broken"
        in_flight = run.ledger_rows("sent")
        assert not (left := run.left()), f"left behind: {left}"
        run.fault = None
        assert run.finish(by) == 0, run.output[-3000:]
        if not whole:
            sweep(run)
        return recovered(world, run, servers, in_flight=in_flight)


def sweep(run: Run) -> None:
    """What the next `laif run` does first: it removes the halves that killed processes have left."""
    from laif_helpers.runner import scratch

    scratch.remove_all(run.dir)


kill = functools.partial(during_write, action="kill", half=True)
kill_whole = functools.partial(during_write, action="kill", whole=True)


# -- kill -9 at a moment


def at_moment(world: World, *, stage: str, who: str, moment: Callable[[Run], Any], **settings: Any) -> str:
    """`laif run`, one process killed once ``moment`` has come, and `laif run` again."""
    with broken(world, stage, **settings) as (run, servers):
        runner = run.start()
        wait(lambda: moment(run) or runner.poll() is not None, "such moment")
        victim = run.victim(who)
        assert victim, f"no {who} to kill\n{run.output[-1500:]}"
        victim.send_signal(signal.SIGKILL)
        runner.wait(worlds.PATIENCE_S)
        in_flight = run.ledger_rows("sent") + asking(run)
        assert not (left := run.left()), f"left behind: {left}"
        assert run.finish() == 0, run.output[-3000:]
        return recovered(world, run, servers, in_flight=in_flight)


def asking(run: Run) -> int:
    """Questions to the target that may have been in flight: as many as there may be connections."""
    return 64 if list(run.dir.path.glob("*/iter*/responses/.*.partial")) else 0


def started(run: Run) -> bool:
    return bool(run.victim("kernel"))


def answered(run: Run, lines: int = 5) -> bool:
    return any(path.read_bytes().count(b"\n") > lines for path in run.dir.path.glob("*/iter*/responses/.*.partial"))


def taught(run: Run) -> bool:
    return run.ledger_rows("done") >= 2


# -- the table


def table() -> list[Cell]:
    """Every cell; names are unique."""
    cells = [*_writes()]
    assert len({cell.name for cell in cells}) == len(cells)
    return cells


def _writes() -> Iterator[Cell]:
    files = {
        ANSWER: {
            "answers as they come": r"\.practice\.test\.partial",
            "answers": r"responses/practice\.test\.jsonl$",
            "the answers' stamp": r"\.practice\.test\.made$",
            "answer times": r"practice\.test\.seconds\.csv$",
        },
        MAP: {"the error map's table": r"errors\.parquet$", "weaknesses": r"weaknesses\.json$"},
        TEACH: {
            "requests": r"le\.requests\.jsonl$",
            "diagnoses": r"le\.diagnoses\.jsonl$",
            "lessons": r"lessons/le\.jsonl$",
        },
    }
    for stage, named in files.items():
        for what, match in named.items():
            act = functools.partial(kill, stage=stage, match=match)
            yield Cell("stage", f"writing {what}", "kill -9", "small", act, seed=what in ("answers", "lessons"))
