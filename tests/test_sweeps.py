"""Sweeps: what points have in common is computed once, and paid once."""

from pathlib import Path

import pytest
import yaml
from conftest import TOYS, Toy, write_toy
from instructing import endpoint, good

from laif_helpers import arms, compare
from laif_helpers.paths import NOTEBOOKS
from laif_helpers.runner import manifest, notebook, plan, points, report
from laif_helpers.runner.plan import RunPlan
from laif_helpers.sections import READS, keys_of

RATES = [1e-4, 2e-4]
ASK = "03_instruct_LE"


@pytest.fixture(autouse=True)
def nothing_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "collect_points", lambda path: None)


def asking(run_plan: RunPlan) -> list[str]:
    return [stage.key for stage in run_plan.stages if stage.makes_lessons]


# -- the plan


def test_points_that_differ_in_training_alone_ask_once(toy: Toy) -> None:
    planned = toy.plan(arms=["fine_tuning", "le", "lec"], learning_rate=RATES, epochs=[1, 2], iterations=2)
    first = ["le/iter1/03_instruct_LE", "lec/iter1/04_instruct_LEC"]
    assert [key for key in asking(planned) if "iter1" in key] == first
    assert len(asking(planned)) == 2 + 4 * 2, "later lessons rest on each point's own answers"
    by_key = {stage.key: stage for stage in planned.stages}
    for point in planned.points:
        assert by_key[f"{point}/le/iter1/05_train_deepspeed"].after == (first[0],)
    assert by_key[first[0]].after == ("vanilla/iter0/01_evaluate", "vanilla/iter0/02_error_analysis")


def test_points_with_other_lessons_ask_for_themselves(toy: Toy) -> None:
    planned = toy.plan(learning_rate=RATES, budget=[10, 20])
    assert asking(planned) == ["budget10/le/iter1/03_instruct_LE", "budget20/le/iter1/03_instruct_LE"]
    assert len([stage for stage in planned.stages if stage.notebook == plan.TRAIN]) == 4 * 2
    planned = toy.plan(budget=10, max_length=[256, 512])
    own = ["max_length256/le/iter1/03_instruct_LE", "max_length512/le/iter1/03_instruct_LE"]
    assert asking(planned) == own, "a lesson that is too long is refused"
    planned = toy.plan(max_length=512, limit=[5, 6])
    assert asking(planned) == ["limit5/le/iter1/03_instruct_LE", "limit6/le/iter1/03_instruct_LE"]
    firsts = [stage.key for stage in planned.stages if stage.iteration == 0 and stage.notebook == plan.EVALUATE]
    assert firsts == ["limit5/vanilla/iter0/01_evaluate", "limit6/vanilla/iter0/01_evaluate"]


@pytest.mark.parametrize("stem", sorted({arm.notebook for arm in arms.ARMS.values() if arm.notebook}))
def test_the_real_notebooks_about_lessons_see_no_key_that_is_left_out(stem: str) -> None:
    declared = {name.lower() for name in notebook.check(NOTEBOOKS / f"{stem}.ipynb", plan.StageParameters.model_fields)}
    assert not points.AFTER_LESSONS & (declared | keys_of(READS[stem]))
    assert "max_length" in declared and "learning_rate" in points.AFTER_LESSONS


def test_shares_and_auto_are_points_of_one_sweep(toy: Toy) -> None:
    assert list(toy.plan(average=[0.5, "auto"]).points) == ["average0.5", "averageauto"]


# -- the files


def test_the_written_recipe_names_the_same_points(toy: Toy) -> None:
    swept = {"seed": [0, 1], "budget": [10, 20]}
    (toy.root / "toy.yaml").write_text(yaml.safe_dump(swept | toy.values | swept, sort_keys=False))
    planned = plan.make(toy.root / "toy.yaml", notebooks=toy.notebooks)
    assert next(iter(planned.points)) == "seed0_budget10", "not the order of the recipe's model"
    manifest.write_recipe(planned)
    assert list(plan.make(planned.run.recipe, "toy", notebooks=toy.notebooks).points) == list(planned.points)


