"""Two logs are paired item by item, whoever wrote them; what cannot be paired is refused in a sentence."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.cli import commands
from laif_helpers.compare import pairs, sides, verdicts
from laif_helpers.evaluate.grading import to_responses
from laif_helpers.paths import RunDir, data_dirs
from laif_helpers.records import Completion, write_json, write_jsonl
from laif_helpers.stats import mcnemar

SCRIPT = "<script>alert(1)</script>"


def plain(path: Path, right: set[int], n: int = 60, **more: Any) -> str:
    rows = [{"id": k, "correct": k in right, "text": f"{path.stem} {SCRIPT}", **more} for k in range(n)]
    write_jsonl(path, rows)
    return str(path)


def run(a: str, b: str, out: Path, *options: str) -> Any:
    return CliRunner().invoke(commands, ["compare", a, b, "--out", str(out), *options])


def row_of(out: Path) -> dict[str, Any]:
    rows = json.loads((out / "compare.json").read_text())["rows"]
    assert len(rows) == 1
    return dict(rows[0])


def test_a_verdict_on_two_plain_files(tmp_path: Path) -> None:
    a, b = plain(tmp_path / "a.jsonl", set(range(30))), plain(tmp_path / "b.jsonl", set(range(2, 50)))
    done = run(a, b, tmp_path / "out", "--fail-if-worse")
    assert done.exit_code == 0, "better is no failure"
    row = row_of(tmp_path / "out")
    wanted = {"benchmark": "items", "n": 60, "a": 0.5, "b": 0.8, "fixed": 20, "broken": 2, "verdict": "better"}
    assert wanted.items() <= row.items()
    assert row["p_value"] == row["p_holm"] == pytest.approx(mcnemar(20, 2))
    assert row["delta"] == pytest.approx(0.3)
    assert row["ci_low"] < row["delta"] < row["ci_high"]
    assert 0 < row["detectable"] < 1
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "http" not in page
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".csv", ".md", ".html"}
    assert "+30.0" in done.output and "60 items paired" in done.output


def test_exit_status_tells_only_what_is_significantly_worse(tmp_path: Path) -> None:
    a = plain(tmp_path / "a.jsonl", set(range(40)))
    slightly, much = plain(tmp_path / "b.jsonl", set(range(37))), plain(tmp_path / "c.jsonl", set(range(10)))
    assert run(a, slightly, tmp_path / "out", "--fail-if-worse").exit_code == 0
    assert run(a, much, tmp_path / "out").exit_code == 0
    assert run(a, much, tmp_path / "out", "--fail-if-worse").exit_code == 1


def test_holm_runs_over_the_benchmarks(tmp_path: Path) -> None:
    for name, right in (("a", set(range(30))), ("b", set(range(1, 39)))):
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [{"id": k, "correct": k in right, "benchmark": task} for task in ("x", "y", "z") for k in range(60)],
        )
    two = pairs.pair(sides.load(str(tmp_path / "a.jsonl")), sides.load(str(tmp_path / "b.jsonl")))
    table = pairs.results(two, pairs.graded(two.a), pairs.graded(two.b))
    assert table["benchmark"].tolist() == ["x", "y", "z"]
    assert table["p_value"].tolist() == pytest.approx([mcnemar(9, 1)] * 3)
    assert table["p_holm"].tolist() == pytest.approx([3 * mcnemar(9, 1)] * 3)
    assert set(table["verdict"].str.partition(";")[0]) == {"no difference shown"}, "0.02 alone, 0.06 after Holm"


def test_unpaired_items_are_listed(tmp_path: Path) -> None:
    a, b = plain(tmp_path / "a.jsonl", {1, 2}, n=12), plain(tmp_path / "b.jsonl", {1, 3}, n=10)
    assert run(a, b, tmp_path / "out").exit_code == 0
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["unpaired"] == {
        "a": [["items", "10"], ["items", "11"]],
        "b": [],
    }
    assert row_of(tmp_path / "out")["n"] == 10


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ([{"id": 1, "correct": 1}], [{"id": 1, "correct": 1}], "are the same log"),
        ([{"id": 1, "correct": 1, "model": "m"}], [{"id": 1, "correct": 1, "model": "m"}], "are the same log"),
        ([{"id": 1, "correct": 1}], [{"id": 2, "correct": 1}], "have no item in common"),
        (
            [{"id": 1, "correct": 1}, {"id": 1, "correct": 0}],
            [{"id": 1, "correct": 1}],
            "item '1' .* stands there 2 times",
        ),
        ([{"id": 1, "correct": 1, "question": "a?"}], [{"id": 1, "correct": 1, "question": "b?"}], "no item in common"),
        ([{"task_id": "HumanEval/999", "completion": "x"}], [{"id": 1, "correct": 1}], "no item in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, first: list[dict[str, Any]], second: list[dict[str, Any]], sentence: str
) -> None:
    write_jsonl(tmp_path / "a.jsonl", first)
    write_jsonl(tmp_path / "b.jsonl", second)
    with pytest.raises(ValueError, match=sentence):
        verdicts.compare(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), out=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("first", "second"),
    [("{0}", "{0}.0"), ("{0:04d}", "{0}"), ("{0:02d}", "{0}"), ("q{0} ", "Q{0}"), ("pr\u00fc {0}", "pru\u0308 {0}")],
)
def test_ids_in_two_spellings_are_one(tmp_path: Path, first: str, second: str) -> None:
    for path, form, right in ((tmp_path / "a.jsonl", first, 6), (tmp_path / "b.jsonl", second, 9)):
        write_jsonl(path, [{"id": form.format(n), "correct": n < right, "text": path.stem} for n in range(12)])
    done = run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "out")
    assert "called otherwise in b" in done.output
    assert {"n": 12, "a": 0.5, "b": 0.75, "fixed": 3, "broken": 0}.items() <= row_of(tmp_path / "out").items()
    ids = [row["id"] for row in json.loads((tmp_path / "out" / "compare.json").read_text())["changed"]]
    assert ids == [first.format(n) for n in (6, 7, 8)], "as A spells them"


def test_ids_that_differ_in_their_spelling_alone_stay_two(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": id, "correct": True} for id in ("1", "01", "2")])
    write_jsonl(tmp_path / "b.jsonl", [{"id": id, "correct": False} for id in ("1", "2.0")])
    assert run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "out").exit_code == 0
    assert row_of(tmp_path / "out")["n"] == 1


def test_a_question_in_one_or_two_signs_is_one(tmp_path: Path) -> None:
    for name, asked in (("a", "Gr\u00f6\u00dfe?"), ("b", "Gro\u0308\u00dfe?")):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": name, "question": asked, "correct": name == "b"}])
    assert run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "out").exit_code == 0
    assert row_of(tmp_path / "out")["n"] == 1


def math_eval(path: Path, right: set[int]) -> str:
    rows = [
        {"idx": k, "question": f"{k} and 1?", "gt": str(k + 1), "pred": [str(k)], "score": [k in right]}
        for k in range(9)
    ]
    write_jsonl(path, [row | {"answer": row["gt"], "code": ["so it is"], "report": [None]} for row in rows])
    return str(path)


def test_logs_of_one_name_are_told_apart_by_their_places(tmp_path: Path) -> None:
    """math-evaluation-harness names no model: its logs go by their folder."""
    a, b = math_eval(tmp_path / "before.jsonl", {1, 2}), math_eval(tmp_path / "after.jsonl", {1, 3})
    assert "A: before.jsonl\nB: after.jsonl" in run(a, b, tmp_path / "out").output
    assert (
        "A: x\nB: y"
        in run(*(math_eval(tmp_path / f"{n}/same/gsm8k.jsonl", {n == "x"}) for n in "xy"), tmp_path / "o").output
    )


def test_other_graders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(a: Path, b: Path) -> str:
        return run(str(a), str(b), tmp_path / "out").output.replace("\n", " ")

    for name, filter in (("a", "strict-match"), ("b", "flexible-extract")):
        doc = {"doc": {"query": "?"}, "resps": [["x"]], "target": "x", "filter": filter, "exact_match": 1.0}
        write_jsonl(tmp_path / name / "samples_odd_2026-11-21T12-10-02.jsonl", [doc | {"doc_id": k} for k in range(3)])
    words = "3 of 3 items have labels of other graders: exact_match (strict-match) in a, exact_match (flexible-extract)"
    assert words in told(tmp_path / "a", tmp_path / "b")
    sample = {"epoch": 1, "input": "1 + 1?", "target": "2", "output": {"completion": "2"}}
    for name, scorer in (("c", "match"), ("d", "includes")):
        samples = [sample | {"id": k, "scores": {scorer: {"value": "C"}}} for k in range(2)]
        write_json(tmp_path / f"{name}.json", {"eval": {"task": "t", "model": name}, "samples": samples})
    assert "2 of 2 items have labels of other graders: match in c" in told(tmp_path / "c.json", tmp_path / "d.json")
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    for name, version in (("one", "1234567890"), ("two", "2234567890"), ("three", "2234567890")):
        path = RunDir.named(name).iteration("vanilla", 0).responses("practice", "test")
        write_jsonl(path, [response("i", True, text=name)])
        write_json(joined.stamp_of(path), {"graders": version})
        RunDir.named(name).recipe.write_text("error_split: train\n")
    assert "version 12345678 of our graders in one, version 22345678 of our graders in two" in told(
        Path("one"), Path("two")
    )
    assert "other graders" not in told(Path("two"), Path("three"))


def test_a_copy_of_a_log_is_the_same_log(tmp_path: Path) -> None:
    a, b = math_eval(tmp_path / "log.jsonl", {1, 2}), math_eval(tmp_path / "copy.jsonl", {1, 2})
    with pytest.raises(ValueError, match=r"log\.jsonl and copy\.jsonl are the same log"):
        verdicts.compare(a, b, out=str(tmp_path / "out"))


def test_a_log_that_is_nowhere_is_told_with_the_folder_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=f"not found as {tmp_path}/gone.jsonl, .*give its path, or a run's name"
    ):
        sides.load("gone.jsonl")


def test_another_model_may_answer_alike(tmp_path: Path) -> None:
    a, b = (plain(tmp_path / f"{name}.jsonl", {1, 2}, text="5", model=f"m{name}") for name in "ab")
    assert run(a, b, tmp_path / "out", "--fail-if-worse").exit_code == 0
    assert row_of(tmp_path / "out")["delta"] == 0


def test_ids_of_our_own_rows_may_be_numbers(tmp_path: Path) -> None:
    same = {"benchmark": "mine", "split": "test", "messages": [{"role": "user", "content": "?"}], "text": "7"}
    for name in "ab":
        write_jsonl(
            tmp_path / f"{name}.jsonl", [{**same, "id": n, "correct": n > 1, "model": f"m{name}"} for n in range(3)]
        )
    assert run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "out").exit_code == 0
    assert row_of(tmp_path / "out")["n"] == 3


def test_no_label_and_no_grader(tmp_path: Path) -> None:
    for name in "ab":
        doc = {"doc_id": 0, "doc": {"query": "?"}, "resps": [[name]], "target": "x", "filter": "none"}
        write_jsonl(tmp_path / name / "samples_odd_2026-11-21T12-10-02.jsonl", [doc])
    with pytest.raises(ValueError, match=r"item '0' of 'odd' has no label, and no grader here knows that task"):
        verdicts.compare(str(tmp_path / "a"), str(tmp_path / "b"), out=str(tmp_path / "out"))


def test_samples_that_a_log_does_not_judge_are_left_out_beside_those_that_it_does(tmp_path: Path) -> None:
    """lm-evaluation-harness 0.4 scores the first of an item's repeats alone."""
    for name, score in (("a", 0.0), ("b", 1.0)):
        doc = {"doc_id": 0, "doc": {"query": "?"}, "resps": [["x", "y"]], "target": "x", "filter": "get"}
        write_jsonl(tmp_path / name / "samples_odd_2026-11-21T12-10-02.jsonl", [doc | {"exact_match": score}])
    assert run(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "out").exit_code == 0
    assert (row_of(tmp_path / "out")["a"], row_of(tmp_path / "out")["b"]) == (0.0, 1.0)


