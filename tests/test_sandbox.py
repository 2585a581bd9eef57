"""What the cage lets through and what it contains; every test runs in each cage that this machine offers."""

import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from laif_helpers import sandbox
from laif_helpers.paths import ROOT
from laif_helpers.sandbox import _walls

REAL_CAGES = [name for name in ("bubblewrap", "unshare") if not sandbox.why_not(name)]
needs_cage = pytest.mark.skipif(not REAL_CAGES, reason="neither bubblewrap nor unshare works on this machine")
each_cage = pytest.mark.parametrize("cage", [*REAL_CAGES, "none"])
each_real_cage = pytest.mark.parametrize("cage", REAL_CAGES)


@pytest.mark.slow
@each_cage
@pytest.mark.parametrize(
    ("source", "status", "sentence"),
    [
        ("print(6 * 7)", "passed", ""),
        ("assert 6 * 7 == 43", "failed", "AssertionError"),
        ("import os; os._exit(0)", "failed", "last line"),
        ("import sys; sys.exit(0)", "failed", "ended itself early"),
        ("raise SystemExit", "failed", "ended itself early"),
        ("def f(:", "failed", "SyntaxError"),
        ("def f(n): return f(n + 1)\nf(0)", "failed", "RecursionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", "last line"),
        ("import builtins; vars(builtins).clear(); nothing_left", "failed", ""),
        ("print(input())", "failed", "EOFError"),
        ("data = bytearray(3 << 30)", "memory", "MemoryError"),
        ("while True: print('x' * 4096)", "output", "wrote more"),
    ],
)
def test_status(cage: str, source: str, status: str, sentence: str) -> None:
    result = sandbox.run_python(source, timeout_s=10, memory_mb=512.5, isolation=cage)  # type: ignore[arg-type]
    assert (result.status, sentence in result.stderr) == (status, True), result


@pytest.mark.slow
@each_cage
def test_time_limits(cage: str) -> None:
    sleeping = sandbox.run_python("import time; time.sleep(60)", timeout_s=0.5, isolation=cage)
    assert sleeping.status == "timeout" and sleeping.seconds < 60
    busy = sandbox.run_python("while True: pass", timeout_s=60, cpu_s=1, isolation=cage)
    assert busy.status == "timeout" and "computing" in busy.stderr


