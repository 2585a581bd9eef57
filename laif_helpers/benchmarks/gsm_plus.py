"""GSM-Plus: GSM8K's test questions under eight perturbations.

Paper: Li et al. 2024, GSM-Plus, https://arxiv.org/abs/2402.19255
Data: https://huggingface.co/datasets/qintongli/GSM-Plus (CC BY-SA 4.0). Splits: test 10,552; testmini 2,400 of them.
A local testmini file serves as the test split if the full one is absent.

One raw example (in the data's schema, written for this file)::

    {"question": "A crate holds 6.5 boxes of 4 jars. How many jars are in 3 crates?",
     "solution": "A crate holds 6.5 * 4 = 26 jars. Three hold 26 * 3 = 78.\\n#### 78", "answer": "78",
     "perturbation_type": "integer-decimal-fraction conversion",
     "seed_question": "…", "seed_solution": "…", "seed_answer": "72"}

``answer`` is the word ``None`` if a needed fact was removed: such an item is right when the response says so.
Prompt and metric: as GSM8K.
"""

from typing import Any

from laif_helpers.benchmarks._files import Source, field, item, of_family
from laif_helpers.graders import numbers
from laif_helpers.records import Example

_REVISION = "3b708db57b96a16e8e3368ed2956990c0809440e"
_MINI = ("testmini.jsonl", "testmini.json", "gsm_plus_testmini.jsonl")
_SOURCES = {
    "test": Source(
        ("test.jsonl", "test.json", "gsm_plus_test.jsonl", *_MINI),
        ("qintongli/GSM-Plus", "default", "test", _REVISION),
    ),
    "testmini": Source(_MINI, ("qintongli/GSM-Plus", "default", "testmini", _REVISION)),
}


def from_row(row: dict[str, Any]) -> Example:
    """Raises ValueError naming the field."""
    question, answer = field(row, "question"), field(row, "answer").strip()
    if answer != numbers.NONE and numbers.parse(answer) is None:
        raise ValueError(f"field 'answer' is neither a number nor 'None': {answer!r}")
    solution = str(row.get("solution") or "").partition("####")[0].strip()
    labels = {name: str(row.get(name) or "") for name in ("perturbation_type", "seed_question")}
    return item("gsm_plus", question.strip(), answer.replace(",", ""), rationale=solution, **labels)


BENCHMARKS = {"gsm_plus": of_family("math", "gsm_plus", _SOURCES, from_row, "CC BY-SA 4.0", ("perturbation_type",))}
