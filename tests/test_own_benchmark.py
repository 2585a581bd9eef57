"""A benchmark of the user's own, a file without code; and fetching the public ones."""

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, cli, compare, evaluate, figures, instruct, paths, recipe
from laif_helpers.answers import joined
from laif_helpers.benchmarks import _files, download
from laif_helpers.benchmarks._files import Source
from laif_helpers.compare import effects, published, report
from laif_helpers.compare import tables as compare_tables
from laif_helpers.error_analysis import tables as error_tables
from laif_helpers.evaluate import grading, looks
from laif_helpers.graders import second
from laif_helpers.instruct import tables as instruct_tables
from laif_helpers.records import Completion, Example, Grade, write_jsonl

SUM = {"question": "How many legs have 3 cats?", "answer": "12", "type": "legs"}
BIRD = {"question": "Which is a bird?", "answer": "a wren", "choices": ["a bat", "a wren", "a bee"]}
TOWN = {"question": "Capital of France?", "answer": "Paris"}


def put(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "gold", "right"),
    [
        ({"question": "q?", "answer": "5 + 7 = <<5+7=12>>12\n#### 12"}, "12", "The answer is 12."),
        ({"question": "q?", "answer": "1 200"}, "1200", "The answer is 1,200."),
        ({"question": "q?", "answer": "1\u202f200"}, "1200", "The answer is 1200."),
        ({"question": "q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answer": "B"}, "B", "y"),
        (
            {"question": "q?", "choices": [{"label": "1", "text": "x"}, {"label": "2", "text": "y"}], "answer": 2},
            "2",
            "2",
        ),
        ({"question": "q?", "choices": {"i": "x", "ii": "y"}, "answer": "ii"}, "ii", "ii"),
        ({"question": "q?", "choices": ["3 m", "4 m"], "answer": "4 m"}, "B", "B"),
        ({"question": "q?", "choices": ["A. a bat", "B) a wren"], "answer": "a wren"}, "B", "a wren"),
        ({"question": "q?", "choices": ["x", "y"], "answer": "B", "answer_index": 1}, "B", "B"),
        ({"question": "q?", "answer": "\\boxed{12}"}, "12", "#### 12"),
        ({"question": "q?", "answer": "$12$"}, "12", "#### 12"),
        ({"question": "q?", "answer": "\\frac{3}{4}"}, "\\frac{3}{4}", "#### 0.75"),
        ({"question": "q?", "answer": "x^2+1"}, "x^2+1", "The answer is x^2 + 1."),
        ({"question": "q?", "answer": "x^2+1"}, "x^2+1", "x^2 + 1"),
        ({"question": "q?", "answer": "y = 2x + 3"}, "y = 2x + 3", "y = 3 + 2x"),
        ({"question": "q?", "answer": "x = 2"}, "2", "\\boxed{2}"),
        ({"question": "q?", "answer": "3+4i", "grading": "numeric"}, "3+4i", "\\boxed{4i + 3}"),
        ({"question": "q?", "answer": "$x=\\frac{1}{2}$"}, "\\frac{1}{2}", "x = 0.5"),
        ({"question": "q?", "answer": "60 km/h"}, "60 km/h", "60 kilometers per hour"),
        ({"question": "q?", "answer": "-5°C"}, "-5°C", "minus 5 degrees"),
        ({"question": "q?", "answer": "24 cm²"}, "24 cm²", "24"),
        ({"question": "q?", "answer": "8 GB"}, "8 GB", "#### 8"),
        ({"question": "q?", "answer": "3 PM"}, "3 PM", "The answer is 3 pm."),
        ({"question": "q?", "answer": "\\left(1,2\\right)"}, "\\left(1,2\\right)", "The answer is (1, 2)."),
        (
            {"question": "q?", "answer": "\\begin{pmatrix}1\\\\2\\end{pmatrix}"},
            "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
            "\\boxed{\\begin{pmatrix}1 \\\\ 2\\end{pmatrix}}",
        ),
        ({"question": "q?", "answer": "β", "choices": {"α": "bat", "β": "wren", "γ": "bee"}}, "β", "β"),
        ({"question": "say: c", "answer": "12", "input": "c"}, "12", "#### 12"),
        ({"question": "q?", "answer": 1e22}, "1" + 22 * "0", "#### 1" + 22 * "0"),
        ({"question": "q?", "answer": 1e-05}, "0.00001", "#### 0.00001"),
        ({"question": "q?", "answer": "1'234.50"}, "1234.50", "#### 1234.5"),
        ({"question": "q?", "answer": "1,23,456"}, "123456", "#### 1,23,456"),
        ({"question": "q?", "choices": ["B. bat", "A. wren"], "answer": "A"}, "A", "wren"),
        ({"question": "q?", "choices": ["bat", "wren"], "answer": "**B**"}, "B", "wren"),
        ({"question": "q?", "answer": True}, "True", "The answer is yes."),
        ({"question": "q?", "answer": "first\nsecond"}, "first\nsecond", "The answer is:\nfirst\nsecond"),
        ({"question": "q?", "answer": ["12", "a dozen"]}, "12", "#### 12"),
        ({"question": "q?", "choices": ["x", "y"], "answer_index": 1.0, "id": float("nan")}, "B", "B"),
        # as pandas, polars and datasets write them
        ({"question": "q?", "answer": 12.0}, "12", "#### 12"),
        ({"question": "q?", "answer": "2020-01-05T00:00:00.000"}, "2020-01-05", "The answer is 2020-01-05."),
        ({"question": "q?", "answer": "2020-01-05T13:30:00.000Z"}, "2020-01-05 13:30:00", "2020-01-05 13:30:00"),
        ({"question": "q?", "choices": {"A": "x", "B": "y", "C": None}, "answer": "B"}, "B", "y"),
        ({"question": "q?", "choices": ["1", "2", "3"], "answer": "3"}, "C", "C"),
        ({"question": "q?", "choices": [1, 2, 3], "answer": 3}, "C", "C"),
        ({"question": "q?", "answer": "So $1+1=\\boxed{2}$."}, "2", "#### 2"),
        ({"question": "q?", "answer": 432_000_000_000, "grading": "numeric"}, "432000000000", "432 billion"),
    ],
)
def test_rows_as_other_data_sets_write_them(tmp_path: Path, row: dict[str, Any], gold: str, right: str) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", row))
    (item,) = bench.load("test")
    assert item.gold == gold and bench.grade(item, right).correct and not bench.grade(item, "nonsense").correct
    assert bench.grade(item, bench.gold_response(item) or "").correct


