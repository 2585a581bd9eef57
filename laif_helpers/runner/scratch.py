"""Makes a stage's folder for its kernel's sockets and settings: local, short, and removed even after a kill.

Not in the run folder: a socket's path may have 107 characters, and a shared file system may know no sockets and no
private files. A note in the run folder names it, so that the next run removes what a killed stage has left.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from laif_helpers import locks, records
from laif_helpers.paths import RunDir

PREFIX = "laif-"
RESULT = ".result.json"
"""Ends the name of the file in which a stage says how it went, beside its job file."""


def jobs(run: RunDir) -> Path:
    """Where the runner and its stages talk to each other."""
    return run.path / ".jobs"


@contextmanager
def folder(job: Path) -> Iterator[Path]:
    """A folder for the stage of a job file. The note is written first, so a kill leaves no unknown folder."""
    note, path = job.with_suffix(".scratch"), Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(4)}"
    note.write_text(str(path), encoding="utf-8")
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        _remove(note)


@contextmanager
def alone(job: Path) -> Iterator[None]:
    """Wait until no process is at work on the stage of a job file: one that a killed runner has left on a node, or that
    its own node has lost, may take a while to end."""
    own = job.with_suffix(".lock")
    try:
        with locks.hold(own):
            yield
    except locks.Held:
        print(f"{job.stem}: waits for {worker(job)}, which is still at work on it", flush=True)
        with locks.hold(own, wait=True):
            yield


def worker(job: Path) -> dict[str, Any]:
    """``pid`` and ``host`` of the process at work on the stage of a job file; {} if there is none."""
    return locks.holder(job.with_suffix(".lock"))


def remove_all(run: RunDir) -> None:
    """Remove the folders of all stages of a run that no runner holds, and halves of files that killed ones wrote.

    Stages of a killed runner that are still at work on a node keep theirs.
    """
    at_work = [lock for lock in jobs(run).glob("*.lock") if worker(lock)]
    for note in jobs(run).glob("*.scratch"):
        if note.with_suffix(".lock") not in at_work:
            _remove(note)
    for half in [] if at_work else records.halves(run.path):
        half.unlink(missing_ok=True)


def _remove(note: Path) -> None:
    path = Path(note.read_text(encoding="utf-8") or "-")
    if path.name.startswith(PREFIX):
        shutil.rmtree(path, ignore_errors=True)
    note.unlink(missing_ok=True)
