"""Runs model-written Python: one child process per program, in the strongest cage this machine offers.

In order: ``bubblewrap`` where installed; Linux namespaces through ``unshare``; else nothing is run unless the user
opts in by name (``isolation="none"`` or ``LAIF_SANDBOX=none``), for then only time, memory, file size and process
limits hold. The two real cages have no network, see neither the user's files nor the environment, keep the system
read-only and end every process of the program with it.

The verdict is given by another process of the cage than the program's, which holds neither the report nor the nonce
that proves it genuine (``_cage.py`` says how). What no cage can do: program and check share one interpreter, so machine
code written for the purpose could still pretend that the last line was reached. Accidents, early exits, patched
built-ins and a search of the interpreter's frames are caught.
"""

import functools
import itertools
import json
import math
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from laif_helpers.sandbox import _system_calls

CAGES = ("bubblewrap", "unshare", "none")
OUTPUT_BYTES = 1 << 20
"""Largest file a program may write, its standard output included."""
_INSIDE = Path(__file__).with_name("_cage.py")
_START_S = 0.5
"""Allowance for starting the cage, on top of the program's own time."""
_runs = itertools.count(secrets.randbelow(4000))


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended.

    ``status``: ``passed`` (its last line was reached), ``failed`` (exception, early exit, crash), ``timeout``,
    ``memory``, ``output`` (wrote more than allowed) or ``error`` (the cage failed; the program is not to blame).
    """

    status: str
    stdout: str
    stderr: str
    seconds: float


def run_python(
    source: str,
    *,
    timeout_s: float = 10.0,
    memory_mb: int = 1024,
    cpu_s: float | None = None,
    isolation: str | None = None,
) -> Result:
    """Run ``source`` as a script in the cage of this machine (``cage()``), or in the one named.

    Standard library and this environment's packages can be imported; the environment is empty, standard input too,
    the working directory an empty private folder. ``timeout_s`` limits the time that passes, ``cpu_s`` (whole seconds,
    rounded up; by default the same) the time that is computed, which a busy machine does not stretch.
    Raises RuntimeError where no cage works and none was waived.
    """
    if timeout_s <= 0 or memory_mb < 64:
        raise ValueError(f"timeout_s={timeout_s}, memory_mb={memory_mb}: need timeout_s > 0 and memory_mb >= 64")
    return _run(isolation or cage(), source, timeout_s, memory_mb, cpu_s)


def run_many(
    sources: Iterable[str],
    *,
    workers: int = 0,
    timeout_s: float = 10.0,
    memory_mb: int = 1024,
    cpu_s: float | None = None,
) -> list[Result]:
    """``run_python`` over many programs side by side (``workers`` 0: one per usable core), order kept."""
    chosen = cage()
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return list(pool.map(lambda source: _run(chosen, source, timeout_s, memory_mb, cpu_s), sources))


def cage() -> str:
    """Name of the cage in force: ``bubblewrap``, ``unshare``, or ``none`` where ``LAIF_SANDBOX=none`` says so.

    ``LAIF_SANDBOX`` may name any of them. Raises RuntimeError where no cage works here and none was waived.
    """
    wanted = os.environ.get("LAIF_SANDBOX", "")
    if wanted and wanted not in CAGES:
        raise ValueError(f"LAIF_SANDBOX={wanted!r}: choose one of {', '.join(CAGES)}")
    if wanted == "none":
        return "none"
    tried = [wanted] if wanted else ["bubblewrap", "unshare"]
    if working := next((name for name in tried if not why_not(name)), None):
        return working
    reasons = "; ".join(f"{name}: {why_not(name)}" for name in tried)
    raise RuntimeError(
        f"no cage for model-written code works here ({reasons}). Install bubblewrap, or set LAIF_SANDBOX=none to run "
        "it with time and memory limits only"
    )


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def why_not(name: str) -> str:
    """Why the cage ``name`` cannot be used on this machine; "" where a trial program ran in it."""
    tool = {"bubblewrap": "bwrap", "unshare": "unshare"}.get(name)
    if tool and not shutil.which(tool):
        return f"{tool} is not installed"
    result = _run(name, "pass", 20.0, 256)
    return "" if result.status == "passed" else (result.stderr.strip() or result.status)[-300:]


def _run(name: str, source: str, timeout_s: float, memory_mb: int, cpu_s: float | None = None) -> Result:
    if name not in CAGES:
        raise ValueError(f"isolation {name!r}: choose one of {', '.join(CAGES)}")
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="laif-cage-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as report,
    ):
        nonce = secrets.token_hex(16)
        job = _job(name, source, memory_mb, folder) | {"cpu_s": math.ceil(cpu_s or timeout_s)}
        status = _wait(name, job, nonce, timeout_s, folder, (out, err, report))
        seconds = time.monotonic() - started
        stdout, stderr, said = (_text(handle) for handle in (out, err, report))
        too_much = max(os.fstat(handle.fileno()).st_size for handle in (out, err)) >= OUTPUT_BYTES
    before, genuine, verdict = said.partition(nonce)
    if genuine:
        told: dict[str, str] = json.JSONDecoder().raw_decode(verdict)[0]
    elif status is None:
        told = {"status": "timeout", "message": f"no end after {timeout_s:g} s"}
    elif before.startswith("ready"):
        told = {"status": "failed", "message": f"the cage was ended before the program's last line ({status})"}
    else:
        # a tool that refuses to start the interpreter says why on stderr
        told = {"status": "error", "message": stderr.strip()[-300:] or f"exit status {status}"}
    if too_much:
        told = {"status": "output", "message": f"wrote more than {OUTPUT_BYTES} bytes"}
    # The message closes stderr, so that whoever shows the last line shows the reason.
    stderr = stderr if told["message"] in stderr else f"{stderr}{told['message']}\n"
    return Result(told["status"], stdout, stderr, seconds)


def _job(name: str, source: str, memory_mb: int, folder: str) -> dict[str, Any]:
    real_root = os.geteuid() == 0 and name != "none"
    # Kernels before 5.14 count a user's processes outside the cage too; a small number would refuse to start.
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return {
        "source": source.encode("utf-8", "replace").decode(),
        "memory_mb": memory_mb,
        "output_bytes": OUTPUT_BYTES,
        "processes": 32 if real_root or release >= (5, 14) else 4096,
        # Each run its own user: limits are counted, and signals delivered, per user.
        "uid": 60_000 + next(_runs) % 4000 if real_root else 0,
        "root": folder if name == "unshare" else "",
        "private_tmp": name != "none",
        "refused": _system_calls.program().hex(),
        "visible": _visible(),
        "packages": _packages(),
    }


def _wait(
    name: str, job: dict[str, Any], nonce: str, timeout_s: float, folder: str, outputs: tuple[IO[bytes], ...]
) -> int | None:
    """Start the cage on the job and wait for its end. Returns the exit status, None when time ran out."""
    out, err, report = outputs
    with tempfile.TemporaryFile() as told:
        key, given = os.pipe()
        os.write(given, nonce.encode())
        os.close(given)
        told.write(json.dumps(job | {"report": report.fileno(), "nonce": key}).encode())
        told.seek(0)
        try:
            process = subprocess.Popen(
                [*_prefix(name), sys.executable, "-s", "-P", "-S", "-X", "utf8", "-c", _inside()],
                stdin=told,
                stdout=out,
                stderr=err,
                # A fixed hash seed: an answer that leans on the order of a set is graded the same way every time.
                env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                cwd=folder,
                pass_fds=[report.fileno(), key],
                start_new_session=True,
            )
        finally:
            os.close(key)
    try:
        ended = _ended(process, timeout_s + _START_S)
    finally:
        _end(process)
    return process.returncode if ended else None


def _ended(process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    """Wait on a process descriptor where there is one: ``Popen.wait`` polls, which costs up to 50 ms a program."""
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the program with all it started. The cage's process 1 is killed by its own id, for it may sit in a session
    of its own; with it go all processes of the cage."""
    for pid in [*_children(process.pid), -process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    process.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _text(handle: IO[bytes]) -> str:
    handle.seek(0)
    return handle.read(OUTPUT_BYTES).decode("utf-8", "replace")


@functools.cache
def _inside() -> str:
    return _INSIDE.read_text(encoding="utf-8")


@functools.cache
def _packages() -> list[str]:
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


@functools.cache
def _visible() -> list[str]:
    """What a program may read: the system's libraries, this Python and its packages. No home, no /etc."""
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache"]
    python = [sys.base_prefix, sys.base_exec_prefix, str(Path(sys.executable).parent), *_packages()]
    wanted = [path for path in system if Path(path).exists()]
    for path in python:
        inside = any(path == seen or path.startswith(f"{seen}/") for seen in wanted)
        if not inside and Path(path).exists():
            wanted.append(path)
    return wanted


def _prefix(name: str) -> Sequence[str]:
    if name == "none":
        return []
    root = os.geteuid() == 0
    if name == "unshare":
        # As root no user namespace is needed, and without one the program can run as a user of its own.
        user = [] if root else ["--user", "--map-root-user"]
        return ["unshare", *user, "--net", "--ipc", "--uts", "--pid", "--mount", "--fork", "--kill-child"]
    # As process 1 the warden cannot be killed from inside, and no process of bubblewrap's is there to be looked into.
    command = ["bwrap", "--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--die-with-parent"]
    command += [] if root else ["--unshare-user", "--disable-userns"]
    # First, for this Python may itself lie below /tmp.
    command += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp"]
    # bubblewrap makes missing parents for their owner alone, and the program runs as another user.
    for folder in sorted({str(parent) for path in _visible() for parent in Path(path).parents} - {"/", "/usr", "/tmp"}):
        command += ["--perms", "0755", "--dir", folder]
    for path in _visible():
        link = Path(path)
        command += ["--symlink", str(link.readlink()), path] if link.is_symlink() else ["--ro-bind", path, path]
    command += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(16 << 20), "--tmpfs", "/dev/shm"]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
