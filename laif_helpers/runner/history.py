"""Appends a run's events to its manifest and reads them back: one row for each attempt at a stage.

An attempt has several lines while the run goes on (``running``, then how it ended); the last one counts. Adding one
costs the same however long the manifest is, and so does a look at a manifest that has not changed.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laif_helpers.records import write_jsonl

Row = dict[str, Any]


@dataclass
class _Read:
    """What this process has read of a manifest: so many bytes, the last line of them, the attempts they tell of."""

    size: int = 0
    line: bytes = b""
    attempts: dict[tuple[str, str], Row] = field(default_factory=dict)
    newest: dict[str, tuple[str, str]] = field(default_factory=dict)


_READ: dict[Path, _Read] = {}


def append(path: Path, row: Row) -> None:
    """Add a line and force it to the disk. Only the holder of the run's lock writes.

    What a killed writer left of a line is cut off first: ``rows`` has never shown it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        if size := handle.tell():
            handle.seek(size - 1)
            if handle.read() != b"\n":
                handle.seek(0)
                handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        handle.flush()
        os.fsync(handle.fileno())


def rows(path: Path) -> list[Row]:
    """Attempts, oldest first; none if there is no manifest."""
    if not path.is_file():
        _READ.pop(path, None)
        return []
    seen = _READ.get(path, _Read())
    with path.open("rb") as handle:
        handle.seek(max(0, seen.size - len(seen.line)))
        if handle.read(len(seen.line)) != seen.line:
            seen = _Read()
            handle.seek(0)
        new = handle.read()
    for line in new.split(b"\n")[:-1]:
        if row := _parsed(path, line):
            _add(seen, row)
        seen.size, seen.line = seen.size + len(line) + 1, line + b"\n"
    _READ[path] = seen
    return list(seen.attempts.values())


def _add(seen: _Read, row: Row) -> None:
    """An older attempt that still says ``running`` was killed together with its runner, and is marked so."""
    attempt = row["stage"], row.get("started", f"line {len(seen.attempts)}")
    before = seen.attempts.get(seen.newest.get(row["stage"], attempt), {})
    if before.get("status") == "running" and before.get("started") != row.get("started"):
        before |= {"status": "failed", "reason": "killed with its runner"}
    seen.attempts.pop(attempt, None)
    seen.attempts[attempt] = row
    seen.newest[row["stage"]] = attempt


def _parsed(path: Path, line: bytes) -> Row:
    """The row on a line. Of one that holds none, which a fault left there, stderr says so, and the row is {}: that
    attempt is unknown, and its stage runs again."""
    try:
        row: Row = json.loads(line)
        return row | {"stage": row["stage"], "status": row["status"]}
    except (ValueError, KeyError, TypeError) as error:
        print(f"{path}: a line is no row of a manifest ({error}) and is passed over: {line[:80]!r}", file=sys.stderr)
        return {}


def compact(path: Path) -> None:
    """One line for each attempt, as ``rows`` gives them: what a finished run leaves. Nothing if it is so already."""
    found = rows(path)
    if found and path.read_bytes().count(b"\n") > len(found):
        write_jsonl(path, found)
