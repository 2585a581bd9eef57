"""Word problems with a number for an answer: the question is the prompt, the final number the answer."""

from collections.abc import Mapping

from laif_helpers.benchmarks import Benchmark, _final_number
from laif_helpers.benchmarks._files import FromRow, Source, loader
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
    return _final_number.grade(example.gold, text, example.question)


def benchmark(
    name: str, sources: Mapping[str, Source], from_row: FromRow, licence: str, facets: tuple[str, ...] = ()
) -> Benchmark:
    """The benchmark of that name, whose items are asked and graded as this module does."""
    return Benchmark(
        name=name,
        splits=tuple(sources),
        family="math",
        load=loader(name, sources, from_row),
        from_row=from_row,
        question_text=question_text,
        messages=messages,
        messages_for=messages_for,
        gold_response=gold_response,
        grade=grade,
        chance=lambda example: 0.0,
        facets=facets,
        sources=sources,
        licence=licence,
    )
