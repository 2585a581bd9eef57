"""Lets one process at a time hold a file, also on file systems without locks.

A lock of the operating system ends when its holder ends, however it ends. Some shared file systems have no locks
(Lustre mounted without ``flock``, some NFS and FUSE). There the holder keeps a lease: a file beside the lock that it
touches regularly. A lease is void once its process has ended or once it was not touched for a minute.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
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
def hold(path: Path, *, wait: bool = False) -> Iterator[Say]:
    """Hold ``path``. Raises ``Held`` if another process does (with ``wait``: waits for it), OSError if the file cannot
    be written."""
    with path.open("a+", encoding="utf-8") as handle:
        while True:
            try:
                taken = _take(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
            if taken:
                yield from _locked(path)
                return
            if not wait:
                raise Held
            time.sleep(WAIT_S)
    lease = _lease_path(path)
    while not _make(lease):
        if not wait:
            raise Held
        time.sleep(WAIT_S)
    yield from _kept(lease)


def holder(path: Path) -> dict[str, Any]:
    """What the process that holds ``path`` says of itself, with its ``pid``; {} if none does.

    Asked of the lock itself: what a killed process wrote stays in the file.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            return {} if _take(handle, fcntl.LOCK_SH) else json.loads(handle.read())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    except OSError:
        return _leased(_lease_path(path))


def known(folder: Path) -> bool:
    """Whether a folder's file system knows locks of ranges, as SQLite takes them."""
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True


def _locked(path: Path) -> Iterator[Say]:
    say = _writer(path)
    say({})
    try:
        yield say
    finally:
        path.write_text("")


def _take(handle: IO[str], kind: int) -> bool:
    """Try for a lock a few times: ``holder`` looks at it for a moment."""
    for _ in range(3):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _writer(path: Path) -> Say:
    """Written in place: the lock is on this very file, and a renamed one would not be locked."""

    def say(more: dict[str, Any]) -> None:
        path.write_text(json.dumps(_me() | more), encoding="utf-8")

    return say


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


# -- leases


def _lease_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.lease{path.suffix}")


def _make(lease: Path) -> bool:
    """Make the file that only one process can make; one of a process that has gone is put aside first."""
    if _leased(lease):
        return False
    with contextlib.suppress(FileNotFoundError):
        # a renamed file is gone for everybody at once, so that two cannot remove two leases after each other
        lease.rename(lease.with_name(f"{lease.name}.{os.getpid()}")).unlink()
    try:
        with lease.open("x", encoding="utf-8") as handle:
            handle.write(json.dumps(_me()))
    except FileExistsError:
        return False
    return True


def _kept(lease: Path) -> Iterator[Say]:
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(lease, over), daemon=True)
    beating.start()
    try:
        yield _writer(lease)
    finally:
        over.set()
        beating.join()
        lease.unlink(missing_ok=True)


def _beat(lease: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with contextlib.suppress(OSError):
            lease.touch()


def _leased(lease: Path) -> dict[str, Any]:
    """What a lease that still holds says; {} if there is none, or if its process has gone."""
    import psutil

    try:
        text, age = lease.read_text(encoding="utf-8"), time.time() - lease.stat().st_mtime
    except FileNotFoundError:
        return {}
    try:
        owner: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:  # being written just now
        owner = {"pid": "unknown"}
    gone = owner.get("host") == socket.gethostname() and not psutil.pid_exists(owner["pid"])
    return {} if gone or age > STALE_S else owner