def test_two_prompts_of_promptfoo_ask_one_question(tmp_path: Path) -> None:
    row = {"vars": {"q": "2+2?", "gold": "4"}, "response": {"output": "4"}, "success": True, "testIdx": 0}
    asked = [{"provider": {"id": "m"}, "promptIdx": n, "prompt": {"raw": f"{n}: 2+2?"}} for n in range(2)]
    write_jsonl(tmp_path / "a.jsonl", [row | each for each in asked])
    sides = [f"{tmp_path}/a.jsonl#m prompt {n}" for n in range(2)]
    assert run(*sides, tmp_path / "out").exit_code == 0
    assert row_of(tmp_path / "out")["n"] == 1


def test_a_folder_without_answers_names_a_file_to_look_at(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a" / "odd.jsonl", [{"x": 1}])
    with pytest.raises(ValueError, match=r"no answers in it; name one of its files .* e\.g\. .*odd\.jsonl"):
        verdicts.compare(str(tmp_path / "a"), str(tmp_path / "a"), out=str(tmp_path / "out"))


def math_log(path: Path, right: set[int], texts: str = "The answer is {}.", samples: int = 1) -> str:
    rows = []
    for k in range(40):
        answers = [texts.format(k + 2 if k in right else 0)] * samples
        row = {"idx": k, "question": f"Tom has {k} nuts and finds 2. How many?", "answer": f"x\n#### {k + 2}"}
        row |= dict.fromkeys(("code", "pred", "report"), answers)
        rows.append(row | {"gt": str(k + 2), "score": [k in right] * samples})
    write_jsonl(path, rows)
    return str(path)


def test_logs_of_two_tools_are_paired_by_question(tmp_path: Path) -> None:
    """One numbers its items from 0 in another order; both hold the questions."""
    a = math_log(tmp_path / "m" / "gsm8k.jsonl", set(range(20)))
    order = list(range(40))
    random.Random(0).shuffle(order)
    rows = [
        {
            "doc_id": at,
            "doc": {"question": f"Tom has {k} nuts and finds 2. How many?", "answer": f"x\n#### {k + 2}"},
            **{"resps": [["…"]], "target": str(k + 2), "filter": "none", "exact_match": float(k < 30)},
        }
        for at, k in enumerate(order)
    ]
    write_jsonl(tmp_path / "n" / "samples_gsm8k_cot_2026-11-21T12-10-02.jsonl", rows)
    assert run(a, str(tmp_path / "n"), tmp_path / "out").exit_code == 0
    row = row_of(tmp_path / "out")
    assert (row["n"], row["fixed"], row["broken"]) == (40, 10, 0)


def lm_log(path: Path, scores: dict[str, set[int]]) -> str:
    """Samples of lm-evaluation-harness: which of the 40 items each filter found right."""
    rows = []
    for k in range(40):
        doc = {"question": f"Tom has {k} nuts and finds 2. How many?", "answer": f"x\n#### {k + 2}"}
        about = {"doc_id": 100 + k, "doc": doc, "resps": [[f"#### {k + 2}", "#### 0"]], "target": str(k + 2)}
        rows += [
            about | {"filter": name, "filtered_resps": [str(k + 2)], "exact_match": float(k in right)}
            for name, right in scores.items()
        ]
    write_jsonl(path, rows)
    return str(path.parent)


def test_a_log_of_one_reading_is_set_against_every_reading_of_the_other(tmp_path: Path) -> None:
    a = math_log(tmp_path / "a" / "gsm8k.jsonl", set(range(20)))
    scores = {"maj@2": set(range(30)), "maj@8": set(range(10))}
    b = lm_log(tmp_path / "b" / "samples_gsm8k_2026-11-21T12-10-02.jsonl", scores)
    for first, second, sign in ((a, b, 1), (b, a, -1)):
        done = run(first, second, tmp_path / "out")
        rows = json.loads((tmp_path / "out" / "compare.json").read_text())["rows"]
        assert [(row["benchmark"], row["n"], sign * (row["fixed"] - row["broken"])) for row in rows] == [
            ("gsm8k [maj@2]", 40, 10),
            ("gsm8k [maj@8]", 40, -10),
        ]
        assert "taken as one task" in done.output
    c = lm_log(tmp_path / "c" / "samples_gsm8k_cot_2026-11-21T12-10-02.jsonl", scores)
    text, _ = verdicts.compare(b, c, out=str(tmp_path / "same-readings"))
    assert text.count("| exact McNemar |") == 2 and " against " not in text.partition("compare.html")[0]


def test_readings_that_fit_none_are_all_paired(tmp_path: Path) -> None:
    a = lm_log(tmp_path / "a" / "samples_x_2026-11-21T12-10-02.jsonl", {"maj@2": {1}, "maj@8": {2}})
    b = lm_log(tmp_path / "b" / "samples_y_2026-11-21T12-10-02.jsonl", {"maj@4": {3}, "maj@16": {4}})
    text, _ = verdicts.compare(a, b, out=str(tmp_path / "out"))
    assert text.count("| exact McNemar |") == 4 and "x [maj@2] against y [maj@16]" in text


def test_questions_of_one_stem_are_told_apart_by_their_options(tmp_path: Path) -> None:
    """The authors' rows have no id; a question that a file holds twice is one item."""
    for name in "ab":
        rows = [
            {"question": "Which is true?", "A": f"it is {k}", "B": "none", "C": "x", "D": "y", "answer": "A"}
            for k in (*range(12), 11)
        ]
        for part, held in (("right", rows[: 3 if name == "a" else 9]), ("wrong", rows[3 if name == "a" else 9 :])):
            answered = [row | {"response": f"{name}: A" if part == "right" else f"{name}: B"} for row in held]
            write_jsonl(tmp_path / name / "mmlu" / f"test_{part}.jsonl", answered)
    verdicts.compare(str(tmp_path / "a" / "mmlu"), str(tmp_path / "b" / "mmlu"), out=str(tmp_path / "out"))
    row = row_of(tmp_path / "out")
    assert (row["n"], row["fixed"], row["broken"]) == (12, 6, 0)
    doc = {"question": "Which is true?", "choices": ["it is 1", "none", "x", "y"], "answer": 0}
    sample = {"doc_id": 7, "doc": doc, "resps": [["A"]], "target": "A", "filter": "none", "acc": 1.0}
    write_jsonl(tmp_path / "c" / "samples_mmlu_2026-11-21T12-10-02.jsonl", [sample])
    assert pairs.pair(sides.load(str(tmp_path / "a" / "mmlu")), sides.load(str(tmp_path / "c"))).only[1] == []


def test_names_of_files_may_be_alike_and_hold_any_sign(tmp_path: Path) -> None:
    a, b = plain(tmp_path / "a #1" / "out.jsonl", set(range(30)), n=62), plain(tmp_path / "b" / "out.jsonl", {1}, n=61)
    rows = [json.loads(line) for line in Path(b).read_text().splitlines()]
    write_jsonl(Path(b), [row | {"text": "other", "benchmark": "x](y) | <b>\nz", "sample": 0.0} for row in rows[1:]])
    done = run(a, b, tmp_path / "out")
    assert "A: a #1\nB: b\n" in done.output
    page, table = ((tmp_path / "out" / f"compare.{kind}").read_text() for kind in ("html", "md"))
    assert "2 items only in a #1" in page
    assert table.count("\n") == 3 and "<b>" not in table and "](" not in table
    write_jsonl(tmp_path / "null.jsonl", [{"id": None, "correct": 1}])
    with pytest.raises(ValueError, match="row 1: its id is null; give each row one"):
        sides.load(str(tmp_path / "null.jsonl"))


def test_questions_that_repeat_under_other_ids_count_once(tmp_path: Path) -> None:
    for name in "ab":
        rows = [{"id": f"{name}{k}", "correct": k % 2 == (name == "b"), "question": f"q{k // 2}"} for k in range(20)]
        write_jsonl(tmp_path / f"{name}.jsonl", [*rows, {"id": f"{name}x", "correct": 1}])
    text, _ = verdicts.compare(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), out=str(tmp_path / "out"))
    assert (row_of(tmp_path / "out")["n"], row_of(tmp_path / "out")["delta"]) == (10, 0), "no first one is picked"
    assert "11 items of a repeat a question, which counts once, or have none" in text


