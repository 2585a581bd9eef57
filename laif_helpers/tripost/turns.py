"""How attempt, feedback and update follow one another in a conversation."""

from laif_helpers import benchmarks
from laif_helpers.records import Message

CHECK = "Is every step of this answer right?"
REPAIR = "Write the answer again: keep the steps before the wrong one, and do the rest anew."


def conversation(benchmark: str, question: str, *said: str) -> list[Message]:
    """The turns of a question and what a model ``said``: an attempt, feedback, an update, its feedback, and so on.

    It ends with the user's turn after the last of them, so that a model goes on from there.
    """
    turns = list(benchmarks.get(benchmark).messages_for(question))
    for at, text in enumerate(said):
        turns.append({"role": "assistant", "content": text})
        turns.append({"role": "user", "content": REPAIR if at % 2 else CHECK})
    return turns
