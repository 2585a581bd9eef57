"""Hand-written responses in the styles of real models (``responses.jsonl``): what each must be read as.

A row is ``right`` true, false, or null for one that must be unreadable; a choice names the option to be ``read``.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, machine, sandbox
from laif_helpers.graders import code as code_answers
from laif_helpers.graders import find_code, second
from laif_helpers.records import Example, Grade, read_rows

ROWS = list(read_rows(Path(__file__).with_name("responses.jsonl")))
STUB = (
    "from typing import List\n\n\ndef below(numbers: List[int], limit: int) -> List[int]:\n"
    '    """ Keep what lies below the limit.\n    >>> below([1, 5], 3)\n    [1]\n    """\n'
)
CHECK = (
    "def check(candidate):\n    assert candidate([1, 5, 2], 3) == [1, 2]\n    assert candidate([], 3) == []\n"
    "    assert candidate([4], 3) == []\n"
)


def rows(kind: str) -> list[dict[str, Any]]:
    found = [row for row in ROWS if row["kind"] == kind]
    assert len(found) > 50
    return found


def verdict(grade: Grade) -> bool | None:
    return grade.correct if grade.readable else None


def test_numbers() -> None:
    bench = benchmarks.get("gsm_plus")
    wrong = []
    for row in rows("number"):
        grade = bench.grade(bench.from_row(as_item(row)), row["text"])
        wrong += [(row, grade)] if verdict(grade) is not row["right"] else []
    assert not wrong


def test_choices() -> None:
    bench = benchmarks.get("mmlu")
    wrong = []
    for row in rows("choice"):
        grade = bench.grade(bench.from_row(as_item(row)), row["text"])
        wrong += [(row, grade)] if grade.extracted != row["read"] or grade.correct != (row["read"] == "B") else []
    assert not wrong


def test_big_bench_hard() -> None:
    bench = benchmarks.get("bbh")
    wrong = []
    for row in rows("bbh"):
        grade = bench.grade(bench.from_row(as_item(row)), row["text"])
        wrong += [(row, grade)] if verdict(grade) is not row["right"] else []
    assert not wrong


@pytest.mark.slow
def test_code() -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    row = {"task_id": "Example/1", "prompt": STUB, "test": CHECK, "entry_point": "below"}
    item: Example = benchmarks.get("humaneval").from_row(row)
    cases = [(row, find_code.find_code(row["text"], "below")) for row in rows("code")]
    assert [row["name"] for row, found in cases if found.readable is (row["right"] is None)] == []
    run = [(row, found) for row, found in cases if found.readable]
    programs = [code_answers.program(item, found) for _, found in run]
    with sandbox.kept_ready(), ThreadPoolExecutor(machine.cores()) as pool:
        results = list(pool.map(partial(sandbox.run_python, timeout_s=20, cpu_s=3), programs))
    ended = [(row["name"], result.status) for (row, _), result in zip(run, results, strict=True)
             if (result.status == "passed") is not row["right"]]  # fmt: skip
    assert not ended


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["number", "choice", "bbh"])
def test_the_second_grader_agrees(kind: str) -> None:
    """Rows marked ``both``: an answer that is right is right for the second grader too, and no other one is."""
    bench = benchmarks.get({"number": "gsm_plus", "choice": "mmlu", "bbh": "bbh"}[kind])
    marked = [row for row in rows(kind) if row.get("both")]
    items = [bench.from_row(as_item(row)) for row in marked]
    unread = [Grade(False, "?", True, "disputed")] * len(items)
    verdicts = second.second_grades(bench, items, [row["text"] for row in marked], unread)
    wanted = [row["read"] == "B" if kind == "choice" else row["right"] is True for row in marked]
    pairs = zip(marked, wanted, verdicts, strict=True)
    assert not [(row, read) for row, want, (right, read) in pairs if (right is True) != want]


def as_item(row: dict[str, Any]) -> dict[str, Any]:
    if row["kind"] == "number":
        return {"question": row["question"], "answer": row["gold"]}
    if row["kind"] == "choice":
        return {"question": "Which?", "choices": row["options"], "answer": "B", "subject": ""}
    return {"task": "t", "input": row["question"], "target": row["gold"]}


def test_no_family_reads_an_answer_of_another_item() -> None:
    """A base model that goes on: the next question, its options and its answer are not this item's."""
    again = "\n\nQuestion: Tom has 3 cats and 4 dogs. How many pets?\nAnswer: The answer is 99.\n#### 99"
    bench = benchmarks.get("gsm8k")
    item = bench.from_row({"question": "How many?", "answer": "#### 12"})
    for text in ("12", "The answer is 12.", "4 * 3 = 12\n#### 12", "\\boxed{12}", "It makes 12 in all."):
        assert bench.grade(item, text + again).correct, text