def test_regrading_tells_where_grader_and_label_differ(tmp_path: Path) -> None:
    a = math_log(tmp_path / "a" / "gsm8k.jsonl", set(range(20)))
    b = math_log(tmp_path / "b" / "gsm8k.jsonl", set(range(30)))
    text = Path(b).read_text().replace("[true]", "[false]", 4)
    Path(b).write_text(text)
    run(a, b, tmp_path / "labels")
    done = run(a, b, tmp_path / "ours", "--regrade")
    assert (row_of(tmp_path / "labels")["broken"], row_of(tmp_path / "ours")["broken"]) == (4, 0)
    assert "b: our graders and the log differ on 4 of 40 answers (4 right by ours alone, 0 by the log" in done.output


def test_samples_of_an_item_are_one_unit(tmp_path: Path) -> None:
    a = math_log(tmp_path / "a" / "gsm8k.jsonl", set(range(20)), samples=5)
    b = math_log(tmp_path / "b" / "gsm8k.jsonl", set(range(22)))
    done = run(a, b, tmp_path / "out")
    row = row_of(tmp_path / "out")
    assert (row["n"], row["p_value"]) == (40, mcnemar(2, 0)), "200 answers are 40 items"
    assert "Samples of an item: [5] in a, [1] in b" in done.output


