"""Builds the conversation in which attempt, feedback and update follow one another."""

from laif_helpers import benchmarks
from laif_helpers.records import Message

CHECK = "Is every step of this answer right?"
REPAIR = "Write the answer again: keep the steps before the wrong one, and do the rest anew."


def conversation(benchmark: str, question: str, *texts: str) -> list[Message]:
    """The turns of a question and a model's ``texts``: an attempt, feedback, an update, feedback on it, and so on.

    The last turn is the user's turn after the last text, so that a model continues from it.
    """
    turns = list(benchmarks.get(benchmark).messages_for(question))
    for at, text in enumerate(texts):
        turns.append({"role": "assistant", "content": text})
        turns.append({"role": "user", "content": REPAIR if at % 2 else CHECK})
    return turns