def test_a_solution_in_the_answer_is_taught_without_its_marks(tmp_path: Path) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", {"question": "q?", "answer": "5 + 7 = <<5+7=12>>12\n#### 12"}))
    assert bench.gold_response(bench.load("test")[0]) == "5 + 7 = 12\n#### 12"


def test_a_boxed_answer_is_taught_with_the_solution_around_it(tmp_path: Path) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", {"question": "q?", "answer": "So $1+1=\\boxed{2}$."}))
    assert bench.gold_response(bench.load("test")[0]) == "So $1+1=\\boxed{2}$.\n#### 2"


def test_a_gold_response_writes_its_number_as_the_file_does(tmp_path: Path) -> None:
    rows = [{"settings": {"decimal": ","}}, {"question": "q?", "answer": "1.234,5", "solution": "1.200 + 34,5"}]
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", *rows))
    item = bench.load("test")[0]
    assert bench.gold_response(item) == "1.200 + 34,5\n#### 1234,5"
    assert bench.grade(item, bench.gold_response(item) or "").correct


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "q?", "options": ["x", "y"], "answer": "B"}, "field 'options': call it 'choices'"),
        ({"question": "q?", "choices": ["x", "y"], "answerKey": "B"}, "field 'answerKey': call it 'answer'"),
        ({"question": "q?", "choices": [f"x{n}" for n in range(30)], "answer": "A"}, "30 options; at most 26"),
        ({"question": "q?", "A": "x", "B": "y", "answer": "B"}, "fields A, B look like options; .* 'choices'"),
        ({"question": "q?", "option_a": "x", "option_b": "y", "answer": "B"}, "fields option_a, option_b look like"),
        ({"question": "q?", "choice_a": "x", "choice_b": "y", "answer": "B"}, "fields choice_a, choice_b look like"),
        ({"question": "q?", "ending0": "x", "ending1": "y", "answer": "1"}, "fields ending0, ending1 look like"),
        ({"question": "q?", "candidates": ["x", "y"], "answer": "x"}, "fields candidates look like"),
        ({"question": "q?", "choices": [], "answer": "B"}, "field 'choices' is missing or empty"),
        ({"question": "q?", "answer": "x", "Incorrect Answer 1": "y", "Incorrect Answer 2": "z"}, "look like options"),
        ({"question": "q?", "A": "x", "B": "y", "C": "z", "E": "w", "answer": "B"}, "fields A, B, C, E look like"),
        ({"question": "q?", "answer": "x", "correct_answers": ["x", "y"]}, "'correct_answers' holds further answers"),
        ({"question": "q?", "answer": 86.0, "Body": "There are 87."}, "field 'Body' would not be seen"),
        ({"question": "q?", "answer": "['neon', 'argon']"}, "a list that was written as a text"),
        ({"question": "q?", "answer": 1578182400000}, "looks like a day in milliseconds; .* date_format='iso'"),
        ({"question": "q?", "choices": ["1", "2", "3", "4"], "answer": 3}, "text of option C, .* it is option D"),
        ({"question": "q?", "choices": [1, 2, 3], "answer": 2}, "text of option B, .* it is option C"),
        ({"Question ": "q?", "Answer": 42}, "field 'Question ': call it 'question'"),
        ({"input": "2+2=?", "ideal": "4"}, "field 'input': call it 'question'"),
        ({"question": "q?", "Correct Answer": "x"}, "field 'Correct Answer': call it 'answer'"),
        ({"question": "q?", "solution": "\\boxed{2}"}, "field 'solution': call it 'answer'"),
        ({"data": {"question": "q?"}, "id": 7}, "items stand inside field 'data'; write one object with"),
        ({"columns": ["question"], "data": [["q?"]]}, "items stand inside field 'data'; write one object with"),
        ({"question": {"0": "q?"}, "answer": {"0": 42}}, "'question' holds an object; write one object .*lines=True"),
        ({"question": "q?", "answer": "1", "table": "c"}, "field 'table' would not be seen by the model"),
        ({"question": "q?", "answer": "####"}, "field 'answer' is empty"),
        ({"question": "q?", "answer": "Ada", "aliases": ["Ada", "Ada L."]}, "field 'aliases' holds further answers"),
        ({"question": "q?", "answer": "1", "system": "c"}, "field 'system' would not be seen by the model; write it"),
        ({"question": "q?", "answer": "1", "context": "c"}, "field 'context' would not be seen by the model; write it"),
        ({"question": "q?", "answer": "Paris", "grading": "numeric"}, "'Paris', no number, and 'grading' is 'numeric'"),
        ({"question": "q?", "answer": "a\n\nb"}, "field 'answer' has an empty line"),
        (
            {"question": "q?", "choices": ["x", "y"], "answer": "A", "answer_index": 1},
            "'answer' means option A and 'answer_index' option B",
        ),
    ],
)
def test_names_and_numbers_that_would_be_lost_are_told(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"row 1: .*{sentence}"):
        benchmarks.get(put(tmp_path / "mine.jsonl", row))


