"""Breaks one write of one process, at the moment that ``LAIF_FAULT`` names: Python imports this file by itself.

The process runs as it always does until an audit event (a file is opened, or renamed into its place) matches. What
happens then is real: a SIGKILL, a file system without a free byte, a folder that may not be written, an address space
that may not grow. ``LAIF_FAULT`` is JSON with

    event   ``open`` or ``os.rename``
    match   a regular expression for the file that is opened to be written, or that is renamed to
    action  ``kill`` | ``fill`` | ``deny`` | ``memory`` | ``clock``
    victim  of ``kill``: "" for this process, else a word of the command line of a process above it
    half    of ``kill``: half of what was written is lost first
    place   of ``fill`` and ``deny``: the folder; of ``clock``: the file that moves the time of day
    flag    a file that is made when it happens: it happens once
"""

import json
import os
import re
import signal
import sys
import time
from typing import Any

FILLER = "filler"


def _above(word: str) -> int:
    """The nearest process above this one with that word in its command line."""
    pid = os.getppid()
    while pid > 1:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            if word.encode() in handle.read().split(b"\0"):
                return pid
        with open(f"/proc/{pid}/stat") as handle:
            pid = int(handle.read().rpartition(")")[2].split()[1])
    raise SystemExit(f"no process {word} above this one")


def _kill(fault: dict[str, Any], source: str) -> None:
    if fault.get("half") and os.path.isfile(source):
        os.truncate(source, os.path.getsize(source) // 2)
    os.kill(_above(fault["victim"]) if fault.get("victim") else os.getpid(), signal.SIGKILL)
    time.sleep(120)  # whoever dies with its parent does so now


def _fill(fault: dict[str, Any], _: str) -> None:
    with open(os.path.join(fault["place"], FILLER), "ab", buffering=0) as handle:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while handle.write(b"\0" * size):
                    pass
            except OSError:
                continue


def _deny(fault: dict[str, Any], _: str) -> None:
    os.chmod(fault["place"], 0o555)


def _memory(fault: dict[str, Any], _: str) -> None:
    import resource

    with open("/proc/self/statm") as handle:
        now = int(handle.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 20), resource.RLIM_INFINITY))


def _clock(fault: dict[str, Any], _: str) -> None:
    with open(fault["place"], "w") as handle:
        handle.write("-10800")


def _install(fault: dict[str, Any]) -> None:
    event, match = fault["event"], re.compile(fault["match"])
    act = {"kill": _kill, "fill": _fill, "deny": _deny, "memory": _memory, "clock": _clock}[fault["action"]]
    watching = True

    def hook(name: str, given: tuple[Any, ...]) -> None:
        nonlocal watching
        if not watching or name != event:
            return
        path = given[1] if event == "os.rename" else given[0]
        if not isinstance(path, str | bytes) and not hasattr(path, "__fspath__"):
            return
        if event == "open" and not (given[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        if match.search(os.fsdecode(path)):
            watching = False
            try:
                os.close(os.open(fault["flag"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            act(fault, os.fsdecode(given[0]))

    sys.addaudithook(hook)


if _fault := os.environ.get("LAIF_FAULT"):
    _install(json.loads(_fault))
