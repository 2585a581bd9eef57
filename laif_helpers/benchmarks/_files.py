"""Loads a benchmark's items, from local files first, then from the hub, and gives them ids."""

import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laif_helpers.benchmarks import Benchmark
from laif_helpers.graders.families import asking
from laif_helpers.paths import data_dirs
from laif_helpers.records import Example, read_rows

FromRow = Callable[[dict[str, Any]], Example]
DataDir = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Source:
    """Where one split lies: local file names, most usual first, and the hub's (dataset, config, splits, revision)."""

    files: tuple[str, ...]
    hub: tuple[str, str, str, str] | None = None


def loader(benchmark: str, sources: Mapping[str, Source], from_row: FromRow) -> Callable[..., list[Example]]:
    """The ``load`` of a benchmark whose splits are files of rows."""

    def load(split: str, data_dir: DataDir = None, limit: int | None = None) -> list[Example]:
        check_split(benchmark, split, tuple(sources))
        path = find(benchmark, sources[split].files, data_dir)
        rows = read_rows(path) if path else _hub_rows(benchmark, split, sources[split], data_dir)
        return examples(rows, from_row, str(path or sources[split].hub), split, limit)

    return load


def of_family(
    family: str,
    name: str,
    sources: Mapping[str, Source],
    from_row: FromRow,
    licence: str,
    facets: tuple[str, ...] = (),
) -> Benchmark:
    """The benchmark of that name, whose items are asked and graded as its family's row says."""
    return Benchmark(
        name=name,
        splits=tuple(sources),
        family=family,
        load=loader(name, sources, from_row),
        from_row=from_row,
        facets=facets,
        sources=sources,
        licence=licence,
        **asking(family),
    )


def check_split(benchmark: str, split: str, known: tuple[str, ...]) -> None:
    """Raises ValueError naming the splits there are."""
    if split not in known:
        raise ValueError(f"benchmark {benchmark!r} has no split {split!r}; its splits: {', '.join(known)}")


def find(benchmark: str, names: Iterable[str], data_dir: DataDir = None) -> Path | None:
    """The first of ``names`` under a data folder's ``<benchmark>/``, or in a folder that is the benchmark's own."""
    for folder in folders(benchmark, data_dir):
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def folders(benchmark: str, data_dir: DataDir = None) -> list[Path]:
    """Folders searched: each data folder's ``<benchmark>/``; a data folder without one may be the benchmark's own."""
    return [root / benchmark if (root / benchmark).is_dir() else root for root in data_dirs(data_dir)]


def missing(benchmark: str, split: str, names: Iterable[str], data_dir: DataDir, why: str) -> FileNotFoundError:
    """One sentence that says what was looked for, where, and what to do."""
    places = ", ".join(str(root / benchmark) for root in data_dirs(data_dir))
    return FileNotFoundError(
        f"{benchmark} {split}: none of {', '.join(names)} in {places}, and {why}; "
        "put the file there, or name its folder by data_dir or the environment variable LAIF_DATA"
    )


def examples(rows: Iterable[Any], from_row: FromRow, source: str, split: str, limit: int | None) -> list[Example]:
    """Rows as examples with unique ids, input order. Raises ValueError naming source, row and field."""
    found = []
    for number, row in enumerate(itertools.islice(rows, limit or None), start=1):
        try:
            found.append(replace(from_row(row), split=split))
        except ValueError as error:
            raise ValueError(f"{source}: row {number}: {error}") from None
    return unique_ids(found)


def unique_ids(found: list[Example]) -> list[Example]:
    """A second item of the same id gets ``-2``, a third ``-3``: in this order, so that the ids never change. A number
    that another item's own id has already is passed over."""
    seen: Counter[str] = Counter()
    own = {example.id for example in found}
    result = []
    for example in found:
        seen[example.id] += 1
        while seen[example.id] > 1 and f"{example.id}-{seen[example.id]}" in own:
            seen[example.id] += 1
        again = seen[example.id]
        result.append(replace(example, id=f"{example.id}-{again}") if again > 1 else example)
    return result


def content_id(benchmark: str, *content: str) -> str:
    """``<benchmark>-<12 hex>`` of the content, blind to case, spacing and typographic quotes."""
    text = " ".join("\n".join(content).replace("’", "'").replace("“", '"').replace("”", '"').split())
    return f"{benchmark}-{hashlib.sha256(text.casefold().encode('utf-8', 'replace')).hexdigest()[:12]}"


def item(benchmark: str, question: str, gold: str, *, id: str = "", rationale: str = "", **fields: Any) -> Example:
    """An item of no split yet. Without an ``id`` it gets that of its content: the question and, because two questions
    may share their words, its options."""
    options = fields.get("options") or {}
    id = id or content_id(benchmark, question, *options.values())
    return Example(id, benchmark, "", question, gold, rationale, fields)


def choice_item(benchmark: str, question: str, options: dict[str, str], gold: str, **more: str) -> Example:
    """A multiple-choice item. Raises ValueError if ``gold`` is none of the options."""
    if gold not in options:
        raise ValueError(f"field 'answer' is {gold!r}; the options are {', '.join(options)}")
    return item(benchmark, question.strip(), gold, options=options, **more)


def field(row: Mapping[str, Any], *names: str) -> str:
    """The first of ``names`` that ``row`` has, as non-empty text. Raises ValueError naming the field."""
    for name in names:
        if row.get(name) is not None:
            text = str(row[name])
            if not text.strip():
                raise ValueError(f"field {name!r} is empty")
            return text
    if empty := [name for name in names if name in row]:
        raise ValueError(f"field {empty[0]!r} is null; write its value, or leave the row out")
    wanted = " or ".join(repr(name) for name in names)
    raise ValueError(f"no field {wanted}; the row has {sorted(map(str, row))}")


def _hub_rows(benchmark: str, split: str, source: Source, data_dir: DataDir) -> Iterator[dict[str, Any]]:
    """Rows of the pinned hub data set; a folder that was named by hand is never replaced by the hub's."""
    if data_dir or source.hub is None:
        why = "a folder that is named is searched alone" if data_dir else "no hub data set holds it"
        raise missing(benchmark, split, source.files, data_dir, why)
    try:
        return hub_rows(source)
    except ConnectionError as error:
        raise missing(benchmark, split, source.files, data_dir, str(error)) from None


def hub_rows(source: Source) -> Iterator[dict[str, Any]]:
    """Rows of a pinned hub data set. Raises ConnectionError in one sentence, whatever kept it from us."""
    assert source.hub
    name, config, split, revision = source.hub
    try:
        from datasets import load_dataset

        return iter(load_dataset(name, config, split=split, revision=revision))
    except Exception as error:  # the hub client raises many kinds; the user needs one sentence either way
        reason = re.sub(r"\s+", " ", str(error))[:160]
        raise ConnectionError(f"the hub's {name} could not be had ({type(error).__name__}: {reason})") from None