def test_other_kinds_of_files_are_told_with_the_way_out(tmp_path: Path) -> None:
    for name in ("mine.csv", "mine.ndjson", "mine.JSONL", "sets/saved_by_datasets"):
        with pytest.raises(ValueError, match=r"only JSON Lines are read, .* with \.jsonl; pandas writes them"):
            benchmarks.get(name)
    (tmp_path / "mine.jsonl").write_bytes(gzip.compress(b'{"question": "q?", "answer": "1"}'))
    with pytest.raises(ValueError, match=r"mine\.jsonl: this is packed by gzip and no text; unpack it"):
        benchmarks.get(str(tmp_path / "mine.jsonl"))
    (tmp_path / "mine.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ValueError, match=r"mine\.jsonl: row 1 .*git lfs pull"):
        benchmarks.get(str(tmp_path / "mine.jsonl"))


@pytest.mark.parametrize("cell", ["nan", "None"])
def test_an_empty_cell_among_numbers_does_not_make_them_words(tmp_path: Path, cell: str) -> None:
    with pytest.raises(ValueError, match=rf"mine\.jsonl: row 2: answer '{cell}' stands among numbers"):
        benchmarks.get(put(tmp_path / "mine.jsonl", SUM, {**SUM, "answer": cell}))


@pytest.mark.parametrize(
    ("gold", "right"),
    [
        ("The answer is 12.", "12"),
        ("Answer: Paris", "Paris"),
        ("\\text{yes}", "yes"),
        ("$\\boxed{\\text{a cat}}$", "a cat"),
        ("はい。", "はい"),
        ("答案是四", "四"),
        ("__init__", "`__init__`"),
        ("C++", "C++"),
        ("He said: go", "He said: go"),
    ],
)
def test_a_gold_answer_that_says_more_than_itself_is_met_by_itself(tmp_path: Path, gold: str, right: str) -> None:
    rows = ({"question": "q", "answer": gold}, {"question": "r", "answer": "some words"})
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", *rows))
    item = bench.load("test")[0]
    assert all(bench.grade(item, text).correct for text in (right, f"The answer is {right}.", f"{right}\n"))
    assert bench.grade(item, bench.gold_response(item) or "").correct
    assert not bench.grade(item, "The answer is zebra.").correct
    with pytest.raises(ValueError, match="row 3: field 'answer' is '<think>', which is read from no response"):
        benchmarks.get(put(tmp_path / "mine.jsonl", *rows, {"question": "s", "answer": "<think>"})).load("test")


@pytest.mark.parametrize("line", ['{"question": "q", "answer": "1", "answer": "2"}', "[" * 100_000, "9" * 5_000])
def test_a_row_that_python_would_read_by_chance_or_not_at_all_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(SUM) + "\n" + line)
    with pytest.raises(ValueError, match=r"t\.jsonl: row 2(?!.*is 1).*"):
        benchmarks.get(str(tmp_path / "t.jsonl"))
    (tmp_path / "t.json").write_text(f"[{json.dumps(SUM)}, {line}]")
    with pytest.raises(ValueError, match=r"t\.json: not valid JSON"):
        benchmarks.get(str(tmp_path / "t.json"))


def test_half_a_surrogate_pair_in_a_question_can_be_asked_and_kept(tmp_path: Path) -> None:
    line = r'{"question": "Is \ud83d \ude00 or \\ud83d? \ud83d\ude00", "answer": "1"}'  # the third is a word
    for name, text in (("t.jsonl", line), ("t.json", f"[{line}]")):
        (tmp_path / name).write_text(text)
        (item,) = benchmarks.get(str(tmp_path / name)).load("test")
        assert item.question == "Is \ufffd \ufffd or \\ud83d? \U0001f600"


def test_a_number_for_a_repeated_id_is_nobody_s_own_id(tmp_path: Path) -> None:
    rows = [{**SUM, "id": id} for id in ("a", "a", "a-2", "a", 0)]
    items = benchmarks.get(put(tmp_path / "mine.jsonl", *rows)).load("test")
    assert [item.id for item in items] == ["a", "a-3", "a-2", "a-4", "0"]


def test_gradings_are_inferred_and_gold_is_right(tmp_path: Path) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", SUM, BIRD, TOWN))
    assert (bench.splits, bench.family) == (("test",), "text")
    items = bench.load("test")
    assert [item.fields["grading"] for item in items] == ["numeric", "choice", "exact"]
    assert bench.grade(items[0], "The answer is 12 legs.").correct, "one word in the file leaves its numbers numbers"
    assert bench.gold_response(items[0]) == "The answer is 12.", "as its prompt asks"
    assert [item.gold for item in items] == ["12", "B", "Paris"]
    for item in items:
        assert bench.grade(item, bench.gold_response(item) or "").correct
        assert not bench.grade(item, "The answer is nonsense.").correct
        assert bench.messages(item) == bench.messages_for(bench.question_text(item))
    assert bench.chance(items[1]) == pytest.approx(1 / 3)
    numeric = benchmarks.get(put(tmp_path / "sums.jsonl", SUM, {**SUM, "question": "And 300?", "answer": "1,200"}))
    assert numeric.family == "math" and numeric.messages(numeric.load("test")[0])[0]["content"] == SUM["question"]
    assert numeric.grade(numeric.load("test")[1], "She counts 1200 legs.").correct
    assert benchmarks.get(put(tmp_path / "birds.jsonl", BIRD)).family == "choice"


