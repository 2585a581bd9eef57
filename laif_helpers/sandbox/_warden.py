"""Starts cages, gives them one program after the other, and ends them.

A cage runs several programs while ``run`` is busy with others at the same time, or within ``kept()``: starting one
costs more than most programs. After that all cages are gone. Between two programs every process of a cage is killed and
its folders are emptied; a cage in which that fails, or a program ran out of time, is not used again.
"""

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

Verdict = dict[str, str]

_START_S = 60.0
"""Longest wait for a cage to start; a busy machine may take seconds, and it is no program's time."""


class Warden:
    """One cage with the process that watches over its programs. ``failed``: why it could not start, or ""."""

    def __init__(self, name: str):
        self.folder = tempfile.mkdtemp(prefix="laif-cage-")
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = {
            "root": self.folder if name == "unshare" else "",
            "private_tmp": name != "none",
            "refused": _filter().hex(),
            "visible": _visible(),
            "packages": _packages(),
        }
        python = [sys.executable, "-s", "-P", "-S", "-X", "utf8", "-c", _inside()]
        with theirs, tempfile.TemporaryFile() as err:
            self.process = subprocess.Popen(
                [*_prefix(name), *python, str(theirs.fileno()), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                # A fixed hash seed: an answer that leans on the order of a set is graded the same way every time.
                env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                cwd=self.folder,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            self.clean, self.failed = False, ""
            if self._hear(_START_S) != b"ready":
                err.seek(0)
                errors = err.read().decode("utf-8", "replace").strip()
                self.failed = errors[-300:] or f"no start within {_START_S:g} s"

    def run(self, job: dict[str, Any], timeout_s: float, out: IO[bytes], err: IO[bytes]) -> Verdict:
        """Run one program; afterwards ``clean`` says whether the cage can take another."""
        self.clean = False
        with tempfile.TemporaryFile() as job_file:
            job_file.write(json.dumps(job).encode())
            job_file.seek(0)
            socket.send_fds(self.channel, [b"run"], [job_file.fileno(), out.fileno(), err.fileno()])
        answer = self._hear(timeout_s)
        if answer is None:
            return {"status": "timeout", "message": f"no end after {timeout_s:g} s"}
        if not answer:
            return {"status": "failed", "message": "the cage was ended before the program's last line"}
        self.clean = self._hear(_START_S) == b"swept"
        return dict(json.loads(answer))

    def _hear(self, timeout_s: float) -> bytes | None:
        """The next message; empty if the other process has ended, None if time ran out."""
        if not select.select([self.channel], [], [], timeout_s)[0]:
            return None
        with contextlib.suppress(ConnectionError):
            return self.channel.recv(1 << 16)
        return b""

    def end(self) -> None:
        """Kill all of it. The cage's process 1 is killed by its own id, because it may have its own session; its end is
        the end of all processes of the cage."""
        for pid in [*_children(self.process.pid), -self.process.pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Pool:
    """Cages between two programs."""

    def __init__(self) -> None:
        self.lock, self.idle, self.busy = threading.Lock(), dict[str, list[Warden]](), 0

    def enter(self) -> None:
        with self.lock:
            self.busy += 1

    def borrow(self, name: str) -> Warden:
        self.enter()
        with self.lock:
            if self.idle.get(name):
                return self.idle[name].pop()
        try:
            return Warden(name)
        except BaseException:
            self.leave(name)
            raise

    def leave(self, name: str = "", warden: Warden | None = None) -> None:
        """Keep a clean one while other programs run; when the last ended, end them all."""
        with self.lock:
            self.busy -= 1
            if warden:
                self.idle.setdefault(name, []).append(warden)
            leaving = [idle for many in self.idle.values() for idle in many if not (idle.clean and self.busy)]
            self.idle = {kind: [idle for idle in many if idle not in leaving] for kind, many in self.idle.items()}
        for idle in leaving:
            idle.end()


_pool = _Pool()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within this block cages wait for the next program even while none runs."""
    _pool.enter()
    try:
        yield
    finally:
        _pool.leave()


def run(name: str, job: dict[str, Any], timeout_s: float, out: IO[bytes], err: IO[bytes]) -> Verdict:
    """Run one program in a cage of that kind; ``{"status", "message"}`` as in ``sandbox.Result``."""
    warden = _pool.borrow(name)
    try:
        return {"status": "error", "message": warden.failed} if warden.failed else warden.run(job, timeout_s, out, err)
    finally:
        _pool.leave(name, warden)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@functools.cache
def _inside() -> str:
    """What runs inside, as one text: nothing of this package can be imported there."""
    walls, cage = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("_walls.py", "_cage.py"))
    return walls + re.sub(r"^from laif_helpers\S* import \([^)]*\)$", "", cage, flags=re.MULTILINE)


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


# -- refused system calls

# What no answer needs: name spaces (they would hand the program new privileges inside them), mounts, other processes'
# memory, shared memory that outlives its process and so its limit, and corners of the kernel with a history.
# By machine: the kernel's number for it, ``clone``, and the refused calls.
_REFUSED = {
    "x86_64": (0xC000003E, 56, (29, 68, 101, 155, 161, 165, 166, 175, 246, 248, 249, 250, 272, 298, 304, 308, 310, 311,
                                313, 321, 323, 425, 428, 429, 430, 432, 442)),
    "aarch64": (0xC00000B7, 220, (39, 40, 41, 51, 97, 104, 105, 117, 186, 194, 217, 218, 219, 241, 265, 268, 270, 271,
                                  273, 280, 282, 425, 428, 429, 430, 432, 442)),
}  # fmt: skip
_CLONE3, _CLONE_NEWUSER, _X32 = 435, 0x10000000, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x50001, 0x50026


@functools.cache
def _filter() -> bytes:
    """The seccomp filter (BPF) for this machine, 8 bytes an instruction; empty if its call numbers are not listed."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _REFUSED:
        return b""
    kernel_name, clone, refused = _REFUSED[machine]
    # (operation, instructions to skip if true, if false, value); offset 0 is the call, 4 the machine, 16 an argument
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, kernel_name), (_ANSWER, 0, 0, _EPERM), (_LOAD, 0, 0, 0)]
    steps += [(_AT_LEAST, 0, 1, _X32), (_ANSWER, 0, 0, _EPERM)]  # other names of the same calls
    for number in refused:
        steps += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _EPERM)]
    # clone3 takes its flags from memory, which no filter sees; told that there is none, libc uses clone.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_ANSWER, 0, 0, _ENOSYS)]
    steps += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, _CLONE_NEWUSER), (_ANSWER, 0, 0, _EPERM)]
    steps += [(_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
