"""The right questions beside an error: exact, none that repeats it; and the explorer that shows them."""

from typing import Any

import pytest

from laif_helpers import benchmarks, instruct, recipe
from laif_helpers.answers.pools import Answered, Study
from laif_helpers.benchmarks import Benchmark
from laif_helpers.instruct import explorer
from laif_helpers.instruct.planning import nearest_right
from laif_helpers.records import Example

PRACTICE: Benchmark = benchmarks.get("practice")
ASKED = "Mia has 3 boxes with 12 pens in every box and gives 5 of the pens to her brother Tom. How many are left?"


def parameters(**more: Any) -> recipe.StageParameters:
    return recipe.build(recipe.StageParameters, {"run": "near", "arm": "lec", "iteration": 1, "k": 2} | more)


def answered(question: str, id: str) -> Answered:
    return Answered(Example(id, "practice", "train", question, "1"), "1 * 1 = 1\n#### 1")


@pytest.fixture
def study() -> Study:
    repeats = [ASKED.upper(), ASKED.replace("left?", "left now?"), *(f"{ASKED} {'Think. ' * n}" for n in range(1, 13))]
    apart = [ASKED.replace("12", "13"), "Tom has 4 boxes with 9 pens. How many pens has Tom?", "A train runs 80 miles."]
    right = [answered(text, f"r{at}") for at, text in enumerate([*repeats, *apart])]
    return Study(PRACTICE, [answered(ASKED, "e")], right)


def test_a_right_item_that_repeats_the_error_is_no_neighbour(study: Study) -> None:
    near, repeated = nearest_right(parameters(), study, study.wrong)
    texts = {item.example.id: item.example.question for item in study.right}
    assert [texts[id] for id, _ in near["e"]] == [ASKED.replace("12", "13"), texts["r15"]]
    assert repeated == 14, "more than a first look holds"
    assert [d for _, d in near["e"]] == sorted(d for _, d in near["e"])


def test_fewer_neighbours_where_nothing_else_is_left(study: Study) -> None:
    near, _ = nearest_right(parameters(), study, study.wrong, k=5)
    assert len(near["e"]) == 3
    assert nearest_right(parameters(), study, study.wrong, k=18)[0] == near, "all there are, if k asks for more"
    with pytest.raises(ValueError, match="no item of practice was answered right"):
        nearest_right(parameters(), Study(PRACTICE, study.wrong, []), study.wrong)


def test_the_explorer_shows_distance_and_shared_words(study: Study) -> None:
    p = parameters()
    from laif_helpers.instruct.requests import request

    near, _ = nearest_right(p, study, study.wrong)
    plan = instruct.Plan([request(p, study, [study.wrong[0]], near["e"], 3)], {"practice": study})
    found = explorer.explorer(plan, p)
    single, three = found.at(0, 1), found.at(0, 3)
    assert (len(single.table), len(three.table)) == (1, 3)
    assert list(three.table["distance"]) == sorted(three.table["distance"])
    shared = three.table["words shared with the error"].tolist()
    assert "pens" in shared[0].split(", ") and "pens" not in shared[2].split(", ")
    widget = found.widget()
    assert [child.description for child in widget.children[:2]] == ["error", "k"]
    assert widget.children[1].max == 3
    empty = explorer.explorer(instruct.Plan([], {}), p)
    assert "no error" in empty.at(0, 3).text and "no error" in repr(empty.widget())