def test_other_gold_answers_and_prompts_are_told(tmp_path: Path) -> None:
    a = math_log(tmp_path / "a" / "gsm8k.jsonl", set(range(20)))
    b = math_log(tmp_path / "b" / "gsm8k.jsonl", set(range(30)))
    Path(b).write_text(Path(b).read_text().replace('"gt": "5"', '"gt": "6"'))
    assert "1 of 40 items have another gold answer: the test sets differ" in run(a, b, tmp_path / "out").output


def response(id: str, correct: bool, **more: Any) -> dict[str, Any]:
    row = {
        "id": id,
        "benchmark": "practice",
        "split": "test",
        "messages": [{"role": "user", "content": f"What is {id}?"}],
    }
    row |= {"gold": "1", "text": "#### 1", "extracted": "1", "correct": correct, "readable": True, "reason": ""}
    return row | {"prompt_tokens": 1, "new_tokens": 1, "model": "m"} | more


def test_a_gold_answer_is_the_same_however_a_tool_writes_it(tmp_path: Path) -> None:
    golds = [("6 * 4 = 24\n#### 24", "24.0"), ("(B)", "B"), ("1,200", "1200"), ("24", "25")]
    logged = [[{"id": n, "correct": side, "gold": pair[side]} for n, pair in enumerate(golds)] for side in (0, 1)]
    for name, rows in zip("ab", logged, strict=True):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    found = pairs.pair(*(sides.load(str(tmp_path / f"{name}.jsonl")) for name in "ab"))
    assert "1 of 4 items have another gold answer: the test sets differ." in found.notes