def test_formulas_are_compared_by_math_verify(tmp_path: Path) -> None:
    bench = benchmarks.get(put(tmp_path / "f.jsonl", {"question": "cos 30°?", "answer": "\\frac{\\sqrt{3}}{2}"}, SUM))
    formula, number = bench.load("test")
    assert bench.grade(formula, bench.gold_response(formula) or "").correct
    assert bench.grade(formula, "So \\boxed{\\frac{1}{2}\\sqrt 3}.").correct
    assert not bench.grade(formula, "So \\boxed{\\frac{1}{3}\\sqrt 3}.").correct
    assert bench.grade(number, "It is \\boxed{\\sqrt{144}}.").correct, "a formula for a plain number"


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("\\frac{3}{4}", "\\boxed{\\frac34}", "\\boxed{\\frac35}"),
        ("5x^7 + 8x^5y - 6", "\\boxed{5x^7+8x^5y-6}", "\\boxed{5x^7-8x^5y-6}"),
        ("5 \\text{ inches}", "\\boxed{5}", "\\boxed{6}"),
        ("p - q", "\\boxed{p-q}", "\\boxed{p+q}"),
        ("raspberry pi", "The answer is raspberry pi.", "The answer is raspberry."),
        ("1,200", "The answer is 1200 apples.", "The answer is 1201."),
        ("007", "The answer is 007.", "The answer is 7."),
        ("+1 555 0100", "The answer is +1 555 0100.", "The answer is +1 555 0101."),
        ("five", "The answer is 5 apples.", "The answer is 6."),
        ("(x+1)(x-2)", "\\boxed{(x-2)(x+1)}", "\\boxed{(x+1)(x+2)}"),
        ("±5", "\\boxed{\\pm 5}", "\\boxed{5}"),
        ("1e-7", "The answer is 10^{-7}.", "The answer is 1e-6."),
        ("3 hours", "It takes 180 minutes.", "It takes 3 days."),
        ("8 km", "It is 8 km (about 5 miles).", "It is 8 miles."),
        ("70 kg", "70 kg, or 154 lb", "70 pounds"),
        ("\\{2, 3\\}", "\\boxed{\\{3, 2\\}}", "\\boxed{\\{2, 4\\}}"),
        ("1, -2", "So x = -2 or x = 1.", "\\boxed{1}"),
        ("1,2,3", "\\boxed{3, 1, \\text{ and } 2}", "\\boxed{1, 2}"),
        ("x \\in [-2,7]", "\\boxed{-2 \\le x \\le 7}", "\\boxed{(-2, 7)}"),
        ("x > 3", "The answer is (3, \\infty).", "x ≥ 3"),
        ("(1,\\frac{9}{2})", "(1, 4.5)", "(4.5, 1)"),
        ("(2,3)", "The point is (2, 3).", "\\boxed{(3, 2)}"),
        ("x=1, y=2", "\\boxed{y = 2, x = 1}", "\\boxed{x=2, y=1}"),
        ("p - q", "\\boxed{-q + p}", "\\boxed{q - p}"),
        ("1747_8", "\\boxed{1747}", "\\boxed{1747_{9}}"),
        ("5!", "\\boxed{120}", "\\boxed{5}"),
        ("x^2+4", "x² + 4", "x² - 4"),
        ("12π", "12π square units", "12 square units"),
        ("12", "\\boxed{3 \\cdot 4}", "\\boxed{3 \\cdot 5}"),
        ("8000", "\\boxed{8\\ 000}", "\\boxed{8}"),
        ("-1", "\\boxed{- 1}", "\\boxed{1}"),
        ("2", "\\boxed{2}", "\\boxed{2 \\text{ and } 3}"),
        ("864 \\mbox{ inches}^2", "\\boxed{864 \\text{ in}^2}", "\\boxed{846}"),
        ("July 4, 1776", "It was signed on 4 July 1776.", "Not on July 4, 1776."),
        ("3:30 PM", "The train leaves at 15:30.", "It leaves at 3:30 AM."),
        ("3:30 PM", "It starts at 3:30 p.m.", "From 3:30 PM to 4:30 PM."),
        ("2.5 hours", "It takes 2h30.", "It takes 2 minutes and 30 seconds."),
        ("90 minutes", "It takes 1 hour and 30 minutes.", "It takes 1 hour and 20 minutes."),
        ("1.5 kg", "It weighs 1,500 grams.", "It weighs 1,500 kg."),
        ("3 blind mice", "The answer is 3 blind mice.", "The answer is 3."),
        ("3 * 4 = 12 legs. The answer is: 12", "It has 12 legs.", "The answer is 13."),
        ("3 * 4 = 12\n#### 12\nThe answer is: 12", "It has 12 legs.", "The answer is 13."),
    ],
)
def test_one_word_in_a_file_leaves_its_formulas_formulas(tmp_path: Path, gold: str, right: str, wrong: str) -> None:
    bench = benchmarks.get(put(tmp_path / "f.jsonl", {"question": "q?", "answer": gold}, TOWN))
    item = bench.load("test")[0]
    assert all(bench.grade(item, text).correct for text in (right, bench.gold_response(item) or ""))
    assert not bench.grade(item, wrong).correct


def test_numbers_that_a_question_wants_in_order_stand_in_order(tmp_path: Path) -> None:
    bench = benchmarks.get(put(tmp_path / "s.jsonl", {"question": "Sort 8, 3 and 5.", "answer": "3, 5, 8"}))
    item = bench.load("test")[0]
    assert bench.grade(item, "Sorted: 3, 5, 8").correct and not bench.grade(item, "8, 5, 3").correct
    assert second_of(bench, item, "3") is False  # the first of them is not all of them


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("60 km/h", "60 kilometers per hour (37 mph)", "60 mph"),
        ("-5 °C", "-5 degrees", "-5 °F"),
        ("€5", "It costs 5 euros.", "It costs $5."),
        ("44 BC", "In 44 B.C.", "44 AD"),
    ],
)
def test_a_number_in_what_is_never_the_same_is_wrong(tmp_path: Path, gold: str, right: str, wrong: str) -> None:
    bench = benchmarks.get(put(tmp_path / "n.jsonl", {"question": "q?", "answer": gold}))
    item = bench.load("test")[0]
    assert bench.grade(item, right).correct and not bench.grade(item, wrong).correct


