"""Put a finished run's tables and figures into the pages: ``python docs/refresh.py quickstart|practice_seeds|…``.

Nothing in the tables of README and ``docs/results.md`` is typed by hand: this copies what the run wrote.
``quickstart``, ``tripost_dates`` and ``league_gallery`` (``league_practice.yaml`` under that name, arms rft and
opd_contrast, one seed) write ``docs/gallery/``: one executed copy of each notebook, small enough to be read on a page
of the repository. ``league`` writes ``docs/league.md`` with its figures, of the runs named in ``LEAGUE`` that are
there; their tables are kept as CSV in ``docs/league/``, and a run that is not there is shown from them.
``tripost_seeds`` copies the tables in ``docs/tripost/``.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import executed_copies
import pandas as pd
import yaml

from laif_helpers import figures
from laif_helpers.compare import sweeps
from laif_helpers.compare.gains import COLUMNS, RATES
from laif_helpers.figures.markup import as_markdown
from laif_helpers.paths import ROOT, RunDir

FIGURES = {
    "quickstart": {
        "compare/iteration_lines.png": "quickstart_iterations.png",
        "vanilla/iter0/error_map.png": "quickstart_error_map.png",
    },
    "practice_seeds": {"compare/budget_curves.png": "practice_seeds_budgets.png"},
    "practice_claim": {},
    "smollm2_practice": {},
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
    """Mean ± sd over seeds of every arm, whole benchmarks and practice's gaps alone."""
    slices = pd.read_csv(run.compare / "slices.csv").query("benchmark == 'practice' and facet == 'gap'")
    cells = slices.groupby(["iteration", "value", "arm"], sort=False)["accuracy"].agg(["mean", "std"]).mul(100)
    start = cells.xs("vanilla", level="arm")["mean"].droplevel("iteration")
    after = cells["mean"].map("{:.1f}".format) + " ± " + cells["std"].map("{:.1f}".format)
    parts = [
        f"| {k} | practice: {part} | {start[part]:.1f} | {' | '.join(row)} |"
        for (k, part), row in after.drop("vanilla", level="arm").unstack("arm", sort=False).T.items()
    ]
    return "\n".join([(run.compare / "seeds.md").read_text("utf-8").strip(), *parts])


def pairs_table(run: RunDir) -> str:
    """LE and LEC against the other arms, paired by seed, folded."""
    versus = pd.read_csv(run.compare / "versus.csv")
    versus = versus[versus["iteration"] == versus["iteration"].max()]
    lines = ["| after the last iteration | benchmark | difference, 95 % | p, Holm | verdict |", "|---" * 5 + "|"]
    for row in versus.itertuples():
        interval = f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        lines.append(f"| {row.arm} − {row.against} | {row.benchmark} | {interval} | {row.p_holm:.3f} | {row.verdict} |")
    shown = (
        f"{(~versus.verdict.str.startswith('no difference')).sum()} of {len(versus)} differences between two arms hold"
    )
    head = f"<details><summary>LE and LEC against the other arms, paired over seeds: {shown}</summary>\n"
    return "\n".join([head, *lines, "\n</details>"])


LEAGUE = {
    "league_practice": "nano, taught by a model of its own size that practised all concepts and learned from no arm",
    "league_practice_turns": "nano again, the arms that look at errors and their counterparts, two turns",
    "league_practice_self": "nano again, the arms that learn from own answers and sdft, two turns",
    "league_practice_clusters": "nano again, LE and LEC with requests about several errors of one cluster",
    "smollm2_practice": "SmolLM2-135M-Instruct after practice, with the arms that learn from lessons",
    "league_smollm2": "SmolLM2-135M-Instruct after practice, taught by the same model after practice on all concepts",
}
LEAGUE_TABLES = ("results.csv", "learned_kept.csv", "counterparts.csv", "costs.csv")
PARTS = "parts.csv"
LEAGUE_TEXT = """# The league

Every way of learning from errors that is here, at one budget. Made by `python docs/refresh.py league` of the runs of
`league_practice.yaml`, `smollm2_practice.yaml` and `league_smollm2.yaml` in `papermill_runs/`; the second section is
`laif run papermill_runs/league_practice.yaml --name league_practice_turns --set arms=[auggpt,lec,opd,opd_contrast]`;
the third is the same with `--name league_practice_self --set arms=[self,rft,rft_errors,opd_errors,sdft]`, the
fourth with `--name league_practice_clusters --set per=cluster --set arms=[le,lec] --set iterations=1`.
Accuracy: per cent of the test items, mean ± sd over seeds; a star: p under 5 % against the untouched target, paired
t-test over seeds, Holm over the table.
"""