def test_one_folder_of_lessons_serves_all_points(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    code, ran = toy.run(arms=["le"], learning_rate=RATES, iterations=2)
    assert code == 0 and ran.count("le/iter1/03_instruct_LE") == 1
    assert len([key for key in ran if ASK in key]) == 3 and len([key for key in ran if plan.TRAIN in key]) == 4
    lessons = toy.run_dir.iteration("le", 1).lessons("le")
    for point in toy.plan().points:
        folder = toy.plan().folder(point).iteration("le", 1)
        assert folder.lessons("le").samefile(lessons) and not (folder.path / "lessons").readlink().is_absolute()
        assert folder.metrics(ASK).is_file() and not folder.checkpoint.is_symlink()
        row = manifest.latest(toy.plan().folder(point))[f"{point}/le/iter1/05_train_deepspeed"]
        assert "le/iter1/lessons/le.jsonl" in row["inputs"]["files"], "other lessons would be trained on again"
    assert toy.run() == (0, [])
    table = report.status_table(toy.plan(), [])
    assert table.count(f"/iter1/{ASK}") == 1 and "to do" not in table
    assert f"| toy | {len(toy.plan().stages)} |" in report.contents(), "the points' stages count too"
    (toy.run_dir.path.parent / "explore" / "vanilla" / "iter0").mkdir(parents=True)
    assert "| explore | by hand | – |" in report.contents() and "| points |" not in report.contents()
    assert report.dry_run(toy.plan()).count(f"iter1/{ASK}") == 1
    capsys.readouterr()
    ran = toy.run(learning_rate=[5e-5, *RATES])[1]
    assert {key.split("/")[0] for key in ran} == {"learning_rate5e-05"}, "a new point in front asks nobody again"
    assert not [key for key in ran if key.endswith(f"iter1/{ASK}")]


def test_beside_other_axes_lessons_lie_in_a_folder_of_their_own(toy: Toy) -> None:
    code, ran = toy.run(arms=["le", "le+lec"], learning_rate=RATES, budget=[10, 20], limit=[5, 6], iterations=2)
    assert code == 0
    assert sorted(key for key in ran if "/le/iter1/" in key and ASK in key) == sorted(
        f"budget{budget}_limit{limit}/le/iter1/{ASK}" for budget in (10, 20) for limit in (5, 6)
    )
    points = toy.run_dir.path / "points"
    text = (points / "budget20_learning_rate0.0002_limit6" / "le" / "iter1" / "lessons" / "le.jsonl").read_text()
    assert text.startswith('{"n": 20,')
    assert (points / "budget20_limit6" / "vanilla").resolve() == (points / "limit6" / "vanilla").resolve()
    assert toy.run() == (0, [])


def test_a_point_with_lessons_of_its_own_is_refused(toy: Toy) -> None:
    own = toy.plan(arms=["le"], learning_rate=RATES).folder("learning_rate0.0001").iteration("le", 1).path
    (own / "instruct").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"le/iter1/instruct holds results of its own, .* move it to that place"):
        toy.run()
    shared = toy.run_dir.iteration("le", 1).path
    shared.mkdir(parents=True)
    (own / "instruct").rename(shared / "instruct")
    assert toy.run()[0] == 0


def test_failed_lessons_stop_every_point(toy: Toy) -> None:
    write_toy(toy.notebooks, ASK, work='raise ValueError("no money")')
    code, ran = toy.run(arms=["fine_tuning", "le"], learning_rate=RATES)
    assert code == 1 and ran.count(f"le/iter1/{ASK}") == 1
    for point in toy.plan().points:
        rows = {row["stage"]: row for row in manifest.rows(toy.plan().folder(point))}
        assert rows[f"{point}/le/iter1/05_train_deepspeed"]["reason"] == f"le/iter1/{ASK} failed"
        assert rows[f"{point}/compare/06_compare"]["status"] == "done"


# -- the money


@pytest.mark.slow
def test_a_paid_reply_is_paid_once_for_all_points(toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = '{"run": p.run, "arm": "le", "iteration": p.iteration + 1}'
    answered = f"from instructing import answer_items\nanswer_items(recipe.build(recipe.StageParameters, {place}))"
    asked = "from laif_helpers import instruct\nmade = instruct.plan(p)\ninstruct.learn(made, instruct.ask(made, p), p)"
    for stem, work in ((plan.EVALUATE, answered), (plan.ANALYSE, ""), (ASK, asked)):
        monkeypatch.setitem(TOYS, stem, (TOYS[stem][0], work))
        write_toy(toy.notebooks, stem)
    monkeypatch.delenv("LAIF_DATA")
    with endpoint(lambda call, body: good(call)) as (url, calls):
        money = {"max_usd": 5.0, "prices": {"m": {"input": 1, "output": 10}}, "replay_fraction": 0.5}
        who = {"instructor": "llm", "instructor_model": "m", "instructor_url": url}
        code, _ = toy.run(arms=["le"], budget=40, learning_rate=RATES, epochs=[1, 2], **who, **money)
        assert code == 0 and len(calls) == 10, "as many as one point alone would send"
        assert toy.run() == (0, []) and len(calls) == 10
        toy.run_dir.iteration("le", 1).lessons("le").unlink()
        assert toy.run()[1] == [f"le/iter1/{ASK}"] and len(calls) == 10, "replies come out of the shared ledger"
        for spelled in (f"{url}/", url.upper().replace("V1", "v1")):
            assert toy.run(instructor_url=spelled) == (0, []) and len(calls) == 10, "the same place, spelled otherwise"
