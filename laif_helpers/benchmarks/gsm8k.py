"""GSM8K: grade-school word problems.

Paper: Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, https://arxiv.org/abs/2110.14168
Data: https://huggingface.co/datasets/openai/gsm8k (MIT). Splits: train 7,473, test 1,319.

One raw example (in the data's schema, written for this file)::

    {"question": "A crate holds 6 boxes of 4 jars. How many jars are in 3 crates?",
     "answer": "A crate holds 6 * 4 = <<6*4=24>>24 jars.\\nThree hold 24 * 3 = <<24*3=72>>72.\\n#### 72"}

Also read: ``ground_truth`` with a last line ``A: 72`` in place of ``answer``, and any extra fields (``response`` …).
Prompt: the question alone, zero-shot. Metric: exact match of the final number, within 1e-4.
"""

import re
from typing import Any

from laif_helpers.benchmarks._files import Source, field, item, of_family
from laif_helpers.graders import numbers
from laif_helpers.records import Example

_REVISION = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
_SOURCES = {
    split: Source(
        (f"{split}.jsonl", f"{split}.json", f"gsm8k_{split}.jsonl", f"main/{split}.jsonl"),
        ("openai/gsm8k", "main", split, _REVISION),
    )
    for split in ("train", "test")
}
_FINAL = re.compile(r"\n?(?:####|A:)\s*([^\n]+)\s*$")


def from_row(row: dict[str, Any]) -> Example:
    """``question`` with ``answer`` or ``ground_truth``; the rationale loses its calculator marks (``annotated`` keeps
    them). Raises ValueError naming the field."""
    question, answer = field(row, "question"), field(row, "answer", "ground_truth")
    match = _FINAL.search(answer)
    number = numbers.parse(match[1]) if match else None
    if match is None or number is None:
        raise ValueError(f"field 'answer' ends on no line '#### <number>': …{answer[-60:]!r}")
    annotated = answer[: match.start()].strip()
    rationale, gold = re.sub(r"<<[^<>]*>>", "", annotated), match[1].strip().replace(",", "")
    return item("gsm8k", question.strip(), gold, rationale=rationale, annotated=annotated)


BENCHMARKS = {"gsm8k": of_family("math", "gsm8k", _SOURCES, from_row, "MIT")}