def league() -> dict[str, str]:
    """``docs/league.md`` and the figures, of every league that was run here or kept; returns their accuracies."""
    parts, tables = [LEAGUE_TEXT], {}
    for name, about in LEAGUE.items():
        kept, run = ROOT / "docs" / "league" / name, RunDir.named(name)
        if (run.compare / "costs.csv").is_file():
            kept.mkdir(parents=True, exist_ok=True)
            for file in LEAGUE_TABLES:
                pd.read_csv(run.compare / file).round(6).to_csv(kept / file, index=False)
            sliced = pd.read_csv(run.compare / "slices.csv").query("facet == 'gap'").round(6)
            sliced[["seed", "arm", "iteration", "benchmark", "value", "n", "accuracy"]].to_csv(
                kept / PARTS, index=False
            )
        if (kept / "results.csv").is_file():
            results, learned, pairs, costs = (pd.read_csv(kept / file) for file in LEAGUE_TABLES)
            _, pdf = figures.save(sweeps.ways(learned, results, "practice"), ROOT / "figures" / name)
            pdf.unlink()
            accuracies = by_arm(sweeps.as_text(sweeps.summary(results)))
            tables[name] = accuracies
            parts += [f"## {about[0].upper()}{about[1:]}\n", ran(name, results), accuracies]
            parts += ["The part that needs a planted gap, and the rest, which was practised:\n"]
            parts += [by_arm(parts_table(pd.read_csv(kept / PARTS)))]
            parts += [f"![learned against kept](../figures/{name}.png)\n", *league_tables(learned, pairs, costs)]
    (ROOT / "docs" / "league.md").write_text("\n".join(parts), "utf-8")
    return tables


def by_arm(table: pd.DataFrame) -> str:
    """A row per arm: a dozen columns of arms are wider than a page."""
    first = list(table.columns).index("vanilla")
    names = [
        ", ".join(f"turn {v}" if k == "iteration" else str(v) for k, v in row.items())
        for row in table.iloc[:, :first].to_dict("records")
    ]
    turned = table.iloc[:, first:].T.set_axis(names, axis="columns")
    return as_markdown(turned.rename_axis("arm").reset_index())


def ran(name: str, results: pd.DataFrame) -> str:
    """How much of its recipe a league has run: seeds, iterations, and the arms that are still to come."""
    recipe = re.sub("_(turns|self|clusters)$", "", name)
    planned = yaml.safe_load((ROOT / "papermill_runs" / f"{recipe}.yaml").read_text("utf-8"))
    lacking = [arm for arm in planned["arms"] if arm not in set(results["arm"])] if recipe == name else []
    done = f"Run: {results.seed.nunique()} of {len(planned['seed'])} seeds, {results.iteration.max()} of "
    rest = f" Not run: {', '.join(lacking)}." if lacking else ""
    seeds = results[results["arm"] != "vanilla"].groupby("arm", sort=False)["seed"].nunique()
    fewer = [f"{arm} ({n})" for arm, n in seeds.items() if n < results["seed"].nunique()]
    rest += f" Fewer seeds: {', '.join(fewer)}." if fewer else ""
    return f"{done}{planned['iterations']} iterations.{rest} Seconds are those of the machine that it ran on.\n"