PROGRAM = "def add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"choices": ["C", "A", "B"], "answer": "C"},
            "'C', a label and the text of another option; give 'answer_index'",
        ),
        ({"choices": {"a bat": 0, "a wren": 1}, "answer": "a wren"}, "maps 'a bat' to 0; map A, B"),
        ({"answer": PROGRAM}, "'answer' is about a program.*run the benchmark mbpp"),
        ({"prompt": "def add(a, b):", "canonical_solution": PROGRAM, "entry_point": "add"}, "'canonical_solution' is"),
        ({"answer": "12", "few_shot": "1 + 1 = 2"}, "'few_shot' would not be seen by the model"),
    ],
)
def test_rows_that_were_read_as_something_else(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        benchmarks.get(put(tmp_path / "mine.jsonl", {"question": "Which?", **row}))


@pytest.mark.parametrize(
    "question",
    [
        "Which is a pet?\nA. a wolf\nB. a dog",
        "Which is a pet? A) a wolf B) a dog",
        "Which?\nOptions:\n(A) a wolf\n(B) a dog",
        "Which? (A) a wolf (B) a dog",
        "Which?\n\na) a wolf\nb) a dog\n\nAnswer:",
    ],
)
def test_options_that_a_question_ends_on_are_its_choices(tmp_path: Path, question: str) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", {"question": question, "answer": "B"}, TOWN))
    pet = bench.load("test")[0]
    assert (pet.gold, pet.fields["options"]) == ("B", {"A": "a wolf", "B": "a dog"})
    assert bench.question_text(pet).count("a wolf") == 1
    assert all(bench.grade(pet, text).correct for text in ("B. a dog", "The answer is (B) a dog.", "a dog"))
    assert not bench.grade(pet, "A. a wolf").correct
    plain = benchmarks.get(put(tmp_path / "words.jsonl", {"question": question, "answer": "cat"}, TOWN)).load("test")[0]
    assert plain.question == question and plain.fields["grading"] == "exact", "whose answer is none of them"
    named = {"question": "What is between (A) and (B)?", "answer": "A"}
    assert not benchmarks.get(put(tmp_path / "named.jsonl", named, TOWN)).load("test")[0].fields["options"]


def test_a_question_of_a_thousand_options_takes_no_time(tmp_path: Path) -> None:
    question = "Which?\n" + "A. a wolf\n" * 10_000 + "none"
    name = put(tmp_path / "mine.jsonl", {"question": question, "answer": "B"}, TOWN)
    began = time.process_time()
    assert benchmarks.get(name).load("test")[0].question == question
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Ja, das ist richtig.", True),
        ("Die Antwort ist ja, weil es so ist.", True),
        ("Nein, ja nicht.", False),
    ],
)
def test_yes_in_other_languages_opens_an_answer(tmp_path: Path, text: str, right: bool) -> None:
    bench = benchmarks.get(put(tmp_path / "mine.jsonl", {"question": "Stimmt es?", "answer": "ja"}))
    assert bench.grade(bench.load("test")[0], text).correct is right


def test_a_file_s_path_may_be_a_path(tmp_path: Path) -> None:
    assert benchmarks.get(Path(put(tmp_path / "mine.jsonl", SUM))).load("test")[0].gold == "12"


