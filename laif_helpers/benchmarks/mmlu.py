"""MMLU: multiple choice over 57 subjects.

Paper: Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding, https://arxiv.org/abs/2009.03300
Data: https://huggingface.co/datasets/cais/mmlu (MIT). Splits: train, the 1,816 development and validation items that
errors are collected from; test, 14,042.

One raw example (in the data's schema, written for this file)::

    {"question": "Which gas do plants take in to build sugar?", "A": "Oxygen", "B": "Carbon dioxide",
     "C": "Nitrogen", "D": "Argon", "answer": "B", "subject": "high_school_biology"}

Also read: the hub's ``choices`` (list) with ``answer`` as an index, and any extra fields (``response`` …).
Prompt: one instruction sentence, the question, one line per option; zero-shot. Metric: exact match of the letter.
"""

from typing import Any

from laif_helpers.benchmarks._files import Source, choice_item, field, of_family
from laif_helpers.records import Example

_REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
_SOURCES = {
    "train": Source(
        ("train.json", "train.jsonl", "mmlu_train.json", "mmlu_train.jsonl"),
        ("cais/mmlu", "all", "dev+validation", _REVISION),
    ),
    "test": Source(
        ("test.json", "test.jsonl", "mmlu_test.json", "mmlu_test.jsonl"), ("cais/mmlu", "all", "test", _REVISION)
    ),
}
_LETTERS = "ABCDEFGHIJ"


def from_row(row: dict[str, Any]) -> Example:
    """Raises ValueError naming the field."""
    options, answer = _options(row), field(row, "answer").strip().removesuffix(".0")  # data frames make 1.0 of 1
    gold = list(options)[int(answer)] if answer.isdigit() and int(answer) < len(options) else answer.upper()
    return choice_item("mmlu", field(row, "question"), options, gold, subject=str(row.get("subject") or ""))


def _options(row: dict[str, Any]) -> dict[str, str]:
    if (choices := row.get("choices")) is not None:
        if isinstance(choices, dict):  # {"A": …, "B": …}, or the hub's {"text": […], "label": […]}
            choices = choices["text"] if isinstance(choices.get("text"), list) else list(choices.values())
        if not isinstance(choices, list) or len(choices) < 2 or isinstance(choices[0], (list, dict)):
            raise ValueError(f"field 'choices' is {str(choices)[:60]!r}; write a list of two options or more")
        return {letter: str(text) for letter, text in zip(_LETTERS, choices, strict=False)}
    return {letter: field(row, letter) for letter in _LETTERS[: max(4, sum(letter in row for letter in _LETTERS))]}


BENCHMARKS = {"mmlu": of_family("choice", "mmlu", _SOURCES, from_row, "MIT", ("subject",))}
