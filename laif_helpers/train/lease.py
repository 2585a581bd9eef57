"""Ends the ranks on other nodes when the notebook that started them is gone: they train while it renews a lease.

A lease is needed because the end of an ssh connection does not end the processes that it started. The lease is a file
in the iteration's folder, which every node sees. Its text changes as long as the notebook waits. Ranks compare texts
and not times, because the clocks of nodes differ and a network file system shows a new time late.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from laif_helpers.records import write_text

FILE = "train.lease"
RENEW_S, PATIENCE_S = 2.0, 60.0
"""Seconds between renewals, and seconds without a renewal after which the ranks take the notebook for dead."""


@contextmanager
def granted(folder: Path, every: float = RENEW_S) -> Iterator[Callable[[], None]]:
    """Hold a lease on ``folder`` until the end of the block; gives a function that renews it.

    Call that function more often than ``every`` seconds. A lease that already lies in the folder was left by a killed
    notebook; its ranks get the time to see the new lease and end.
    """
    path, owner, last = folder / FILE, uuid.uuid4().hex, 0.0

    def renew() -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            write_text(path, f"{owner} {last}")

    left_behind = path.exists()
    renew()
    if left_behind:
        time.sleep(3 * every)
    try:
        yield renew
    finally:
        path.unlink(missing_ok=True)


def hold(folder: Path, every: float = RENEW_S, patience: float = PATIENCE_S) -> None:
    """End this process when the lease on ``folder`` goes, changes hands, or is not renewed for ``patience`` seconds.

    Returns at once. Raises ValueError if there is no lease.
    """
    text = _read(folder, "")
    if not text:
        raise ValueError(f"{folder} has no {FILE}: either its training has ended, or this node does not see the folder")

    def watch() -> None:
        seen, since = text, time.monotonic()
        while time.monotonic() - since < patience:
            time.sleep(every)
            now = _read(folder, seen)
            if now.split()[:1] != text.split()[:1]:
                break
            if now != seen:
                seen, since = now, time.monotonic()
        print(f"the lease on {folder} has ended: no notebook waits for this training", flush=True)
        os._exit(3)  # other ranks may be waiting in a collective, and so would this one's clean-up

    threading.Thread(target=watch, name="lease", daemon=True).start()


def _read(folder: Path, seen: str) -> str:
    try:
        return (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError:  # a network file system's hiccup is not the end of a lease
        return seen
