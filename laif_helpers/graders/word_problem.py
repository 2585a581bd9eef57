"""Word problems: the question is the prompt, the final number is the answer."""

from laif_helpers.graders import final_number
from laif_helpers.records import Example, Grade, Message


def messages_for(text: str) -> list[Message]:
    """The question alone, zero-shot."""
    return [{"role": "user", "content": text}]


def gold_response(example: Example) -> str | None:
    """The worked solution, closed by ``#### <number>``."""
    return f"{example.rationale}\n#### {example.gold}".strip()


def grade(example: Example, text: str) -> Grade:
    """The number that ``text`` ends on, compared with the gold number."""
    return final_number.grade(example.gold, text, example.question)
