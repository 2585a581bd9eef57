"""Recorded answers: files told apart by content, ids that join, and agreement with the recorded labels."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, replay, sandbox
from laif_helpers.paths import ROOT, data_dirs
from laif_helpers.records import write_jsonl

MMLU_ROW = {"question": "Which gas?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "C", "subject": "s"}
GSM_ROW = {"question": "How many jars?", "answer": "6 * 4 = <<6*4=24>>24\n#### 24"}
MBPP_ROW = {
    "task_id": 3,
    "prompt": "def f(n):\n    pass\n",
    "test": "def check(c):\n    assert c(1) == 1\n",
    "entry_point": "f",
}


def test_right_and_wrong_files_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "some-model"
    write_jsonl(folder / "mmlu" / "train_right.jsonl", [{**MMLU_ROW, "response": "C"}])
    write_jsonl(folder / "mmlu" / "train_wrong.jsonl", [{**MMLU_ROW, "response": "A"}])
    write_jsonl(folder / "mbpp" / "train_wrong.jsonl", [{**MBPP_ROW, "response": "no", "passed": True}])
    found = replay.load(str(folder))
    assert [(r.example.benchmark, r.text, r.label, r.model, r.example.split) for r in found] == [
        ("mbpp", "no", True, "some-model", "train"),
        ("mmlu", "C", True, "some-model", "train"),
        ("mmlu", "A", False, "some-model", "train"),
    ]
    assert found[2].example.id == f"{found[1].example.id}-2"


def test_one_file_of_several_models(tmp_path: Path) -> None:
    row = {"question": "How many jars?", "ground_truth": "6 * 4 = 24\nA: 24"}
    row |= {"small": {"is_correct": False, "solution": "A: 3"}, "large": {"is_correct": True, "solution": "A: 24"}}
    write_jsonl(tmp_path / "solutions.jsonl", [row])
    both = replay.load(str(tmp_path / "solutions.jsonl"))
    assert replay.models(both) == ["small", "large"]
    one = replay.load(f"{tmp_path / 'solutions.jsonl'}#large")
    assert [(r.model, r.text, r.label) for r in one] == [("large", "A: 24", True)]
    assert one[0].example.id == benchmarks.get("gsm8k").from_row(GSM_ROW).id
    with pytest.raises(ValueError, match=r"'huge'.*small, large"):
        replay.load(f"{tmp_path / 'solutions.jsonl'}#huge")


def test_lm_eval_samples_beside_its_results(tmp_path: Path) -> None:
    folder = tmp_path / "org__model"
    sample = {
        "doc_id": 0,
        "doc": GSM_ROW,
        "resps": [["It is 24.\n#### 24"]],
        "filtered_resps": ["24"],
        "exact_match": 1.0,
    }
    write_jsonl(folder / "samples_gsm8k_2026.jsonl", [sample])
    (folder / "results_2026.json").write_text(json.dumps({"results": {}}, indent=2))
    found = replay.load(str(folder))
    assert [(r.example.benchmark, r.text, r.label, r.model) for r in found] == [
        ("gsm8k", "It is 24.\n#### 24", True, "org__model")
    ]


def test_code_samples_find_their_items(tmp_path: Path) -> None:
    row = {**MBPP_ROW, "task_id": "HumanEval/0", "prompt": "def f(n):\n"}
    write_jsonl(tmp_path / "data" / "humaneval" / "test.jsonl", [row])
    samples = [{"task_id": "HumanEval/0", "completion": "    return n\n", "passed": True}]
    samples += [{"task_id": "HumanEval/0", "solution": "def f(n):\n    return n\n"}]
    for number, sample in enumerate(samples):
        write_jsonl(tmp_path / f"samples{number}.jsonl", [sample])
    found = [replay.load(str(tmp_path / f"samples{number}.jsonl"), tmp_path / "data")[0] for number in (0, 1)]
    assert [(r.example.id, r.label) for r in found] == [("HumanEval/0", True), ("HumanEval/0", None)]
    if not all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        assert all(benchmarks.get("humaneval").grade(r.example, r.text).correct for r in found)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "x", "output": "y"}], "no known file of recorded answers.*'output', 'prompt'"),
        ([{**MMLU_ROW, "response": "C"}, {"question": "q", "response": "C"}], "row 2"),
        ([{**MMLU_ROW, "response": "C"}, {**MMLU_ROW, "answer": "Z", "response": "C"}], "row 2.*'Z'"),
        ([], "no recorded answers"),
    ],
)
def test_bad_files(tmp_path: Path, rows: list[dict[str, Any]], told: str) -> None:
    write_jsonl(tmp_path / "answers.jsonl", rows)
    with pytest.raises(ValueError, match=told):
        replay.load(str(tmp_path / "answers.jsonl"))


def test_missing_file_names_the_places(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl.*LAIF_DATA"):
        replay.load("nowhere.jsonl", tmp_path)


def real(spec: str) -> list[replay.Recorded]:
    if not any((folder / spec).exists() for folder in data_dirs()):
        pytest.skip(f"no {spec} in {', '.join(map(str, data_dirs()))}")
    return replay.load(spec)


@pytest.mark.real
def test_recorded_answers_join_their_items() -> None:
    for name in ("mmlu", "mbpp"):
        found = real(f"recorded/mistral-7b-instruct-v0.2/{name}")
        ids = {example.id for example in benchmarks.get(name).load("train")}
        assert {record.example.id for record in found} == ids and len(found) == len(ids)
    picked = real("recorded/gpt3-gsm8k/example_model_solutions.jsonl")
    ids = {example.id for example in benchmarks.get("gsm8k").load("test")}
    assert {record.example.id for record in picked} == ids and len(picked) == 4 * len(ids)


@pytest.mark.real
@pytest.mark.parametrize(
    ("spec", "benchmark", "count"),
    [
        ("recorded/mistral-7b-instruct-v0.2/mmlu", "mmlu", 1816),
        ("recorded/gpt3-gsm8k/example_model_solutions.jsonl", "gsm8k", 5276),
        pytest.param("recorded/mistral-7b-instruct-v0.2/mbpp", "mbpp", 462, marks=pytest.mark.slow),
    ],
)
def test_disagreements_are_those_of_the_table(spec: str, benchmark: str, count: int) -> None:
    """docs/disagreements.csv lists every answer on which our grade and the recorded label differ, with the reason."""
    if benchmark == "mbpp" and all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    found = real(spec)
    assert len(found) == count
    with ThreadPoolExecutor(sandbox.usable_cores()) as pool:
        grades = list(pool.map(lambda record: benchmarks.get(benchmark).grade(record.example, record.text), found))
    ours = {
        (r.model, r.example.id, g.correct, r.label) for r, g in zip(found, grades, strict=True) if g.correct != r.label
    }
    with (ROOT / "docs" / "disagreements.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["benchmark"] == benchmark]
    listed = {(row["model"], row["id"], row["ours"] == "right", row["recorded"] == "right") for row in rows}
    assert ours == listed
    assert all(len(row["reason"]) > 20 for row in rows)