def test_two_runs_and_their_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    for name, right in (("one", 20), ("two", 30)):
        folder = RunDir.named(name)
        folder.path.mkdir()
        folder.recipe.write_text("error_split: train\n")
        for arm, k in (("vanilla", 0), ("le", 1)):
            rows = [response(f"i{n}", n < right - 10 * (arm == "vanilla")) for n in range(40)]
            write_jsonl(folder.iteration(arm, k).responses("practice", "test"), rows)
            write_jsonl(folder.iteration(arm, k).responses("practice", "train"), [response("t", True, split="train")])
    assert run("one", "two", tmp_path / "out").exit_code == 0
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["rows"]
    assert [(row["benchmark"], row["n"], row["fixed"]) for row in rows] == [
        ("practice, le/iter1", 40, 10),
        ("practice, vanilla/iter0", 40, 10),
    ], "test splits only"
    assert (
        run(str(tmp_path / "one/vanilla/iter0"), str(tmp_path / "one/le/iter1"), tmp_path / "two-turns").exit_code == 0
    )
    assert row_of(tmp_path / "two-turns")["fixed"] == 10


@pytest.mark.parametrize(("split", "settings"), [("test", "error_split: test\n"), ("train", "error_split: train\n")])
def test_runs_on_recordings_have_answers_to_the_error_split_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, settings: str
) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    for name, right in (("one", 20), ("two", 30)):
        folder = RunDir.named(name)
        rows = [response(f"i{n}", n < right, split=split) for n in range(40)]
        write_jsonl(folder.iteration("vanilla", 0).responses("practice", split), rows)
        folder.recipe.write_text(settings)
    assert run("one", "two", tmp_path / "out").exit_code == 0
    assert (row_of(tmp_path / "out")["n"], row_of(tmp_path / "out")["fixed"]) == (40, 10)


