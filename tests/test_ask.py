"""One question to two models: grades, the first differing step, and the widget that asks."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_compare import answer, parameters, run  # noqa: F401  the fixture: le forgets, lec fixes 20 and breaks 2

from laif_helpers import benchmarks, compare
from laif_helpers.compare import asking
from laif_helpers.models import ask
from laif_helpers.paths import NANO


def item(at: int = 0) -> ask.Question:
    bench = benchmarks.get("practice")
    example = bench.load("test", limit=at + 1)[at]
    return ask.Question(bench.question_text(example), bench.messages(example), lambda text: bench.grade(example, text))


@pytest.mark.parametrize(
    "texts, at",
    [
        (["2 + 2 = 4\n#### 4", "2 + 2 = 4\n#### 4"], None),
        (["2 + 2 = 4\n#### 4", "2 + 2 = 5\n#### 5"], 0),
        (["It is two. Then four. #### 4", "It is two. Then five. #### 5"], 1),
        (["one\ntwo", "one"], 1),
        (["same", "same", "other"], 0),
        (["", ""], None),
    ],
)
def test_first_differing_step(texts: list[str], at: int | None) -> None:
    assert ask.first_difference(texts) == at


def test_page_grades_marks_and_escapes() -> None:
    question = item()
    gold = benchmarks.get("practice").load("test", limit=1)[0].gold
    page = ask.page(question, {"before": "I do <b>not</b> know.", "after": f"Yes.\n#### {gold}"})
    assert "<b>right (read: " in page and "unreadable" in page and "They part in step 1." in page
    assert "&lt;b&gt;not&lt;/b&gt;" in page and page.count(ask._MARKED) == 2
    own = ask.page(ask.Question("Why?", []), {"before": "So.", "after": "So."})
    assert "not graded: a question of your own" in own and "All answers are the same." in own


@pytest.mark.model
def test_widget_asks_both_models_and_writes_into_itself(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    other = shutil.copytree(NANO, tmp_path / "other")
    questions = [item(0), item(1)]
    shown: Any = ask.widget(
        {"before": str(NANO), "after": str(other)},
        questions,
        benchmarks.get("practice").messages_for,
        max_new_tokens=64,
    )
    choice, own, page = shown.children
    assert choice.label == "choose a question"
    own.value = " "
    assert page.value == "", "nothing is loaded before somebody asks, and an empty line asks nothing"
    choice.value = questions[1]
    assert "All answers are the same." in page.value and "(read: " in page.value
    own.value = "Tom has 3 apples and buys 4 more. How many apples does he have?"
    assert "Tom has 3 apples" in page.value and "not graded" in page.value


def test_widget_shows_what_went_wrong(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    shown: Any = ask.widget({"before": str(tmp_path / "gone")}, [], benchmarks.get("practice").messages_for)
    shown.children[1].value = "Who?"
    assert "gone" in shown.children[2].value and "asking" not in shown.children[2].value


def test_notebook_6_asks_the_untouched_target_and_the_arm_that_gained_most(
    run: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p = parameters(run)
    answers, _ = compare.collect(p)
    rows = asking.chosen(answers)
    assert set(rows["arm"]) == {"lec"} and set(rows["iteration"]) == {2}
    assert rows["flip"].value_counts().to_dict() == {"fixed": 4, "broken": 2}
    page = asking.page(p, answers)
    assert "<th>untouched</th><th>lec, iteration 2</th>" in page and page.index("wrong") < page.index("right (read")
    asked: list[Any] = []
    monkeypatch.setattr(asking.ask, "widget", lambda *given, **how: asked.append((*given, how)))
    asking.widget(p, answers)
    (models, questions, write, how), asked = asked[0], []
    assert list(models) == ["untouched", "lec, iteration 2"] and len(questions) == 6 and write("Why?")
    assert models["lec, iteration 2"] == str(run / "lec" / "iter2" / "checkpoint")
    assert how["max_new_tokens"] == p.max_new_tokens and questions[0].grade is not None


def test_notebook_6_without_an_arm_asks_the_untouched_target_alone(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    answer(tmp_path, "vanilla", 0, set(range(40)))
    p = parameters(tmp_path, arms=[], iterations=0)
    answers, _ = compare.collect(p)
    assert "no arm to ask" in asking.page(p, answers)
    assert len(asking.widget(p, answers).children[0].options) == 1
    assert "the same" not in ask.page(ask.Question("Why?", []), {"untouched": "So."})
