"""Lets one process at a time hold a file, also on file systems without locks.

A lock of the operating system ends when its holder ends, however it ends. Some shared file systems have no locks
(Lustre mounted without ``flock``, some NFS and FUSE). There the holder keeps a lease: a file beside the lock that it
touches regularly. A lease is void once its process has ended, or once it was not touched for a minute by the file
system's own clock and nobody touches it while it is watched.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import uuid
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
    with path.open("a+", encoding="utf-8") as handle:
        while True:
            try:
                taken = _take(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
            if taken:
                with _lease(_lease_path(path), wait) if everywhere else contextlib.nullcontext():
                    yield from _locked(path)
                return
            if not wait:
                raise Held
            time.sleep(WAIT_S)
    with _lease(_lease_path(path), wait) as say:
        yield say


def holder(path: Path) -> dict[str, Any]:
    """What the process that holds ``path`` says of itself, with its ``pid``; {} if none does.

    Asked of the lock itself: what a killed process wrote stays in the file.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            if not _take(handle, fcntl.LOCK_SH):
                found: dict[str, Any] = json.loads(handle.read())
                return found
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    except OSError:  # no locks here
        pass
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


@contextlib.contextmanager
def _lease(lease: Path, wait: bool) -> Iterator[Say]:
    """Keep the lease that only one process can make, and touch it until the end of the block."""
    me = _me() | {"token": uuid.uuid4().hex}
    while not _make(lease, me):
        if not wait:
            raise Held
        time.sleep(WAIT_S)
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(lease, me, over), daemon=True)
    beating.start()

    def say(more: dict[str, Any]) -> None:
        lease.write_text(json.dumps(me | more), encoding="utf-8")

    try:
        yield say
    finally:
        over.set()
        beating.join()
        if _read(lease).get("token") == me["token"]:
            lease.unlink(missing_ok=True)


def _make(lease: Path, me: dict[str, Any]) -> bool:
    seen = _state(lease)  # looked at before it is judged: what is removed below is what was judged, not its successor
    if _leased(lease):
        return False
    if seen:
        if seen[1] and not _gone(_read(lease)) and _moves(lease):
            return False
        _remove(lease, seen)
    try:
        with lease.open("x", encoding="utf-8") as handle:
            handle.write(json.dumps(me))
    except FileExistsError:
        return False
    return True


def _moves(lease: Path) -> bool:
    """Whether the holder of a lease that looks old touches it. A clock that was set, or another machine's, says nothing
    about the holder, so it is watched for longer than it may stand still."""
    before, ends = _state(lease), time.monotonic() + 2.5 * BEAT_S
    while time.monotonic() < ends:
        time.sleep(min(WAIT_S, BEAT_S))
        if _state(lease) != before:
            return True
    return False


def _state(lease: Path) -> tuple[int, str] | None:
    """When a lease was touched and what it says; None if there is none."""
    try:
        return lease.stat().st_mtime_ns, _text(lease)
    except OSError:
        return None


def _remove(lease: Path, seen: tuple[int, str]) -> None:
    """Remove a void lease in the state ``seen``. Only the holder of a claim on this very lease may: else the slower one
    of two would remove the lease that the faster one has just made, and which is empty for a moment."""
    claim = lease.with_name(f"{lease.name}.{hashlib.sha256(repr(seen).encode()).hexdigest()[:12]}")
    with contextlib.suppress(FileNotFoundError):
        if abs(_now(lease.parent) - claim.stat().st_mtime) > STALE_S:  # of a process that was killed right here
            claim.unlink()
    with contextlib.suppress(FileExistsError):
        claim.open("x").close()
        if _state(lease) == seen:
            lease.unlink(missing_ok=True)
        claim.unlink(missing_ok=True)


def _beat(lease: Path, me: dict[str, Any], over: threading.Event) -> None:
    """Touch the lease. Who finds another's there has stood still and was taken for dead: the process ends, with its
    children, because the other one does their work now."""
    while not over.wait(BEAT_S):
        with contextlib.suppress(OSError, FileExistsError):
            found = _read(lease)
            if found.get("token") == me["token"]:
                lease.touch()
            elif found.get("token"):
                who = f"process {found.get('pid')} on {found.get('host')}"
                print(f"laif: {lease} is held by {who} now, because this process stood still; it ends", file=sys.stderr)
                sys.stderr.flush()
                os._exit(3)
            elif not lease.exists():
                with lease.open("x", encoding="utf-8") as handle:
                    handle.write(json.dumps(me))


def _text(lease: Path) -> str:
    try:
        return lease.read_text(encoding="utf-8")
    except OSError:
        return ""


def _read(lease: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_text(lease))
        return found
    except json.JSONDecodeError:
        return {}


def _leased(lease: Path) -> dict[str, Any]:
    """What a lease that holds by its age says; {} if there is none, or if its process has gone."""
    try:
        age = abs(_now(lease.parent) - lease.stat().st_mtime)
    except FileNotFoundError:
        return {}
    owner = _read(lease) or {"pid": "unknown"}  # being written just now
    return {} if _gone(owner) or age > STALE_S else owner


def _gone(owner: dict[str, Any]) -> bool:
    import psutil

    return owner.get("host") == socket.gethostname() and not psutil.pid_exists(owner["pid"])


def _now(folder: Path) -> float:
    """The time by the clock that stamps files in this folder, which may be a server's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            handle.write(b".")
            handle.flush()
            return os.fstat(handle.fileno()).st_mtime
    except OSError:
        return time.time()