def test_answers_of_runs_are_graded_by_what_the_own_file_says_now(tmp_path: Path) -> None:
    own = tmp_path / "sums.jsonl"

    def write(gold: str, question: str = "1 + {k}?") -> None:
        rows = [{"id": f"i{k}", "question": question.format(k=k), "answer": str(1 + k)} for k in range(12)]
        write_jsonl(own, [*rows[:-1], rows[-1] | {"answer": gold}])

    write("99")
    bench = benchmarks.get(str(own))
    for name, said in (("a", "12"), ("b", "7")):
        items = bench.load("test")
        done = [Completion(said if item.id == "i11" else item.gold, 1, 1) for item in items]
        answers = to_responses(bench, items, done, "m", "test")
        write_jsonl(tmp_path / name / "vanilla/iter0" / "responses" / "sums.test.jsonl", answers)
    both = [str(tmp_path / name) for name in "ab"]
    before = pairs.pair(*map(sides.load, both))
    assert pairs.graded(before.a) == pairs.graded(before.b) and before.a.notes == []
    write("12")
    done = run(*both, tmp_path / "out")
    assert done.exit_code == 0 and row_of(tmp_path / "out")["broken"] == 1
    assert f"1 of 12 answers of {both[0]} are graded anew: the benchmark's file has changed." in done.output
    write("12", "2 + {k}?")
    assert run(*both, tmp_path / "other").exit_code == 0 and row_of(tmp_path / "other")["broken"] == 0, "not answered"
    own.unlink()
    assert run(*both, tmp_path / "gone").exit_code == 0 and row_of(tmp_path / "gone")["broken"] == 0, "the labels stand"


