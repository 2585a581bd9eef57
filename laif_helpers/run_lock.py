"""One runner to a run folder: a lock that the system lifts when its holder ends, however it ends."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers.paths import RunDir


@contextlib.contextmanager
def lock(run_dir: RunDir) -> Iterator[Path]:
    """Hold a run folder for one runner. Raises ValueError naming the process that has it."""
    run_dir.path.mkdir(parents=True, exist_ok=True)
    path = run_dir.path / ".lock"
    with path.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = lock_holder(run_dir).get("pid", "unknown")
            raise ValueError(
                f"run {run_dir.path.name!r} is being run by process {pid}; wait for it, or choose another --name"
            ) from None
        write_holder(path, [])
        try:
            yield path
        finally:
            path.write_text("")


def lock_holder(run_dir: RunDir) -> dict[str, Any]:
    """What the runner at work says of itself: ``pid`` and ``running`` (stages); empty where none is at work."""
    with contextlib.suppress(OSError, json.JSONDecodeError):
        return json.loads((run_dir.path / ".lock").read_text(encoding="utf-8") or "{}")
    return {}


def write_holder(path: Path, running: list[str]) -> None:
    # Written in place: the lock is on this very file, and a renamed one would not be locked.
    path.write_text(json.dumps({"pid": os.getpid(), "running": running}), encoding="utf-8")
