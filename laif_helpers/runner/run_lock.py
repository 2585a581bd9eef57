"""Allows one runner per run folder."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from laif_helpers import locks
from laif_helpers.paths import RunDir

Say = Callable[[list[str]], None]
"""Writes down which stages are running, for ``laif status``."""


@contextlib.contextmanager
def lock(run_dir: RunDir) -> Iterator[Say]:
    """Hold a run folder for one runner. Raises ValueError naming the process that has it, or a folder that cannot be
    written."""
    try:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        (run_dir.path / ".lock").open("a").close()
    except OSError as error:
        why = f"run folder {run_dir.path} cannot be written ({error.strerror})"
        raise ValueError(f"{why}; set LAIF_RUNS to a folder of yours") from None
    try:
        with locks.hold(run_dir.path / ".lock", everywhere=True) as say:
            yield lambda running: say({"running": running})
    except locks.Held:
        holder = lock_holder(run_dir)
        who = f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'this machine')}"
        raise ValueError(
            f"run {run_dir.path.name!r} is being run by {who}; wait for it, or choose another --name"
        ) from None


def lock_holder(run_dir: RunDir) -> dict[str, Any]:
    """What the runner at work says of itself: ``pid``, ``host`` and ``running`` (stages); {} if none is at work."""
    return locks.holder(run_dir.path / ".lock")