def test_regrading_takes_items_that_are_gone_and_thoughts_without_an_end_as_stage_1_does(tmp_path: Path) -> None:
    own = tmp_path / "sums.jsonl"
    write_jsonl(own, [{"id": k, "question": f"1 + {k}?", "answer": str(1 + k)} for k in range(3)])
    rows = [response(str(k), True) | {"benchmark": str(own), "text": f"The answer is {1 + k}."} for k in range(4)]
    rows[0]["text"] = "<think>\nThe answer is 1."
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert pairs.graded(sides.load(str(tmp_path / "a.jsonl")), regrade=True) == {
        ("sums", str(k)): float(k > 0) for k in range(4)
    }


def test_files_of_one_s_own_that_lie_elsewhere_in_the_other_run_are_the_same_tasks(tmp_path: Path) -> None:
    for home, right in (("laptop", 6), ("cluster", 9)):
        for task in ("sums", "words"):
            rows = [response(f"i{k}", k < right, benchmark=f"/{home}/data/{task}.jsonl") for k in range(12)]
            write_jsonl(tmp_path / home / "vanilla/iter0/responses" / f"{task}.test.jsonl", rows)
            write_jsonl(tmp_path / home / "le/iter1/responses" / f"{task}.test.jsonl", rows)
    done = run(str(tmp_path / "laptop"), str(tmp_path / "cluster"), tmp_path / "out")
    assert done.exit_code == 0
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["rows"]
    assert sorted((row["benchmark"], row["n"], row["fixed"]) for row in rows) == [
        (f"{task}, {arm}", 12, 3) for task in ("sums", "words") for arm in ("le/iter1", "vanilla/iter0")
    ]


