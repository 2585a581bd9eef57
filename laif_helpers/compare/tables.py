"""Formats the comparison as tables for people: the headline table, and its Markdown and LaTeX."""

from typing import TYPE_CHECKING, Any

from laif_helpers.answers.joined import shortened

if TYPE_CHECKING:
    import pandas as pd


def headline(table: "pd.DataFrame") -> "pd.DataFrame":
    """Arms x benchmarks, baseline first: accuracy in per cent, its 95 % interval, and the delta in points.

    ``table``: what ``compare.results`` returns. A star marks a delta with p_holm under 5 %. Benchmarks carry
    their N and chance level in the column's name.
    """
    import pandas as pd

    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in shortened(table).to_dict("records"):
        cells = rows.setdefault((row["arm"], row["iteration"]), {"arm": row["arm"], "iteration": row["iteration"]})
        column = f"{row['benchmark']} (N = {row['n']:,}; chance {100 * row['chance']:.0f} %)"
        cells[column] = _cell(row)
    return pd.DataFrame(list(rows.values())).fillna("–")


def _cell(row: dict[str, Any]) -> str:
    text = f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
    if row["verdict"] == "baseline":
        return text
    star = "*" if row["verdict"] in ("better", "worse") else ""
    return f"{text} {100 * row['delta']:+.1f}{star}"


def verdict_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row per delta: points with their paired interval, what flipped, p, p after Holm, and the verdict."""
    import pandas as pd

    rows = []
    for row in shortened(table)[table["verdict"] != "baseline"].to_dict("records"):
        interval = f"[{100 * row['delta_low']:+.1f}, {100 * row['delta_high']:+.1f}]"
        rows.append(
            {
                "arm": row["arm"],
                "iteration": row["iteration"],
                "benchmark": row["benchmark"],
                "N": row["n"],
                "delta (points)": f"{100 * row['delta']:+.1f} {interval}",
                "fixed": row["fixed"],
                "broken": row["broken"],
                "p": probability(row["p_value"]),
                "p, Holm": probability(row["p_holm"]),
                "smallest": f"{100 * row['detectable']:.1f}" if row["detectable"] < 1 else "–",
                "test": row["test"],
                "verdict": row["verdict"],
            }
        )
    shown = pd.DataFrame(rows)
    return shown if rows and shown["test"].nunique() > 1 else shown.drop(columns="test", errors="ignore")


def average_table(averages: "pd.DataFrame") -> "pd.DataFrame":
    """Micro and macro averages in per cent, with the change in points; ``averages``: see ``gains.averages``."""
    import pandas as pd

    rows = []
    for row in averages.to_dict("records"):
        interval = f"[{100 * row['micro_low']:.1f}, {100 * row['micro_high']:.1f}]"
        cells = {name: row[name] for name in ("arm", "iteration", "group")} | {"N": f"{row['n']:,}"}
        cells |= {"micro average": f"{100 * row['micro']:.1f} {interval}", "macro average": f"{100 * row['macro']:.1f}"}
        if not pd.isna(row["micro_delta"]):
            cells["micro average"] += f" {100 * row['micro_delta']:+.1f} (p {probability(row['micro_p'])})"
            low, high = (f"{100 * row[name]:+.1f}" for name in ("macro_low", "macro_high"))
            cells["macro average"] += f" {100 * row['macro_delta']:+.1f} [{low}, {high}]"
        rows.append(cells)
    return pd.DataFrame(rows)


def fix_rate_table(rates: "pd.DataFrame") -> str:
    """``effects.fix_rates`` as a Markdown table of fixed errors in per cent; a sentence if there are none."""
    import pandas as pd

    rows = []
    for row in rates.to_dict("records"):
        cells = {"arm": row["arm"], "iteration": row["iteration"]}
        for name in ("shown", "held_out", "rest"):
            n, fixed = row[f"{name}_n"], row[f"{name}_fixed"]
            interval = f"[{100 * row[f'{name}_low']:.0f}, {100 * row[f'{name}_high']:.0f}]"
            cells[name.replace("_", " ")] = f"{fixed:,} of {n:,}: {100 * fixed / n:.0f} % {interval}" if n else "none"
        if not pd.isna(row["difference"]):
            low, high = (f"{100 * row[key]:+.0f}" for key in ("difference_low", "difference_high"))
            gap = f"{100 * row['difference']:+.0f} points [{low}, {high}]"
            cells["shown − held out"] = f"{gap}, p {probability(row['p_value'])} (Fisher)"
        rows.append(cells)
    if not rows:
        return "No iteration has answered the error split after training (`measure_errors`): nothing to tell."
    return as_markdown(pd.DataFrame(rows).fillna("–"))


def probability(p: float) -> str:
    """A p value for people."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentences(table: "pd.DataFrame") -> list[str]:
    """The verdicts in words, a sentence per benchmark; the last iteration of every arm."""
    lines = []
    for name, part in shortened(table).groupby("benchmark", sort=False):
        before = part[part["verdict"] == "baseline"].iloc[0]
        last = part[part["verdict"] != "baseline"]
        last = last[last["iteration"] == last.groupby("arm")["iteration"].transform("max")]
        arms = [
            f"{row.arm} {100 * row.accuracy:.1f} ({100 * row.delta:+.1f}, {row.verdict})"
            for row in last.sort_values("accuracy", ascending=False).itertuples()
        ]
        text = "; ".join(arms) or "no arm to compare with yet"
        lines.append(f"{name}, N = {before['n']:,}: untouched {100 * before['accuracy']:.1f} %; {text}.")
    return lines


def observation(table: "pd.DataFrame", missing: list[str]) -> str:
    """The answer to the notebook's question as Markdown: the verdicts, and what is not there."""
    lines = ["**Observation.** Last iteration of each arm, best first, with the difference to the untouched target:\n"]
    lines += [f"- {sentence}" for sentence in sentences(table)]
    if missing:
        lines += ["\nNot there, so not compared:\n", *(f"- {line}" for line in missing)]
    return "\n".join(lines)


def as_markdown(table: "pd.DataFrame") -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def as_latex(table: "pd.DataFrame") -> str:
    """A LaTeX tabular with booktabs rules; special characters are escaped."""
    rows = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    body = [" & ".join(_tex(str(cell)) for cell in row) + r" \\" for row in rows]
    columns = "l" * table.shape[1]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _tex(text: str) -> str:
    for mark in "&%$#_{}":
        text = text.replace(mark, "\\" + mark)
    return text.replace("–", "--").replace("<", r"$<$")
