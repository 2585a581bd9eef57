"""ARC-Challenge: grade-school science questions that retrieval and co-occurrence get wrong.

Paper: Clark et al. 2018, Think you have Solved Question Answering?, https://arxiv.org/abs/1803.05457
Data: https://huggingface.co/datasets/allenai/ai2_arc (CC BY-SA 4.0). Splits: train 1,119, validation 299, test 1,172.

One raw example (in the data's schema, written for this file)::

    {"id": "Example_1", "question": "Which tool measures temperature?", "answer": "B", "A": "a ruler",
     "B": "a thermometer", "C": "a scale", "D": "a clock", "label": ["A", "B", "C", "D"]}

``label`` lists the option names, which are also ``1``-``4`` or ``A``-``E``. Also read: the hub's
``choices: {text, label}`` with ``answerKey``, and any extra fields (``response`` …).
Prompt and metric: as MMLU.
"""

from typing import Any

from laif_helpers.benchmarks._files import Source, choice_item, field, of_family
from laif_helpers.records import Example

_REVISION = "210d026faf9955653af8916fad021475a3f00453"
_SOURCES = {
    split: Source(
        (f"{split}.json", f"{split}.jsonl", f"arc_challenge_{split}.json", f"ARC-Challenge-{split.title()}.jsonl"),
        ("allenai/ai2_arc", "ARC-Challenge", split, _REVISION),
    )
    for split in ("train", "validation", "test")
}


def from_row(row: dict[str, Any]) -> Example:
    """Raises ValueError naming the field."""
    stem = row["question"] if isinstance(row.get("question"), dict) else row
    question, gold = field(stem, "question", "stem"), field(row, "answer", "answerKey").strip().upper()
    return choice_item("arc_challenge", question, _options(row, stem), gold, id=str(row.get("id") or "").strip())


def _options(row: dict[str, Any], stem: dict[str, Any]) -> dict[str, str]:
    choices = row.get("choices") or stem.get("choices")
    if isinstance(choices, dict):
        pairs = list(zip(choices.get("label", []), choices.get("text", []), strict=True))
    elif choices:
        pairs = [(field(choice, "label"), field(choice, "text")) for choice in choices]
    else:
        labels = row.get("label") or [label for label in "ABCDE12345" if label in row]
        pairs = [(label, field(row, str(label))) for label in labels]
    if len(pairs) < 2:
        raise ValueError(
            f"no options: neither 'choices' nor 'label' with one field per label; the row has {sorted(row)}"
        )
    return {str(label): str(text) for label, text in pairs}


BENCHMARKS = {"arc_challenge": of_family("choice", "arc_challenge", _SOURCES, from_row, "CC BY-SA 4.0")}
