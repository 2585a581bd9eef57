"""Writes the model card of a checkpoint (``README.md``): base, lessons, recipe, and scores once they are measured."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laif_helpers.models import check
from laif_helpers.paths import resolve, short_names
from laif_helpers.records import read_state, write_text
from laif_helpers.stats import percent

TEMPLATE = Path(__file__).with_name("card.md.j2")
_SCORES = re.compile(r"(?<=<!-- scores:begin -->\n).*?(?=<!-- scores:end -->)", re.S)


def write(folder: Path, about: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``folder/README.md``. ``about``: target, base, arm, iteration and ``lessons``, a count for each source;
    ``settings``: those to show.

    If the base is a folder of this machine, the card names what it is, never its path.
    """
    from laif_helpers.figures.html import render

    target = Path(about["target"]).name if Path(about["target"]).is_absolute() else about["target"]
    split = [(*what.rpartition(", ")[::2], items) for what, items in about["lessons"].items()]
    short = short_names(name for name, _, _ in split)
    text = render(
        TEMPLATE,
        about=about,
        target=target,
        # a base of this machine is no base_model of the hub's
        hub=target if target.count("/") == 1 and not resolve(target).exists() else "",
        adapter=(folder / "adapter_config.json").is_file(),
        lessons=[(f"{short[name]}, {source}", items) for name, source, items in split],
        settings=list(settings.items()),
        metrics=metrics,
        steered=check.steered(read_state(folder / check.GENERATION)),
        share=metrics.get("average", {}).get("share", 1.0),
    )
    write_text(folder / "README.md", text)
    return folder / "README.md"


def fill_scores(checkpoint: Path, rows: Sequence[Mapping[str, Any]], answered: str = "") -> None:
    """Put measured scores into a checkpoint's card: rows with benchmark, split, n, accuracy, ci_low, ci_high.

    ``answered``: how the answers were computed, such as ``in float32``; a score belongs to it. A checkpoint without a
    card (of another tool) is left alone.
    """
    path = checkpoint / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not _SCORES.search(text):
        return
    lines = ["| benchmark | split | N | right | 95 % interval |", "|---|---|---|---|---|"]
    for row in rows:
        right, interval = percent(row["accuracy"], row["ci_low"], row["ci_high"]).split(" ", 1)
        lines.append(f"| {row['benchmark']} | {row['split']} | {row['n']} | {right} % | {interval} |")
    table = "\n".join([*lines, *([f"\nAnswered {answered}."] if answered else [])]) + "\n"
    write_text(path, _SCORES.sub(lambda _: table, text))
