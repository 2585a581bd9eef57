"""Starts child processes that never outlive their parent: each has its own session and is ended as a group.

A training must not leave ranks behind when the kernel, papermill or the launcher dies, so each process is
started through this module (``python -m laif_helpers.launch PARENT_PID COMMAND …``): it asks Linux to be killed
with its parent, then becomes the command. That costs a few milliseconds, and unlike ``preexec_fn`` it is safe
in a kernel that runs threads.
"""

import base64
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laif_helpers import machine
from laif_helpers.paths import ROOT, resolve

if TYPE_CHECKING:
    import psutil

_LAUNCHER = "LAIF_LAUNCHER_PID"
PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int = 0) -> None:
    """Ask Linux to kill this process when the one that started it ends, however it ends.

    ``parent`` is the expected parent's pid: if it has gone before the request, this process ends at once.
    Elsewhere than on Linux this does nothing; ipykernel's own one-second watch on its parent remains.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        raise SystemExit(f"the parent process {parent} has ended")


def tie_to_launcher() -> None:
    """Have this process killed when its launcher ends: to be called first in every training process.

    If DeepSpeed's launcher is killed with SIGKILL, it does not end its ranks, so the ranks ask Linux for it.
    """
    launcher = int(os.environ.get(_LAUNCHER, "0"))
    die_with_parent(launcher if launcher != os.getpid() else 0)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(
    module: str, argument: str, *, processes: int = 1, distributed: bool = False, hostfile: str = ""
) -> list[str]:
    """The command that runs ``python -m module argument`` in one process, in ranks of this node, or on several nodes.

    Several ranks of one node start under ``deepspeed.launcher.launch`` itself: the ``deepspeed`` command around it
    leaves orphans when it is killed and may exit 0 after a killed rank. Several nodes need that command: it reaches
    them by ssh (pdsh) and starts the same launcher on each.
    """
    if hostfile:
        return _over_nodes(module, argument, resolve(hostfile))
    if not distributed and processes == 1:
        return [sys.executable, "-u", "-m", module, argument]
    world = base64.urlsafe_b64encode(json.dumps({"localhost": devices(processes)}).encode()).decode()
    launcher = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={world}"]
    options = [f"--master_port={free_port()}", "--master_addr=127.0.0.1", "--no_local_rank", "--module"]
    return [*launcher, *options, module, argument]


def _over_nodes(module: str, argument: str, hostfile: Path) -> list[str]:
    """DeepSpeed's multi-node command. The first host serves the meeting point; every node sees this folder."""
    first = next(iter(hosts(hostfile)))
    launcher = [sys.executable, "-u", "-m", "deepspeed.launcher.runner", f"--hostfile={hostfile}", "--force_multi"]
    meeting = [f"--master_addr={first}", f"--master_port={free_port()}", "--no_local_rank", "--module"]
    return [*launcher, *meeting, module, argument]


