"""Writes the weakness profile: what this model cannot do, ranked, as Markdown and JSON, comparable across models."""

from pathlib import Path
from typing import Any

import pandas as pd

from laif_helpers import stats
from laif_helpers.error_analysis import table, typical
from laif_helpers.figures.markup import as_markdown
from laif_helpers.paths import IterationDir, short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import read_json, write_json, write_text

EXAMPLES = 3


def make(p: StageParameters, points: pd.DataFrame) -> dict[str, Any]:
    """The profile: ``model``, counts, and ``weaknesses``, most errors above the model's own rate first.

    Each weakness has its cluster, name, n (items in its neighbourhood), wrong, error_rate with its 95 % interval,
    ``certain`` (the interval lies above the error rate of all items), examples (id, question, gold, response) and the
    ids of its items, by which other models are measured on the same ground.
    """
    n, wrong = len(points), int((~points["correct"]).sum())
    low, high = stats.wilson(wrong, n)
    overall = wrong / n if n else 0.0
    rows = [row for row in table(points).to_dict("records") if row["cluster"] >= 0]
    rows.sort(key=lambda row: overall * (row["wrong"] + row["right_nearby"]) - row["wrong"])
    about = {"model": str(points["model"].iloc[0]) if n else p.target, "arm": p.arm, "iteration": p.iteration}
    about |= {"benchmarks": p.in_domain, "split": p.error_split, "n": n, "wrong": wrong}
    about |= {"error_rate": overall, "ci_low": low, "ci_high": high}
    return about | {"weaknesses": [_weakness(points, row) for row in rows]}


def _weakness(points: pd.DataFrame, row: dict[str, Any]) -> dict[str, Any]:
    part = points[points["near"] == row["cluster"]]
    wrong = part[~part["correct"]]
    shown = typical(wrong, EXAMPLES)[["id", "question", "gold", "text"]].rename(columns={"text": "response"})
    found = {"cluster": row["cluster"], "name": row["name"], "n": len(part), "wrong": row["wrong"]}
    found |= {"sentence": row["sentence"]} if row.get("sentence") else {}
    found |= {name: round(row[name], 4) for name in ("error_rate", "ci_low", "ci_high")}
    found |= {"certain": row["weakness"], "examples": shown.to_dict("records")}
    return found | {"ids": part["benchmark"].str.cat(part["id"], sep=":").tolist()}


def weaknesses(profile: dict[str, Any]) -> pd.DataFrame:
    """The profile as a table: rank, name, N, wrong, error rate with its interval, certain."""
    rows = []
    with_sentences = any("sentence" in row for row in profile["weaknesses"])
    for rank, row in enumerate(profile["weaknesses"], start=1):
        found = {"rank": rank, "what its questions share": row["name"], "N": row["n"], "wrong": row["wrong"]}
        found |= {"the instructor says": row.get("sentence", "")} if with_sentences else {}
        rows.append(found | {"error rate, 95 %": rate_of(row), "certain": "yes" if row["certain"] else "no"})
    return pd.DataFrame(rows)


def report(profile: dict[str, Any]) -> str:
    """The profile for people: a ranked table, then examples of each weakness."""
    names = ", ".join(short_names(profile["benchmarks"]).values())
    head = f"# What this model cannot do\n\n{profile['wrong']:,} of {profile['n']:,} items of "
    head += f"{names} ({profile['split']}) wrong: {rate_of(profile)}. Model: "
    head += f"`{Path(profile['model']).name}`, {profile['arm']}, iteration {profile['iteration']}.\n"
    if not profile["weaknesses"]:
        return head + "\nNo cluster of errors was found.\n"
    lines = ["", as_markdown(weaknesses(profile))]
    lines += ["`certain`: the interval lies above the error rate of all items."]
    for rank, row in enumerate(profile["weaknesses"], start=1):
        lines += ["", f"## {rank}. {row['name']}", ""]
        lines += [f"    the instructor says: {row['sentence']}"] if "sentence" in row else []
        for example in row["examples"]:
            parts = [f"question: {example['question']}", f"gold: {example['gold']}", f"said: {example['response']}"]
            # Indented by four, as is the sentence: code, so that nothing a model wrote is taken for Markdown or HTML.
            lines += ["", *(f"    {line[:300]}" for part in parts for line in part.splitlines())]
    return head + "\n".join(lines) + "\n"


def rate_of(row: dict[str, Any]) -> str:
    """An error rate with its interval, for people."""
    return stats.percent(row["error_rate"], row["ci_low"], row["ci_high"], digits=0, unit=" %")


def write(p: StageParameters, points: pd.DataFrame) -> dict[str, Any]:
    """Write ``weaknesses.json`` and ``weaknesses.md`` beside the map; returns the profile."""
    profile = make(p, points)
    write_json(p.folder.path / "weaknesses.json", profile)
    write_text(p.folder.path / "weaknesses.md", report(profile))
    return profile


def side_by_side(first: IterationDir, *others: IterationDir) -> pd.DataFrame:
    """The first model's weaknesses, and the error rate of every other model on the very same items.

    A row per weakness: name, n, then for each folder its error rate with bounds, columns named ``<arm>/iter<k>``.
    Raises FileNotFoundError if 02 has not run, ValueError if a model has not answered all those items.
    """
    profile = read_json(first.path / "weaknesses.json")
    rows = [{"name": row["name"], "n": row["n"]} for row in profile["weaknesses"]]
    for folder in (first, *others):
        answers = pd.read_parquet(folder.errors, columns=["benchmark", "id", "correct"])
        right = dict(zip(answers["benchmark"] + ":" + answers["id"], answers["correct"], strict=True))
        for row, weakness in zip(rows, profile["weaknesses"], strict=True):
            if lacking := [id for id in weakness["ids"] if id not in right]:
                raise ValueError(f"{folder.path} has not answered {len(lacking)} items of {weakness['name']!r}")
            wrong = sum(not right[id] for id in weakness["ids"])
            low, high = stats.wilson(wrong, weakness["n"])
            rate = {"error_rate": wrong / weakness["n"], "ci_low": low, "ci_high": high}
            row["/".join(folder.path.parts[-2:])] = rate_of(rate)
    return pd.DataFrame(rows)
