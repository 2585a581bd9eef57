"""Keeps how long each answer took, in a file beside the answers, so that equal answers stay equal files."""

import csv
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.paths import IterationDir
from laif_helpers.records import write_text

COLUMNS = ["id", "benchmark", "split", "seconds", "new_tokens", "tokens_per_s", "correct", "reason"]


def write(path: Path, seconds: Mapping[str, float]) -> None:
    """Write ``id,seconds`` rows; items that were never asked (0 seconds) are left out."""
    rows = [(identity, took) for identity, took in seconds.items() if took]
    write_text(path, pd.DataFrame(rows, columns=["id", "seconds"]).to_csv(index=False))


def read(path: Path) -> dict[str, float]:
    """Seconds by item id; {} if there is no such file, as beside answers of earlier releases, or a damaged one."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return {row["id"]: float(row["seconds"]) for row in csv.DictReader(handle)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def slowest(df: pd.DataFrame, folder: IterationDir, n: int = 5) -> pd.DataFrame:
    """The ``n`` answers of ``df`` (graded rows) that took longest, slowest first; empty for recorded answers.

    ``seconds`` are those of the clock from joining the batch, or from sending the request, to the last token. Many
    items are answered side by side, so that seconds do not add up and ``tokens_per_s`` is one item's alone.
    """
    parts = []
    for (name, split), part in df.groupby(["benchmark", "split"], sort=False):
        took = read(folder.seconds(str(name), str(split)))
        parts.append(part.assign(seconds=[took.get(identity, float("nan")) for identity in part["id"]]))
    if not parts:
        return df.reindex(columns=COLUMNS)
    timed = pd.concat(parts).dropna(subset=["seconds"])
    timed = timed.assign(tokens_per_s=(timed["new_tokens"] / timed["seconds"]).round(1))
    return shortened(timed.nlargest(n, "seconds")[COLUMNS].reset_index(drop=True))
