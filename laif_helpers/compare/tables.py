"""Formats the comparison as tables for people: the headline table, and its Markdown and LaTeX."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.paths import RunDir
from laif_helpers.records import read_json, write_text
from laif_helpers.stats import percent


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Arms x benchmarks, baseline first: accuracy in per cent, its 95 % interval, and the delta in points.

    ``table``: what ``compare.results`` returns. A star marks a delta with p_holm under 5 %. Benchmarks carry
    their N and chance level in the column's name.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in shortened(table).to_dict("records"):
        cells = rows.setdefault((row["arm"], row["iteration"]), {"arm": row["arm"], "iteration": row["iteration"]})
        column = f"{row['benchmark']} (N = {row['n']:,}; chance {100 * row['chance']:.0f} %)"
        cells[column] = _cell(row)
    return pd.DataFrame(list(rows.values())).fillna("–")


def _cell(row: dict[str, Any]) -> str:
    text = percent(row["accuracy"], row["ci_low"], row["ci_high"])
    if row["verdict"] == "baseline":
        return text
    star = "*" if row["verdict"] in ("better", "worse") else ""
    return f"{text} {percent(row['delta'], sign='+')}{star}"


def verdict_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per delta: points with their paired interval, what flipped, p, p after Holm, and the verdict."""
    rows = []
    for row in shortened(table)[table["verdict"] != "baseline"].to_dict("records"):
        cells = {name: row[name] for name in ("arm", "iteration", "benchmark")} | {"N": row["n"]}
        cells["delta (points)"] = percent(row["delta"], row["delta_low"], row["delta_high"], sign="+")
        rows.append(cells | tested(row) | {"smallest": smallest(row), "test": row["test"], "verdict": row["verdict"]})
    shown = pd.DataFrame(rows)
    return shown if rows and shown["test"].nunique() > 1 else shown.drop(columns="test", errors="ignore")


def average_table(averages: pd.DataFrame) -> pd.DataFrame:
    """Micro and macro averages in per cent, with the change in points; ``averages``: see ``gains.averages``."""
    rows = []
    for row in averages.to_dict("records"):
        cells = {name: row[name] for name in ("arm", "iteration", "group")} | {"N": f"{row['n']:,}"}
        micro = percent(row["micro"], row["micro_low"], row["micro_high"])
        cells |= {"micro average": micro, "macro average": percent(row["macro"])}
        if not pd.isna(row["micro_delta"]):
            cells["micro average"] += f" {percent(row['micro_delta'], sign='+')} (p {probability(row['micro_p'])})"
            macro = percent(row["macro_delta"], row["macro_low"], row["macro_high"], sign="+")
            cells["macro average"] += f" {macro}"
        rows.append(cells)
    return pd.DataFrame(rows)


def fix_rate_table(rates: pd.DataFrame) -> pd.DataFrame:
    """``effects.fix_rates`` for people: fixed errors in per cent; empty if no iteration has answered the error split
    after training (``measure_errors``)."""
    rows = []
    for row in rates.to_dict("records"):
        cells = {"arm": row["arm"], "iteration": row["iteration"]}
        for name in ("shown", "held_out", "rest"):
            n, fixed = row[f"{name}_n"], row[f"{name}_fixed"]
            share = percent(fixed / max(n, 1), row[f"{name}_low"], row[f"{name}_high"], digits=0, unit=" %")
            cells[name.replace("_", " ")] = f"{fixed:,} of {n:,}: {share}" if n else "none"
        if not pd.isna(row["difference"]):
            gap = [row[key] for key in ("difference", "difference_low", "difference_high")]
            points = percent(*gap, sign="+", digits=0, unit=" points")
            cells["shown − held out"] = f"{points}, p {probability(row['p_value'])} (Fisher)"
        rows.append(cells)
    return pd.DataFrame(rows).fillna("–")


def tested(row: dict[str, Any]) -> dict[str, Any]:
    """What flipped, and how likely that is by luck."""
    ps = {"p": probability(row["p_value"]), "p, Holm": probability(row["p_holm"])}
    return {"fixed": row["fixed"], "broken": row["broken"]} | ps


def smallest(row: dict[str, Any]) -> str:
    """The smallest difference that the items would show, in points; a dash if none would."""
    return percent(row["detectable"]) if row["detectable"] < 1 else "–"


def probability(p: float) -> str:
    """A p value for people."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def last_turns(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each arm's last iteration."""
    return table[table["iteration"] == table.groupby("arm")["iteration"].transform("max")]


def sentences(table: pd.DataFrame) -> list[str]:
    """The verdicts in words, a sentence per benchmark; the last iteration of every arm."""
    lines = []
    for name, part in shortened(table).groupby("benchmark", sort=False):
        before = part[part["verdict"] == "baseline"].iloc[0]
        last = last_turns(part[part["verdict"] != "baseline"])
        arms = [
            f"{row.arm} {percent(row.accuracy)} ({percent(row.delta, sign='+')}, {row.verdict})"
            for row in last.sort_values("accuracy", ascending=False).itertuples()
        ]
        text = "; ".join(arms) or "no arm to compare with yet"
        lines.append(f"{name}, N = {before['n']:,}: untouched {100 * before['accuracy']:.1f} %; {text}.")
    return lines


def of_turns(run: RunDir, files: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Arm and iteration, and the JSON of each such file of a run's iterations."""
    for path in sorted(run.path.glob(f"*/iter*/{files}")):
        arm, turn = path.relative_to(run.path).parts[:2]
        yield {"arm": arm, "iteration": int(turn.removeprefix("iter"))}, read_json(path)


def save(run: RunDir, **tables: pd.DataFrame) -> None:
    """Write tables into ``compare/``, each as ``<name>.csv``."""
    for name, table in tables.items():
        write_text(run.compare / f"{name}.csv", table.to_csv(index=False))


def by_name(rows: pd.DataFrame, column: str) -> dict[str, float]:
    """Values of a column by ``<benchmark>.<arm>.<iteration>``, for a notebook's metrics."""
    keys = rows["benchmark"] + "." + rows["arm"] + "." + rows["iteration"].astype(str)
    return dict(zip(keys, rows[column].astype(float).round(4), strict=True))


def observation(table: pd.DataFrame, missing: list[str]) -> str:
    """The answer to the notebook's question as Markdown: the verdicts, and what is not there."""
    lines = ["**Observation.** Last iteration of each arm, best first, with the difference to the untouched target:\n"]
    lines += [f"- {sentence}" for sentence in sentences(table)]
    if missing:
        lines += ["\nNot there, so not compared:\n", *(f"- {line}" for line in missing)]
    return "\n".join(lines)
