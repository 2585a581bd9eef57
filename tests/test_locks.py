"""One holder to a file: with the system's locks, and with leases on a file system that knows none."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Toy

from laif_helpers import locks
from laif_helpers.runner import run_lock

HOLD = "import sys, time; from pathlib import Path; from laif_helpers import locks\n"
NO_FLOCK = (
    "import errno, fcntl\ndef flock(*_): raise OSError(errno.ENOSYS, 'Function not implemented')\nfcntl.flock = flock\n"
)
STAY = (
    "with locks.hold(Path(sys.argv[1])) as say:\n    say({'running': ['x']}); print('held', flush=True); time.sleep(60)"
)


def no_flock(*_: object) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.fixture(params=["locks", "leases"])
def preamble(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: what a child process has to run first."""
    if request.param == "locks":
        return HOLD
    monkeypatch.setattr(fcntl, "flock", no_flock)
    return NO_FLOCK + HOLD


def test_one_process_at_a_time_and_a_killed_holder_counts_for_nothing(preamble: str, tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = subprocess.Popen([sys.executable, "-c", preamble + STAY, str(path)], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"held\n"
    try:
        found = locks.holder(path)
        assert (found["pid"], found["host"], found["running"]) == (child.pid, socket.gethostname(), ["x"])
        with pytest.raises(locks.Held), locks.hold(path):
            pass
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert locks.holder(path) == {}
    with locks.hold(path):
        assert locks.holder(path)["pid"] == os.getpid()
        with pytest.raises(locks.Held), locks.hold(path):
            pass
    assert locks.holder(path) == {}


def add(path: Path, counter: Path, leases: bool) -> None:
    if leases:
        fcntl.flock = no_flock  # type: ignore[assignment]
    for _ in range(10):
        with locks.hold(path, wait=True):
            before = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(before + 1))


@pytest.mark.slow
@pytest.mark.parametrize("leases", [False, True])
def test_who_waits_gets_it_in_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leases: bool) -> None:
    counter = tmp_path / "n"
    counter.write_text("0")
    fork = multiprocessing.get_context("spawn")
    children = [fork.Process(target=add, args=(tmp_path / "x.lock", counter, leases)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert counter.read_text() == "30"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases alone, with a beat of a tenth of a second."""
    monkeypatch.setattr(fcntl, "flock", no_flock)
    monkeypatch.setattr(locks, "BEAT_S", 0.1)
    monkeypatch.setattr(locks, "STALE_S", 0.5)


def leave(path: Path, host: str = "node7", pid: int = 1) -> Path:
    """A lease as another process has left it."""
    lease = locks._lease_path(path)
    lease.write_text(f"filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken=x\nduration=0.5\nstart=1\n")
    return lease


@pytest.mark.usefixtures("quick")
def test_a_lease_of_another_machine_holds_while_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lease = leave(path)
    with pytest.raises(locks.Held), locks.hold(path):
        pass
    old = time.time() - 60
    os.utime(lease, (old, old))
    assert locks.holder(path) == {}
    with locks.hold(path):
        os.utime(lease, (old, old))
        deadline = time.monotonic() + 120
        while lease.stat().st_mtime < old + 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert locks.holder(path)["pid"] == os.getpid(), "its holder touches it"
    assert not lease.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_takes_nobody_his_lease_and_keeps_nobodys(tmp_path: Path, hours: int) -> None:
    """The times of a lease are off by an hour: it holds if it is touched, and is void if it is not."""
    path, over = tmp_path / "x.lock", threading.Event()
    lease, off = leave(path), time.time() + 3600 * hours

    def beat() -> None:
        while not over.wait(0.05):
            os.utime(lease, (off + time.monotonic() % 60,) * 2)

    os.utime(lease, (off, off))
    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(locks.Held), locks.hold(path):
            pass
    finally:
        over.set()
        beating.join()
    with locks.hold(path):
        assert locks.holder(path)["pid"] == os.getpid()


@pytest.mark.usefixtures("quick")
def test_of_many_that_find_a_void_lease_one_takes_it(tmp_path: Path) -> None:
    path, others = tmp_path / "x.lock", 7
    for _ in range(20):
        leave(path, socket.gethostname(), pid=2**22 + 1)  # a process that is no more
        lost = threading.Semaphore(0)

        def tried(_: int, lost: threading.Semaphore = lost) -> bool:
            try:
                with locks.hold(path):
                    return all(lost.acquire(timeout=120) for _ in range(others))
            except locks.Held:
                lost.release()
                return False

        with ThreadPoolExecutor(others + 1) as pool:
            assert sum(pool.map(tried, range(others + 1))) == 1
        assert [file.name for file in tmp_path.iterdir()] == ["x.lock"]


@pytest.mark.usefixtures("quick")
def test_a_lease_that_lost_its_content_with_the_power_is_void_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lease = leave(path)
    lease.write_text("")
    with pytest.raises(locks.Held), locks.hold(path):
        pass
    os.utime(lease, (1, 1))
    with locks.hold(path):
        assert locks.holder(path)["pid"] == os.getpid()


@pytest.mark.usefixtures("quick")
def test_who_stood_still_and_lost_the_lease_ends(tmp_path: Path) -> None:
    """A machine that sleeps, or a process that is stopped, must not go on beside its successor."""
    path = tmp_path / "x.lock"
    short = NO_FLOCK + HOLD + "locks.BEAT_S, locks.STALE_S = 0.1, 0.5\n" + STAY
    child = subprocess.Popen(
        [sys.executable, "-c", short, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout and child.stderr and child.stdout.readline() == "held\n"
        child.send_signal(signal.SIGSTOP)
        with locks.hold(path, wait=True):
            child.send_signal(signal.SIGCONT)
            assert child.wait(30) == 3
            assert f"is held by process {os.getpid()} on {socket.gethostname()} now" in child.stderr.read()
            assert locks.holder(path)["pid"] == os.getpid(), "it has not taken the successor's lease away"
    finally:
        child.kill()
        child.wait()


def test_locks_that_hold_on_one_machine_alone_do_not_let_two_runners_in(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # as NFS mounted with local_lock on two machines
    toy.plan()
    with run_lock.lock(toy.run_dir), pytest.raises(ValueError, match=f"is being run by process {os.getpid()} on "):
        toy.run()
    assert toy.run()[0] == 0


def test_a_run_goes_through_without_locks(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_flock)
    toy.plan()
    with run_lock.lock(toy.run_dir), pytest.raises(ValueError, match=f"is being run by process {os.getpid()} on "):
        toy.run()
    assert toy.run()[0] == 0


NO_LOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
int flock(int file, int operation) { errno = ENOSYS; return -1; }
#define LOCKLESS(name) int name(int file, int command, ...) { \\
    va_list list; va_start(list, command); void *value = va_arg(list, void *); va_end(list); \\
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) { errno = ENOLCK; return -1; } \\
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name); return real(file, command, value); }
LOCKLESS(fcntl)
LOCKLESS(fcntl64)
"""
LEDGER = """
import sys
from pathlib import Path
from laif_helpers import locks
from laif_helpers.instructors.ledger import Reply, open_ledger, totals
path = Path(sys.argv[1]) / "x.sqlite"
assert not locks.known(path.parent)
for _ in range(2):
    with open_ledger(path, {"instructor": "llm"}, {"q": "one"}) as ledger:
        ledger.reserve("k", "", 0.5)
        ledger.record(Reply("k", "text"), 0.25)
print(totals(path)["usd"])
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="a file system without locks is imitated by a few lines of C")
def test_a_ledger_is_kept_on_a_file_system_without_locks_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "no_locks.c").write_text(NO_LOCKS)
    library = str(tmp_path / "no_locks.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, str(tmp_path / "no_locks.c"), "-ldl"], check=True)
    argv, environment = [sys.executable, "-c", LEDGER, str(tmp_path)], os.environ | {"LD_PRELOAD": library}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


def test_a_run_folder_that_cannot_be_written_is_named(toy: Toy) -> None:
    toy.plan()
    (toy.root / "runs" / "toy").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"run folder .*/toy cannot be written .* set LAIF_RUNS"):
        toy.run()