def test_splits_by_field_or_by_file(tmp_path: Path) -> None:
    by_field = benchmarks.get(put(tmp_path / "a.jsonl", {**SUM, "split": "train"}, TOWN))
    assert by_field.splits == ("train", "test")
    assert [len(by_field.load(split)) for split in by_field.splits] == [1, 1]
    put(tmp_path / "b.train.jsonl", SUM, {**SUM, "question": "4 cats?", "answer": "16"})
    name = put(tmp_path / "b.test.jsonl", {**SUM, "question": "5 cats?", "answer": "20"}).replace(".test", "")
    by_file = benchmarks.get(name)
    assert [(split, len(by_file.load(split))) for split in by_file.splits] == [("train", 2), ("test", 1)]
    assert len(by_file.load("train", limit=1)) == 1
    settings = recipe.build(recipe.Recipe, {"benchmarks": [name], "in_domain": [name]})
    assert settings.in_domain == [name]
    with pytest.raises(ValueError, match=r"error_split 'train': benchmark .* has the splits test"):
        recipe.build(
            recipe.Recipe, {"benchmarks": [put(tmp_path / "c.jsonl", SUM)], "in_domain": [str(tmp_path / "c.jsonl")]}
        )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"answer": "1"}, "no field 'question'"),
        ({"question": " ", "answer": "1"}, "field 'question' is empty"),
        ({"question": "q"}, "no field 'answer'"),
        ({"question": "q", "answer": ""}, "field 'answer' is empty"),
        ({"question": "q", "answer": "1", "grading": "vibes"}, "'grading' is 'vibes'; choose one of numeric"),
        ({"question": "q", "answer": "A", "grading": "choice"}, "'choices' is missing"),
        ({"question": "q", "answer": "A", "choices": ["x"]}, "at least two options"),
        ({"question": "q", "answer": "E", "choices": ["x", "y"]}, "neither a label \\(A, B\\) nor"),
        ({"question": "q", "answer": "A", "choices": "xy"}, "'choices' is str"),
        (["q"], "is list, expected an object"),
        ({"question": "q", "answer": {"text": ["Ada"]}}, "'answer' holds an object"),
        ({"question": "q", "answer": []}, "'answer' is an empty list"),
        ({"question": "q", "answer": ["a", ["b"]]}, "a list inside a list"),
        ({"question": "q", "answer": float("nan")}, "'answer' is nan"),
        ({"question": "q", "answer": "12,5"}, "comma marks no thousands"),
        ({"question": "q", "answer": "A", "choices": ["x", float("inf")]}, "'choices' is inf"),
        ({"question": "q", "answer": "1", "choices": {"0": "x", "1": "y"}}, "number the options from 1"),
        ({"question": "q", "answer": 1, "choices": ["x", "y"]}, "'answer_index' counts the options from 0"),
        ({"question": "q", "answer_index": 2, "choices": ["x", "y"]}, "'answer_index' is 2, expected 0 to 1"),
        ({"question": "q", "answer": "a", "choices": {"a": "x", "A": "y"}}, "a label twice"),
        ({"question": "q", "answer": "x", "choices": ["x", "x "]}, "the text of options A, B; write a label"),
        ({"question": "q", "answer": None}, "'answer' is null"),
        ({"instruction": "q", "input": "", "output": "1"}, "'instruction': call it 'question'"),
        ({"question": "q", "answer": "1", "Split": "train"}, "'Split': call it 'split'"),
        ({"question": "q", "choices": ["x", "y"], "label": 1}, "'label': call it 'answer'"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "'conversations' would not be seen"),
        ({"question": ["q"], "answer": "1"}, "'question' holds a list; write a text or a number \\("),
    ],
)
def test_bad_rows_name_file_row_and_field(tmp_path: Path, row: Any, sentence: str) -> None:
    name = put(tmp_path / "bad.jsonl", SUM, row)
    with pytest.raises(ValueError, match=f"bad.jsonl: row 2.*{sentence}"):
        recipe.build(recipe.Recipe, {"benchmarks": [name], "in_domain": []})
    with pytest.raises(ValueError, match="no rows"):
        benchmarks.get(put(tmp_path / "empty.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl.*LAIF_DATA"):
        benchmarks.get("none.jsonl")


def second_of(bench: benchmarks.Benchmark, item: Example, text: str) -> bool | None:
    return second.second_grades(bench, [item], [text], [Grade(False, None, True, "disputed")])[0][0]


@pytest.mark.parametrize("gold", ["B", "(b)", "a wren", "A Wren", "B. a wren", "(b) a  wren", "Option B", "option_b"])
def test_a_gold_option_is_its_label_its_text_or_both(tmp_path: Path, gold: str) -> None:
    birds = benchmarks.get(put(tmp_path / "b.jsonl", {**BIRD, "choices": ["a bat", "a wren"], "answer": gold}))
    assert birds.load("test")[0].gold == "B"


def test_an_accent_in_one_or_two_signs_is_one(tmp_path: Path) -> None:
    row = {**BIRD, "choices": ["a caf\u00e9", "a wren"], "answer": "a cafe\u0301"}
    places = benchmarks.get(put(tmp_path / "p.jsonl", row))
    (item,) = places.load("test")
    assert item.gold == "A" and places.grade(item, "It is a cafe\u0301.").correct


def test_every_accepted_answer_is_right(tmp_path: Path) -> None:
    towns = benchmarks.get(put(tmp_path / "t.jsonl", {**TOWN, "answer": ["Paris", "the city of light"]}))
    item = towns.load("test")[0]
    assert item.gold == "Paris"
    for answer, right in (("Paris", True), ("the city of light", True), ("Rome", False)):
        text = f"The answer is {answer}."
        assert (towns.grade(item, text).correct, second_of(towns, item, text)) == (right, right)
    numbers = benchmarks.get(put(tmp_path / "n.jsonl", {**SUM, "answer": [12, "12.5"]}))
    assert numbers.family == "math" and numbers.grade(numbers.load("test")[0], "It is 12.5").correct
    letters = benchmarks.get(put(tmp_path / "l.jsonl", {**BIRD, "answer": ["B", "a bee"]}))
    assert letters.grade(letters.load("test")[0], "The answer is C.").correct


def test_what_only_says_that_a_label_is_one_is_no_part_of_it(tmp_path: Path) -> None:
    row = {**BIRD, "choices": {"option_a": "a bat", "option_b": "a wren"}, "answer": "option_b"}
    bench = benchmarks.get(put(tmp_path / "o.jsonl", row))
    item = bench.load("test")[0]
    assert item.gold == "B" and bench.grade(item, "The answer is B.").correct


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["A", "B", "C"], ["1", "2", "3"], ["(a)", "(b)", "(c)"]])
def test_options_have_labels_of_any_kind(tmp_path: Path, labels: list[str]) -> None:
    row = {**BIRD, "choices": dict(zip(labels, BIRD["choices"], strict=True)), "answer": labels[1]}
    bench = benchmarks.get(put(tmp_path / f"{labels[0]}.jsonl", row))
    item = bench.load("test")[0]
    bare = labels[1].strip("()")
    for text in (
        f"The answer is {bare}.",
        f"({bare})",
        f"The answer is {bare.upper()}.",
        bench.gold_response(item) or "",
    ):
        assert bench.grade(item, text).correct, text
    assert not bench.grade(item, f"The answer is {labels[2]}.").correct
    assert bench.messages(item) == bench.messages_for(bench.question_text(item))


def test_options_of_several_lines_and_places(tmp_path: Path) -> None:
    code = ["x = 1\ny = 2", "for x in y:\n    print(x)"]
    row = {"question": "Which prints?", "choices": code, "answer_index": 1}
    bench = benchmarks.get(put(tmp_path / "code.jsonl", row))
    item = bench.load("test")[0]
    assert "multiple-choice" in bench.messages_for(bench.question_text(item))[0]["content"]
    assert item.gold == "B" and bench.grade(item, bench.gold_response(item) or "").correct


def test_decimal_commas_are_declared_and_never_guessed(tmp_path: Path) -> None:
    rows = [{**SUM, "answer": "1.234,5"}, {**SUM, "question": "And 2?", "answer": "0,25"}]
    bench = benchmarks.get(put(tmp_path / "de.jsonl", {"settings": {"decimal": ","}}, *rows))
    first, other = bench.load("test")
    assert (first.gold, other.gold, bench.family) == ("1234.5", "0.25", "math")
    assert bench.grade(first, "Die Antwort ist 1.234,5 Meter.").correct and bench.grade(other, "#### 0,25").correct
    assert second_of(bench, first, "Die Antwort ist 1.234,5.") is True
    money = benchmarks.get(put(tmp_path / "eur.jsonl", {"settings": {"decimal": ","}}, {**SUM, "answer": "1.250,50 €"}))
    item = money.load("test")[0]
    assert money.gold_response(item) == "#### 1.250,50 €" and money.grade(item, "#### 1.250,50 €").correct
    french = benchmarks.get(put(tmp_path / "fr.jsonl", {"settings": {"decimal": ","}}, {**SUM, "answer": "1 234,5"}))
    assert french.family == "math" and french.grade(french.load("test")[0], "La réponse est 1 234,5 m.").correct
    with pytest.raises(ValueError, match=r"row 2: field 'answer' is '1,234.5', and the file settles .* write 1.234,5"):
        benchmarks.get(put(tmp_path / "x.jsonl", {"settings": {"decimal": ","}}, {**SUM, "answer": "1,234.5"}))
    with pytest.raises(ValueError, match="setting 'decimal' is ';'; known are decimal"):
        benchmarks.get(put(tmp_path / "x.jsonl", {"settings": {"decimal": ";"}}, *rows))


