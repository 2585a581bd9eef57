"""Shows tables and texts in notebooks 03 and 04, always escaped, because most of the words are a model's."""

import html
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from laif_helpers import lessons
from laif_helpers.figures import html as safe_html
from laif_helpers.instruct import planning, quotes
from laif_helpers.instruct.learning import diagnosed
from laif_helpers.instruct.planning import Plan
from laif_helpers.instructors.ledger import Reply
from laif_helpers.paths import short_names
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson

MAX_CELL = 800
"""Characters shown of one cell: a run-away answer must not fill the page."""
MAX_ROWS = 60
OPEN_LINES, SPARE_LINES = 14, 6
"""Lines of a text that are shown at once; a text that is only a few lines longer is shown whole."""
WHY = {
    "unparsable": "the instructor left the format, or the reply was cut or empty; the raw text is in the lessons file",
    "wrong": "an equation, a letter or the code does not hold",
    "duplicate": "the same question twice teaches nothing new",
    "contaminated": "it would train on the test",
    "too_long": "it would not fit a training sample",
    "surplus": "right and new, but more than the budget",
}


class Text:
    """Plain text that a notebook shows as it is: HTML is escaped, and no dollar sign starts a formula. Behind its first
    lines a long text is folded."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        style = "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; max-width: 60em"
        lines = self.text.splitlines()
        first, rest = "\n".join(lines[:OPEN_LINES]), "\n".join(lines[OPEN_LINES:])
        body = f'<pre class="tex2jax_ignore mathjax_ignore" style="{style}">{{}}</pre>'
        if len(lines) <= OPEN_LINES + SPARE_LINES:
            return body.format(html.escape(self.text))
        more = f"<details><summary>{len(lines) - OPEN_LINES} lines more</summary>{body}</details>"
        return body.format(html.escape(first)) + more.format(html.escape(rest))


@dataclass(frozen=True)
class Shown:
    """A table and what it says in a sentence; line breaks in the cells are kept, all text is escaped."""

    table: pd.DataFrame
    text: str = ""

    def __repr__(self) -> str:
        return f"{self.table.to_string()}\n{self.text}".strip()

    def _repr_html_(self) -> str:
        named = self.table.reset_index() if self.table.index.name else self.table
        more = f"<p>… and {len(named) - MAX_ROWS:,} rows more</p>" if len(named) > MAX_ROWS else ""
        words = f"<p>{html.escape(self.text)}</p>" if self.text else ""
        return safe_html.escaped(named.head(MAX_ROWS), MAX_CELL) + more + words


def overview(plan: Plan) -> Shown:
    """One row per benchmark: right, wrong, requests, lessons asked for; or why the arm ends here."""
    rows, short = [], short_names(plan.studies)
    for name, study in plan.studies.items():
        mine = [request for request in plan.requests if request.benchmark == name]
        counts = {"right": len(study.right), "wrong": len(study.wrong), "requests": len(mine)}
        rows.append({"benchmark": short[name]} | counts | {"lessons asked for": sum(request.n for request in mine)})
    text = f"This arm ends here, and well: {plan.ended}." if plan.ended else ". ".join(plan.notes) + "."
    return Shown(pd.DataFrame(rows), text)


def shown(plan: Plan, which: int = 0) -> Text:
    """One request in full, as it goes to the instructor."""
    if not plan.requests:
        return Text("There is no request to show.")
    turns = plan.requests[which % len(plan.requests)].messages
    return Text("\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in turns))


def first_reply(plan: Plan, replies: dict[str, Reply], which: int = 0) -> Text:
    """The raw reply to the request that ``shown`` shows."""
    if not plan.requests:
        return Text("There is no reply.")
    key = plan.requests[which % len(plan.requests)].key
    return Text(replies[key].text if key in replies else "No reply: nothing was sent.")


def diagnoses(plan: Plan, replies: dict[str, Reply], n: int = 10) -> Shown:
    """What the instructor says is wrong, most frequent wording first: of how many items, and of which, for example."""
    about: dict[str, list[str]] = {}
    for row in diagnosed(plan, replies):
        about.setdefault(row["diagnosis"], []).extend(row["source_ids"])
    silent = len(about.pop("", []))
    most = sorted(about.items(), key=lambda pair: -len(pair[1]))[:n]
    rows = [(wording, len(ids), ", ".join(ids[:3])) for wording, ids in most]
    text = f"{len(about)} different diagnoses of {sum(map(len, about.values()))} items; {silent} replies without one."
    return Shown(pd.DataFrame(rows, columns=["diagnosis", "items", "for example"]), text if replies else "")


def lost(now: list[Lesson], before: list[Lesson] | None = None) -> Shown:
    """What a step took away, by reason: lessons kept ``before`` it (None: all that came back) that are kept no more."""
    kept = [lesson.status == "kept" for lesson in before] if before is not None else [True] * len(now)
    gone = [lesson for lesson, once in zip(now, kept, strict=True) if once and lesson.status != "kept"]
    return Shown(reasons(gone), f"{sum(kept) - len(gone):,} of {sum(kept):,} lessons are left.")


def reasons(results: list[Lesson]) -> pd.DataFrame:
    """Every rejection: status, how many, why such lessons are refused, and one reason as an example."""
    counts = Counter(lesson.status for lesson in results)
    example = {lesson.status: lesson.reason for lesson in reversed(results)}
    rows = [
        {"status": status, "lessons": counts[status], "refused because": WHY[status], "for example": example[status]}
        for status in lessons.STATUSES
        if counts[status] and status != "kept"
    ]
    return pd.DataFrame(rows, columns=["status", "lessons", "refused because", "for example"])


def examples(results: list[Lesson], status: str = "kept", n: int = 5) -> Shown:
    """A few lessons of one status, evenly spaced over the file: source error, question, response, reason."""
    mine = [lesson for lesson in results if lesson.status == status]
    chosen = mine[:: max(len(mine) // n, 1)][:n]
    rows = [(", ".join(item.source_ids), item.question, item.response, item.reason) for item in chosen]
    table = pd.DataFrame(rows, columns=["source", "question", "response", "reason"])
    return Shown(table.drop(columns="reason") if status == "kept" else table)


def observation(
    p: StageParameters, plan: Plan, quoted: quotes.Quote, replies: dict[str, Reply], results: list[Lesson]
) -> Text:
    """The notebook's answer: what was asked for, what the checks left of it, the most frequent diagnoses, and the next
    notebook."""
    if plan.ended:
        return Text(f"This arm ends here, and well: {plan.ended}.")
    in_force = [f"{note}." for note in plan.notes if note.startswith(planning.SELECTED)]
    asked = f"{len(plan.requests):,} requests ask for {plan.requested:,} lessons."
    if p.quote_only:
        return Text("\n".join([f"{asked} Nothing was sent. {quoted.observation}", *in_force]))
    left = lessons.funnel(results, plan.requested)
    checked = f"{left['clean']:,} are right, new and no test question"
    needed = lessons.shares(p.budget, p.replay_fraction)[0] * len({request.benchmark for request in plan.requests})
    kept = f"{left['returned']:,} came back; {checked}; {left['kept']:,} of {needed:,} needed ones kept"
    kept += "; 05 trains on what there is, or stops if STRICT" if left["kept"] < needed else ""
    frequent = diagnoses(plan, replies, 3).table
    most = [f"- {text} (items: {count})" for text, count in zip(frequent["diagnosis"], frequent["items"], strict=True)]
    named = ["Most frequent diagnoses:", *most] if most else []
    return Text("\n".join([f"{asked} {kept}.", *in_force, *named, following(p)]))


def following(p: StageParameters) -> str:
    """The notebooks to run next, with their parameters."""
    where = f"RUN = {p.run!r}, ARM = {p.arm!r}, ITERATION = {p.iteration}"
    return (
        f"Next: 05_train_deepspeed with {where}; then 01_evaluate with the same, which answers all test splits again."
    )


def metrics(
    p: StageParameters, plan: Plan, quoted: quotes.Quote, replies: dict[str, Reply], results: list[Lesson]
) -> dict[str, Any]:
    """What the notebook records by name; ``ended`` only if the arm has nothing to learn from."""
    found: dict[str, Any] = {"arm": p.arm, "iteration": p.iteration, "instructor": p.instructor}
    found |= {
        "right": sum(len(study.right) for study in plan.studies.values()),
        "wrong": sum(len(study.wrong) for study in plan.studies.values()),
        "requests": len(plan.requests),
        "replies": len(replies),
        "spent_usd": round(sum(reply.usd for reply in replies.values()), 6),
        "notes": list(plan.notes),
        "quote_requests": quoted.requests,
        "quote_lessons": quoted.lessons,
        "quote_input_tokens": [round(value) for value in quoted.input_tokens],
        "quote_output_tokens": [round(value) for value in quoted.output_tokens],
        "quote_usd": [round(value, 4) for value in quoted.usd] if quoted.usd else None,
    }
    if not p.quote_only:
        found["funnel"] = lessons.funnel(results, plan.requested)
        found["rejected"] = {row["status"]: row["lessons"] for row in reasons(results).to_dict("records")}
    return found | ({"ended": plan.ended} if plan.ended else {})
