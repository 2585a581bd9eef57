"""Draws the paper's numbers beside a run's own: the tables and figures of LLMs-as-Instructors (arXiv 2407.00497).

Published accuracies lie in ``data/published/``, each with its source and how it was read. Here, as there, they are per
cent; a run's own are turned into per cent when they are read.
"""

from pathlib import Path

import pandas as pd

from laif_helpers import arms
from laif_helpers.compare.tables import last_turns
from laif_helpers.figures import paper, save
from laif_helpers.figures.style import COLUMN, WIDTH
from laif_helpers.paths import ROOT, RunDir, short_names
from laif_helpers.recipe import load
from laif_helpers.records import write_text

FOLDER = ROOT / "data" / "published"
IN_DOMAIN = ("mmlu", "gsm8k", "mbpp")
BENCHMARKS = (*IN_DOMAIN, "arc_challenge", "gsm_plus", "humaneval", "bbh")
"""The paper's seven, those whose train split supplied errors first."""


def numbers(name: str) -> pd.DataFrame:
    """``main_table``, ``merge_table`` or ``iterations``, a row per number: model, arm, benchmark, accuracy (per cent),
    source, how, and in ``iterations`` the iteration."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def own(run: RunDir) -> pd.DataFrame:
    """A run's accuracies in the same form: model (the run's name), arm, iteration, benchmark, accuracy (per cent), n.

    Raises FileNotFoundError if 06 has not compared the run; a sweep's points are averaged over its seeds.
    """
    path = run.compare / "results.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run 06_compare on {run.path.name!r} first")
    table = pd.read_csv(path, keep_default_na=False)
    table["accuracy"] = 100 * table["accuracy"].astype(float)
    keys = ["arm", "iteration", "benchmark"]
    mean = table.groupby(keys, sort=False, as_index=False).agg(accuracy=("accuracy", "mean"), n=("n", "first"))
    named = mean.assign(benchmark=mean["benchmark"].map(short_names([*BENCHMARKS, *mean["benchmark"]])))
    return named.assign(model=run.path.name, source=f"run {run.path.name}", how="measured")


def main_table(own_rows: pd.DataFrame | None = None, in_domain: tuple[str, ...] = ()) -> pd.DataFrame:
    """Models and arms by benchmarks, in per cent; the in-domain ones of each are marked with a dagger.

    ``average`` is the paper's own; of a run it is the macro average over what it measured. The run's own benchmarks
    that the paper lacks come after the paper's; what was not measured is a dash.
    """
    rows = numbers("main_table")
    if own_rows is not None:
        ending = last_turns(own_rows)
        macro = ending.groupby(["model", "arm"], sort=False, as_index=False)["accuracy"].mean()
        rows = pd.concat([rows, ending, macro.assign(benchmark="average")], ignore_index=True)
    return _wide(rows, in_domain if own_rows is not None else (), average=True)


def merge_table(own_rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """LE, LEC and their merged orders on the four benchmarks of the paper's second table, the run's own below."""
    rows = numbers("merge_table")
    if own_rows is not None:
        ending = last_turns(own_rows)
        rows = pd.concat([rows, ending[ending["arm"].map(arms.studies_errors)]], ignore_index=True)
    return _wide(rows, (), average=False)


def _wide(rows: pd.DataFrame, in_domain: tuple[str, ...], average: bool) -> pd.DataFrame:
    known = [name for name in BENCHMARKS if name in set(rows["benchmark"])]
    more = [name for name in dict.fromkeys(rows["benchmark"]) if name not in (*known, "average")]
    cells = rows.assign(cell=rows["accuracy"].map("{:.1f}".format), order=range(len(rows)))
    wide = cells.pivot_table("cell", ["model", "arm"], "benchmark", aggfunc="first", sort=False).fillna("–")
    marked = {name: f"{name} †" for name in (*IN_DOMAIN, *in_domain)}
    wide = wide[[*known, *more, *(["average"] if average else [])]].rename(columns=marked)
    return wide.reset_index().rename_axis(columns=None)


def iterations(own_rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rows of the iteration figure: the published LE and LEC, and the run's own of every arm; iteration 0 is the
    untouched target in each arm."""
    rows = numbers("iterations")
    if own_rows is None:
        return rows
    start, tuned = (own_rows[(own_rows["arm"] != "vanilla") == trained] for trained in (False, True))
    return pd.concat([rows, *(start.assign(arm=arm) for arm in tuned["arm"].unique()), tuned])


def draw(folder: Path, run: RunDir | None = None, *, always: bool = False) -> list[Path]:
    """Write all of them into ``folder``: main_table and merge_table (CSV, LaTeX, Markdown), iterations and radar (PNG,
    PDF, CSV), these as wide as a page and, ``_column``, as one of its two columns. Returns the files.

    ``run``: its own numbers stand beside the published ones. A run that measured none of the paper's benchmarks gets
    the tables alone, unless ``always``: half of 06's time would go into figures that have nothing to compare.
    """
    rows = own(run) if run else None
    settings = load(run.recipe)[0] if run and run.recipe.is_file() else {}
    short = short_names([*BENCHMARKS, *settings.get("benchmarks", ())])
    in_domain = tuple(short.get(name, name) for name in settings.get("in_domain", ()))
    tables = {"main_table": main_table(rows, in_domain), "merge_table": merge_table(rows)}
    tables |= {"iterations": iterations(rows)}
    written = []
    for name, table in tables.items():
        texts = {".csv": table.to_csv(index=False)}
        if name != "iterations":
            texts |= {".tex": paper.latex(table, name), ".md": paper.markdown(table)}
        for suffix, text in texts.items():
            write_text(folder / f"{name}{suffix}", text)
            written.append(folder / f"{name}{suffix}")
    if rows is not None and not always and set(BENCHMARKS).isdisjoint(rows["benchmark"]):
        return written
    for suffix, width in (("", WIDTH), ("_column", COLUMN)):
        written += save(paper.iteration_panels(tables["iterations"], width), folder / f"iterations{suffix}")
        written += save(paper.radar(_radar_rows(rows), width), folder / f"radar{suffix}")
    return written


def _radar_rows(own_rows: pd.DataFrame | None) -> pd.DataFrame:
    """The targets that the paper trained, and the run's own last iterations if they make an area."""
    rows = numbers("main_table")
    trained = set(rows.loc[rows["arm"] == "lec", "model"])
    rows = rows[rows["model"].isin(trained) & (rows["benchmark"] != "average")]
    if own_rows is None or own_rows["benchmark"].nunique() < 3:
        return rows
    return pd.concat([rows, last_turns(own_rows)], ignore_index=True)
