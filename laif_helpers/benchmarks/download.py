"""Lists, for ``laif data``, each benchmark's files with size and licence, and downloads missing ones from the hub."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.benchmarks._files import Source, find, folders, hub_rows
from laif_helpers.paths import ROOT
from laif_helpers.records import file_hash, read_json, write_json, write_jsonl

DOWNLOADS = ROOT / "data" / "downloads"
NOTE = "SOURCE.json"
"""Beside fetched files: where each came from, its rows, bytes, SHA-256 and licence."""


@dataclass(frozen=True)
class Held:
    """One split's file: ``state`` is ``as fetched``, ``changed since it was fetched``, or "" if no record exists."""

    split: str
    path: Path
    size: int
    sha256: str
    state: str


def fetchable() -> list[str]:
    """Benchmarks that ``get`` knows a hub data set for."""
    return [name for name in benchmarks.names() if any(s.hub for s in _splits(name).values())]


def get(name: str, folder: Path | None = None) -> list[Held]:
    """Fetch every split of a benchmark at its pinned revision into ``<folder>/<name>/<split>.jsonl``, rows as they are.

    Raises ValueError for a name without hub data set, ConnectionError in one sentence if the hub cannot be reached.
    A split that lies there as it was fetched is not fetched again.
    """
    if name not in fetchable():
        origin = benchmarks.get(name).origin if name in benchmarks.names() else ""
        where = f" ({origin})" if origin else ""
        raise ValueError(f"{name!r} is on no hub{where}; laif data get knows {', '.join(fetchable())}")
    place = (folder or DOWNLOADS) / name
    noted = _noted(place)
    for split, source in _splits(name).items():
        path = place / f"{split}.jsonl"
        if source.hub is None or (path.is_file() and noted.get(path.name, {}).get("sha256") == file_hash([path])):
            continue
        rows = _rows(name, source)
        count = write_jsonl(path, rows)
        dataset, config, hub_split, revision = source.hub
        noted[path.name] = {
            **{"dataset": dataset, "config": config, "split": hub_split, "revision": revision, "rows": count},
            **{"bytes": path.stat().st_size, "sha256": file_hash([path]), "licence": benchmarks.get(name).licence},
        }
        write_json(place / NOTE, noted)
    return [_held(split, place / f"{split}.jsonl") for split in _splits(name)]


def here(name: str, data_dir: str = "") -> Iterator[Held]:
    """The files of a benchmark that are on this machine, split by split."""
    for split, source in _splits(name).items():
        if path := find(name, source.files, data_dir or None):
            yield _held(split, path)
    if name == "bbh":
        first = next((folder for folder in folders(name, data_dir or None) if any(folder.rglob("*.json"))), None)
        if first:
            files = sorted(path for path in first.rglob("*") if path.suffix in (".json", ".txt"))
            digest = hashlib.sha256("".join(file_hash([file]) for file in files).encode()).hexdigest()
            yield Held("test", first, sum(path.stat().st_size for path in files), digest, "")


def absent(name: str, data_dir: str = "") -> list[str]:
    """Splits of a benchmark of files that are not on this machine."""
    return [split for split, source in _splits(name).items() if not find(name, source.files, data_dir or None)]


def _splits(name: str) -> Mapping[str, Source]:
    return benchmarks.get(name).sources


def _rows(name: str, source: Source) -> Iterator[dict[str, Any]]:
    try:
        return hub_rows(source)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}; without a network, put {source.files[0]} into a folder {name!r} and name the folder above "
            "it by the environment variable LAIF_DATA"
        ) from None


def _held(split: str, path: Path) -> Held:
    digest, noted = file_hash([path]), _noted(path.parent).get(path.name)
    state = "" if noted is None else "as fetched" if noted["sha256"] == digest else "changed since it was fetched"
    return Held(split, path, path.stat().st_size, digest, state)


def _noted(place: Path) -> dict[str, Any]:
    try:
        noted = read_json(place / NOTE, {})
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}
