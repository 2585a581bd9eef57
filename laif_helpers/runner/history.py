"""Appends a run's events to its manifest and reads them back: one row for each attempt at a stage.

An attempt has several lines while the run goes on (``running``, then how it ended); the last one counts.
"""

import functools
import json
import sys
from pathlib import Path

from laif_helpers.records import Row, to_disk, write_jsonl


def append(path: Path, row: Row) -> None:
    """Add what became of an attempt, in place of the row of the same attempt that said ``running``, and force it to the
    disk. Only the holder of the run's lock writes.

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
        to_disk(handle)


def rows(path: Path) -> list[Row]:
    """Attempts, oldest first; none if there is no manifest. An older attempt that still says ``running`` was killed
    together with its runner, and is marked so."""
    attempts: dict[tuple[str, str], Row] = {}
    newest: dict[str, tuple[str, str]] = {}
    for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else []:
        if not (row := dict(_parsed(path, line))):
            continue
        attempt = row["stage"], row.get("started", f"line {len(attempts)}")
        before = attempts.get(newest.get(row["stage"], attempt), {})
        if before.get("status") == "running" and before.get("started") != row.get("started"):
            before |= {"status": "failed", "reason": "killed with its runner"}
        attempts.pop(attempt, None)
        attempts[attempt], newest[row["stage"]] = row, attempt
    return list(attempts.values())


@functools.cache  # a manifest grows line by line, and is read after each
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
