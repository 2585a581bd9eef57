"""Shows graded answers in notebook 01: accuracy with its interval, facets, a look at the texts."""

import html
import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from laif_helpers import benchmarks, origins
from laif_helpers.answers import joined
from laif_helpers.answers.joined import shortened
from laif_helpers.figures.html import cut
from laif_helpers.paths import IterationDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Response

KINDS = ("right", "wrong", "unreadable")
SHOWN_CHARACTERS = 1200
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
    """The ``n`` lowest accuracies of each benchmark and split, over all facets, among values with items enough."""
    enough = facets[facets["n"] >= at_least].sort_values("accuracy", kind="stable")
    chosen = enough.groupby(["benchmark", "split"], sort=False).head(n)
    return chosen.sort_values(["benchmark", "split", "accuracy"], kind="stable").reset_index(drop=True)


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
        sure = f"{100 * row['accuracy']:.1f} % of {row['n']:,} right, 95 % interval {_range(row)}"
        if row.get("samples", 1) > 1:
            sure += f" (mean of up to {row['samples']} answers to each item; the item is the unit)"
        lines.append(f"- **{name}**: {sure}{_beside_chance(row)}. {_unread(row)}")
    return "\n".join(["**Observation.**", "", *lines])


def _beside_chance(row: Mapping[str, Any]) -> str:
    if not row["chance"] > 0:  # an open answer, which nobody guesses; NaN: unknown
        return ""
    above = "above" if row["ci_low"] > row["chance"] else "not shown to be above"
    return f", {above} chance ({100 * row['chance']:.1f} %)"


def _range(row: Mapping[str, Any]) -> str:
    return f"{100 * row['ci_low']:.1f}–{100 * row['ci_high']:.1f} %"


def _unread(row: Mapping[str, Any]) -> str:
    count, share = row["unreadable"], row["unreadable"] / row["n"]
    if not count:
        return "Every answer could be read."
    warning = " **That is too much to trust the accuracy: look at them below.**" if share > 0.05 else ""
    return f"{count:,} answers ({100 * share:.1f} %) could not be read and count as wrong.{warning}"


def kind(row: Mapping[str, Any]) -> str:
    """``right``, ``wrong`` or ``unreadable``."""
    return "right" if row["correct"] else "wrong" if row["readable"] else "unreadable"


def gallery(df: pd.DataFrame, n: int = 5, seed: int = 0) -> str:
    """HTML: ``n`` right, ``n`` wrong and ``n`` unreadable answers side by side, drawn at random from all rows.

    Everything a model or a benchmark wrote is escaped, and dollar signs are kept from becoming formulas.
    """
    rows = df.to_dict("records")
    columns = []
    for name in KINDS:
        found = [row for row in rows if kind(row) == name]
        chosen = sorted(random.Random(seed).sample(range(len(found)), min(n, len(found))))
        cards = "".join(_card(found[place]) for place in chosen) or "<p>none</p>"
        head = f"<h4>{name}: {len(chosen)} of {len(found):,}</h4>"
        columns.append(f'<div style="flex:1 1 0;min-width:16em">{head}{cards}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">{"".join(columns)}</div>'


def traced(df: pd.DataFrame) -> str:
    """HTML: one answer from question to grade, step by step: the first wrong one that could be read, else the first."""
    rows = df.to_dict("records")
    if not rows:
        return "<p>No answer.</p>"
    row = next((row for row in rows if kind(row) == "wrong"), rows[0])
    read = row["extracted"] if isinstance(row["extracted"], str) else "nothing that could be an answer"
    sent = row["messages"][-1]["content"] if row["messages"] else ""
    steps = {f"The question, {row['id']} of {row['benchmark']}": _block(row.get("question") or sent)}
    if sent not in ("", row.get("question")):
        steps["What the model was sent (the last message)"] = _block(sent)
    steps |= {
        "What the model answered": _block(row["text"] or "(empty)"),
        "What the grader read in that": _block(read),
        "The gold answer": _block(row["gold"]),
        f"The grade: {kind(row)}, because": _block(row["reason"]),
    }
    if row.get("second_read"):
        steps["What a second grader read"] = _block(row["second_read"])
    items = "".join(f"<li><b>{escape(title)}</b>{block}</li>" for title, block in steps.items())
    return f"<ol>{items}</ol>"


def _card(row: Mapping[str, Any]) -> str:
    question = row.get("question") or row["messages"][-1]["content"]
    # pandas turns a missing text into NaN
    read = row["extracted"] if isinstance(row["extracted"], str) else "nothing"
    return (
        '<div style="border-top:1px solid currentColor;padding:.4em 0;font-size:90%">'
        f"<code>{escape(row['id'])}</code>{_block(question)}"
        f"<b>gold</b> {escape(row['gold'], 200)} · <b>read</b> {escape(read, 200)} · "
        f"<i>{escape(row['reason'], 300)}</i>"
        f"{_folded(row)}{_block(row['text'] or '(empty)')}</div>"
    )


def _folded(row: Mapping[str, Any]) -> str:
    """What was thought and not graded, folded; and whether the text was cut."""
    thought = row.get("thought")
    head = f"<details><summary>thought, not graded</summary>{_block(thought)}</details>" if thought else ""
    return head + ("<b>cut at the token limit</b>" if row.get("cut") else "")


def _block(text: str) -> str:
    style = (
        "white-space:pre-wrap;word-break:normal;overflow-wrap:break-word;max-height:16em;overflow:auto;margin:.3em 0"
    )
    return f'<pre style="{style}">{escape(text)}</pre>'


def escape(text: Any, most: int = SHOWN_CHARACTERS) -> str:
    """Text as HTML that can neither run nor be typeset; cut after ``most`` characters."""
    return html.escape(cut(str(text), most)).replace("$", "<span>$</span>")


def longest(df: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """The longest answers: where a model loops or rambles. Recorded answers come without token counts."""
    table = df.assign(characters=df["text"].str.len())
    columns = ["id", "benchmark", "split", "new_tokens", "characters", "thought", "cut", "correct", "reason"]
    table["thought"] = table["thought"].str.len()
    return shortened(table.nlargest(n, ["new_tokens", "characters"])[columns].reset_index(drop=True))


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
