"""Lets one process at a time hold a file, also on file systems without locks.

A lock of the operating system ends when its holder ends, however it ends. Some shared file systems have no locks
(Lustre mounted without ``flock``, some NFS and FUSE). There the holder keeps a lease (``filelock.SoftFileLease``): a
file beside the lock that it touches regularly. A lease is void once its process has ended, or once it was not touched
for a minute by the file system's own clock and nobody touches it while it is watched.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

BEAT_S, STALE_S, WAIT_S = 10.0, 60.0, 0.1
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)

Say = Callable[[dict[str, Any]], None]
"""Writes a description of the holder into the file, for ``holder``."""


class Held(Exception):
    """Another process holds the file."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False, everywhere: bool = False) -> Iterator[Say]:
    """Hold ``path``. Raises ``Held`` if another process does (with ``wait``: waits for it), OSError if the file cannot
    be written.

    ``everywhere``: keep a lease too, because a shared file system may be mounted so that its locks hold on one machine
    alone (NFS with ``local_lock``).
    """

    def say(more: dict[str, Any]) -> None:
        # in place: the lock is on this very file, and a renamed one would not be locked
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()} | more), encoding="utf-8")

    with path.open("a+", encoding="utf-8") as handle:
        while (taken := _take(handle, fcntl.LOCK_EX)) is False:
            if not wait:
                raise Held
            time.sleep(WAIT_S)
        with _lease(path, wait) if everywhere or taken is None else contextlib.nullcontext():
            say({})
            try:
                yield say
            finally:
                path.write_text("")


def holder(path: Path) -> dict[str, Any]:
    """What the process that holds ``path`` says of itself, with its ``pid``; {} if none does.

    Asked of the lock itself: what a killed process wrote stays in the file.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            if _take(handle, fcntl.LOCK_SH) is not False and not _leased(path):
                return {}
            return dict(json.loads(handle.read()))
    except json.JSONDecodeError:  # being written just now
        return {"pid": "unknown"}
    except OSError:
        return {}


def known(folder: Path) -> bool:
    """Whether a folder's file system knows locks of ranges, as SQLite takes them."""
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True


def _take(handle: IO[str], kind: int) -> bool | None:
    """Try for a lock a few times, since ``holder`` looks at it for a moment; None if the file system has none."""
    for _ in range(3):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None
    return False


# -- leases


@contextlib.contextmanager
def _lease(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lease of ``path``. A holder that stood still and was taken for dead ends, with its children, because
    another process does its work now."""
    from filelock import LeaseCompromise, Timeout

    def lost(loss: LeaseCompromise) -> None:
        if loss.reason == "owner-changed" and (owner := lease.owner):
            who = f"process {owner.pid} on {owner.hostname}"
            print(f"laif: {file} is held by {who} now, because this process stood still; it ends", file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)

    file, lease = _lease_path(path), _lease_of(path, lost)
    if _age(file) > STALE_S and file.is_file() and not file.stat().st_size:
        file.unlink(missing_ok=True)  # its machine lost power while it was made
    touched = _touched(file)
    # One that looks abandoned is watched until it moves or is void: a clock that was set says nothing about its holder.
    patience = -1.0 if wait else 2 * STALE_S if _age(file) > STALE_S else 0.0
    try:
        lease.acquire(timeout=patience, cancel_check=lambda: not wait and _touched(file) != touched)
    except Timeout:
        raise Held from None
    try:
        yield
    finally:
        lease.release()


def _lease_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.lease{path.suffix}")


def _lease_of(path: Path, lost: Callable[[Any], None] | None = None) -> Any:
    from filelock import SoftFileLease

    beats: dict[str, Any] = {"lease_duration": STALE_S, "heartbeat_interval": BEAT_S, "poll_interval": WAIT_S}
    return SoftFileLease(_lease_path(path), **beats, thread_local=False, on_compromise=lost)


def _leased(path: Path) -> bool:
    """Whether a lease holds by its age, and its process has not ended."""
    import psutil

    if _age(_lease_path(path)) > STALE_S:
        return False
    owner = _lease_of(path).owner  # None while it is being written
    return not owner or owner.hostname != socket.gethostname() or psutil.pid_exists(owner.pid)


def _touched(file: Path) -> float:
    """When a lease was touched last; 0 if there is none."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _age(file: Path) -> float:
    """Seconds since a lease was touched by the clock that stamps files in its folder, which may be a server's."""
    try:
        with tempfile.TemporaryFile(dir=file.parent) as handle:
            handle.write(b".")
            handle.flush()
            now = os.fstat(handle.fileno()).st_mtime
    except OSError:
        now = time.time()
    return abs(now - _touched(file))
