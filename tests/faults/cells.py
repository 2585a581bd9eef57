"""The cells of the fault matrix: who or what is broken, when, and how; each is a real run that is really broken.

A cell returns what was found, in a few words; it raises AssertionError if the run did not recover.
"""

import functools
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import world as worlds
from world import Run, Servers, World, differences, wait

ANSWER, MAP, TEACH = worlds.SMALL_STAGES
TRAIN, RANKS, COMPARE = "le/iter1/05_train_deepspeed", "fine_tuning/iter1/05_train_deepspeed", "compare/06_compare"
NO_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
"""root without the power to write where the mode forbids it."""
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static int set(clockid_t clock, struct timespec *now) {
    int code = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(clock, now);
    FILE *file = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? fopen(getenv("LAIF_CLOCK"), "r") : NULL;
    long ahead = 0;
    if (file) { if (fscanf(file, "%ld", &ahead) != 1) ahead = 0; fclose(file); now->tv_sec += ahead; }
    return code; }
int clock_gettime(clockid_t clock, struct timespec *now) { return set(clock, now); }
time_t time(time_t *out) {
    struct timespec now; set(CLOCK_REALTIME, &now); if (out) *out = now.tv_sec; return now.tv_sec; }
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now; int code = set(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec; out->tv_usec = now.tv_nsec / 1000; return code; }
"""
"""The time of day, moved by the seconds in a file; clocks that only run, and those of files, stay as they are."""


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
    assert not (told := run.holding(worlds.KEY)), f"the key lies in {told}"
    if not servers:
        return "identical"
    again = len(servers.asked()) - len(set(servers.asked()))
    assert again <= in_flight, f"{again} questions were asked again, {in_flight} were in flight"
    paid = servers.paid() + before
    assert paid <= world.paid + in_flight, f"{paid} answers paid for, {world.paid} needed, {in_flight} were in flight"
    return f"identical; {again} questions asked again, {max(0, paid - world.paid)} answers paid again"


@contextmanager
def broken(world: World, *undone: str, disk_mb: int = 0, **settings: Any) -> Iterator[tuple[Run, Servers | None]]:
    """A copy of the world without what ``undone`` stages did, and the servers that these need.

    ``disk_mb``: it lies on a disk of that size.
    """
    with world.copy(*undone, disk_mb=disk_mb) as run:
        if world.name != "small":
            yield run, None
            return
        needed = {ANSWER: ("target",), MAP: (), TEACH: ("instructor",)}
        wanted = needed[undone[0]] if len(undone) == 1 else ("target", "instructor")
        with Servers(run.folder, world.ports, wanted=wanted, **settings) as servers:
            yield run, servers


# -- kill -9 and other blows during one write


def during_write(
    world: World,
    *,
    stage: str,
    match: str,
    event: str = "os.rename",
    whole: bool = False,
    disk_mb: int = 0,
    wrapper: tuple[str, ...] = (),
    **fault: Any,
) -> str:
    """Break the write of one file; the rerun must make good. ``whole``: by `laif run`, else the stage alone."""
    with broken(world, stage, disk_mb=disk_mb) as (run, servers):
        run.fault = {"event": event, "match": match, "place": str(run.runs), **fault}
        if place := fault.get("below"):
            run.fault["place"] = str(run.dir.path / place)
        run.wrapper = list(wrapper)
        by = "" if whole else stage
        status = run.finish(by)
        assert run.happened, f"nothing opened or renamed {match}\n{run.output[-1500:]}"
        assert status != 0 or whole or fault["action"] == "memory", "the process ended well although it was broken"
        assert "Traceback" not in run.output or not whole, f"a traceback\n{run.output[-2500:]}"
        in_flight = run.ledger_rows("sent") + asking(run)
        assert not (left := run.left()), f"left behind: {left}"
        mend(run)
        assert run.finish(by) == 0, run.output[-3000:]
        if not whole:
            sweep(run)
        return recovered(world, run, servers, in_flight=in_flight)


def mend(run: Run) -> None:
    """What a person does after a fault: room on the disk, the right to write."""
    if run.fault and run.fault.get("below"):
        Path(run.fault["place"]).chmod(0o755)
    (run.runs / "filler").unlink(missing_ok=True)
    run.fault, run.wrapper = None, []


def sweep(run: Run) -> None:
    """What the next `laif run` does first: it removes the halves that killed processes have left."""
    from laif_helpers.runner import scratch

    scratch.remove_all(run.dir)


kill = functools.partial(during_write, action="kill", half=True)
full_disk = functools.partial(during_write, action="fill", event="open", disk_mb=24)
denied = functools.partial(during_write, action="deny", event="open", wrapper=tuple(NO_OVERRIDE))
no_memory = functools.partial(during_write, action="memory", event="open")


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


def any_moments(world: World, *, times: int, pause_s: float = 5.0) -> str:
    """`laif run` again and again, each time some process of it killed after a random while, until it is through."""
    rng, in_flight, kills = random.Random(20261126), 0, 0
    with broken(world, *worlds.SMALL_STAGES) as (run, servers):
        for _ in range(times):
            runner = run.start()
            with suppress(subprocess.TimeoutExpired):
                runner.wait(rng.expovariate(1 / pause_s))
            if not (alive := sorted(run.processes(), key=lambda process: process.pid)):
                break
            rng.choice(alive).send_signal(signal.SIGKILL)
            runner.wait(worlds.PATIENCE_S)
            kills, in_flight = kills + 1, in_flight + run.ledger_rows("sent") + asking(run)
            assert not (left := run.left()), f"left behind: {left}"
            assert "Traceback" not in run.output, run.output[-2500:]
        assert run.finish() == 0, run.output[-3000:]
        return f"killed {kills} times; " + recovered(world, run, servers, in_flight=in_flight)


def started(run: Run) -> bool:
    return bool(run.victim("kernel"))


def answered(run: Run, lines: int = 5) -> bool:
    return any(path.read_bytes().count(b"\n") > lines for path in run.dir.path.glob("*/iter*/responses/.*.partial"))


def taught(run: Run) -> bool:
    return run.ledger_rows("done") >= 2


def step(number: int) -> Callable[[Run], bool]:
    """The training has logged that step."""

    def reached(run: Run) -> bool:
        logs = list(run.dir.path.glob("*/iter1/train_log.jsonl"))
        return bool(logs) and logs[0].read_bytes().count(b"\n") >= number

    return reached


def saving(run: Run) -> bool:
    """A second state is being written while the first is whole."""
    states = list(run.dir.path.glob("*/iter1/checkpoint.steps/checkpoint-*"))
    whole = [path for path in states if (path / "laif_whole.json").exists()]
    return bool(whole) and len(states) > len(whole)


def training_stopped(world: World, *, stage: str, who: str, moment: Callable[[Run], Any]) -> str:
    """One process of a training killed; the next one goes on from the last whole state, with the same losses."""
    with broken(world, stage) as (run, _):
        trainer = run.start(stage)
        wait(lambda: run.victim("rank") or trainer.poll() is not None, "rank")
        victim = trainer if who == "kernel" else None
        while victim is None and trainer.poll() is None:
            victim = run.victim(who)  # found before the moment, which may last some ten milliseconds
        wait(lambda: moment(run) or trainer.poll() is not None, "such moment")
        assert victim and trainer.poll() is None, f"it was over too soon\n{run.output[-1500:]}"
        victim.send_signal(signal.SIGKILL)
        trainer.wait(worlds.PATIENCE_S)
        assert not (left := run.left()), f"left behind: {left}"
        assert run.finish(stage) == 0, run.output[-3000:]
        from_step = run.metrics(stage)["resumed_from"]
        assert from_step or moment is early, "it did not go on from a state"
        sweep(run)
        return f"went on from step {from_step}; " + recovered(world, run, None)


early = step(1)


def middle(run: Run) -> bool:
    """Some steps are logged and a state is whole, from which a training can go on."""
    return step(6)(run) and any(run.dir.path.glob("*/iter1/checkpoint.steps/checkpoint-*/laif_whole.json"))


# -- servers and the network


def server_killed(world: World, *, stage: str, who: str, moment: Callable[[Run], Any], back_after: float = -1) -> str:
    """A server killed; it comes back after so many seconds while the stage waits, or for the rerun alone (-1)."""
    with broken(world, stage, delays={who: 0.4}) as (run, servers):
        assert servers
        if moment is at_start:
            servers.kill(who)
        runner = run.start(stage)
        wait(lambda: moment(run) or runner.poll() is not None, "such moment")
        if who in servers.running:
            servers.kill(who)
        if back_after >= 0:
            time.sleep(back_after)
            servers.start(who)
        status = runner.wait(worlds.PATIENCE_S)
        in_flight = run.ledger_rows("sent") + asking(run)
        if back_after >= 0:
            assert status == 0, f"it gave up although the server was back\n{run.output[-1500:]}"
            return recovered(world, run, servers, in_flight=max(in_flight, 64))
        assert status != 0 and "Traceback" not in run.output, run.output[-1500:]
        servers.start(who)
        assert run.finish(stage) == 0, run.output[-3000:]
        return recovered(world, run, servers, in_flight=max(in_flight, 22))


def at_start(run: Run) -> bool:
    return True


@contextmanager
def silence(port: int) -> Iterator[None]:
    """A server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def stalled(world: World, *, stage: str, who: str, sign: signal.Signals) -> str:
    """No answer ever comes; a person interrupts (SIGINT), or the machine kills (SIGKILL). Then the network is back."""
    with broken(world, stage) as (run, servers):
        assert servers
        servers.kill(who)
        with silence(world.ports[who]):
            runner = run.start()
            wait(lambda: run.victim("kernel") or runner.poll() is not None, "kernel")
            time.sleep(8)
            runner.send_signal(sign)
            begin = time.monotonic()
            status = runner.wait(60)
            took = time.monotonic() - begin
        assert status == (130 if sign == signal.SIGINT else -sign), f"{status}\n{run.output[-1500:]}"
        assert not (left := run.left()), f"left behind: {left}"
        in_flight = run.ledger_rows("sent")
        servers.start(who)
        assert run.finish() == 0, run.output[-3000:]
        return f"ended after {took:.1f} s; " + recovered(world, run, servers, in_flight=in_flight)


