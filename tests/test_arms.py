"""The control arm and the switches: what they ask, which notebook makes their lessons, what they share."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Toy
from instructing import TRAIN, answer_items, parameters

from laif_helpers import arms, instruct, lessons, recipe
from laif_helpers.arms import ARMS
from laif_helpers.benchmarks.practice.reading import recognise
from laif_helpers.figures import style
from laif_helpers.instructors import prompts
from laif_helpers.records import Lesson, read_jsonl
from laif_helpers.runner import manifest


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))


# -- the control: as many requests as LE, about anything


def test_the_control_asks_as_often_as_le_about_questions_right_and_wrong() -> None:
    p, le = parameters("random"), parameters("le")
    answer_items(p)
    control, model = instruct.plan(p), instruct.plan(le)
    assert [r.n for r in control.requests] == [r.n for r in model.requests]
    asked = [request.source_ids[0] for request in control.requests]
    study = control.studies["practice"]
    right = {answer.example.id for answer in study.right}
    assert set(asked) <= set(study.everything) and 0 < len(set(asked) & right) < len(asked)
    for request in control.requests:
        user = request.messages[1]["content"]
        assert "### Question the student answered\n" in user and "got wrong" not in user
        assert study.everything[request.source_ids[0]].text in user, "the target's answer is shown, right or wrong"
    sizes = [sum(len(turn["content"]) for r in outcome.requests for turn in r.messages) for outcome in (control, model)]
    assert 0.8 <= sizes[0] / sizes[1] <= 1.25, "about as many tokens"


@pytest.mark.parametrize("family", ["math", "choice", "code"])
def test_the_controls_prompt_is_le_s_in_length(family: str) -> None:
    le, control = (prompts.template(f"{arm}.j2").render(family_name=family, several=False) for arm in ("le", "random"))
    assert 0.9 <= len(control) / len(le) <= 1.2


def test_the_scripted_control_practises_a_mistake_or_else_a_concept_of_the_question() -> None:
    p = parameters("random")
    answer_items(p)
    plan = instruct.plan(p)
    outcome = instruct.learn(plan, instruct.ask(plan, p), p)
    assert lessons.funnel(outcome, plan.requested)["kept"] == 20
    concepts = {example.id: set(recognise(example.question).concepts) for example in TRAIN}
    for lesson in outcome:
        assert concepts[lesson.source_ids[0]] & set(recognise(lesson.question).concepts)


def test_without_errors_the_control_ends_as_le_does() -> None:
    for arm in ("le", "random"):
        p = parameters(arm)
        answer_items(p, wrong=0)
        assert "no wrong items" in instruct.plan(p).ended
    assert not instruct.plan(parameters("auggpt")).ended


def test_when_all_errors_are_held_out_the_message_says_so() -> None:
    p = parameters("le", holdout_fraction=0.99)
    answer_items(p, wrong=2)
    assert "all 2 wrong train item(s) of practice are held out" in instruct.plan(p).ended
    p = parameters("le", holdout_fraction=0.0)
    assert not instruct.plan(p).ended


# -- the switches


def test_a_switch_does_as_its_halves_do() -> None:
    assert [arms.strategy("le+lec", k, 3) for k in (1, 2, 3)] == ["le", "le", "lec"]
    assert [arms.strategy("lec+le", k, 2) for k in (1, 2)] == ["lec", "le"]
    assert arms.strategy("le", 2, 2) == "le"
    for arm, iteration, half in (("le+lec", 1, "le"), ("lec+le", 1, "lec")):
        p, plain = parameters(arm, iteration=iteration), parameters(half, iteration=iteration)
        answer_items(p)
        plans = [instruct.plan(each) for each in (p, plain)]
        assert [r.key for r in plans[0].requests] == [r.key for r in plans[1].requests]
        outcome = [
            instruct.learn(plan, instruct.ask(plan, each), each) for plan, each in zip(plans, (p, plain), strict=True)
        ]
        assert [each.question for each in outcome[0]] == [each.question for each in outcome[1]]
        assert p.folder.lessons(arm).name == f"{arm}.jsonl" and read_jsonl(p.folder.lessons(arm), Lesson) == outcome[0]


def test_the_last_iteration_of_a_switch_uses_the_other_strategy() -> None:
    p = parameters("le+lec", iteration=2)
    answer_items(p)
    plan = instruct.plan(p)
    assert all(request.neighbour_ids and request.arm == "le+lec" for request in plan.requests)
    p = parameters("lec+le", iteration=2)
    answer_items(p)
    assert not any(request.neighbour_ids for request in instruct.plan(p).requests)


def test_a_switch_needs_two_iterations() -> None:
    with pytest.raises(ValueError, match=r"'le\+lec' changes its strategy .* needs iterations: 2 or more \(given: 1\)"):
        recipe.build(recipe.Recipe, {"arms": ["le+lec"], "iterations": 1})
    with pytest.raises(ValueError, match=r"'lec\+le' changes"):
        parameters("lec+le", iterations=1)


def test_every_arm_looks_different() -> None:
    looks = [style.arm_look(arm) for arm in ARMS]
    assert len({colour for colour, *_ in looks}) == len({marker for _, marker, _ in looks}) == len(ARMS)


def test_an_arm_is_one_row_and_one_prompt(toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Plan, requests, figures, export and forecast know a new arm by its row alone."""
    look = ("#123456", "*", "-")
    row = arms.Arm("toy", "rhymes", look, "errors", "toy", "that rhyme", "03_instruct_LE", "instructor")
    monkeypatch.setitem(arms.ARMS, "toy", row)
    planned = {stage.key: stage for stage in toy.plan(arms=["fine_tuning", "toy"], iterations=2).stages}
    assert [key for key in planned if key.startswith("toy/iter1")] == [
        f"toy/iter1/{name}" for name in ("03_instruct_LE", "05_train_deepspeed", "01_evaluate", "02_error_analysis")
    ]
    assert planned["compare/06_compare"].after[2:] == ("fine_tuning/iter2/01_evaluate", "toy/iter2/01_evaluate")
    folder = shutil.copytree(prompts.FOLDER, tmp_path / "prompts")
    (folder / "toy.j2").write_text("You write rhymes about what a student of {{ family_name }} got wrong.")
    monkeypatch.setattr(prompts, "FOLDER", folder)
    p = parameters("toy")
    answer_items(p)
    asked = instruct.plan(p).requests
    assert asked and asked[0].messages[0]["content"] == "You write rhymes about what a student of math got wrong."
    assert asked[0].messages[1]["content"].endswith("new questions with their answers, that rhyme.")
    assert style.arm_look("toy") == look and arms.studies_errors("toy")


