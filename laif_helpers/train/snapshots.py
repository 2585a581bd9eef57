"""Keeps training states on disk, so that a killed training resumes: finds the whole ones, discards the others.

``<iteration>/checkpoint.steps/checkpoint-N/`` is what the Trainer (and DeepSpeed, a file per rank) writes at step N.
It counts only once ``laif_whole.json`` lies in it, which names every file with its size, and with its hash up to
64 MB: what was being written when the process died has none, or one that does not match.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from laif_helpers.records import Row, file_hash, read_json, read_state, sound_rows, write_json, write_jsonl
from laif_helpers.train.settings import Settings

MARKER = "laif_whole.json"
OWNER = "settings.json"
KEPT = 2  # the last whole one stays until the next one is whole
HASHED = 64 << 20  # bytes; hashing the 110 GB of an 8B model's optimiser would take longer than writing them


@dataclass(frozen=True)
class Snapshot:
    """A whole training state: optimiser step, tokens seen and seconds trained until then."""

    path: Path
    step: int
    tokens: int
    seconds: float


def every(save_steps: int, max_steps: int, logging_steps: int) -> int:
    """Steps between two snapshots: ``save_steps``, or a quarter of the training; always a step that is logged.

    A state is worth keeping only at a step at which the loss is known to be a number.
    """
    wanted = save_steps or max(1, -(-max_steps // 4))
    return -(-wanted // logging_steps) * logging_steps


def seal(folder: Path, step: int, tokens: int, seconds: float) -> None:
    """Declare the state in ``folder`` whole; to be called once every rank has written its part."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    expected = {path.relative_to(folder).as_posix(): _print_of(path) for path in files}
    write_json(folder / MARKER, {"step": step, "tokens": tokens, "seconds": round(seconds, 3), "files": expected})


def _print_of(path: Path) -> list[int | str]:
    size = path.stat().st_size
    return [size, file_hash([path]) if size <= HASHED else ""]


def read(folder: Path) -> Snapshot | None:
    """The state in ``folder`` if it is whole, else None."""
    try:
        marker = read_json(folder / MARKER)
        whole = all(
            (folder / name).is_file() and _print_of(folder / name) == expected
            for name, expected in marker["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return None
    return Snapshot(folder, marker["step"], marker["tokens"], marker["seconds"]) if whole else None


def latest(settings: Settings) -> Snapshot | None:
    """The whole state with the most steps; half-written ones are passed over."""
    folders = sorted(settings.snapshots.glob("checkpoint-*"), key=_step_of, reverse=True)
    return next((found for folder in folders if (found := read(folder))), None)


def _step_of(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def prepare(settings: Settings) -> tuple[Snapshot | None, str]:
    """The state to go on from and a sentence on it; throws away what is half-written or another training's.

    The training log is cut at the state's step. Only the process that starts the ranks may call this.
    """
    owner = settings.snapshots / OWNER
    mine = {"identity": settings.identity, "settings": settings.deciding}
    note = _changed(read_state(owner), mine) if owner.is_file() else ""
    if note:
        shutil.rmtree(settings.snapshots)
    snapshot = latest(settings)
    torn = [folder for folder in settings.snapshots.glob("checkpoint-*") if not snapshot or folder != snapshot.path]
    for folder in torn:
        shutil.rmtree(folder)
    settings.snapshots.mkdir(parents=True, exist_ok=True)
    write_json(owner, mine)
    _cut_log(settings, snapshot)
    if snapshot:
        skipped = sum(_step_of(folder) > snapshot.step for folder in torn)
        note = f"going on from step {snapshot.step}" + (f" ({skipped} half-written state skipped)" if skipped else "")
    return snapshot, note


def _changed(before: Row, now: Row) -> str:
    """Why the states of an earlier training cannot be used; "" if they belong to this training."""
    if before.get("identity") == now["identity"]:
        return ""
    old, new = before.get("settings", {}), now["settings"]
    names = [key for key in new if old.get(key) != new[key]]
    what = "the training set" if "training_set_sha256" in names else ", ".join(names) or "a setting"
    return f"{what} changed since the last training here was interrupted: starting anew"


def _cut_log(settings: Settings, snapshot: Snapshot | None) -> None:
    path = settings.files.train_log
    rows = [row for row in sound_rows(path, more=False) if snapshot and row["step"] <= snapshot.step]
    if rows:
        write_jsonl(path, rows)
    else:
        path.unlink(missing_ok=True)
