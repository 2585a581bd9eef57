"""Copies finished runs to a place that fsspec knows (a folder, ``s3://``, ``gs://``, ``sftp://`` …), and back.

A run is written where files can be locked and renamed; a place for objects knows neither. So a run moves there once it
is finished, file by file, with an index of hashes that is written last: what has an index is whole.
"""

import contextlib
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from laif_helpers.paths import RunDir
from laif_helpers.records import file_hash
from laif_helpers.runner.run_lock import lock

INDEX = "laif_archive.json"
LEFT_OUT = {"checkpoint.steps", "checkpoint.partial", ".jobs"}
"""States of trainings and jobs in between: a finished run needs none."""


def put(run: RunDir, url: str) -> tuple[int, int]:
    """Copy a run's files to ``url/<run>``; those that lie there with the same hash are left alone.

    Returns (files in the archive, files sent). Raises FileNotFoundError without such a run, ValueError for an address
    that fsspec cannot open or a run that is at work, ConnectionError for a store that fails.
    """
    if not run.recipe.is_file():
        raise FileNotFoundError(f"no run at {run.path}: it holds no recipe.yaml")
    system, place = _open(url)
    place = posixpath.join(place, run.path.name)
    with lock(run), _named(url):
        held = _index(system, place)
        here = {
            path.relative_to(run.path).as_posix(): {"sha256": file_hash([path]), "modified_ns": path.stat().st_mtime_ns}
            for path in _files(run.path)
        }
        new = [name for name, file in here.items() if held.get(name, {}).get("sha256") != file["sha256"]]
        for name in tqdm(new, unit="file", desc="archive"):
            system.makedirs(posixpath.dirname(posixpath.join(place, name)), exist_ok=True)
            system.put_file(str(run.path / name), posixpath.join(place, name))
        system.makedirs(place, exist_ok=True)
        system.pipe_file(posixpath.join(place, INDEX), json.dumps(here, indent=1).encode())
        for name in held.keys() - here.keys():
            system.rm_file(posixpath.join(place, name))
    return len(here), len(new)


def get(url: str, run: RunDir) -> tuple[int, int]:
    """Copy the archived run at ``url`` into a run folder; returns (files of the archive, files fetched).

    Raises FileNotFoundError if no whole archive is there, ValueError if the folder holds a file of that name with
    other content, or a file arrives with another hash than the index says, ConnectionError for a store that fails.
    """
    system, place = _open(url)
    with _named(url):
        index = _index(system, place)
    if not index:
        raise FileNotFoundError(f"no archived run at {url}: there is no {INDEX}, which `laif archive` writes last")
    if outside := next((name for name in index if name.startswith("/") or ".." in name.split("/") or "\\" in name), ""):
        raise ValueError(f"{url}: {INDEX} names {outside!r}, which leads out of the run folder; nothing was fetched")
    with lock(run):
        have = [name for name in index if (run.path / name).is_file()]
        if other := next((name for name in have if file_hash([run.path / name]) != index[name]["sha256"]), ""):
            raise ValueError(f"{run.path / other} has another content than in {url}; choose another --name")
        missing = [name for name in index if name not in have]
        with _named(url):
            for name in tqdm(missing, unit="file", desc="restore"):
                _fetch(system, posixpath.join(place, name), run.path / name, index[name])
    return len(index), len(missing)


def _fetch(system: Any, source: str, target: Path, file: dict[str, Any]) -> None:
    """Under another name first: a file that a kill has cut must not pass for the whole one. Its time comes with it,
    because a large file's time says whether a stage has to run again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.partial")
    system.get_file(source, str(half))
    if file_hash([half]) != file["sha256"]:
        half.unlink()
        raise ValueError(f"{source} arrived with another content than its index says; archive the run again")
    os.utime(half, ns=(file["modified_ns"], file["modified_ns"]))
    half.replace(target)


@contextlib.contextmanager
def _named(url: str) -> Iterator[None]:
    """Each store has errors of its own kinds; here they become one kind, which names the store."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ConnectionError(f"{url}: {error}; what has been copied stays, run the same command again") from None


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        fix = "; pip install -e '.[s3]'" if url.startswith("s3:") else ""
        raise ValueError(f"{url}: {error}{fix}") from None


def _index(system: Any, place: str) -> dict[str, dict[str, Any]]:
    try:
        return dict(json.loads(system.cat_file(posixpath.join(place, INDEX))))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise ValueError(f"{place}/{INDEX} is damaged; remove it, and archive the run again") from None


def _files(folder: Path) -> Iterator[Path]:
    """Files of a run, without locks and halves; links to what points of a sweep share are made again by ``laif run``,
    and ``rglob`` follows none."""
    for path in sorted(folder.rglob("*")):
        passing = path.name.startswith(".lock") or path.suffix in (".partial", ".tmp")
        left_out = passing or path.is_symlink() or LEFT_OUT & set(path.relative_to(folder).parts)
        if path.is_file() and not left_out:
            yield path
