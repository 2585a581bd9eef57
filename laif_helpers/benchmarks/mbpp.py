"""MBPP in function-completion form: a signature with docstring and examples, and a hidden check.

Paper: Austin et al. 2021, Program Synthesis with Large Language Models, https://arxiv.org/abs/2108.07732
Data: https://huggingface.co/datasets/google-research-datasets/mbpp (CC BY 4.0) in its original form, or the
function-completion form of the original authors as local files. Splits: train, test.

One raw example (in the data's schema, written for this file)::

    {"task_id": 1, "prompt": "def double(n: int) -> int:\\n    \\"\\"\\" Double a number. \\"\\"\\"\\n",
     "test": "def check(candidate):\\n    assert candidate(2) == 4\\n", "entry_point": "double"}

Also read: the original ``text`` (or ``prompt``), ``code``, ``test_list``, ``test_setup_code`` or ``test_imports``, and
any extra fields (``response``, ``passed`` …). A few rows of the function-completion form hold broken text in place of
the entry point; it is then read from the stub.
Prompt: the stub, zero-shot. Metric: pass@1, the check executed in the sandbox.
"""

import re
from typing import Any

from laif_helpers.benchmarks._files import Source, field, item, of_family
from laif_helpers.graders import find_code
from laif_helpers.records import Example

_REVISION = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
_SOURCES = {
    split: Source(
        (f"{split}_refined_data.jsonl", f"{split}.jsonl", f"{split}.json", f"mbpp_{split}.jsonl"),
        ("google-research-datasets/mbpp", "full", split, _REVISION),
    )
    for split in ("train", "test")
}
_DEF = re.compile(r"^(?:async )?def (\w+)\s*\(", re.MULTILINE)


def from_row(row: dict[str, Any]) -> Example:
    """Raises ValueError naming the field."""
    if row.get("test_list") is not None:
        return _from_original(row)
    prompt, test = field(row, "prompt"), field(row, "test")
    entry_point = field(row, "entry_point").strip()
    if not entry_point.isidentifier():
        names = _DEF.findall(prompt)
        if not names:
            raise ValueError(
                f"field 'entry_point' is no function name ({entry_point[:40]!r}) and the prompt defines none"
            )
        entry_point = names[-1]
    has_stub = find_code.defines(prompt, entry_point)
    question = prompt if has_stub else f"{prompt.strip()}\nThe function is named {entry_point}."
    return _example(row, question, entry_point, prompt if has_stub else "", test, "")


def _from_original(row: dict[str, Any]) -> Example:
    text, code = field(row, "text", "prompt").strip(), str(row.get("code") or "")
    asserts = [str(line) for line in row["test_list"]]
    names = _DEF.findall(code)
    called = next((name for name in reversed(names) if any(re.search(rf"\b{name}\s*\(", line) for line in asserts)), "")
    if not called:
        match = re.search(r"\bassert\s+\(*\s*(?:\w+\()*?(\w+)\(", asserts[0]) if asserts else None
        if not match:
            raise ValueError("field 'test_list' calls no function")
        called = match[1]
    setup = "\n".join([str(row.get("test_setup_code") or ""), *map(str, row.get("test_imports") or [])]).strip()
    lines = [f"    {line}" for assertion in asserts for line in assertion.splitlines()]
    # The asserts call the function by its name, so the check gives that name to what it is handed.
    test = "\n".join([setup, "def check(candidate):", f"    {called} = candidate", *lines, ""])
    question = f"{text}\nThe function is named {called}; for instance:\n{asserts[0]}"
    return _example(row, question, called, "", test, code)


def _example(row: dict[str, Any], question: str, entry_point: str, stub: str, test: str, code: str) -> Example:
    given = str(row.get("task_id") or "").strip()
    names = {"id": f"mbpp-{given}" if given else "", "rationale": code}
    return item("mbpp", question, entry_point, **names, entry_point=entry_point, stub=stub, test=test)


BENCHMARKS = {"mbpp": of_family("code", "mbpp", _SOURCES, from_row, "CC BY 4.0")}
