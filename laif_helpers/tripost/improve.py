"""Improvers: who writes a wrong answer anew, a script or a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laif_helpers.graders import steps
from laif_helpers.graders.steps import Verdict
from laif_helpers.instructors import ledger
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Message
from laif_helpers.tripost.turns import conversation

if TYPE_CHECKING:
    from laif_helpers.tripost import Trajectory, Update

INSTRUCTION = (
    "You correct step by step answers. You get a question, an answer and feedback that names its first wrong step. "
    "Write the whole answer again in the same format: copy the lines before the wrong step word for word, correct that "
    "step, and derive all later lines anew. Write nothing else."
)


@dataclass(frozen=True)
class Asked:
    """A request for one update, as the instructor's ledger keeps it."""

    key: str
    benchmark: str
    messages: list[Message]


def improve(found: Sequence["Trajectory"], p: StageParameters) -> dict[str, list["Update"]]:
    """Updates of each trajectory, by its id: until the verifier finds one right, at most ``p.updates``.

    An improver that returns nothing, or lines other than the verified ones at the beginning, has made no progress,
    and its trajectory gets no further update.
    """
    if p.instructor == "symbolic":
        raise ValueError("instructor symbolic writes no updates; set instructor: scripted, or llm")
    if p.instructor == "scripted":
        return {one.id: [_scripted(one)] for one in found}
    updates: dict[str, list[Update]] = {one.id: [] for one in found}
    if p.quote_only:
        return updates
    open_ones = list(found)
    for _ in range(p.updates):
        asked = {one.id: _request(one, updates[one.id], p) for one in open_ones}
        texts = _ask(list(asked.values()), p, found)
        open_ones = [one for one in open_ones if _added(one, updates[one.id], texts.get(asked[one.id].key, ""))]
        if not open_ones:
            break
    return updates


def _scripted(one: "Trajectory") -> "Update":
    from laif_helpers.tripost import Update

    module, verdict = steps.task(one.benchmark), Verdict(**one.verdict)
    text = steps.repair(module, one.question, one.attempt, verdict)
    return Update(steps.feedback(one.attempt, verdict), text, module.check(one.question, text).correct, "scripted")


def _last(one: "Trajectory", updates: list["Update"]) -> tuple[str, Verdict]:
    text = updates[-1].text if updates else one.attempt
    return text, steps.task(one.benchmark).check(one.question, text)


def _request(one: "Trajectory", updates: list["Update"], p: StageParameters) -> Asked:
    text, verdict = _last(one, updates)
    turns = conversation(one.benchmark, one.question, text, steps.feedback(text, verdict))
    words = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns[:-1])
    messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": words}]
    settings: dict[str, Any] = {"model": p.instructor_model, "url": p.instructor_url, "seed": p.seed}
    return Asked(ledger.key_of(messages, settings), one.benchmark, messages)


def _added(one: "Trajectory", updates: list["Update"], text: str) -> bool:
    """Add an update; whether another one is worth asking for."""
    from laif_helpers.tripost import Update

    before, verdict = _last(one, updates)
    kept = steps.lines(before)[: verdict.kept]
    if not text.strip() or steps.lines(text)[: verdict.kept] != kept:
        return False
    after = steps.task(one.benchmark).check(one.question, text)
    updates.append(Update(steps.feedback(before, verdict), text.strip(), after.correct, "llm"))
    return after.readable and not after.correct and after.kept >= verdict.kept


def _ask(asked: list[Asked], p: StageParameters, found: Sequence["Trajectory"]) -> dict[str, str]:
    """Replies by key, through the ledger: what it holds is not asked for again."""
    from laif_helpers.instructors import llm

    about = {"arm": p.arm, "iteration": str(p.iteration), "target": p.target, "instructor": p.instructor}
    items = {one.id: one.question for one in found}
    with ledger.open_ledger(p.folder.replies(p.arm), about, items) as book:
        there = book.replies([one.key for one in asked])
        llm.ask([one for one in asked if one.key not in there], p.model_copy(update={"reply_format": "text"}), book)
        return {key: reply.text for key, reply in book.replies([one.key for one in asked]).items()}