# -- the clock


def clock_back(world: World, *, stage: str, match: str, whole: bool = False) -> str:
    """The clock jumps three hours back in the middle, the stage ends, is undone, and runs again in the past."""
    with broken(world, stage) as (run, servers):
        clock = run.folder / "clock"
        run.environment = {"LD_PRELOAD": str(library(run.folder, CLOCK)), "LAIF_CLOCK": str(clock)}
        run.fault = {"event": "open", "match": match, "action": "clock", "place": str(clock)}
        by = "" if whole else stage
        status = run.finish(by)
        assert run.happened and status == 0, run.output[-1500:]
        run.undo(stage)
        run.fault = None
        assert run.finish(by) == 0, run.output[-3000:]
        sweep(run)
        return "made twice, the second time in the past; " + recovered(world, run, servers, in_flight=1_000)


# -- files that are damaged


def damaged(
    world: World, *, file: str, how: str, stage: str = "", undone: tuple[str, ...] = (), advice: str = ""
) -> str:
    """One file is cut or overwritten; the next run makes it good. ``advice``: it says so in a sentence first, and goes
    on once the file is removed, as the sentence advises."""
    with broken(world) as (run, servers):
        path = next(iter(sorted(run.dir.path.glob(file))))
        HURT[how](path)
        refused = run.finish(stage) != 0
        if refused:
            assert advice and advice in run.output and "Traceback" not in run.output, run.output[-2000:]
            for part in path.parent.glob(f"{path.name}*"):
                part.unlink()
            assert run.finish(stage) == 0, run.output[-3000:]
        paid_anew = 1_000 if path.suffix == ".sqlite" else 0
        found = recovered(world, run, servers, in_flight=paid_anew)
        if servers and (asked := len(servers.asked())):
            found += f"; {asked} questions asked for the damaged file"
        return f"refused in a sentence; after its advice {found}" if refused else found


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _zeros(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as handle:
        handle.seek(size // 3)
        handle.write(b"\0" * max(1, min(512, size // 3)))


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY\x01 this is no such file {]\n" * 8)


HURT: dict[str, Callable[[Path], Any]] = {
    "cut in half": _cut,
    "a block of zeros": _zeros,
    "another file's bytes": _garbage,
    "emptied": lambda path: path.write_bytes(b""),
}


# -- two drivers


def two_drivers(world: World, *, locks: bool = True, first_killed: bool = False) -> str:
    """Two `laif run` of one run at once: one works, the other refuses in a sentence."""
    with broken(world, ANSWER, TEACH) as (run, servers):
        if not locks:
            from test_locks import NO_LOCKS

            run.environment = {"LD_PRELOAD": str(library(run.folder, NO_LOCKS))}
        first = run.start()
        if first_killed:
            wait(lambda: run.victim("kernel") or first.poll() is not None, "kernel")
            first.kill()
        second = run.start()
        codes = [first.wait(worlds.PATIENCE_S), second.wait(worlds.PATIENCE_S)]
        assert sorted(codes) == ([-9, 0] if first_killed else [0, 2]), f"{codes}\n{run.output[-2000:]}"
        assert first_killed or "is being run by process" in run.output
        return recovered(world, run, servers, in_flight=64 if first_killed else 0)


def library(folder: Path, source: str) -> Path:
    """Lines of C that stand before the system's own: a file system without locks, a clock that jumps."""
    (folder / "own.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "own.so", folder / "own.c", "-ldl"], check=True)
    return folder / "own.so"
