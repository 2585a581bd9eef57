"""One question to two models: grades, the first differing step, and the widget that asks."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks
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
    assert page.value == "", "nothing is loaded before somebody asks"
    choice.value = questions[1]
    assert "All answers are the same." in page.value and "(read: " in page.value
    own.value = "Tom has 3 apples and buys 4 more. How many apples does he have?"
    assert "Tom has 3 apples" in page.value and "not graded" in page.value


def test_widget_shows_what_went_wrong(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    shown: Any = ask.widget({"before": str(tmp_path / "gone")}, [], benchmarks.get("practice").messages_for)
    shown.children[1].value = "Who?"
    assert "gone" in shown.children[2].value and "asking" not in shown.children[2].value