def test_equal_ids_in_two_files_stay_two_items(tmp_path: Path) -> None:
    put(tmp_path / "b.train.jsonl", {**SUM, "id": "1"})
    bench = benchmarks.get(put(tmp_path / "b.test.jsonl", {**TOWN, "id": "1"}).replace(".test", ""))
    assert [bench.load(split)[0].id for split in ("train", "test")] == ["1", "1-2"]


def test_corrected_gold_answers_grade_again(tmp_path: Path) -> None:
    """A changed gold answer, grading or option changes the stamp of the answers; the same file keeps it."""

    def stamp(**change: Any) -> str:
        bench = benchmarks.get(put(tmp_path / "birds.jsonl", {**BIRD, "id": "b", **change}))
        return grading.items_hash(["asked"], bench.load("test"))

    plain = stamp()
    assert stamp() == plain
    for change in ({"answer": "A"}, {"answer": ["B", "C"]}, {"choices": ["a rat", "a wren", "a bee"]}):
        assert stamp(**change) != plain, change


def test_recorded_answers_meet_the_items_of_today(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one kernel: gold answers are put right, an item moves to another split, one goes."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))
    rows = [{"id": f"q{n}", "question": f"{n} legs?", "answer": "999", "split": "test"} for n in range(4)]
    mine = put(tmp_path / "mine.jsonl", *rows, {**SUM, "split": "train"})
    bench = benchmarks.get(mine)
    told = [Completion(f"#### {n}", 1, 1) for n in range(4)]
    write_jsonl(tmp_path / "log.jsonl", grading.to_responses(bench, bench.load("test"), told, "m", "test"))
    common = {"run": "r", "iterations": 0, "target": f"replay:{tmp_path / 'log.jsonl'}", "in_domain": [mine]}

    def graded() -> dict[str, bool]:
        p = recipe.build(recipe.StageParameters, common | {"benchmarks": [mine]})
        evaluate.evaluate(p)
        assert {item.gold for item in joined.examples(p, mine, "test").values()} == {row["answer"] for row in rows}
        return dict(evaluate.load_responses(p.folder)[["id", "correct"]].itertuples(index=False))

    assert graded() == dict.fromkeys(("q0", "q1", "q2", "q3"), False)
    rows = [row | {"answer": str(n)} for n, row in enumerate(rows)]
    put(tmp_path / "mine.jsonl", *rows, {**SUM, "split": "train"})
    assert graded() == dict.fromkeys(("q0", "q1", "q2", "q3"), True)
    rows = [rows[0], rows[1] | {"split": "train"}, rows[2]]
    put(tmp_path / "mine.jsonl", *rows)
    assert graded() == dict.fromkeys(("q0", "q1", "q2"), True)
    assert "1 answers to items that are not there are left out" in capsys.readouterr().out


def test_what_was_thought_or_cut_is_told_apart() -> None:
    bench = benchmarks.get("practice")
    item = bench.load("test", limit=1)[0]
    texts = ["<think>Or 7?</think>\n#### 8", "<think>It is 8, but", "#### 8"]
    done = [Completion(text, 1, 1, "length" if n == 1 else "stop") for n, text in enumerate(texts)]
    rows = grading.to_responses(bench, [replace(item, gold="8")] * 3, done, "m", "test")
    assert [(row.thought, row.cut, row.readable, row.correct) for row in rows] == [
        ("Or 7?", False, True, True),
        ("It is 8, but", True, False, False),
        ("", False, True, True),
    ]
    assert rows[1].reason.startswith(grading.UNFINISHED)


def test_files_of_responses_stay_sane() -> None:
    folder = paths.IterationDir(Path("it"))
    assert folder.responses("gsm8k", "test") == Path("it/responses/gsm8k.test.jsonl")
    assert folder.responses("my data.jsonl", "test") == Path("it/responses/my_data.test.jsonl")
    first, other = (folder.responses(f"/{place}/mine.jsonl", "test") for place in ("a", "b"))
    assert first != other and first.parent == other.parent == Path("it/responses") and first.name.startswith("mine-")


@pytest.mark.parametrize("name", ["gsm8k", "gsm_plus", "mmlu", "arc_challenge", "mbpp", "humaneval", "bbh"])
def test_more_fields_than_needed_do_no_harm(name: str) -> None:
    from test_benchmarks import ROWS

    row, more = ROWS[name][0], {"response": "x", "extra": {"a": [1]}, "meta": None}
    assert benchmarks.get(name).from_row(row | more) == benchmarks.get(name).from_row(row)


# -- laif data


def test_get_fetches_through_datasets_and_notes_what_it_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"question": f"How many, {n}?", "answer": f"So many.\n#### {n}"} for n in range(3)]
    put(tmp_path / "hub" / "test.jsonl", *rows)
    source = Source(("test.jsonl",), (str(tmp_path / "hub"), "default", "test", "main"))
    sources = benchmarks.get("gsm8k").sources
    monkeypatch.setattr(download, "_splits", lambda name: {"test": source})
    held = download.get("gsm8k", tmp_path / "downloads")
    assert [(row.split, row.state) for row in held] == [("test", "as fetched")]
    assert [json.loads(line) for line in held[0].path.read_text().splitlines()] == rows, "rows as the data set has them"
    noted = json.loads((held[0].path.parent / download.NOTE).read_text())["test.jsonl"]
    assert (noted["rows"], noted["licence"], noted["revision"]) == (3, "MIT", "main")
    assert noted["bytes"] == held[0].size and noted["sha256"] == held[0].sha256
    loaded = benchmarks.get("gsm8k").load("test", data_dir=tmp_path / "downloads")
    assert [item.gold for item in loaded] == ["0", "1", "2"]
    monkeypatch.setattr(_files, "hub_rows", None)
    assert download.get("gsm8k", tmp_path / "downloads") == held, "what lies there as fetched is not fetched again"
    held[0].path.write_text("{}")
    assert next(download.here("gsm8k", str(tmp_path / "downloads"))).state == "changed since it was fetched"
    assert all(len(source.hub[3]) == 40 for source in sources.values() if source.hub), "pinned to commits"


