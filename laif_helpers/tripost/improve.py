"""Improves a wrong answer: a script or a language model writes it anew."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from laif_helpers.graders import steps
from laif_helpers.graders.steps import Verdict
from laif_helpers.instructors import ledger, llm, spending
from laif_helpers.instructors.chat import Asked
from laif_helpers.instructors.spending import Quote, dollars, notes
from laif_helpers.lessons import CHARS_PER_TOKEN_RANGE
from laif_helpers.recipe import StageParameters
from laif_helpers.tripost.trajectories import Trajectory, Update, conversation, editable, feedback

INSTRUCTION = (
    "You correct step by step answers. You get a question, an answer and feedback that names its first wrong step. "
    "Write the whole answer again in the same format: copy the lines before the wrong step word for word, correct that "
    "step, and derive all later lines anew. Write nothing else."
)
METHOD = "tokens = characters / 5 (low) to / 3 (high); an update is as long as the gold answer"


def improve(found: Sequence[Trajectory], p: StageParameters) -> dict[str, list[Update]]:
    """Updates of each trajectory, by its id: until the verifier finds one right, at most ``p.updates``.

    An improver that returns nothing, or lines other than the verified ones at the beginning, has made no progress,
    and its trajectory gets no further update.
    """
    if p.instructor == "symbolic":
        raise ValueError("instructor symbolic writes no updates; set instructor: scripted, or llm")
    if p.instructor == "scripted":
        return {each.id: [_scripted(each, p.feedback)] for each in found}
    updates: dict[str, list[Update]] = {each.id: [] for each in found}
    if p.quote_only:
        return updates
    open_ones = list(found)
    for _ in range(p.updates):
        asked = {each.id: _request(each, updates[each.id], p) for each in open_ones}
        texts = _ask(list(asked.values()), p, found)
        open_ones = [
            each for each in open_ones if _added(each, updates[each.id], texts.get(asked[each.id].key, ""), p.feedback)
        ]
        if not open_ones:
            break
    return updates


def quote(found: Sequence[Trajectory], p: StageParameters) -> Quote:
    """What a language model would read and write as the improver; nothing is sent.

    Low: one update of each wrong attempt. High: ``p.updates`` of each. An update is as long as the gold answer.
    """
    wanted = [each for each in found if editable(each, p)]
    asked = sum(len(turn["content"]) for each in wanted for turn in _request(each, [], p).messages)
    answered, more = sum(len(each.gold) for each in wanted), spending.TOKENS_A_MESSAGE * 2 * len(wanted)
    low, high = CHARS_PER_TOKEN_RANGE
    inputs, outputs = (asked / low, p.updates * (asked / high + more)), (answered / low, p.updates * answered / high)
    usd = dollars(p, inputs, outputs)
    name = p.instructor_model or p.instructor
    return Quote(name, len(wanted), 0, inputs, outputs, usd, tuple(notes(p, len(wanted), usd)), METHOD)


def _scripted(trajectory: Trajectory, style: str) -> Update:
    module, verdict = steps.task(trajectory.benchmark), Verdict(**trajectory.verdict)
    text = steps.repair(module, trajectory.question, trajectory.attempt, verdict)
    said = feedback(style, trajectory.benchmark, trajectory.question, trajectory.attempt)
    return Update(said, text, module.check(trajectory.question, text).correct, "scripted")


def _last(trajectory: Trajectory, updates: list[Update]) -> tuple[str, Verdict]:
    text = updates[-1].text if updates else trajectory.attempt
    return text, steps.task(trajectory.benchmark).check(trajectory.question, text)


def _request(trajectory: Trajectory, updates: list[Update], p: StageParameters) -> Asked:
    text, _ = _last(trajectory, updates)
    said = feedback(p.feedback, trajectory.benchmark, trajectory.question, text)
    turns = conversation(trajectory.benchmark, trajectory.question, text, said)
    words = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns[:-1])
    messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": words}]
    settings: dict[str, Any] = {"model": p.instructor_model, "url": p.instructor_url, "seed": p.seed}
    return Asked(ledger.key_of(messages, settings), trajectory.benchmark, messages)


def _added(trajectory: Trajectory, updates: list[Update], text: str, style: str) -> bool:
    """Add an update; whether another one is worth asking for."""
    before, verdict = _last(trajectory, updates)
    kept = steps.lines(before)[: verdict.kept]
    if not text.strip() or steps.lines(text)[: verdict.kept] != kept:
        return False
    after = steps.task(trajectory.benchmark).check(trajectory.question, text)
    said = feedback(style, trajectory.benchmark, trajectory.question, before)
    updates.append(Update(said, text.strip(), after.correct, "llm"))
    return after.readable and not after.correct and after.kept >= verdict.kept


def _ask(asked: list[Asked], p: StageParameters, found: Sequence[Trajectory]) -> dict[str, str]:
    """Replies by key, through the ledger: what it holds is not asked for again."""
    about = {"arm": p.arm, "iteration": str(p.iteration), "target": p.target, "instructor": p.instructor}
    items = {request.id: request.question for request in found}
    with ledger.open_ledger(p.folder.replies(p.arm), about, items) as calls:
        ask = partial(llm.ask, p=p.model_copy(update={"reply_format": "text"}), ledger=calls)
        return {key: reply.text for key, reply in calls.answered(asked, ask).items()}
