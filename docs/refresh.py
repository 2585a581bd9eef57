"""Put a finished run's table and figures into the README: ``python docs/refresh.py quickstart|practice_seeds``.

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


def main(name: str) -> None:
    run = RunDir.named(name)
    for source, target in FIGURES[name].items():
        shutil.copyfile(run.path / source, ROOT / "figures" / target)
    table = seeds_table(run) if name == "practice_seeds" else (run.compare / "table.md").read_text("utf-8").strip()
    marker = "seeds" if name == "practice_seeds" else name
    readme = ROOT / "README.md"
    pattern = re.compile(rf"(<!-- {marker}:begin[^\n]*-->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    readme.write_text(pattern.sub(lambda found: f"{found[1]}{table}\n{found[2]}", readme.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
