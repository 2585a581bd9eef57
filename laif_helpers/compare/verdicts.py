"""Prints and writes the verdict of ``laif compare A B`` on two logs: Markdown, CSV, JSON and one page."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers.compare import pairs as paired
from laif_helpers.compare import sides
from laif_helpers.compare.tables import probability, smallest
from laif_helpers.figures.html import render
from laif_helpers.figures.markup import as_markdown
from laif_helpers.paths import runs_dir
from laif_helpers.records import write_json, write_text
from laif_helpers.stats import percent

MOST_LISTED = 40
"""Changed and unpaired items that the page shows; ``compare.json`` has the ids of all."""


def compare(a: str, b: str, *, regrade: bool = False, out: str = "") -> tuple[str, bool]:
    """Compare two logs and write ``compare.json``, ``.csv``, ``.md`` and ``.html`` into ``out`` (default: a folder of
    the runs' folder). Returns what to print, and whether B is significantly worse anywhere.

    Raises what ``sides.load`` and ``pairs.pair`` raise.
    """
    pairs = paired.pair(sides.load(a), sides.load(b))
    before, after = paired.graded(pairs.a, regrade), paired.graded(pairs.b, regrade)
    table = paired.results(pairs, before, after)
    changed = paired.changed(pairs, before, after)
    notes = [*_on_pairs(pairs, table), *pairs.notes, *pairs.a.notes, *pairs.b.notes]
    names = [re.sub(r"[^\w.-]+", "-", log.name)[-60:].strip("-") for log in (pairs.a, pairs.b)]
    folder = Path(out).expanduser() if out else runs_dir() / "compared" / "-against-".join(names)
    _write(folder, pairs, table, {"changed": changed, "groups": paired.groups(changed)}, notes)
    head = f"A: {pairs.a.name}\nB: {pairs.b.name}\n"
    text = "\n".join(
        [head, as_markdown(for_people(table)), *(f"- {note}" for note in notes), f"\n{folder}/compare.html"]
    )
    return text, bool((table["verdict"] == "worse").any())


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """``pairs.results`` in per cent and points."""
    rows = []
    for row in table.to_dict("records"):
        delta = percent(row["delta"], row["ci_low"], row["ci_high"], sign="+")
        cells: dict[str, Any] = {"benchmark": row["benchmark"], "N": f"{row['n']:,}"}
        cells |= {"A": percent(row["a"]), "B": percent(row["b"]), "fixed": row["fixed"]}
        cells |= {"broken": row["broken"], "B - A (points, 95 %)": delta, "p": probability(row["p_value"])}
        cells |= {"p, Holm": probability(row["p_holm"]), "test": row["test"]}
        rows.append(cells | {"smallest shown": smallest(row), "verdict": row["verdict"].partition(";")[0]})
    return pd.DataFrame(rows)


def _on_pairs(pairs: paired.Pairs, table: pd.DataFrame) -> list[str]:
    n, (only_a, only_b) = len(pairs.shared), pairs.only
    notes = [f"{n:,} items paired; {len(only_a):,} only in {pairs.a.name}, {len(only_b):,} only in {pairs.b.name}."]
    for row in table.to_dict("records"):
        if row["origins"] == 1 and row["n"] > 1:
            notes.append(f"{row['benchmark']}: all {row['n']:,} items share one origin, so nothing can be tested.")
        elif row["origins"] < row["n"]:
            notes.append(
                f"{row['benchmark']}: {row['n']:,} items from {row['origins']:,} origins; the origin is the unit."
            )
    return notes


def _write(
    folder: Path, pairs: paired.Pairs, table: pd.DataFrame, found: dict[str, pd.DataFrame], notes: list[str]
) -> None:
    only = {name: [list(key) for key in keys] for name, keys in zip("ab", pairs.only, strict=True)}
    changed = found["changed"][["benchmark", "id", "flip"]].to_dict("records")
    about = {"a": pairs.a.name, "b": pairs.b.name, "rows": table.to_dict("records"), "notes": notes}
    about |= {"groups": found["groups"].to_dict("records"), "changed": changed, "unpaired": only}
    write_json(folder / "compare.json", about)
    write_text(folder / "compare.csv", table.to_csv(index=False))
    write_text(folder / "compare.md", as_markdown(for_people(table)))
    write_text(folder / "compare.html", _page(pairs, table, found, notes))


def _page(pairs: paired.Pairs, table: pd.DataFrame, found: dict[str, pd.DataFrame], notes: list[str]) -> str:
    """One page without script or network; everything that a model wrote is escaped."""
    changed = found["changed"]
    listed = {
        flip: changed[changed["flip"] == flip].head(MOST_LISTED).to_dict("records") for flip in ("broken", "fixed")
    }
    counts = {flip: int((changed["flip"] == flip).sum()) for flip in listed}
    values = {"a": pairs.a.name, "b": pairs.b.name, "notes": notes, "table": for_people(table), "listed": listed}
    values |= {"groups": found["groups"], "counts": counts, "most": MOST_LISTED}
    values["unpaired"] = dict(zip((pairs.a.name, pairs.b.name), pairs.only, strict=True))
    return render(Path(__file__).with_name("verdicts.html.j2"), **values)
