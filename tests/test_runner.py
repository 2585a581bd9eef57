"""The runner's guards, plan, resume and failures: on throw-away notebooks, most of them without a kernel."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from conftest import TOYS, Toy, write_notebook, write_toy

from laif_helpers import cli, compare, sections
from laif_helpers.arms import ARMS
from laif_helpers.evaluate.grading import graders_hash
from laif_helpers.paths import RunDir, stamp_of
from laif_helpers.records import write_json
from laif_helpers.runner import history, loop, manifest, notebook, outputs, plan, report, run_lock, scratch

CYCLE = ["vanilla/iter0/01_evaluate", "le/iter1/03_instruct_LE", "le/iter1/05_train_deepspeed", "le/iter1/01_evaluate"]


def keys(run_plan: plan.RunPlan) -> list[str]:
    return [stage.key for stage in run_plan.stages]


# -- guards: refused before anything runs


def test_unknown_key_is_refused_with_the_nearest_one(toy: Toy) -> None:
    with pytest.raises(ValueError, match="unknown recipe key 'budgt'; did you mean 'budget'"):
        toy.plan(budgt=3)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nBUGDET = 3\n', "BUGDET is no recipe key"),
        ('RUN = "x"\nARM = "le"\n', "lacks ITERATION"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\n', "lacks TARGET"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nBUDGET = 2 * 3\n', "BUDGET is not a literal"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nlimit = 3\n', "'limit' is not in UPPER_CASE"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nprint(RUN)\n', "line 4 of the parameters cell"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nLIMIT: int | None = 5\n', "papermill reads .* differently: LIMIT"),
        ('RUN = "x"\nARM = "le"\nITERATION = 1\nLIMIT = 5  # so LIMIT = 5\n', "papermill reads .* differently: LIMIT"),
    ],
)
def test_parameters_cells_that_papermill_would_misread_are_refused(toy: Toy, parameters: str, sentence: str) -> None:
    write_toy(toy.notebooks, "05_train_deepspeed", parameters=parameters)
    with pytest.raises(ValueError, match=sentence):
        toy.plan()
    assert toy.engine.ran == []


def test_values_that_a_notebook_would_refuse_are_refused_before_anything_runs(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sections.READS, "03_instruct_LE", (sections.TargetSection,))
    with pytest.raises(ValueError, match=r"03_instruct_LE\.ipynb would refuse its parameters: .*cannot be trained"):
        toy.plan(target="replay:x", quote_only=True)  # which neither its cell nor its sections hold


def test_a_key_that_no_parameters_cell_declares_reaches_the_notebooks_that_read_its_section(toy: Toy) -> None:
    run_plan = toy.plan(target="server:m", target_url="http://127.0.0.1:1/v1", lessons_only=True, probe=2, packing=True)
    given = {s.notebook: plan.parameters(s, run_plan.parameters[s.notebook]) for s in run_plan.stages}
    assert {stem for stem, values in given.items() if values.get("TARGET_URL") == "http://127.0.0.1:1/v1"} == set(given)
    assert [stem for stem, values in given.items() if "PROBE" in values] == ["02_error_analysis", "03_instruct_LE"]
    assert not any("PACKING" in values for values in given.values()), "nothing is trained here"
    run_plan = toy.plan(target=str(toy.root / "model"), lessons_only=False)
    trained = next(stage for stage in run_plan.stages if stage.notebook == plan.TRAIN)
    assert plan.parameters(trained, run_plan.parameters[plan.TRAIN])["PACKING"] is True


@pytest.mark.parametrize("tags", [0, 2])
def test_missing_and_second_parameters_tags_are_refused(toy: Toy, tags: int) -> None:
    cells = [("code", "A = 1", ["parameters"] if tags else []), ("code", "B = 1", ["parameters"] if tags else [])]
    write_notebook(toy.notebooks / "02_error_analysis.ipynb", cells)
    with pytest.raises(ValueError, match=f"{tags} cells are tagged 'parameters'; tag exactly one"):
        toy.plan()


def test_missing_notebook_and_broken_notebook_are_named(toy: Toy) -> None:
    (toy.notebooks / "06_compare.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"06_compare\.ipynb: not a notebook"):
        toy.plan()
    (toy.notebooks / "06_compare.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match=r"06_compare\.ipynb does not exist"):
        toy.plan()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "deepspeed", "compared"])
def test_run_names_that_leave_the_runs_folder_are_refused(toy: Toy, name: str) -> None:
    toy.plan()
    if name:
        with pytest.raises(ValueError, match="run name"):
            plan.make(toy.root / "toy.yaml", name, notebooks=toy.notebooks)
    else:
        assert plan.make(toy.root / "toy.yaml", name, notebooks=toy.notebooks).run.path.name == "toy"


def test_unknown_executor_and_missing_ray_have_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown executor 'pbs'; known: local, ray, slurm"):
        loop.engine("pbs")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[cluster\]'"):
        loop.engine("ray")


def test_more_gpus_than_there_are_is_said_before_anything_runs(
    toy: Toy, real_kernels: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    real_kernels()
    with pytest.raises(ValueError, match=r"num_processes 2 is more than the 1 GPU\(s\) here.*set num_processes: 1"):
        toy.run(num_processes=2, deepspeed="zero2")
    assert not toy.run_dir.manifest.exists()


# -- the plan


def test_plan_of_two_iterations(toy: Toy) -> None:
    planned = toy.plan(arms=["fine_tuning", "le", "lec"], iterations=2)
    assert len(keys(planned)) == len(set(keys(planned)))
    assert keys(planned).count("vanilla/iter0/01_evaluate") == 1
    assert "fine_tuning/iter1/03_instruct_LE" not in keys(planned)
    assert "lec/iter2/04_instruct_LEC" in keys(planned)
    by_key = {stage.key: stage for stage in planned.stages}
    first_map = "vanilla/iter0/02_error_analysis"
    assert by_key["le/iter1/03_instruct_LE"].after == ("vanilla/iter0/01_evaluate", first_map)
    assert by_key["le/iter2/03_instruct_LE"].after == ("le/iter1/01_evaluate", "le/iter1/02_error_analysis")
    assert by_key["le/iter1/02_error_analysis"].after == ("le/iter1/01_evaluate", first_map)
    assert "le/iter2/02_error_analysis" not in by_key
    ends = {"vanilla/iter0/01_evaluate", *(f"{arm}/iter2/01_evaluate" for arm in ("fine_tuning", "le", "lec"))}
    assert set(by_key["compare/06_compare"].after) == {*ends, first_map}, "06 reads the clusters of 02"


def test_where_no_benchmark_has_the_test_split_nothing_is_compared(toy: Toy) -> None:
    data = toy.root / "mine.jsonl"
    data.write_text('{"question": "1 + 1?", "answer": "2", "split": "train"}\n')
    alone = {"benchmarks": [str(data)], "in_domain": [str(data)], "arms": ["fine_tuning"], "iterations": 1}
    assert keys(toy.plan(**alone | {"iterations": 0}))[-1] == "vanilla/iter0/02_error_analysis"
    assert keys(toy.plan(**alone))[-1] == "fine_tuning/iter1/01_evaluate", "which measures what it learned from"
    with pytest.raises(ValueError, match="test_split 'test' is no split of the benchmarks: train"):
        toy.plan(**alone, measure_errors=False)


@pytest.mark.slow
@pytest.mark.parametrize("repairs, task", [(False, "practice"), (True, "word_sorting")])
def test_every_stage_comes_after_what_it_waits_for(toy: Toy, repairs: bool, task: str) -> None:
    arms = [name for name, arm in ARMS.items() if (arm.notebook == "07_tripost") == repairs and name != "vanilla"]
    values = {"target": "data/nano", "teacher": "data/nano", "samples": 2, "temperature": 1.0}
    seen: set[str] = set()
    for stage in toy.plan(arms=arms, iterations=3, benchmarks=[task], in_domain=[task], **values).stages:
        assert set(stage.after) <= seen
        seen.add(stage.key)
    assert len(seen) > 3 * len(arms)


def test_parts_of_an_evaluation_run_before_it(toy: Toy) -> None:
    code, ran = toy.run(arms=["le"], shards=2)
    parts = ["vanilla/iter0/01_part1", "vanilla/iter0/01_part2"]
    assert (code, ran[:3]) == (0, [*parts, "vanilla/iter0/01_evaluate"])
    last = ran.index("le/iter1/01_evaluate")
    assert ran[last - 2 : last] == ["le/iter1/01_part1", "le/iter1/01_part2"]
    assert toy.run()[1] == [], "what the parts left has been taken up, and they stand"
    assert toy.run(shards=1)[1] == [], "the answers are the same"
    with pytest.raises(ValueError, match="shards"):
        toy.plan(shards=[1, 2])


def test_a_part_that_fails_leaves_its_questions_to_the_evaluation(toy: Toy) -> None:
    write_toy(toy.notebooks, "01_part", work="if p.part == 2:\n    raise RuntimeError('a lost node')")
    code, ran = toy.run(arms=["le"], shards=2)
    assert code == 1 and ran[-1] == "compare/06_compare"
    assert "le/iter1/05_train_deepspeed" in ran


def test_a_run_that_stops_at_the_quote_prints_it(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    planned = toy.plan(quote_only=True, arms=["fine_tuning", "le", "lec"])
    for arm, writer, usd in (("le", "03_instruct_LE", [0.25, 1250.5]), ("lec", "04_instruct_LEC", None)):
        found = {"quote_requests": 1270, "quote_usd": usd}
        write_json(planned.run.iteration(arm, 1).metrics(writer), found)
    report.show_end(planned, [], {})
    shown = capsys.readouterr().out
    assert "quote      le/iter1/03_instruct_LE: 1,270 requests, 0.25 to 1,250.50 dollars\n" in shown
    assert "quote      lec/iter1/04_instruct_LEC: 1,270 requests, no price given\n" in shown


def test_quote_only_stops_after_the_requests(toy: Toy) -> None:
    planned = toy.plan(quote_only=True, arms=["fine_tuning", "le", "lec"], iterations=2)
    assert keys(planned) == [
        "vanilla/iter0/01_evaluate",
        "vanilla/iter0/02_error_analysis",
        "le/iter1/03_instruct_LE",
        "lec/iter1/04_instruct_LEC",
    ]


def test_the_end_of_a_run_for_lessons_says_where_they_lie(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.run(lessons_only=True, arms=["le"])
    lessons = toy.run_dir.iteration("le", 1).lessons("le")
    assert f"lessons    {lessons}" in capsys.readouterr().out


def test_no_iterations_evaluates_analyses_and_compares(toy: Toy) -> None:
    code, ran = toy.run(iterations=0)
    assert code == 0
    assert sorted(ran) == ["compare/06_compare", "vanilla/iter0/01_evaluate", "vanilla/iter0/02_error_analysis"]


# -- running, resuming


def test_second_call_does_nothing_and_rows_are_complete(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    code, ran = toy.run()
    assert code == 0
    assert set(ran) == set(keys(toy.plan()))
    rows = manifest.rows(toy.run_dir)
    assert [row["status"] for row in rows] == ["done"] * len(ran)
    wanted = {
        "stage",
        "arm",
        "iteration",
        "notebook",
        "inputs_hash",
        "outputs",
        "seconds",
        "versions",
        "started",
        "ended",
    }
    assert all(wanted <= row.keys() for row in rows)
    assert all(row["outputs"] for row in rows)
    assert "laif-helpers" in rows[0]["versions"]
    capsys.readouterr()
    assert toy.run() == (0, [])
    assert "nothing to do" in capsys.readouterr().out
    assert manifest.rows(toy.run_dir) == rows


def test_changed_value_reruns_what_depends_on_it(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.run()
    _, ran = toy.run(budget=11)
    assert "vanilla/iter0/01_evaluate" not in ran
    assert set(CYCLE[1:]) <= set(ran)
    assert "budget: 10 -> 11" in capsys.readouterr().out
    row = manifest.latest(toy.run_dir)["le/iter1/05_train_deepspeed"]
    assert row["why"] == "BUDGET changed"
    assert toy.run() == (0, [])


def test_more_workers_redo_nothing(toy: Toy) -> None:
    write_toy(toy.notebooks, "03_instruct_LE", parameters=TOYS["03_instruct_LE"][0] + "WORKERS = 2\n")
    toy.run(arms=["le"])
    assert toy.run(workers=3) == (0, [])


def test_a_lassoed_selection_is_an_input_of_the_lessons(toy: Toy) -> None:
    toy.run()
    selection = toy.run_dir.iteration("vanilla", 0).selection
    selection.write_text('{"ids": ["a"]}')
    assert toy.run()[1][0] == "le/iter1/03_instruct_LE", "picked after the lessons were made: they are made anew"
    assert toy.run() == (0, [])
    selection.unlink()
    assert toy.run()[1][0] == "le/iter1/03_instruct_LE", "and again when it is let go"


def test_the_untouched_targets_map_is_an_input_of_later_maps(toy: Toy) -> None:
    values = {"arms": ["le"], "iterations": 2, "map_iterations": True}
    toy.run(**values)
    assert toy.run(**values) == (0, [])
    # another map, into which later maps are drawn
    pd.DataFrame({"x": [1.0]}).to_parquet(toy.run_dir.iteration("vanilla", 0).errors)
    assert "le/iter1/02_error_analysis" in toy.run(**values)[1]


def test_result_that_comes_out_the_same_stops_the_reruns(toy: Toy) -> None:
    toy.run()
    toy.run_dir.iteration("le", 1).lessons("le").unlink()
    _, ran = toy.run()
    assert ran == ["le/iter1/03_instruct_LE"]


def test_changed_model_and_changed_notebook_rerun(toy: Toy) -> None:
    toy.run()
    (toy.root / "model" / "model.safetensors").write_text("another")
    assert set(toy.run()[1]) == set(keys(toy.plan()))
    write_toy(toy.notebooks, "02_error_analysis", work="1 + 1")
    assert toy.run()[1] == ["vanilla/iter0/02_error_analysis"]


def test_a_models_card_and_hidden_files_rerun_nothing(toy: Toy) -> None:
    model = toy.root / "model"
    (model / "README.md").write_text("a card")
    (model / ".git").mkdir()
    toy.run()
    (model / "README.md").write_text("a card with scores")
    (model / ".git" / "index").write_text("fetched")
    assert toy.run() == (0, [])


def test_verdicts_of_two_graders_become_those_of_todays(toy: Toy) -> None:
    """A run that went on after the graders changed cannot be compared as it lies; one that lies still keeps its own."""
    toy.run()
    folders = {"vanilla/iter0": ("vanilla", 0), "fine_tuning/iter1": ("fine_tuning", 1), "le/iter1": ("le", 1)}

    def graded(**by: str) -> None:
        for folder, place in folders.items():
            (responses := toy.run_dir.iteration(*place).path / "responses").mkdir(exist_ok=True)
            for file in responses.glob("*.jsonl"):
                write_json(stamp_of(file), {"graders": by[folder.split("/")[0]]})

    graded(vanilla="old", fine_tuning="old", le="old")
    assert toy.run() == (0, [])
    graded(vanilla="old", fine_tuning=graders_hash(), le=graders_hash())
    assert toy.run()[1][0] == "vanilla/iter0/01_evaluate"
    graded(vanilla=graders_hash(), fine_tuning=graders_hash(), le=graders_hash())
    assert toy.run() == (0, [])
    graded(vanilla="old", fine_tuning="old", le="old")  # and then it goes on: one call, not a failed one first
    assert toy.run(iterations=2)[1][0] == "vanilla/iter0/01_evaluate"


def test_the_untouched_target_s_verdicts_follow_those_of_a_sweeps_points(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """06 of every point would refuse the pair for ever."""
    monkeypatch.setattr(compare, "collect_points", lambda folder: None)
    toy.run(arms=["le"], seed=[0, 1])
    for point, place, graders in (("", ("vanilla", 0), "old"), ("seed1", ("le", 1), graders_hash())):
        folder = RunDir(toy.run_dir.path / "points" / point if point else toy.run_dir.path).iteration(*place)
        for file in folder.path.glob("responses/*.jsonl"):
            write_json(stamp_of(file), {"graders": graders})
    assert toy.run()[1][0] == "vanilla/iter0/01_evaluate"


def test_new_iteration_and_new_arm_run_only_what_is_new(toy: Toy) -> None:
    toy.run()
    assert set(toy.run(iterations=2)[1]) == {
        *(f"{arm}/iter2/{stem}" for arm in ("fine_tuning", "le") for stem in ("05_train_deepspeed", "01_evaluate")),
        "le/iter1/02_error_analysis",
        "le/iter2/03_instruct_LE",
        "compare/06_compare",
    }


def test_two_files_of_one_name_are_both_looked_at(toy: Toy) -> None:
    files = [toy.root / folder / "mine.jsonl" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(
            "".join(f'{{"question": "1 + 1?", "answer": "2", "split": "{s}"}}\n' for s in ("train", "test"))
        )
    both = [str(file) for file in files]
    toy.run(benchmarks=both, in_domain=both, iterations=0)
    for file in files:
        file.write_text(file.read_text().replace('"2"', '"3"'))
        assert "vanilla/iter0/01_evaluate" in toy.run(benchmarks=both, in_domain=both, iterations=0)[1]


def test_redo_runs_an_unchanged_notebook_again(toy: Toy) -> None:
    toy.run()
    assert sorted(toy.run(redo=("05",))[1]) == ["fine_tuning/iter1/05_train_deepspeed", "le/iter1/05_train_deepspeed"]
    with pytest.raises(ValueError, match="--redo '07'"):
        toy.run(redo=("07",))


def test_06_is_redone_after_no_other_stage_of_the_same_call(toy: Toy) -> None:
    """Whatever finishes first: 06 waits for every file that it reads, so that a second call finds nothing changed."""
    workers = toy.plan(arms=["fine_tuning", "le"], iterations=2, workers=8)
    compared = workers.stages[-1]
    read = {path.parent for _, path in manifest._files_read(compared)}
    assert toy.run()[0] == 0
    read |= {path.parent for _, path in manifest._files_read(compared)}
    writers = {stage.key for stage in workers.stages if stage.folder.errors.parent in read and stage is not compared}
    waited, todo = set[str](), [compared]
    by_key = {stage.key: stage for stage in workers.stages}
    while todo:
        stage = todo.pop()
        waited |= set(stage.after)
        todo += [by_key[key] for key in stage.after]
    assert "vanilla/iter0/02_error_analysis" in waited
    assert {key for key in writers if "02" not in key or "iter0" in key} <= waited
    assert toy.run() == (0, [])


def test_a_failed_map_costs_the_comparison_its_clusters_alone(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy(toy.notebooks, "02_error_analysis", work='raise ValueError("no map")')
    code, ran = toy.run()
    assert code == 1 and {"le/iter1/03_instruct_LE", "compare/06_compare"} <= set(ran)
    assert "without vanilla/iter0/02_error_analysis, which failed" in capsys.readouterr().out


def test_attempt_left_running_by_a_killed_runner_is_redone(toy: Toy) -> None:
    toy.run()
    row = manifest.latest(toy.run_dir)["le/iter1/01_evaluate"]
    history.append(toy.run_dir.manifest, row | {"status": "running", "started": "2026-01-01"})
    assert toy.run()[1] == ["le/iter1/01_evaluate"]
    row = next(row for row in manifest.rows(toy.run_dir) if row["started"] == "2026-01-01")
    assert (row["status"], row["reason"]) == ("failed", "killed with its runner")


def test_recipe_yaml_names_origins_and_is_a_recipe_again(toy: Toy) -> None:
    toy.run()
    text = toy.run_dir.recipe.read_text()
    assert "budget: 10  # recipe" in text
    assert "k: 3  # default" in text
    again = plan.make(toy.run_dir.recipe, "toy", notebooks=toy.notebooks)
    assert again.settings == toy.plan().settings
    values = yaml.safe_load(toy.run_dir.parameters.read_text())
    assert values["RUN"] == "toy"
    assert values["BUDGET"] == 10


# -- failing and ending


def test_failing_stage_stops_its_arm_alone(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy(toy.notebooks, "05_train_deepspeed", work='if p.arm == "le":\n    raise ValueError("loss is NaN")')
    code, ran = toy.run()
    assert code == 1
    assert "le/iter1/01_evaluate" not in ran
    assert "fine_tuning/iter1/01_evaluate" in ran
    out = capsys.readouterr().out
    assert "FAILED le/iter1/05_train_deepspeed" in out
    assert 'raise ValueError("loss is NaN")' in out
    assert "without le, which failed" in out
    assert (toy.run_dir.compare / "results.csv").read_text().split() == ["arm", "fine_tuning"]
    skipped = manifest.rows(toy.run_dir)
    assert [row["reason"] for row in skipped if row["status"] == "skipped"] == ["le/iter1/05_train_deepspeed failed"]
    write_toy(toy.notebooks, "05_train_deepspeed")
    code, ran = toy.run()
    assert code == 0
    assert {"le/iter1/05_train_deepspeed", "le/iter1/01_evaluate", "compare/06_compare"} <= set(ran)
    assert (toy.run_dir.compare / "results.csv").read_text().split() == ["arm", "fine_tuning", "le"]


def test_without_the_untouched_target_nothing_is_compared(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy(toy.notebooks, "01_evaluate", work='raise FileNotFoundError("no model")')
    code, ran = toy.run()
    assert code == 1
    assert ran == ["vanilla/iter0/01_evaluate"]
    assert manifest.rows(toy.run_dir)[-1]["reason"] == "nothing to compare: vanilla/iter0/01_evaluate failed"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("toy FAILED at vanilla/iter0/01_evaluate;") and "finished" not in last


def test_files_without_worked_solutions_are_told_before_the_first_stage(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.root / "mine.jsonl"

    def told(solution: str) -> str:
        rows = [{"question": "Tom has 5 nuts and gets 8 more. How many nuts has he?", "answer": "13", "split": "train"}]
        data.write_text("\n".join(json.dumps(row | {"solution": solution}) for row in rows))
        toy.run(benchmarks=[str(data)], in_domain=[str(data)])
        return capsys.readouterr().out

    assert "no lessons: 0 of 1 train items" in told("")
    assert "1 of 1 train items" in (out := told("He has 13 nuts.")) and "cannot be varied" in out
    assert "no lessons" not in told("Tom has 5 + 8 = 13 nuts.")


def test_arm_without_errors_ends_well(toy: Toy) -> None:
    ended = 'put(p.folder.metrics("03_instruct_LE"), json.dumps({"ended": "no wrong items"}))'
    write_toy(toy.notebooks, "03_instruct_LE", work=ended)
    code, ran = toy.run(iterations=2)
    assert code == 0
    assert "le/iter1/05_train_deepspeed" not in ran
    assert "compare/06_compare" in ran
    rows = {row["stage"]: row for row in manifest.rows(toy.run_dir)}
    assert rows["le/iter1/03_instruct_LE"]["status"] == "ended"
    for stage in ("le/iter1/05_train_deepspeed", "le/iter2/01_evaluate"):
        assert rows[stage]["status"] == "skipped"
        assert rows[stage]["reason"] == "the arm ended at le/iter1/03_instruct_LE: no wrong items"
    assert toy.run() == (0, [])
    assert not manifest.answers_come(toy.plan(iterations=2).stages), "a finished run keeps its verdicts"


# -- the lock


def test_two_runners_on_one_run_are_refused(toy: Toy) -> None:
    toy.plan()
    with run_lock.lock(toy.run_dir), pytest.raises(ValueError, match=f"is being run by process {os.getpid()}"):
        toy.run()
    assert toy.run()[0] == 0


def test_what_a_killed_runner_wrote_into_its_lock_counts_for_nothing(toy: Toy) -> None:
    with run_lock.lock(toy.run_dir) as say:
        say(["le/iter1/01_evaluate"])
        holder = run_lock.lock_holder(toy.run_dir)
        assert (holder["pid"], holder["running"]) == (os.getpid(), ["le/iter1/01_evaluate"])
    (toy.run_dir.path / ".lock").write_text('{"pid": 1, "running": ["le/iter1/01_evaluate"]}')
    assert run_lock.lock_holder(toy.run_dir) == {}


# -- sweeps


def test_sweep_runs_a_point_for_each_combination_and_vanilla_once(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[Path] = []
    fake = type(sys)("laif_helpers.compare")
    fake.collect_points = collected.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "laif_helpers.compare", fake)
    monkeypatch.setattr("laif_helpers.compare", fake, raising=False)
    code, ran = toy.run(budget=[10, 20], seed=[0, 1])
    assert code == 0
    assert [key for key in ran if "vanilla" in key] == ["vanilla/iter0/01_evaluate", "vanilla/iter0/02_error_analysis"]
    point = toy.run_dir.path / "points" / "budget20_seed1"
    assert (point / "le" / "iter1" / "checkpoint" / "model.safetensors").read_text() == "le1-20-1 untouched"
    assert (point / "vanilla" / "iter0" / "responses" / "practice.test.jsonl").is_file()
    assert yaml.safe_load((point / "recipe.yaml").read_text())["budget"] == 20
    assert yaml.safe_load(toy.run_dir.recipe.read_text())["budget"] == [10, 20]
    assert collected == [toy.run_dir.path]
    assert toy.run() == (0, [])
    assert {key.split("/")[0] for key in toy.run(budget=[10, 20, 30])[1]} == {"budget30_seed0", "budget30_seed1"}


def test_a_sweep_ends_its_first_point_before_it_begins_the_next(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "collect_points", lambda path: None)  # the toy's 06 leaves no tables
    code, ran = toy.run(seed=[0, 1], workers=1)
    points = [stage.partition("/")[0] for stage in ran if stage.startswith("seed")]
    assert code == 0 and set(points) == {"seed0", "seed1"} and points == sorted(points)


def test_sweep_over_what_changes_the_answers_evaluates_each_point(toy: Toy) -> None:
    planned = toy.plan(limit=[5, 10])
    assert {home.vanilla for home in planned.homes.values()} == {"limit5", "limit10"}
    assert {"limit5/vanilla/iter0/01_evaluate", "limit10/vanilla/iter0/01_evaluate"} <= set(keys(planned))
    with pytest.raises(ValueError, match="a sweep needs one or more different values"):
        toy.plan(limit=[5, 5])


def test_lists_where_a_number_cannot_vary_are_refused(toy: Toy) -> None:
    with pytest.raises(ValueError, match="workers"):
        toy.plan(workers=[1, 2])


# -- real kernels


@pytest.mark.slow
def test_real_kernels_run_fail_and_tell(
    toy: Toy, real_kernels: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    real_kernels()
    write_toy(toy.notebooks, "02_error_analysis", work="import sys\nprint('kernel', sys.executable)\nsys.exit(0)")
    write_toy(toy.notebooks, "05_train_deepspeed", work='print("step 1")\nassert p.budget > 99, "too few"')
    code, _ = toy.run(arms=["fine_tuning"])
    assert code == 1
    rows = manifest.latest(toy.run_dir)
    assert rows["vanilla/iter0/01_evaluate"]["status"] == "done"
    # sys.exit(0) in a cell is success to papermill
    assert rows["vanilla/iter0/02_error_analysis"]["reason"].startswith("the notebook ended early")
    assert rows["fine_tuning/iter1/05_train_deepspeed"]["reason"] == "AssertionError: too few"
    out = capsys.readouterr().out
    assert 'assert p.budget > 99, "too few"' in out
    assert out.count("AssertionError: too few") == 2, "once under the cell, once in the stage's line"
    assert any(line.split()[:3] == ["in", "all", "3"] for line in out.splitlines())
    log = (toy.run_dir.path / "run.log").read_text()
    assert f"vanilla/iter0/02_error_analysis | kernel {sys.executable}" in log
    assert "fine_tuning/iter1/05_train_deepspeed | step 1" in log


def sleeping(toy: Toy) -> Path:
    """Make 01 start a child in a session of its own and wait; return the file that will hold the pids."""
    pids = toy.root / "pids"
    work = (
        "import os, subprocess, sys, time\n"
        "code = 'from laif_helpers.launch import die_with_parent as d; d(); print(1); import time; time.sleep(60)'\n"
        "started = [sys.executable, '-u', '-c', code]\n"
        "child = subprocess.Popen(started, start_new_session=True, stdout=subprocess.PIPE)\n"
        f"child.stdout.readline()\nPath({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(60)"
    )
    write_toy(toy.notebooks, "01_evaluate", work=work)
    toy.plan()
    return pids


def start_and_kill(toy: Toy, number: int, victim: str) -> tuple[int, list[int]]:
    pids = sleeping(toy)
    code = (
        "import signal, sys; from pathlib import Path; from laif_helpers.runner import loop\n"
        "from laif_helpers.runner import plan\n"
        # as a shell starts a background job
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"made = plan.make(Path({str(toy.root / 'toy.yaml')!r}), notebooks=Path({str(toy.notebooks)!r}))\n"
        "sys.exit(loop.run(made))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120  # kernels start slowly on a busy machine
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel, grandchild = map(int, pids.read_text().split())
    stage = psutil.Process(kernel).ppid()
    os.kill({"runner": process.pid, "kernel": kernel, "stage": stage}[victim], number)
    process.communicate(timeout=120)
    return process.returncode, [process.pid, stage, kernel, grandchild]


def all_gone(pids: list[int]) -> bool:
    for _ in range(1200):
        left = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not left:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are tied to their parent through Linux' prctl")
@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        ("runner", signal.SIGKILL, -9),
        ("runner", signal.SIGINT, 130),
        ("runner", signal.SIGTERM, 130),
        ("kernel", signal.SIGKILL, 1),
        ("stage", signal.SIGKILL, 1),
    ],
)
def test_killed_in_the_middle_leaves_no_process_and_resumes(toy: Toy, victim: str, number: int, code: int) -> None:
    returned, pids = start_and_kill(toy, number, victim)
    assert returned == code
    assert all_gone(pids)
    left = [Path(note.read_text()) for note in scratch.jobs(toy.run_dir).glob("*.scratch")]
    if victim == "runner" and number == signal.SIGKILL:
        assert [folder.is_dir() for folder in left] == [True], "nobody was there to remove it; the next run does"
    else:
        assert not left
    row = manifest.latest(toy.run_dir)["vanilla/iter0/01_evaluate"]
    stopped = "running" if number == signal.SIGKILL else "interrupted"
    assert row["status"] == (stopped if victim == "runner" else "failed")
    write_toy(toy.notebooks, "01_evaluate")
    assert toy.run(arms=["fine_tuning"])[0] == 0  # the lock went with its holder
    assert not [folder for folder in left if folder.exists()]
    again = manifest.latest(toy.run_dir)["vanilla/iter0/01_evaluate"]["why"]
    assert again == ("was interrupted" if victim == "runner" else "failed last time")


@pytest.mark.parametrize("status", ["done", "failed"])
def test_what_a_stage_said_after_its_runner_was_killed_counts_if_it_is_good(toy: Toy, status: str) -> None:
    assert toy.run(iterations=0)[0] == 0
    row = manifest.latest(toy.run_dir)["vanilla/iter0/01_evaluate"]
    history.append(toy.run_dir.manifest, row | {"status": "running"})
    result = scratch.jobs(toy.run_dir) / "vanilla__iter0__01_evaluate.result.json"
    write_json(result, {"status": status, "reason": ""})
    _, ran = toy.run()
    assert ("vanilla/iter0/01_evaluate" in ran) == (status == "failed")
    assert manifest.latest(toy.run_dir)["vanilla/iter0/01_evaluate"]["status"] == "done"


def test_source_hash_reads_code_alone(toy: Toy) -> None:
    path = toy.notebooks / "01_evaluate.ipynb"
    before = notebook.source_hash(path)
    planned = json.loads(path.read_text())
    planned["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    planned["metadata"]["editor"] = 1
    planned["cells"][0]["source"] = "# another title"
    path.write_text(json.dumps(planned))
    assert notebook.source_hash(path) == before, "a word of the story is no reason to train again"
    planned["cells"][-1]["source"] = "1 + 1"
    path.write_text(json.dumps(planned))
    assert notebook.source_hash(path) != before


# -- damaged results


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("vanilla/iter0/responses/practice.test.jsonl", "vanilla/iter0/01_evaluate"),
        ("le/iter1/lessons/le.jsonl", "le/iter1/03_instruct_LE"),
        ("vanilla/iter0/metrics/01_evaluate.json", "vanilla/iter0/01_evaluate"),
        ("le/iter1/checkpoint/model.safetensors", "le/iter1/05_train_deepspeed"),
    ],
)
def test_a_damaged_result_is_made_again(toy: Toy, capsys: pytest.CaptureFixture[str], file: str, stage: str) -> None:
    toy.run(arms=["le"])
    whole = (toy.run_dir.path / file).read_bytes()
    cut(toy.run_dir.path / file)
    code, ran = toy.run()
    assert (code, ran) == (0, [stage]) and f"{file} is damaged" in capsys.readouterr().out
    assert (toy.run_dir.path / file).read_bytes() == whole
    assert toy.run() == (0, [])


def test_lessons_that_somebody_has_corrected_stand_and_are_trained_on(toy: Toy) -> None:
    toy.run(arms=["le"])
    lessons = toy.run_dir.iteration("le", 1).lessons("le")
    lessons.write_text(json.dumps({"n": 9}) + "\n")
    assert toy.run()[1][0] == "le/iter1/05_train_deepspeed"
    assert json.loads(lessons.read_text()) == {"n": 9}


def test_rows_that_are_gone_are_damage_too(tmp_path: Path) -> None:
    answers = tmp_path / "responses" / "x.jsonl"
    answers.parent.mkdir()
    answers.write_text('{"a": 1}\n{"a": 2}\n')
    left = outputs.hashes(tmp_path, ["responses/x.jsonl"])
    assert outputs.damaged(tmp_path, left) == ""
    answers.write_text('{"a": 1}\n')
    assert outputs.damaged(tmp_path, left) == "responses/x.jsonl"


@pytest.mark.parametrize("text", ["budget: 99\n", "\0\0", "- 1\n", "target: [\n"])
def test_a_recipe_of_a_run_that_is_old_or_damaged_is_written_anew(toy: Toy, text: str) -> None:
    """An older release's recipe lacks keys that were added since."""
    toy.run(arms=["le"])
    toy.run_dir.recipe.write_text(text)
    assert toy.run() == (0, [])
    assert "budget: 10" in toy.run_dir.recipe.read_text()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "manifest.jsonl"), PermissionError(13, "no")])
def test_a_disk_that_is_full_ends_in_a_sentence(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "commands", full)
    with pytest.raises(SystemExit) as ended:
        cli.app()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"laif: {error.strerror}")
