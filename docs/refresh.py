"""Put a finished run's table and figures into the README: ``python docs/refresh.py quickstart|practice_seeds|…``.

Nothing in the README's tables is typed by hand: this copies what the run wrote.
"""

import re
import shutil
import sys

import pandas as pd

from laif_helpers.paths import ROOT, RunDir

FIGURES = {
    "quickstart": {
        "compare/iteration_lines.png": "quickstart_iterations.png",
        "vanilla/iter0/error_map.png": "quickstart_error_map.png",
    },
    "practice_seeds": {"compare/budget_curves.png": "practice_seeds_budgets.png"},
    "practice_claim": {},
}


def seeds_table(run: RunDir) -> str:
    """Accuracy on ``practice`` test per arm, budget and iteration: mean and standard deviation over seeds."""
    results = pd.read_csv(run.compare / "results.csv")
    rows = results[(results.benchmark == "practice") & (results.arm != "vanilla")]
    cells = rows.groupby(["budget", "iteration", "arm"], sort=False).accuracy.agg(["mean", "std", "count"])
    text = (100 * cells["mean"]).map("{:.1f}".format) + " ± " + (100 * cells["std"]).map("{:.1f}".format)
    table = text.unstack("arm").sort_index()[list(rows.arm.unique())]
    lines = [f"| budget | iteration | {' | '.join(table.columns)} |", "|---" * (2 + len(table.columns)) + "|"]
    lines += [
        f"| {budget} | {k} | {' | '.join(row)} |" for (budget, k), row in zip(table.index, table.values, strict=True)
    ]
    return "\n".join(lines)


def claim_table(run: RunDir) -> str:
    """Mean ± sd over seeds of every arm, whole benchmarks and practice's gaps alone, then LE and LEC against the other
    arms, paired by seed."""
    slices = pd.read_csv(run.compare / "slices.csv").query("benchmark == 'practice' and facet == 'gap'")
    cells = slices.groupby(["iteration", "value", "arm"], sort=False)["accuracy"].agg(["mean", "std"]).mul(100)
    start = cells.xs("vanilla", level="arm")["mean"].droplevel("iteration")
    after = cells["mean"].map("{:.1f}".format) + " ± " + cells["std"].map("{:.1f}".format)
    parts = [
        f"| {k} | practice: {part} | {start[part]:.1f} | {' | '.join(row)} |"
        for (k, part), row in after.drop("vanilla", level="arm").unstack("arm", sort=False).T.items()
    ]
    versus = pd.read_csv(run.compare / "versus.csv")
    versus = versus[versus["iteration"] == versus["iteration"].max()]
    lines = ["| after the last iteration | benchmark | difference, 95 % | p, Holm | verdict |", "|---" * 5 + "|"]
    for row in versus.itertuples():
        interval = f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        lines.append(f"| {row.arm} − {row.against} | {row.benchmark} | {interval} | {row.p_holm:.3f} | {row.verdict} |")
    return "\n".join([(run.compare / "seeds.md").read_text("utf-8").strip(), *parts, "", *lines])


TABLES = {"practice_seeds": ("seeds", seeds_table), "practice_claim": ("claim", claim_table)}


def main(name: str) -> None:
    run = RunDir.named(name)
    for source, target in FIGURES[name].items():
        shutil.copyfile(run.path / source, ROOT / "figures" / target)
    if name in TABLES:
        marker, made = TABLES[name]
        table = made(run)
    else:
        marker, table = name, (run.compare / "table.md").read_text("utf-8").strip()
    readme = ROOT / "README.md"
    pattern = re.compile(rf"(<!-- {marker}:begin[^\n]*-->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    readme.write_text(pattern.sub(lambda found: f"{found[1]}{table}\n{found[2]}", readme.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