def test_an_arm_that_needs_a_teacher_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arms.ARMS, "toy", arms.Arm("toy", "rhymes", arms.OWN_LOOK, needs="teacher"))
    with pytest.raises(ValueError, match="arm 'toy' learns from a teacher; set teacher"):
        recipe.build(recipe.Recipe, {"arms": ["toy"]})
    assert recipe.build(recipe.Recipe, {"arms": ["toy"], "teacher": "data/nano"}).arms == ["toy"]


def test_a_switch_beside_its_first_half_has_only_its_last_iteration(toy: Toy) -> None:
    stages = {stage.key: stage for stage in toy.plan(arms=["le+lec", "le"], iterations=3).stages}
    own = [key for key in stages if key.startswith("le+lec/")]
    assert own == [f"le+lec/iter3/{name}" for name in ("04_instruct_LEC", "05_train_deepspeed", "01_evaluate")]
    assert stages[own[0]].after == ("le/iter2/01_evaluate", "le/iter2/02_error_analysis")
    assert stages["compare/06_compare"].after[2:] == ("le+lec/iter3/01_evaluate", "le/iter3/01_evaluate")
    alone = [stage.key for stage in toy.plan(arms=["le+lec"], iterations=2).stages]
    assert "le+lec/iter1/03_instruct_LE" in alone and "le+lec/iter2/04_instruct_LEC" in alone
    assert "le+lec/iter1/02_error_analysis" in alone


def test_a_switch_reads_what_its_first_half_left(toy: Toy) -> None:
    code, ran = toy.run(arms=["le", "le+lec"], iterations=2)
    assert code == 0 and "le+lec/iter1/03_instruct_LE" not in ran and "le+lec/iter2/04_instruct_LEC" in ran
    folder = toy.run_dir.path / "le+lec"
    assert (folder / "iter1").is_symlink() and not (folder / "iter2").is_symlink()
    read = json.loads((folder / "iter2" / "lessons" / "le+lec.jsonl").read_text())["of"]
    assert read == (toy.run_dir.path / "le" / "iter1" / "responses" / "practice.train.jsonl").read_text()
    weights = (folder / "iter2" / "checkpoint" / "model.safetensors").read_text()
    assert weights.startswith("le+lec2-10-0 le1-10-0 "), "training starts from le's checkpoint"
    assert toy.run()[1] == [], "a second call does nothing"
    # without le among the arms the link goes, and the switch runs its own first iteration
    code, ran = toy.run(arms=["le+lec"])
    assert code == 0 and "le+lec/iter1/03_instruct_LE" in ran and not (folder / "iter1").is_symlink()
    with pytest.raises(ValueError, match="holds results of its own"):
        toy.run(arms=["le", "le+lec"])


def test_only_a_switch_depends_on_how_far_the_run_goes(toy: Toy) -> None:
    toy.run(arms=["le", "lec+le"], iterations=2)
    code, ran = toy.run(iterations=3)
    assert code == 0 and not [key for key in ran if key.startswith(("le/iter1", "le/iter2")) and "02" not in key]
    assert "lec+le/iter2/04_instruct_LEC" in ran, "its second iteration was the last, and no longer is"
    assert {row["status"] for row in manifest.latest(toy.run_dir).values()} == {"done"}
