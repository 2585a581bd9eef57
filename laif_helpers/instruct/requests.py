"""Writes requests to an instructor, about one item or several, from the templates in ``instructors/prompts/``.

The user message is labelled blocks, the same for every instructor; the system message depends on the arm and on
the benchmark's family.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers import arms
from laif_helpers.answers.pools import Answered, Study
from laif_helpers.benchmarks import Benchmark
from laif_helpers.instructors import chat, ledger, spending
from laif_helpers.instructors.chat import Asked
from laif_helpers.instructors.prompts import shown, template
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example

Near = list[tuple[str, float]]
"""(right item's id, Euclidean distance of unit vectors), nearest first."""
MAX_SHOWN = 4_000
"""Characters of a target's answer that an instructor is shown: a run-away answer costs, and teaches nothing more."""


@dataclass(frozen=True)
class Request(Asked):
    """One request to the instructor, for ``n`` lessons. ``cluster``: the name of the cluster that 02 put its items
    into, "" if that is not known."""

    arm: str
    source_ids: list[str]
    neighbour_ids: list[str]
    n: int
    cluster: str = ""


def request(
    p: StageParameters, study: Study, items: Sequence[Answered], near: Near, n: int, cluster: str = ""
) -> Request:
    """The request about one item, or about several of one cluster, and its key."""
    bench, ids = study.bench, [id for id, _ in near]
    errors = [
        {
            "question": shown(bench.question_text(item.example)),
            "answer": shown(item.text or "(no answer)", MAX_SHOWN // len(items)),
            "gold": shown(_gold(bench, item.example)),
        }
        for item in items
    ]
    blocks = {
        "about": p.row.about,
        "neighbours": [shown(bench.question_text(study.everything[id].example)) for id in ids],
        "errors": errors,
        "cluster": cluster,
        "task": task(p.strategy, n),
    }
    as_json = p.instructor == "llm" and p.reply_format != "text"
    system = _system(p.row.template, bench.family, len(items) > 1, as_json)
    user = template("user.j2").render(blocks)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user.strip()}]
    sources, key = [item.example.id for item in items], ledger.key_of(messages, settings(p))
    return Request(key, bench.name, messages, p.arm, sources, ids, n, cluster)


@functools.cache
def _system(name: str, family: str, several: bool, as_json: bool) -> str:
    """The system message, one text for all requests that share it: it is longer than what they ask."""
    text = template(f"{name}.j2").render(family_name=family, several=several).strip()
    return f"{text}\n\n{template('as_json.j2').render()}".strip() if as_json else text


def task(strategy: str, n: int) -> str:
    """The request's last block."""
    return f"Write {n} new questions with their answers, {arms.row(strategy).task}."


def settings(p: StageParameters) -> dict[str, Any]:
    """All that shapes a reply besides the messages; part of every key."""
    model = {"instructor": p.instructor, "model": p.instructor_model, "url": p.instructor_url}
    model |= {"reply_format": p.reply_format} if p.instructor == "llm" else {}
    sampling = {"temperature": chat.TEMPERATURE, "max_tokens": spending.MAX_REPLY_TOKENS, "seed": p.draw, "sample": 0}
    changed = p.request_options.instructor.model_dump() if p.instructor == "llm" else {}
    return model | sampling | ({"request_options": changed} if changed else {})


def _gold(bench: Benchmark, example: Example) -> str:
    """The worked answer, with the data's calculator marks if it has them; else what a program must pass, or
    the short answer."""
    if annotated := example.fields.get("annotated"):
        return f"{annotated}\n#### {example.gold}"
    if worked := bench.gold_response(example):
        return worked
    test = str(example.fields.get("test") or "").strip()
    return f"No solution is at hand. A right one passes this check:\n```python\n{test}\n```" if test else example.gold
