"""Shows graded answers in notebook 01: accuracy with its interval, facets, a look at the texts."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, origins
from laif_helpers.answers import joined
from laif_helpers.answers.joined import shortened
from laif_helpers.paths import IterationDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Response

COLUMNS = ("n", "correct", "accuracy", "ci_low", "ci_high", "chance", "unreadable", "thought", "cut", "mean_tokens")


def load_responses(folder: IterationDir) -> pd.DataFrame:
    """All of an iteration's answers: one row per item with the columns of ``Response``, files by name.

    An item with several samples keeps the first one's row; ``samples``, ``share`` (of them right) and ``majority`` (is
    the answer given most often right) speak of all of them. ``is_error``: ``Response.is_error``.

    Raises FileNotFoundError when nothing was answered yet.
    """
    files = sorted((folder.path / "responses").glob("[!.]*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder.path / 'responses'} holds no answers; run 01_evaluate for it first")
    columns = [*Response.__dataclass_fields__, "is_error"]
    rows = [asdict(answer) | {"is_error": answer.is_error} for path in files for answer in joined.responses(path)]
    return _first_samples(pd.DataFrame(rows, columns=columns))


def _first_samples(answers: pd.DataFrame) -> pd.DataFrame:
    keys = ["benchmark", "split", "id"]
    first, right = answers.drop_duplicates(keys), answers["correct"].astype(bool)
    if len(first) == len(answers):
        return answers.assign(samples=1, share=right.astype(float), majority=right)
    by_item = answers.assign(right=right).groupby(keys, sort=False)
    found = by_item["right"].agg(samples="size", share="mean")
    votes = [origins.majority(part["extracted"].tolist(), part["right"].tolist()) for _, part in by_item]
    return first.merge(found.assign(majority=votes).reset_index(), on=keys)


def labelled(responses: pd.DataFrame, p: StageParameters) -> pd.DataFrame:
    """``responses`` in the order of the recipe's benchmarks, with each item's ``question``, ``chance`` and ``fields``.

    Files of benchmarks that the recipe does not name are left out.
    """
    parts = []
    for name in p.benchmarks:
        for split, part in responses[responses["benchmark"] == name].groupby("split", sort=False):
            known, bench = joined.examples(p, name, str(split)), benchmarks.get(name)
            examples = [known[identity] for identity in part["id"]]
            parts.append(
                part.assign(
                    question=[bench.question_text(example) for example in examples],
                    chance=[bench.chance(example) for example in examples],
                    fields=[example.fields for example in examples],
                    origin=[joined.origin(example) for example in examples],
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else responses.head(0)


def summary(df: pd.DataFrame) -> pd.DataFrame:
    """Per benchmark and split: n, correct, accuracy with its 95 % Wilson interval, chance, unreadable, mean_tokens,
    and of how many answers a part was ``thought`` (not graded) or was ``cut`` at the token limit.

    ``df``: graded answers; chance needs the column that ``labelled`` adds, else it is NaN. Shares lie in [0, 1].
    """
    return shortened(_table(df, ["benchmark", "split"]))


def by_facet(df: pd.DataFrame, facets: Mapping[str, tuple[str, ...]] | None = None) -> pd.DataFrame:
    """The same, for each value of each label worth a look (``Benchmark.facets``); worst first within a facet."""
    parts = []
    for name, part in df.groupby("benchmark", sort=False):
        for facet in (facets or {}).get(name, benchmarks.get(name).facets):
            values = [fields.get(facet) for fields in part["fields"]]
            rows = part.assign(facet=facet, value=[None if value is None else str(value) for value in values])
            table = _table(rows.dropna(subset=["value"]), ["benchmark", "split", "facet", "value"])
            parts.append(table.sort_values(["split", "accuracy"], kind="stable"))
    empty = pd.DataFrame(columns=["benchmark", "split", "facet", "value", *COLUMNS])
    return shortened(pd.concat(parts, ignore_index=True)) if parts else empty


def weakest(facets: pd.DataFrame, n: int = 8, at_least: int = 10) -> pd.DataFrame:
    """The ``n`` lowest accuracies of each benchmark and split, over all facets, among values with items enough; the
    columns up to ``chance``, so that a page holds them."""
    enough = facets[facets["n"] >= at_least].sort_values("accuracy", kind="stable")
    chosen = enough.groupby(["benchmark", "split"], sort=False).head(n)
    return (
        chosen.sort_values(["benchmark", "split", "accuracy"], kind="stable").reset_index(drop=True).loc[:, :"chance"]
    )


def _table(df: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = []
    several = "samples" in df and bool((df["samples"] > 1).any())
    for values, part in df.groupby(keys, sort=False):
        share = part["share"] if "share" in part else part["correct"].astype(float)
        low, high = origins.share(share, part.get("origin"))
        row = dict(zip(keys, values, strict=True)) | {"n": len(part), "correct": int(part["correct"].sum())}
        row |= {"accuracy": float(share.mean()), "ci_low": low, "ci_high": high}
        row |= _of_samples(part) if several else {}
        row |= {"chance": float(part["chance"].mean()) if "chance" in part else float("nan")}
        row |= {"unreadable": int((~part["readable"].astype(bool)).sum())}
        row |= {name: int(part[name].astype(bool).sum()) if name in part else 0 for name in ("thought", "cut")}
        rows.append(row | {"mean_tokens": float(part["new_tokens"].mean())})
    return pd.DataFrame(rows, columns=[*keys, *COLUMNS, *(_of_samples(df) if several else ())])


def _of_samples(part: pd.DataFrame) -> dict[str, Any]:
    """Of items answered several times ``accuracy`` is avg@n; beside it pass@k, unbiased, and majority@n."""
    least = int(part["samples"].min())
    right = (part["share"] * part["samples"]).round().astype(int)
    found: dict[str, Any] = {"samples": int(part["samples"].max())}
    for k in (*(k for k in (2, 5, 10, 25, 100) if k < least), least):
        chances = [origins.pass_at(k, n, c) for n, c in zip(part["samples"], right, strict=True)]
        found[f"pass@{k}"] = sum(chances) / len(chances)
    return found | {f"majority@{found['samples']}": float(part["majority"].mean())}


def observation(table: pd.DataFrame) -> str:
    """What ``summary`` says, as Markdown sentences: how good, how sure, how much above chance, how much unread."""
    lines = []
    for row in table.to_dict("records"):
        name = f"{row['benchmark']} ({row['split']})"
        low, high = 100 * row["ci_low"], 100 * row["ci_high"]
        sure = f"{100 * row['accuracy']:.1f} % of {row['n']:,} right, 95 % interval {low:.1f}–{high:.1f} %"
        if row.get("samples", 1) > 1:
            sure += f" (mean of up to {row['samples']} answers to each item; the item is the unit)"
        if row["chance"] > 0:  # not an open answer, which nobody guesses, nor NaN: unknown
            above = "above" if row["ci_low"] > row["chance"] else "not shown to be above"
            sure += f", {above} chance ({100 * row['chance']:.1f} %)"
        lines.append(f"- **{name}**: {sure}. {_unread(row)}{_cut(row)}")
    return "\n".join(["**Observation.**", "", *lines])


def _unread(row: Mapping[str, Any]) -> str:
    count, share = row["unreadable"], row["unreadable"] / row["n"]
    if not count:
        return "Every answer could be read."
    warning = " **That is too much to trust the accuracy: look at them below.**" if share > 0.05 else ""
    what = "answer" if count == 1 else "answers"
    verb = "counts" if count == 1 else "count"
    return f"{count:,} {what} ({100 * share:.1f} %) could not be read and {verb} as wrong.{warning}"


def _cut(row: Mapping[str, Any]) -> str:
    """Answers that had no room look like errors, and would be taught as such."""
    count, share = row.get("cut", 0), row.get("cut", 0) / row["n"]
    if not share > 0.05:
        return ""
    verb = "was" if count == 1 else "were"
    return f" **{count:,} ({100 * share:.1f} %) {verb} cut at the token limit: raise max_new_tokens and ask again.**"


def second_opinion(df: pd.DataFrame) -> pd.DataFrame:
    """Per benchmark and split: n, how many the two graders call right and wrong alike, and how often they differ.

    ``second_read_nothing``: wrong by the first, nothing read by the second; these count as errors.
    """
    first, second = df["correct"].astype(bool), df["second_correct"]
    marks = {
        "both_right": first & second.eq(True),
        "both_wrong": ~first & second.eq(False),
        "second_read_nothing": ~first & second.isna(),
        "only_first_right": first & second.eq(False),
        "only_second_right": ~first & second.eq(True),
        "errors": df["is_error"].astype(bool),
    }
    groups = shortened(df).assign(n=1, **marks).groupby(["benchmark", "split"], sort=False)
    return groups[["n", *marks]].sum().reset_index()


def observation_on_audit(table: pd.DataFrame) -> str:
    """What ``second_opinion``'s table says, as Markdown."""
    of = table.drop(columns=["benchmark", "split"]).sum()
    differ = of["only_first_right"] + of["only_second_right"]
    if of["both_right"] + of["both_wrong"] == 0:
        return (
            "**Observation.** No second grader read these answers (`AUDIT` is off): every wrong one counts as an error."
        )
    return (
        f"**Observation.** The graders differ on {differ:,} of {of['n']:,} answers ({100 * differ / of['n']:.1f} %). "
        f"{of['errors']:,} are errors by both; {of['only_second_right']:,} that only the "
        "first calls wrong are kept from the error analysis and from the instructor."
    )


def metrics(df: pd.DataFrame, p: StageParameters, agreement: pd.DataFrame | None = None) -> dict[str, Any]:
    """What notebook 01 records: per ``<benchmark>.<split>`` the row of ``summary``; agreement with recorded labels."""
    rows = summary(df).to_dict("records")
    results = {f"{row.pop('benchmark')}.{row.pop('split')}": row for row in rows}
    return {
        "arm": p.arm,
        "iteration": p.iteration,
        "model": sorted(set(df["model"])),
        "seed": p.seed,
        "answers": len(df),
        # wrong, and no second grader finds them right: what later stages study
        "errors": int(df["is_error"].sum()),
        "accuracy": {name: row["accuracy"] for name, row in results.items()},
        "results": results,
        "agreement": [] if agreement is None else agreement.to_dict("records"),
    }