def test_get_without_network_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    for name, sentence in (
        ("mmlu", "the hub's cais/mmlu could not be had (OSError: no route); without a network, put train.json"),
        ("bbh", "'bbh' is on no hub (clone https://github.com/suzgunmirac"),
        ("nothing", "laif data get knows gsm8k"),
    ):
        monkeypatch.setattr("sys.argv", ["laif", "data", "get", name])
        with pytest.raises(SystemExit) as stop:
            cli.app()
        printed = capsys.readouterr().err
        assert stop.value.code == 2 and sentence in printed and printed.count("\n") == 1


def test_list_shows_licence_size_and_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "gsm8k" / "test.jsonl", {"question": "q", "answer": "#### 1"})
    monkeypatch.setattr("sys.argv", ["laif", "data", "list", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.app()
    out = capsys.readouterr().out
    assert "(MIT)" in out and "sha256" in out and "not here (looked for train.jsonl" in out
    assert "laif data get mmlu" in out and "clone https://github.com/suzgunmirac" in out


# -- what people read names the file, not its path


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> recipe.StageParameters:
    """A run on an own file named by its absolute path and on the practice world, ready to be compared."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1), "type": "sum"} for n in range(8)]
    own = put(tmp_path / "data" / "sums.jsonl", *[{**row, "split": s} for row in rows for s in ("train", "test")])
    values = {"run": "r", "benchmarks": [own, "practice"], "in_domain": [own], "arms": ["le"], "iterations": 1}
    p = recipe.build(
        recipe.StageParameters, values | {"limit": 8, "holdout_fraction": 0.0, "arm": "le", "iteration": 1}
    )
    run = paths.RunDir.named("r")
    for folder, wrong in ((run.iteration("vanilla", 0), 5), (run.iteration("le", 1), 2)):
        for name, split in ((own, "test"), (own, "train"), ("practice", "test")):
            bench = benchmarks.get(name)
            items = bench.load(split, limit=8)
            answers = [Completion("#### 99999" if at < wrong else str(bench.gold_response(e)), 9, 9, "stop", 1.5)
                    for at, e in enumerate(items)]  # fmt: skip
            write_jsonl(folder.responses(name, split), grading.to_responses(bench, items, answers, "m", split))
    return p


def shown(*what: Any) -> str:
    return "\n".join(table.to_csv() if hasattr(table, "to_csv") else str(table) for table in what)


def test_tables_of_answers_name_the_file(compared: recipe.StageParameters) -> None:
    p, folder = compared.model_copy(update={"instructor": "symbolic"}), paths.RunDir.named("r").iteration("vanilla", 0)
    answers = evaluate.labelled(evaluate.load_responses(folder), p)
    scores, audit = evaluate.summary(answers), evaluate.second_opinion(answers)
    facets = evaluate.weakest(evaluate.by_facet(answers), at_least=1)
    printed = shown(
        *(scores, facets, audit, instruct.plan(p).notes),
        *(
            evaluate.observation(scores),
            looks.for_browsing(answers),
            instruct_tables.overview(instruct.plan(p)),
        ),
        error_tables.counts(answers[answers["split"] == "train"]),
        *(text.get_text() for axis in figures.lengths(answers).axes for text in (axis.title, axis._left_title)),
    )
    assert set(scores["benchmark"]) == {"sums", "practice"} and printed.count("sums") > 20
    assert ".jsonl" not in printed and str(Path(p.in_domain[0]).parent) not in printed
    assert set(answers["benchmark"]) == set(p.benchmarks), "keys stay paths"


@pytest.mark.slow
def test_the_comparison_names_the_file(compared: recipe.StageParameters) -> None:
    p = compared
    answers, missing = compare.collect(p)
    table = compare.results(answers, 0)
    sliced = compare.slices(answers)
    ledger = effects.collect(p)
    examples = {"Repaired": compare.repaired(answers)}
    front = compare_tables.headline(table)
    assert [column.partition(" (")[0] for column in front.columns] == ["arm", "iteration", "sums", "practice"]
    drawn = compare.draw(p, sliced)
    page = report.write(
        p, {"results": table, "slices": sliced, "effects": ledger}, examples, drawn, missing
    ).read_text()
    page, _, settings = page.partition("<h2>Recipe</h2>")
    assert p.in_domain[0] in settings
    titles = [axis._left_title.get_text() for figure in drawn.values() for axis in figure.axes]
    printed = shown(
        *(front, compare_tables.verdict_table(table), compare_tables.sentences(table), compare.forgotten(sliced)),
        *(compare.panels(sliced)["panel"], examples["Repaired"], titles),
    )
    assert "sums" in page and "sums.jsonl" not in page and ".jsonl" not in printed and "sums" in shown(titles)
    compare.write(p, table, sliced)
    assert p.in_domain[0] in (paths.RunDir.named("r").compare / "results.csv").read_text(), "files keep the path"
    own = published.own(paths.RunDir.named("r"))
    assert set(own["benchmark"]) == {"sums", "practice"}


def test_short_names_never_make_two_benchmarks_one() -> None:
    assert paths.short_names(["/a/mine.jsonl", "gsm8k"]) == {"/a/mine.jsonl": "mine", "gsm8k": "gsm8k"}
    alike = paths.short_names(["/a/mine.jsonl", "/b/mine.jsonl", "/a/gsm8k.json", "gsm8k"])
    assert len(set(alike.values())) == 4 and alike["gsm8k"] == "gsm8k"
    assert not any("/" in name for name in alike.values())