def test_variants_of_a_seed_question_are_clustered(tmp_path: Path) -> None:
    for name, right in (("a", 8), ("b", 24)):
        rows = []
        for k in range(40):
            doc = {
                "question": f"Variant {k}?",
                "answer": "7",
                "perturbation_type": "x",
                "seed_question": f"seed {k // 8}",
            }
            about = {"doc_id": k, "doc": doc, "resps": [["7"]], "target": "7", "filter": "none"}
            rows.append(about | {"exact_match": float(k < right)})
        write_jsonl(tmp_path / name / "samples_gsm_plus_2026-11-21T12-10-02.jsonl", rows)
    done = run(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "out")
    row = row_of(tmp_path / "out")
    assert (row["test"], row["origins"], row["p_value"]) == ("exact sign flips of 5 origins", 5, 0.5)
    assert "40 items from 5 origins; the origin is the unit" in done.output


def test_groups_of_what_changed(tmp_path: Path) -> None:
    asked = {
        k: f"How many {'apples are in the basket' if k % 2 else 'trains leave the station'} {k}?" for k in range(40)
    }
    for name, right in (("a", set(range(0, 40, 2))), ("b", set(range(1, 40, 2)))):
        rows = [{"id": k, "correct": k in right, "question": asked[k], "text": name} for k in range(40)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "out")
    groups = json.loads((tmp_path / "out" / "compare.json").read_text())["groups"]
    assert [(group["fixed"], group["broken"]) for group in groups] == [(0, 20), (20, 0)]
    assert "trains" in groups[0]["name"] and "apples" in groups[1]["name"]


@pytest.mark.real
def test_reinforcement_learning_on_puzzles_changed_no_gsm8k_score(tmp_path: Path) -> None:
    logs = [f"recorded/math-eval/{name}" for name in ("qwen2.5-3b-instruct", "qwen2.5-3b-rlft")]
    if not any((folder / logs[0]).exists() for folder in data_dirs()):
        pytest.skip(f"no {logs[0]} in {', '.join(map(str, data_dirs()))}")
    assert run(logs[0], logs[1], tmp_path).exit_code == 0
    row = row_of(tmp_path)
    assert (row["n"], round(100 * row["a"], 1), round(100 * row["b"], 1)) == (1319, 86.6, 87.3)
    assert (row["fixed"], row["broken"], round(row["p_value"], 2)) == (64, 54, 0.41)


def test_one_of_several_models(tmp_path: Path) -> None:
    row = {"question": "How many jars?", "ground_truth": "6 * 4 = 24\nA: 24"}
    row |= {"small": {"is_correct": False, "solution": "A: 3"}, "large": {"is_correct": True, "solution": "A: 24"}}
    write_jsonl(tmp_path / "solutions.jsonl", [row])
    log = str(tmp_path / "solutions.jsonl")
    with pytest.raises(ValueError, match="2 models in one log; pick one with '#'"):
        sides.load(log)
    text, worse = verdicts.compare(f"{log}#small", f"{log}#large", out=str(tmp_path / "out"))
    assert not worse and "A: small" in text
    write_json(tmp_path / "empty.json", [])
    with pytest.raises(ValueError, match="no answers in it"):
        sides.load(str(tmp_path / "empty.json"))
