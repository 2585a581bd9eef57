"""One runner to a run folder: a lock that the system lifts when its holder ends, however it ends."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from laif_helpers.paths import RunDir


@contextlib.contextmanager
def lock(run_dir: RunDir) -> Iterator[Path]:
    """Hold a run folder for one runner. Raises ValueError naming the process that has it."""
    run_dir.path.mkdir(parents=True, exist_ok=True)
    path = run_dir.path / ".lock"
    with path.open("a+", encoding="utf-8") as handle:
        if not _take(handle, fcntl.LOCK_EX):
            pid = lock_holder(run_dir).get("pid", "unknown")
            raise ValueError(
                f"run {run_dir.path.name!r} is being run by process {pid}; wait for it, or choose another --name"
            )
        write_holder(path, [])
        try:
            yield path
        finally:
            path.write_text("")


def _take(handle: IO[str], kind: int) -> bool:
    """Try for a lock a few times: ``laif status`` looks at it for a moment."""
    for _ in range(3):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def lock_holder(run_dir: RunDir) -> dict[str, Any]:
    """What the runner at work says of itself: ``pid`` and ``running`` (stages); empty where none is at work.

    Asked of the lock itself: what a killed runner wrote stays in the file.
    """
    path = run_dir.path / ".lock"
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError), path.open(encoding="utf-8") as handle:
        if not _take(handle, fcntl.LOCK_SH):
            return json.loads(handle.read())
    return {}


def write_holder(path: Path, running: list[str]) -> None:
    # Written in place: the lock is on this very file, and a renamed one would not be locked.
    path.write_text(json.dumps({"pid": os.getpid(), "running": running}), encoding="utf-8")
