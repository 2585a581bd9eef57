"""Loading: schemas, ids, sentences for bad input; and the grader triad on every item of the real data at hand."""

import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from laif_helpers import benchmarks, machine, sandbox
from laif_helpers.benchmarks import bbh
from laif_helpers.graders import code as code_answers
from laif_helpers.paths import data_dirs
from laif_helpers.records import Example

REAL = [
    ("gsm8k", "train", 7473),
    ("gsm8k", "test", 1319),
    ("gsm_plus", "test", 2400),
    ("mmlu", "train", 1816),
    ("arc_challenge", "test", 1172),
    ("mbpp", "train", 462),
    ("mbpp", "test", 499),
    ("humaneval", "test", 164),
    ("bbh", "test", 6511),
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [
        {"question": "How many jars?", "answer": "6 * 4 = <<6*4=24>>24 jars\n#### 1,024"},
        {"question": "How many jars?", "ground_truth": "6 * 4 = <<6*4=24>>24 jars\nA: 1024", "response": "A: 3"},
    ],
    "gsm_plus": [
        {"question": "How many jars?", "answer": "None", "solution": "Nobody knows.\n#### None"},
        {"question": "How many jars?", "answer": "None", "perturbation_type": "critical thinking"},
    ],
    "mmlu": [
        {"question": "Which gas?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "C", "subject": "s"},
        {"question": "Which  gas?", "choices": ["w", "x", "y", "z"], "answer": 2.0, "subject": "s"},
        {"question": "Which gas?", "choices": {"A": "w", "B": "x", "C": "y", "D": "z"}, "answer": "C", "subject": "s"},
    ],
    "arc_challenge": [
        {"id": "E1", "question": "Which tool?", "A": "w", "B": "x", "answer": "B", "label": ["A", "B"]},
        {"id": "E1", "question": "Which tool?", "choices": {"text": ["w", "x"], "label": ["A", "B"]}, "answerKey": "B"},
    ],
    "mbpp": [
        {
            "task_id": 3,
            "prompt": "def f(n):\n    pass\n",
            "test": "def check(c):\n    assert c(1) == 1\n",
            "entry_point": "f",
        },
        {"task_id": 3, "text": "Give it back.", "code": "def f(n):\n    return n", "test_list": ["assert f(1) == 1"]},
    ],
    "humaneval": [
        {
            "task_id": "E/0",
            "prompt": "def f(n):\n",
            "test": "def check(c):\n    assert c(1) == 1\n",
            "entry_point": "f",
        },
        {
            "task_id": "E/0",
            "prompt": "def f(n):\n",
            "canonical_solution": "    return n\n",
            "test": "def check(c):\n    assert c(1) == 1\n",
            "entry_point": "f",
        },
    ],
    "bbh": [
        {"task": "boolean_expressions", "input": "not False is", "target": "True"},
        {"task": "boolean_expressions", "input": "not False is", "target": "True", "response": "True"},
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_schemas_of_one_item_give_one_id_and_one_gold(name: str) -> None:
    first, *others = (benchmarks.get(name).from_row(row) for row in ROWS[name])
    assert all((first.id, first.gold, first.benchmark) == (other.id, other.gold, name) for other in others)


@pytest.mark.parametrize("name", ROWS)
def test_every_field_that_is_missing_is_named(name: str) -> None:
    benchmark, row = benchmarks.get(name), ROWS[name][0]
    needed = [key for key in row if key not in {"subject", "task_id", "id", "perturbation_type", "label", "solution"}]
    for key in needed:
        with pytest.raises(ValueError, match=f"{key}|no options"):
            benchmark.from_row({other: value for other, value in row.items() if other != key})


@pytest.mark.parametrize(
    ("name", "row", "sentence"),
    [
        ("gsm8k", {"question": "q", "answer": "five"}, "#### <number>"),
        ("gsm8k", {"question": " ", "answer": "#### 5"}, "'question' is empty"),
        ("gsm_plus", {"question": "q", "answer": "many"}, "neither a number"),
        ("mmlu", {"question": "q", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "E"}, "options are A, B, C, D"),
        ("mmlu", {"question": "q", "choices": ["w", "x"], "answer": 7}, "'7'|7"),
        ("mmlu", {"question": "q", "choices": "['w', 'x']", "answer": 1}, "choices"),
        ("arc_challenge", {"question": "q", "answer": "A"}, "no options"),
        ("mbpp", {"prompt": "words", "test": "t", "entry_point": "not a name"}, "no function"),
        ("bbh", {"task": "t", "input": "x\n(A) u\n(B) v", "target": "(C)"}, "options are A, B"),
    ],
)
def test_bad_rows(name: str, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        benchmarks.get(name).from_row(row)


@pytest.mark.parametrize("name", ROWS)
def test_arguments_as_a_notebook_passes_them(name: str) -> None:
    benchmark = benchmarks.get(name)
    item = benchmark.from_row(pd.Series(ROWS[name][0]))
    assert item == benchmark.from_row(ROWS[name][0])
    for missing in (None, math.nan, pd.NA, ""):
        grade = benchmark.grade(item, missing)  # type: ignore[arg-type]
        assert (grade.correct, grade.extracted, grade.readable) == (False, None, False)
    gold = benchmark.gold_response(item) or "no"
    assert benchmark.grade(asdict(item), gold) == benchmark.grade(item, gold)  # type: ignore[arg-type]
    assert benchmark.messages(asdict(item)) == benchmark.messages(item)  # type: ignore[arg-type]
    for calls in (lambda: benchmark.from_row(None), lambda: benchmark.grade(None, gold)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a row is a mapping"):
            calls()
    with pytest.raises(ValueError, match="not text"):
        benchmark.grade(item, {"content": gold})  # type: ignore[arg-type]


def test_an_answer_that_is_a_number_and_limits_of_any_make(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    write(own, [{"question": f"{n} + 7?", "answer": n + 7} for n in range(5)])
    benchmark = benchmarks.get(own)
    assert benchmark.grade(benchmark.load("test")[0], np.int64(7)).correct  # type: ignore[arg-type]
    for limit in (np.int64(2), 2.0, "2"):
        assert len(benchmark.load("test", limit=limit)) == 2
    for limit in (-1, 1.5, "some", math.nan):
        with pytest.raises(ValueError, match=f"limit .*{limit}.*whole number from 0 on"):
            benchmark.load("test", limit=limit)
    with pytest.raises(ValueError, match="NoneType"):
        benchmarks.get(None)  # type: ignore[arg-type]


def write(path: Path, rows: list[dict[str, Any]], array: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows) if array else "\n".join(map(json.dumps, rows)), encoding="utf-8")


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("folder", ["gsm8k", ""])
def test_load_layouts_limit_and_duplicates(tmp_path: Path, array: bool, folder: str) -> None:
    row = ROWS["gsm8k"][0]
    write(tmp_path / folder / "train.jsonl", [row, row, {**row, "question": "Other?"}, row], array)
    found = benchmarks.get("gsm8k").load("train", data_dir=tmp_path)
    first = found[0].id
    assert [example.id for example in found] == [first, f"{first}-2", found[2].id, f"{first}-3"]
    assert {example.split for example in found} == {"train"} and len(set(found[2].id.split("-"))) == 2
    assert benchmarks.get("gsm8k").load("train", data_dir=tmp_path, limit=2) == found[:2]


def test_load_names_file_row_and_field(tmp_path: Path) -> None:
    write(tmp_path / "mmlu" / "train.json", [ROWS["mmlu"][0], {"question": "q"}], array=True)
    with pytest.raises(ValueError, match=r"train\.json.*row 2.*'A'"):
        benchmarks.get("mmlu").load("train", data_dir=tmp_path)


def test_load_without_data_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.json.*mmlu.*LAIF_DATA"):
        benchmarks.get("mmlu").load("train", data_dir=tmp_path)


def test_load_without_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        assert len(kwargs["revision"]) == 40, "hub data sets are pinned to a commit"
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setenv("LAIF_DATA", str(tmp_path))
    for name in ("gsm8k", "gsm_plus", "mmlu", "arc_challenge", "mbpp", "humaneval"):
        for split in benchmarks.get(name).splits:
            with pytest.raises(FileNotFoundError, match=r"could not be had.*LAIF_DATA") as caught:
                benchmarks.get(name).load(split)
            assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="BIG-Bench-Hard"):
        benchmarks.get("bbh").load("test")


@pytest.mark.parametrize("name", ROWS)
def test_unknown_split(name: str) -> None:
    with pytest.raises(ValueError, match=f"no split 'dev'.*{benchmarks.get(name).splits[0]}"):
        benchmarks.get(name).load("dev")


@pytest.mark.parametrize("name", [name for name in ROWS if name != "bbh"])
def test_lessons_and_evaluation_share_one_prompt(name: str) -> None:
    benchmark = benchmarks.get(name)
    example = benchmark.from_row(ROWS[name][0])
    assert benchmark.messages(example) == benchmark.messages_for(benchmark.question_text(example))
    assert benchmark.messages(example)[-1]["role"] == "user"


def test_a_corrupt_entry_point_is_read_from_the_stub() -> None:
    row = {**ROWS["mbpp"][0], "entry_point": 'ompt": "def f(n):'}
    assert benchmarks.get("mbpp").from_row(row).fields["entry_point"] == "f"


def test_original_mbpp_is_graded() -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    benchmark = benchmarks.get("mbpp")
    example = benchmark.from_row(ROWS["mbpp"][1])
    gold = benchmark.gold_response(example)
    assert gold and benchmark.grade(example, gold).correct
    assert not benchmark.grade(example, "```python\ndef f(n):\n    return -n\n```").correct


# -- the triad on the real data: gold = 100 %, gold inside ten templates = 100 %, a constant wrong answer = 0 %


@pytest.fixture(scope="module")
def load_real() -> Callable[[str, str], list[Example]]:
    kept: dict[tuple[str, str], list[Example]] = {}

    def load(name: str, split: str) -> list[Example]:
        if not any((folder / name).is_dir() for folder in data_dirs()):
            pytest.skip(f"no {name} data in {', '.join(map(str, data_dirs()))}")
        if (name, split) not in kept:
            kept[name, split] = benchmarks.get(name).load(split)
        return kept[name, split]

    return load


NUMBER_TEMPLATES = [
    "{g}",
    "#### {g}",
    "She has 12 of 7.\n#### {g}\n",
    "The answer is {g}.",
    "In 3 steps:\nA: {g}",
    "**Final Answer:** {g}",
    "So \\boxed{{{g}}}.",
    "There are 12345 in all; the final answer is **{g}**",
    "Therefore, the answer is: {g}\n\nI hope that helps!",
    "Step 1: 2 + 3 = 5\nAnswer: {g}",
]
CHOICE_TEMPLATES = [
    "{g}",
    "({g})",
    "{g}. {t}",
    "The answer is {g}.",
    "A long thought about it. The correct answer is ({g}) {t}",
    "**Answer:** {g}",
    "The correct option is **{g}**.",
    "So $\\boxed{{{g}}}$",
    "Let me think. Option {g} is the best answer.",
    "I first thought of another one.\n\nTherefore, the answer is:\n\n{g}",
]
TEXT_TEMPLATES = [
    "{g}",
    "So the answer is {g}.",
    "the answer is {g}",
    "The answer is: {g}",
    "**Answer:** {g}",
    "First this, then that. So the answer is {g}.",
    "One.\nTwo.\nSo the answer is {g}.\n",
    "So the answer is {g}.\n\nQ: another question\nA: So the answer is nonsense.",
    "Thus, the final answer is {g}.",
    "So the answer is **{g}**.",
]


@pytest.mark.real
@pytest.mark.parametrize(("name", "split", "count"), REAL)
def test_real_ids_and_counts(name: str, split: str, count: int, load_real: Callable[..., list[Example]]) -> None:
    found = load_real(name, split)
    assert len(found) == count == len({example.id for example in found})
    assert all(example.split == split and example.question and example.gold for example in found)
    # one item of BBH's snarks came out with a single option
    guessed = [example.id for example in found if not 0 <= benchmarks.get(name).chance(example) <= 0.5]
    assert len(guessed) == (1 if name == "bbh" else 0)


@pytest.mark.real
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name, split, _ in REAL if name not in ("mbpp", "humaneval")]
)
def test_real_triad(name: str, split: str, every: int, load_real: Callable[..., list[Example]]) -> None:
    """Each gold answer is right; written in other words it is so too, and a wrong one is wrong, for every fourth."""
    benchmark, found = benchmarks.get(name), load_real(name, split)
    templates = {"math": NUMBER_TEMPLATES, "choice": CHOICE_TEMPLATES, "text": TEXT_TEMPLATES}[benchmark.family]
    for example in found:
        gold = benchmark.gold_response(example)
        assert gold is None or benchmark.grade(example, gold).correct, (example.id, gold)
    for number, example in enumerate(found[::every]):
        text = example.fields.get("options", {}).get(example.gold, "")
        for template in templates[number % 3 :: 3]:  # each template meets a third of the items
            response = template.format(g=example.gold, t=text)
            grade = benchmark.grade(example, response)
            assert grade.correct and grade.readable, (example.id, response, grade)
        wrong = ("The answer is -987654321.", "The answer is Z.", "So the answer is zebra")[number % 3]
        assert not benchmark.grade(example, wrong).correct, (example.id, wrong)


@pytest.mark.real
def test_real_wrong_letters_are_wrong(load_real: Callable[..., list[Example]]) -> None:
    for name, split in (("mmlu", "train"), ("arc_challenge", "test")):
        for example in load_real(name, split):
            labels = list(example.fields["options"])
            wrong = labels[(labels.index(example.gold) + 1) % len(labels)]
            grade = benchmarks.get(name).grade(example, f"The answer is {wrong}.")
            assert not grade.correct and grade.extracted == wrong


CODE_TEMPLATES = [
    "{g}",
    "```python\n{g}\n```",
    "```\n{g}\n```",
    "```Python\n{g}\n```",
    "~~~python\n{g}\n~~~",
    "Here is the function:\n\n```python\n{g}\n```\n\nIt works as asked.",
    "```python\n{g}\n```\nFor instance:\n```python\nprint('it runs')\n```",
    "```python\n{g}",
    "Sure.\n```py\n{g}\n```\n```\noutput: 3\n```",
    "First:\n```bash\npip install nothing\n```\nthen\n```python\n{g}\n```",
]


@pytest.mark.real
def test_real_humaneval_gold(load_real: Callable[..., list[Example]]) -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    benchmark, found = benchmarks.get("humaneval"), load_real("humaneval", "test")
    for example in found:
        for template in CODE_TEMPLATES:
            read = code_answers.find_code(template.format(g=example.rationale), example.gold)
            assert read.readable and read.whole and example.rationale.strip().endswith(read.code.strip()), (
                example.id,
                template,
            )
    golds = [benchmark.gold_response(example) or "" for example in found]
    with ThreadPoolExecutor(machine.cores()) as pool:
        right = list(pool.map(benchmark.grade, found, golds))
        wrong = list(pool.map(benchmark.grade, found, ["```python\ndef nothing(): pass\n```"] * len(found)))
    assert [example.id for example, grade in zip(found, right, strict=True) if not grade.correct] == []
    assert not any(grade.correct for grade in wrong)


@pytest.mark.real
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_mbpp_stub_alone_never_passes(split: str, load_real: Callable[..., list[Example]]) -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    found = load_real("mbpp", split)[:60]
    benchmark = benchmarks.get("mbpp")
    answers = [f"```python\ndef {example.gold}(*args):\n    return 'wrong'\n```" for example in found]
    with ThreadPoolExecutor(machine.cores()) as pool:
        grades = list(pool.map(benchmark.grade, found, answers))
    assert all(grade.readable and not grade.correct for grade in grades)


@pytest.mark.real
def test_real_worked_examples_of_all_27_tasks_are_graded_right(load_real: Callable[..., list[Example]]) -> None:
    """The three worked examples of each prompt are responses too: what they end on must be read."""
    bench, found = benchmarks.get("bbh"), load_real("bbh", "test")
    tasks = sorted({example.fields["task"] for example in found})
    assert len(tasks) == 27
    for task in tasks:
        examples = re.split(r"\n\s*Q: ", bbh.cot_prompt(task))[1:]
        assert len(examples) == 3, task
        for text in examples:
            question, _, answer = text.partition("\nA:")
            gold = re.findall(r"answer is (.+?)\.?\s*$", answer.strip())[-1]
            grade = bench.grade(bench.from_row({"task": task, "input": question, "target": gold}), answer)
            assert grade.correct, (task, gold, grade)
