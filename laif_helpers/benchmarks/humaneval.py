"""HumanEval: 164 hand-written Python functions.

Paper: Chen et al. 2021, Evaluating Large Language Models Trained on Code, https://arxiv.org/abs/2107.03374
Data: https://huggingface.co/datasets/openai/openai_humaneval (MIT). Split: test.

One raw example (in the data's schema, written for this file)::

    {"task_id": "Example/0", "prompt": "def double(n: int) -> int:\\n    \\"\\"\\" Double a number. \\"\\"\\"\\n",
     "canonical_solution": "    return 2 * n\\n", "test": "def check(candidate):\\n    assert candidate(2) == 4\\n",
     "entry_point": "double"}

Prompt: the stub, zero-shot. Metric: pass@1, the check executed in the sandbox.
"""

from typing import Any

from laif_helpers.benchmarks._files import Source, field, item, of_family
from laif_helpers.records import Example

_REVISION = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
_SOURCES = {
    "test": Source(
        ("test.jsonl", "test.json", "HumanEval.jsonl", "human-eval-v2-20210705.jsonl"),
        ("openai/openai_humaneval", "openai_humaneval", "test", _REVISION),
    )
}


def from_row(row: dict[str, Any]) -> Example:
    """Raises ValueError naming the field."""
    prompt, entry_point, test = field(row, "prompt"), field(row, "entry_point").strip(), field(row, "test")
    if not entry_point.isidentifier():
        raise ValueError(f"field 'entry_point' is no function name: {entry_point[:40]!r}")
    solution = str(row.get("canonical_solution") or "")
    names = {"id": str(row.get("task_id") or "").strip(), "rationale": prompt + solution if solution else ""}
    return item("humaneval", prompt, entry_point, **names, entry_point=entry_point, stub=prompt, test=test)


BENCHMARKS = {"humaneval": of_family("code", "humaneval", _SOURCES, from_row, "MIT")}
