"""Runs model-written Python: one child process per program, in the strongest cage this machine offers.

In order: ``bubblewrap`` if installed; Linux namespaces through ``unshare``; else nothing is run unless the user
opts in by name (``isolation="none"`` or ``LAIF_SANDBOX=none``), because then only time, memory, file size and process
limits hold. The two real cages have no network, see neither the user's files nor the environment, keep the system
read-only and end every process of the program with it.

The verdict is given by another process of the cage than the program's (``_cage.py`` says how). What no cage can do:
program and check share one interpreter, so machine code written for the purpose could still pretend that the last line
was reached. Accidents, early exits, patched built-ins and a search of the interpreter's frames are caught.
"""

import functools
import itertools
import math
import os
import secrets
import shutil
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

from laif_helpers import arguments
from laif_helpers.sandbox import _warden

CAGES = ("bubblewrap", "unshare", "none")
OUTPUT_BYTES = 1 << 20
"""Largest file a program may write, its standard output included."""
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
    Raises RuntimeError if no cage works and none was waived.
    """
    timeout_s = arguments.number("timeout_s", timeout_s, 0.001, float)
    memory_mb = int(arguments.number("memory_mb", memory_mb, 64, float))
    cpu_s = None if cpu_s is None else arguments.number("cpu_s", cpu_s, 0.001, float)
    if not isinstance(source, str):  # an empty program passes, so that none at all must not become one
        raise ValueError(f"source is {type(source).__name__}, not the text of a program")
    return _run(isolation or cage(), source, timeout_s, memory_mb, cpu_s)


def kept_ready() -> AbstractContextManager[None]:
    """For many programs from several threads: within this block a cage that is done waits for the next program.

    A program in a waiting cage takes about 4 ms; starting a cage for each takes ten times as long. Between two
    programs all processes of a cage are killed and its folders emptied.
    """
    return _warden.kept()


def cage() -> str:
    """Name of the cage in force: ``bubblewrap``, ``unshare``, or ``none`` if ``LAIF_SANDBOX=none`` says so.

    ``LAIF_SANDBOX`` may name any of them. Raises RuntimeError if no cage works here and none was waived.
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


@functools.cache
def why_not(name: str) -> str:
    """Why the cage ``name`` cannot be used on this machine; "" if a trial program ran in it."""
    tool = {"bubblewrap": "bwrap", "unshare": "unshare"}.get(name)
    if tool and not shutil.which(tool):
        return f"{tool} is not installed"
    result = _run(name, "pass", 20.0, 256)
    return "" if result.status == "passed" else (result.stderr.strip() or result.status)[-300:]


def _run(name: str, source: str, timeout_s: float, memory_mb: int, cpu_s: float | None = None) -> Result:
    if name not in CAGES:
        raise ValueError(f"isolation {name!r}: choose one of {', '.join(CAGES)}")
    started = time.monotonic()
    job = _job(name, source, memory_mb) | {"cpu_s": math.ceil(cpu_s or timeout_s)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        verdict = _warden.run(name, job, timeout_s, out, err)
        stdout, stderr = (_text(handle) for handle in (out, err))
        if max(os.fstat(handle.fileno()).st_size for handle in (out, err)) >= OUTPUT_BYTES:
            verdict = {"status": "output", "message": f"wrote more than {OUTPUT_BYTES} bytes"}
    # The message closes stderr, so that whoever shows the last line shows the reason.
    stderr = stderr if verdict["message"] in stderr else f"{stderr}{verdict['message']}\n"
    return Result(verdict["status"], stdout, stderr, time.monotonic() - started)


def _job(name: str, source: str, memory_mb: int) -> dict[str, Any]:
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
    }


def _text(handle: IO[bytes]) -> str:
    handle.seek(0)
    return handle.read(OUTPUT_BYTES).decode("utf-8", "replace")