def parts_table(sliced: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on gaps and on practised concepts, per cent, mean ± sd over seeds, a column for each arm."""
    cells = (
        sliced.groupby(["benchmark", "value", "iteration", "arm"], sort=False)["accuracy"].agg(["mean", "std"]).mul(100)
    )
    spread = cells["std"].map(" ± {:.1f}".format).where(cells["std"].notna(), "")
    wide = (cells["mean"].map("{:.1f}".format) + spread).unstack("arm", sort=False)
    start = wide.xs(0, level="iteration")["vanilla"].str.partition(" ")[0].rename("vanilla")
    after = wide.drop(columns="vanilla").query("iteration > 0").reset_index()
    return after.merge(start.reset_index(), on=["benchmark", "value"])[
        [*after.columns[:3], "vanilla", *after.columns[3:]]
    ]


def league_tables(learned: pd.DataFrame, pairs: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """Learned and kept, arms against their counterparts, costs and gains, and who is best by each, as Markdown."""
    shown = learned[["arm"]].assign(
        **{
            name: [
                f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"
                for row in learned.to_dict("records")
            ]
            for name in ("learned", "kept")
        }
    )
    against = [
        {
            **{"iteration": row.iteration, "benchmark": row.benchmark, "arm": row.arm, "against": row.against},
            "error left, ratio": f"{row.error_ratio:.2f}",
            "difference (points)": f"{100 * row.difference:+.1f}"
            + ("" if pd.isna(row.low) else f" [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"),
            "p, Holm": "no test" if pd.isna(row.p_holm) else f"{row.p_holm:.3f}",
        }
        for row in pairs.itertuples()
    ]
    found = [(name, costs.loc[costs[name].idxmax()]) for name in RATES if costs[name].notna().any()]
    best = [f"{name.removeprefix('points_').replace('_', ' ')}: {row['arm']} ({row[name]:,.2f})" for name, row in found]
    took = [
        {_words(name): _number(row[name]) for name in ("arm", "points", *COLUMNS)} for row in costs.to_dict("records")
    ]
    gained = [{_words(name): _number(row[name]) for name in ("arm", *RATES)} for row in costs.to_dict("records")]
    return [
        "**Learned**: of what the untouched target had wrong, right now. **Kept**: of what was right, still right.\n",
        as_markdown(shown),
        "Arms against the one that differs from them in one thing, paired by seed, 95 % interval of the t-test.\n",
        as_markdown(pd.DataFrame(against)) if against else "No such pair was run.\n",
        "What each arm took over all its iterations (mean over seeds) for the points that it gained on the in-domain "
        "test. An instructor that is a program reads and writes no tokens and costs nothing.\n",
        as_markdown(pd.DataFrame(took)),
        as_markdown(pd.DataFrame(gained)),
        f"Best points {'; '.join(best)}.\n",
    ]


def _words(name: str) -> str:
    return name.replace("_", " ").replace("per usd", "per dollar").replace("usd", "dollars")


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "–" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"


REPAIRED = {
    "nano_sums": "nano_tripost",
    "nano_sums_turns": "nano_tripost",
    "nano_dates": "nano_dates",
    "smollm2_sums": "smollm2",
    "smollm2_words": "smollm2",
    "nano": "nano_tripost before",
}
"""Tables in ``docs/tripost/`` and their targets; ``before``: four of its six rounds, feedback a verdict alone."""


def tripost() -> dict[str, str]:
    """First and last answers in the seen buckets, of the tables that ``docs/tripost_seeds.py`` wrote."""
    columns = ("target", "task", "arm", "turn", "seeds", "N", "first", "last", "mended", "broken", "vote")
    head = [f"| {' | '.join(columns)} | over fine_tuning | over the vote |", "|---" * 13 + "|"]
    whole = [line for name in REPAIRED for line in _repaired(name)]
    small = [line for name in ("nano_sums_turns", "nano_dates") for line in _repaired(name, ends=True)]
    return {"tripost_seeds": "\n".join(head + whole), "tripost_small": "\n".join(head + small)}


def _repaired(name: str, *, ends: bool = False) -> Iterator[str]:
    """The rows of a table; with ``ends`` those before the first turn and after the last alone."""
    table = pd.read_csv(ROOT / "docs" / "tripost" / f"{name}.csv").query("bucket == 'seen'")
    if ends:
        table = table[table["iteration"].isin([0, table["iteration"].max()])]
    kinds = ("accuracy_first", "accuracy_last", "contribution", "harm", "majority")
    for row in table.sort_values(["benchmark", "iteration"]).to_dict("records"):
        shares = " | ".join(f"{100 * row[key]:.1f}" for key in kinds)
        over = " | ".join(_gained(row, key) for key in ("over_sft", "over_majority"))
        about = " | ".join(str(row[key]) for key in ("benchmark", "arm", "iteration", "seeds", "n"))
        yield f"| {REPAIRED[name]} | {about} | {shares} | {over} |"


def _gained(row: dict[str, Any], key: str) -> str:
    low, high = 100 * row[f"{key}_low"], 100 * row[f"{key}_high"]
    return "–" if pd.isna(row[key]) else f"{100 * row[key]:+.1f} [{low:+.1f}, {high:+.1f}]"


TABLES = {
    "practice_seeds": {"seeds": seeds_table},
    "practice_claim": {"claim": claim_table, "claim_pairs": pairs_table},
    "smollm2_practice": {"smollm2_practice": claim_table, "smollm2_practice_pairs": pairs_table},
}
PAGES = ("README.md", "docs/results.md")


def main(name: str) -> None:
    run = RunDir.named(name)
    if name in executed_copies.GALLERY:
        executed_copies.write(run, executed_copies.GALLERY[name])
    for source, target in FIGURES.get(name, {}).items():
        shutil.copyfile(run.path / source, ROOT / "figures" / target)
    if name == "league":
        tables = {each: table.strip() for each, table in league().items() if each not in TABLES}
    elif name == "tripost_seeds":
        tables = tripost()
    elif name in TABLES:
        tables = {marker: table_of(run) for marker, table_of in TABLES[name].items()}
    else:
        tables = {name: (run.compare / "table.md").read_text("utf-8").strip()}
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for marker, table in tables.items():
            pattern = re.compile(rf"(<!-- {marker}:begin[^\n]*-->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
            text = pattern.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
        (ROOT / page).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
