"""Builds benchmarks of word problems: the question is the prompt, the final number is the answer."""

from laif_helpers.graders import final_number
from laif_helpers.records import Example, Grade, Message


def question_text(example: Example) -> str:
    return example.question


def messages_for(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def messages(example: Example) -> list[Message]:
    return messages_for(question_text(example))


def gold_response(example: Example) -> str | None:
    """The worked solution, closed by ``#### <number>``."""
    return f"{example.rationale}\n#### {example.gold}".strip()


def grade(example: Example, text: str) -> Grade:
    return final_number.grade(example.gold, text, example.question)


def chance(example: Example) -> float:
    return 0.0
