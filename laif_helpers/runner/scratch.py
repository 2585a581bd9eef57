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

from laif_helpers import records
from laif_helpers.paths import RunDir

PREFIX = "laif-"


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


def remove_all(run: RunDir) -> None:
    """Remove the folders of all stages of a run that no runner holds, and halves of files that killed ones wrote."""
    for note in jobs(run).glob("*.scratch"):
        _remove(note)
    for half in records.halves(run.path):
        half.unlink(missing_ok=True)


def _remove(note: Path) -> None:
    path = Path(note.read_text(encoding="utf-8") or "-")
    if path.name.startswith(PREFIX):
        shutil.rmtree(path, ignore_errors=True)
    note.unlink(missing_ok=True)
