"""Holds a trajectory: question, attempt, verdict, edits, what became of them, and the conversation they make."""

from dataclasses import dataclass, field
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.graders import steps
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Message

OUTCOMES = RIGHT, WRONG, WRONG_STEP, UNREADABLE = "right", "wrong", "right_answer_wrong_step", "unreadable"
"""Classes of an attempt. The third has the right answer through a wrong step; the last follows no format."""

REPAIRING = ("tripost", "tripost_injected")
"""Strategies that learn from repaired attempts."""


@dataclass(frozen=True, slots=True)
class Update:
    """One edit: feedback on the answer before it, the answer written anew, and what the verifier says of that."""

    feedback: str
    text: str
    correct: bool
    by: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One row of ``trajectories.jsonl``: question, attempt, verdict, edits, and what became of them.

    Attributes:
        id: ``<item>#<sample>``.
        outcome: ``right``, ``wrong``, ``right_answer_wrong_step`` or ``unreadable``: the attempt, before any edit.
        own_feedback: what the model itself says of its attempt.
        false_alarm: the model blames a right attempt.
        status: ``kept``, or why the trajectory makes no record.
        trained: sources of the records it was trained in.
    """

    id: str
    benchmark: str
    bucket: str
    item: str
    question: str
    gold: str
    attempt: str
    outcome: str
    verdict: dict[str, Any]
    own_feedback: str = ""
    false_alarm: bool = False
    updates: list[Update] = field(default_factory=list)
    status: str = "kept"
    trained: list[str] = field(default_factory=list)


def editable(trajectory: Trajectory, p: StageParameters) -> bool:
    """Whether an improver is asked to write the attempt anew."""
    wrong = trajectory.outcome == WRONG or (trajectory.outcome == WRONG_STEP and p.wrong_steps == "repair")
    return wrong and trajectory.status == "kept" and p.strategy in REPAIRING


CHECK = "Is every step of this answer right?"
REPAIR = "Write the answer again: keep the steps before the wrong one, and do the rest anew."


def feedback(style: str, benchmark: str, question: str, text: str) -> str:
    """What a model is taught to say of an answer: the verdict; in the style ``worked``, behind a check of each step."""
    module = steps.task(benchmark)
    verdict = module.check(question, text)
    working = steps.worked(module, question, text, verdict) if style == "worked" else ""
    return f"{working}\n{steps.feedback(text, verdict)}".lstrip()


def conversation(benchmark: str, question: str, *texts: str) -> list[Message]:
    """The turns of a question and a model's ``texts``: an attempt, feedback, an update, feedback on it, and so on.

    The last turn is the user's turn after the last text, so that a model continues from it.
    """
    turns = list(benchmarks.get(benchmark).messages_for(question))
    for at, text in enumerate(texts):
        turns.append({"role": "assistant", "content": text})
        turns.append({"role": "user", "content": REPAIR if at % 2 else CHECK})
    return turns
