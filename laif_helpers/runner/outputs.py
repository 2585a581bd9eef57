"""Recognises results that are damaged: cut off by a full disk, overwritten, lost in part by a file system."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from laif_helpers import records
from laif_helpers.models import weight_files

WHOLE_FILE = 64 << 20  # bytes; a larger file counts by size and time, reading 15 GB of weights takes minutes


def file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, size: int, modified: int) -> str:
    if size > WHOLE_FILE:
        return f"{size}-{modified}"
    return records.file_hash([path])[:16]


def hashes(run: Path, outputs: Iterable[str]) -> dict[str, str]:
    """``bytes:hash`` of each file, named relative to the run folder."""
    found = ((name, run / name) for name in outputs)
    return {name: f"{path.stat().st_size}:{file_hash(path)}" for name, path in found if path.is_file()}


def damaged(run: Path, before: Mapping[str, str]) -> str:
    """The first file that is no longer what its stage left (``hashes``) and cannot be read, or has lost rows; "" if
    there is none.

    A file that can be read stands, because people correct lessons by hand, and take some away.
    """
    for name, left in before.items():
        path, (size, _, content) = run / name, left.partition(":")
        if path.is_file() and file_hash(path) != content:
            shorter = path.suffix == ".jsonl" and path.parent.name != "lessons" and path.stat().st_size < int(size)
            if shorter or not _readable(path):
                return name
    return ""


def _readable(path: Path) -> bool:
    """Whether a file is what its name says, from its first byte to its last."""
    try:
        return bool(_READS.get(path.suffix, _as_text)(path))
    except Exception:  # each reader has errors of its own; all of them mean the same
        return False


def _as_rows(path: Path) -> bool:
    return path.stat().st_size > 0 and path.read_bytes().endswith(b"\n") and all(map(bool, records.read_rows(path)))


def _as_table(path: Path) -> bool:
    import pyarrow.parquet

    return bool(pyarrow.parquet.read_table(path).num_columns)


def _as_weights(path: Path) -> bool:
    """Weights that changed are damaged, whatever they hold; of those too large to be hashed only the size is known."""
    size = path.stat().st_size
    return size > WHOLE_FILE and size == weight_files.bytes_wanted(path)


def _as_text(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return bool(text) and "\0" not in text and (path.suffix != ".html" or text.rstrip().endswith("</html>"))


_READS: dict[str, Callable[[Path], Any]] = {
    ".jsonl": _as_rows,
    ".json": lambda path: json.loads(path.read_bytes()) is not None,
    ".parquet": _as_table,
    ".safetensors": _as_weights,
    ".png": lambda path: path.read_bytes().endswith(b"IEND\xaeB`\x82"),
}