def hosts(hostfile: Path) -> dict[str, int]:
    """Slots of each host in a DeepSpeed hostfile (``name slots=4`` a line, ``#`` comments).

    Raises FileNotFoundError, or ValueError naming the line that is no host.
    """
    if not hostfile.is_file():
        raise FileNotFoundError(f"hostfile {hostfile} does not exist; write one line a node: name slots=<GPUs>")
    found: dict[str, int] = {}
    for number, line in enumerate(hostfile.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, slots = words[0], words[1].removeprefix("slots=") if len(words) == 2 else ""
        if not slots.isdigit() or name in found:
            raise ValueError(f"{hostfile}: line {number} is {line.strip()!r}; write one line a node: name slots=<GPUs>")
        found[name] = int(slots)
    if not found:
        raise ValueError(f"hostfile {hostfile} names no host; write one line a node: name slots=<GPUs>")
    return found


def port_was_taken(log: Path) -> bool:
    """Whether a training ended because another process had taken its port meanwhile."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return "EADDRINUSE" in text or "address already in use" in text.lower()


GPU_SHARE = "LAIF_GPU_SHARE"
"""The share of a GPU's memory that a stage's answers may take; unset: all of it."""


def gpus(folder: Path = Path("/dev")) -> list[str]:
    """Ids of the GPUs that a child may use, found without a call to CUDA (which a kernel must not make).

    NVIDIA's, AMD's (whose torch calls them CUDA devices too), and the one that Windows lends to Linux.
    ``CUDA_VISIBLE_DEVICES`` is obeyed if it is set: DeepSpeed's launcher would overwrite it.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    found = [*folder.glob("nvidia[0-9]*")] or [*folder.glob("dxg")]
    if not found and (folder / "kfd").exists():
        found = [*folder.glob("dri/renderD*")]
    return [str(at) for at, _ in enumerate(found)]


def devices(processes: int) -> list[int | str]:
    """Device ids for the ranks, one each; plain numbers on a machine without a GPU.

    Raises ValueError when there are GPUs, but fewer than processes are asked for.
    """
    found = gpus()
    if found and len(found) < processes:
        here = f"the {len(found)} GPU(s) here: {', '.join(found)}"
        raise ValueError(f"num_processes {processes} is more than {here}; set num_processes: {len(found)}")
    return [int(name) if name.isdigit() else name for name in found[:processes]] or list(range(processes))


LAUNCHERS = re.compile(
    r"(?:LOCAL_|NODE_|GROUP_|ROLE_)?RANK$|(?:LOCAL_|GROUP_|ROLE_)?WORLD_SIZE$|MASTER_(?:ADDR|PORT)$"
    r"|(?:ACCELERATE|FSDP|PARALLELISM_CONFIG|TORCHELASTIC|OMPI_COMM_WORLD|PMIX?|MV2_COMM_WORLD)_"
)
"""Variables that torchrun, accelerate, MPI or a batch script set for a job of their own: a training would wait for
ranks that never come, or take its precision from there."""


def environment(processes: int = 1) -> dict[str, str]:
    """This process's environment, set for a child that trains: no plots, no buffering, a share of the cores.

    ``processes`` 0: on several nodes, each of which sees to its own devices.
    """
    env = {name: value for name, value in os.environ.items() if not LAUNCHERS.match(name)}
    env |= {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    env["PYTHONPATH"] = os.pathsep.join(part for part in (str(ROOT), env.get("PYTHONPATH", "")) if part)
    if processes > 1:
        # Without this every rank takes all cores for itself, and two ranks are slower than one.
        env.setdefault("OMP_NUM_THREADS", str(max(1, machine.cores() // processes)))
    if not gpus():
        env.setdefault("DS_ACCELERATOR", "cpu")
    elif processes:
        # One process that sees several GPUs would be spread over them by DataParallel, which TRL refuses.
        env["CUDA_VISIBLE_DEVICES"] = ",".join(str(name) for name in devices(processes))
    return env


def start(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start ``argv`` in a session of its own, tied to this process, with its output in ``log``."""
    wrapped = [sys.executable, "-m", "laif_helpers.launch", str(os.getpid()), *argv]
    with log.open("wb") as output:
        return subprocess.Popen(
            wrapped, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def run(argv: Sequence[str], log: Path, *, env: Mapping[str, str], on_wait: Callable[[], None] = lambda: None) -> int:
    """Run ``argv`` in a session of its own with its output in ``log``; return its exit status.

    ``on_wait`` is called ten times a second. Whatever ends the wait (Ctrl-C, an error in ``on_wait``)
    ends the whole group first.
    """
    child = start(argv, log, env)
    try:
        while child.poll() is None:
            on_wait()
            time.sleep(0.1)
    finally:
        end(child)
    on_wait()
    return child.returncode


def end(*sessions: "subprocess.Popen[bytes]", patience: float = 5.0) -> None:
    """End sessions with all that their processes have started: asked first, killed after ``patience`` seconds."""
    import psutil

    left = [process for session in sessions for process in _members(session.pid)]
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sign)
        _, left = psutil.wait_procs(left, timeout=patience)
    for session in sessions:
        session.poll()


def _members(session: int) -> list["psutil.Process"]:
    """A session's processes, also those whose parent has gone, and their descendants in sessions of their own."""
    import psutil

    found: dict[int, psutil.Process] = {}
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(pid) == session:
                process = psutil.Process(pid)
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    if not log.is_file():
        return "(no output)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _become(parent: int, argv: list[str]) -> None:
    """Tie this process to ``parent``, then become ``argv``; the setting survives exec."""
    die_with_parent(parent)
    os.environ[_LAUNCHER] = str(os.getpid())
    os.execv(argv[0], argv)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