@each_cage
def test_output_is_kept_and_the_environment_is_empty(cage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", "secret-canary")
    source = "import os, sys; print(sorted(os.environ), os.listdir('.')); print('low', file=sys.stderr)"
    result = sandbox.run_python(source, isolation=cage)
    assert result.status == "passed" and result.stderr.startswith("low")
    assert "CANARY" not in result.stdout and "HOME" not in result.stdout and result.stdout.endswith("[]\n")


@each_cage
def test_surrogates_and_nul_in_the_source_are_the_programs_fault(cage: str) -> None:
    assert sandbox.run_python("x = '\ud800'", isolation=cage).status in ("passed", "failed")
    assert sandbox.run_python("x = '\0'", isolation=cage).status == "failed"


@each_real_cage
def test_files_outside_are_out_of_sight_and_out_of_reach(cage: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary.txt"
    canary.write_text("alive")
    source = f"""
import os
for path in ({str(canary)!r}, {str(Path.home())!r} + "/.bashrc", "/etc/passwd", "/etc/shadow", "/proc/1/environ"):
    try:
        print("READ", path, len(open(path).read()))
    except OSError:
        pass
for path in ({str(canary)!r}, "/usr/laif", "/laif", "/etc/laif", "/proc/sys/laif", {sys.base_prefix!r} + "/laif"):
    try:
        open(path, "w").write("dead")
        print("WROTE", path)
    except OSError:
        pass
open("scratch.txt", "w").write("a private folder is there to be used")
"""
    result = sandbox.run_python(source, isolation=cage)
    read = [line for line in result.stdout.splitlines() if not line.startswith("READ /proc/1/environ 0")]
    assert (result.status, read) == ("passed", []), result
    assert canary.read_text() == "alive"


@each_real_cage
def test_no_network(cage: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        result = sandbox.run_python(source, isolation=cage)
        assert (result.status == "failed" and "OSError" in result.stderr) or "Connection" in result.stderr
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@each_real_cage
def test_daemons_and_floods_end_with_the_program(cage: str) -> None:
    marker = f"laif-canary-{os.getpid()}-{cage}"
    source = f"""
import os, time
count = 0
try:
    for _ in range(500):
        if os.fork() == 0:
            os.setsid()
            os.execv("/bin/sleep", [{marker!r}, "60"])
        count += 1
except OSError:
    pass
print(count)
"""
    result = sandbox.run_python(source, timeout_s=10, isolation=cage)
    assert result.status == "passed" and 0 < int(result.stdout) < 100, result
    deadline = time.monotonic() + 60
    while (left := _running(marker)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@each_real_cage
def test_a_forked_copy_has_no_say(cage: str) -> None:
    source = "import os, time\nif os.fork() == 0:\n    time.sleep(0.2)\nelse:\n    assert False, 'the program failed'\n"
    assert sandbox.run_python(source, timeout_s=10, isolation=cage).status == "failed"
    source = "import os\nif os.fork():\n    os.wait()\nprint('end')\n"
    result = sandbox.run_python(source, timeout_s=10, isolation=cage)
    assert result.status == "passed", "two ends, one verdict"


def _running(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "cmdline").read_text(errors="replace").split("\0")[0]:
                found.append(entry.name)
        except OSError:
            continue
    return found


@each_real_cage
def test_signals_reach_nobody_outside(cage: str) -> None:
    source = f"""
import os, signal
for pid in (1, os.getppid(), {os.getpid()}):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""
    assert sandbox.run_python(source, isolation=cage).status == "passed"


@each_real_cage
def test_privileges_are_gone(cage: str) -> None:
    wanted = "('CapEff', 'CapBnd', 'NoNew')"
    source = f"print([line.split()[1] for line in open('/proc/self/status') if line.startswith({wanted})])"
    result = sandbox.run_python(source, isolation=cage)
    assert result.stdout.strip() in ("['0000000000000000', '0000000000000000', '1']", ""), result


def side_by_side(sources: list[str]) -> list[sandbox.Result]:
    """Many programs from two threads, as grading runs them."""
    with sandbox.kept_ready(), ThreadPoolExecutor(2) as pool:
        return list(pool.map(sandbox.run_python, sources))


def test_programs_side_by_side_do_not_mix() -> None:
    if not REAL_CAGES:
        pytest.skip("no cage on this machine")
    results = side_by_side([f"print({number})" for number in range(8)])
    assert [result.stdout.strip() for result in results] == [str(number) for number in range(8)]


@each_real_cage
def test_a_python_below_the_temporary_folder_is_in_sight(cage: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "canary.txt").write_text("alive")
    asked = f"import os; assert not os.path.exists({str(tmp_path / 'canary.txt')!r})"
    code = f"from laif_helpers import sandbox; print(sandbox.run_python({asked!r}, isolation={cage!r}).status)"
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert process.stdout == "passed\n", process


@pytest.mark.slow
@each_real_cage
def test_a_cage_used_again_holds_nothing_of_the_program_before(cage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_SANDBOX", cage)
    before = set(psutil.Process().children(recursive=True))  # e.g. the pool of an earlier test's grader
    leaves = """
import os, sys, time
open("/tmp/left", "w").close(), open("/dev/shm/left", "w").close(), os.makedirs("/tmp/a/b")
os.chmod("/tmp/a", 0)
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
"""
    looks = """
import os
left = {"left", "a"} & {*os.listdir("/tmp"), *os.listdir("/dev/shm")}  # an interpreter below /tmp is seen there, too
assert not left and "program" in os.listdir("/tmp"), left
processes = [name for name in os.listdir("/proc") if name.isdigit()]
assert len(processes) <= 2, processes
"""
    busy = "import time; time.sleep(1.5)"  # the cages of the others are kept while this runs
    results = side_by_side([busy, *[leaves, looks] * 4])
    assert [result.status for result in results] == ["passed"] * 9, results
    assert set(psutil.Process().children(recursive=True)) <= before, "when the last program ended, so did the cages"


def test_a_hash_seed_that_never_changes() -> None:
    source = "print(hash('order'))"
    assert len({sandbox.run_python(source, isolation="none").stdout for _ in range(3)}) == 1


def test_no_cage_is_refused_unless_waived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAIF_SANDBOX", raising=False)
    monkeypatch.setattr(sandbox, "why_not", lambda name: "not on this machine")
    with pytest.raises(RuntimeError, match="LAIF_SANDBOX=none"):
        sandbox.run_python("pass")
    monkeypatch.setenv("LAIF_SANDBOX", "none")
    assert sandbox.cage() == "none"
    monkeypatch.setenv("LAIF_SANDBOX", "docker")
    with pytest.raises(ValueError, match="docker"):
        sandbox.cage()


@needs_cage
def test_a_named_cage_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_SANDBOX", REAL_CAGES[-1])
    assert sandbox.cage() == REAL_CAGES[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout_s", value) for value in (0, -1, None, "soon", float("nan"), float("inf"))),
        *(("memory_mb", value) for value in (1, None, float("inf"))),
        ("cpu_s", -1),
    ],
)
def test_limits_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} .*number from"):
        sandbox.run_python("pass", **{name: value})


@pytest.mark.parametrize("source", [None, b"pass", float("nan"), Path("a.py")])
def test_no_program_is_told_and_never_passes(source: Any) -> None:
    with pytest.raises(ValueError, match="not the text of a program"):
        sandbox.run_python(source)


def test_unknown_isolation() -> None:
    with pytest.raises(ValueError, match="docker"):
        sandbox.run_python("pass", isolation="docker")


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_a_limit_that_the_system_refuses(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def setrlimit(which: int, limits: tuple[int, int]) -> None:
        if which == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")
        taken.append(which)

    monkeypatch.setattr(_walls, "resource", SimpleNamespace(**vars(resource) | {"setrlimit": setrlimit}))
    monkeypatch.setattr(_walls, "os", SimpleNamespace(uname=lambda: SimpleNamespace(sysname=system)))
    job = {"memory_mb": 64, "output_bytes": 1, "processes": 1, "cpu_s": 1}
    with pytest.raises(ValueError) if system == "Linux" else nullcontext():
        _walls.set_limits(job)
    assert (len(taken) == 5) == (system == "Darwin")
