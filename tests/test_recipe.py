"""The recipe model: what papermill and the command line hand over is read right or refused with a sentence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import recipe
from laif_helpers.answers import joined
from laif_helpers.paths import ROOT
from laif_helpers.recipe import Recipe, StageParameters, build, from_notebook
from laif_helpers.runner import manifest


@pytest.mark.parametrize(
    ("key", "given", "read"),
    [
        ("learning_rate", "5e-6", 5e-6),
        ("strict", "false", False),
        ("budget", "300", 300),
        ("arms", "[le, 'lec']", ["le", "lec"]),
        ("arms", "le,lec", ["le", "lec"]),
        ("arms", ["vanilla", "le", "le"], ["le"]),
        ("instructor_model", 7, "7"),
    ],
)
def test_values_as_papermill_hands_them_over(key: str, given: object, read: object) -> None:
    assert getattr(build(Recipe, {key: given}), key) == read


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"budgets": 3}, "unknown recipe key 'budgets'; did you mean 'budget'?"),
        ({"zzz": 3}, "unknown recipe key 'zzz'; known: target"),
        ({"budget": 0}, "budget: .*greater than or equal to 1"),
        ({"lora_rank": True}, "lora_rank: write a number"),  # it was a rank of 1
        ({"temperature": False}, "temperature: write a number"),
        ({"learning_rate": "5e4"}, "learning_rate: .*less than or equal to 1"),
        ({"target_url": "localhost:8000"}, "target_url 'localhost:8000' is not a server's base URL"),
        ({"target_url": "http://h:99999/v1"}, "target_url .* is not a server's base URL"),
        ({"instructor_url": "http://a b/v1"}, "instructor_url 'http://a b/v1' is not a server's base URL"),
        (
            {"test_split": "Test", "benchmarks": ["practice"]},
            "test_split 'Test' is no split of the benchmarks: test, train",
        ),
        ({"instructor": "llm"}, "arm 'auggpt' asks instructor: llm; set instructor_model"),
        ({"iterations": 99_999}, "iterations: .*less than or equal to 100"),  # the plan took minutes
        ({"target": ""}, "target: .*at least 1 character"),  # it was the project's own folder
        ({"budget": "many"}, r"budget: .*\(given: 'many'\)"),
        ({"arms": ["lee"]}, "unknown arm 'lee'; known: vanilla, fine_tuning, auggpt, random, le"),
        ({"benchmarks": ["gsm9k"]}, "unknown benchmark 'gsm9k'; known: gsm8k"),
        ({"in_domain": ["gsm8k"]}, "in_domain names 'gsm8k', which benchmarks lacks"),
        ({"error_split": "dev"}, "benchmark 'practice' has the splits train, test"),
        ({"target": "server:x"}, "needs target_url"),
        ({"serve": "vllm serve {model}"}, r"serve: .* lacks {port}; e\.g\. vllm serve {model} --port {port}"),
        ({"target": "replay:x"}, "cannot be trained: set quote_only: true"),
        ({"replay_fraction": 1}, "replay_fraction: .*less than 1"),
        ({"instructor": "oracle"}, "instructor: .*'scripted', 'symbolic' or 'llm'"),
        ({"quote_only": True, "instructor": "llm"}, "needs instructor_model"),
        ({"samples": 4}, "the same answer 4 times; set temperature, for instance to 0.7"),
        ({"average": 0}, "average is a share of the way above 0"),
        ({"dtype": "fp16"}, "dtype: .*'auto', 'float32' or 'bfloat16'"),
        ({"lora_alpha": 8}, "set lora_rank, for instance to 16"),
        ({"hostfile": "h"}, "set deepspeed: zero2"),
        ({"agreement": 2}, "set instructor: llm, or 0"),
        ({"prices": "cheap"}, "prices: 'cheap' is no mapping"),
        ({"prices": "{cheap"}, "prices: '{cheap' is no mapping"),
        ({"MAX-USD": 3}, "unknown recipe key 'MAX-USD'; did you mean 'max_usd'?"),
        ({"limit": None}, "limit: no value; write one, or leave the key out"),
        ({"learning_rate": float("inf")}, "learning_rate: .*finite"),
        ({"prices": {"m": {"input": float("inf"), "output": 1}}}, "prices.m.input: .*finite"),
        ({"seed": 2**32}, "seed: .*less than 4294967296"),
        ({"test_split": "dev"}, "test_split 'dev': benchmark 'practice_plus' has the splits test"),
        ({"in_domain": []}, "in_domain is empty, and arm 'fine_tuning' learns from errors: name the benchmark"),
        (
            {"test_split": "train", "benchmarks": ["practice"]},
            "test_split 'train' share items: what is trained on would be measured",
        ),
        ({"error_split": "test_seen", "in_domain": ["word_sorting"], "benchmarks": ["word_sorting"]}, "share items"),
        ({"target_url": "http://me:secret@h/v1"}, "target_url holds a user or password; [^s]*recipes are written down"),
        ({"instructor_url": "https://h/v1/chat/completions"}, "'/chat/completions' is added to it: leave that out"),
        ({"instructor_url": "http://localhost:11434/api/chat"}, "'/api/chat' is added to it: leave that out"),
        ({"request_options": {"instructor": {"add": {"max_tokens": "many"}}}}, "max_tokens: 'many': write a whole"),
        ({"request_options": {"instructor": {"add": {"n": 0}}}}, "n: 0: write a whole number"),
        ({"request_options": {"targt": {}}}, "request_options.targt: "),
        ({"request_options": {"target": {"leave_out": ["messages"]}}}, "'messages' cannot be changed"),
        ({"request_options": {"instructor": {"add": {"api_key": "x"}}}}, "keys come from the environment"),
        ({"request_options": {"target": {"add": {"n": 2}, "leave_out": ["n"]}}}, "'n' is named twice"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(Recipe, values)


def test_the_recipe_of_an_earlier_run_is_read() -> None:
    assert recipe.build(recipe.Recipe, recipe.GONE | {"budget": 3}) == recipe.build(recipe.Recipe, {"budget": 3})
    with pytest.raises(ValueError, match="unknown recipe key 'curriculum'"):
        recipe.build(recipe.Recipe, {"curriculum": "length"})


def test_a_notebook_by_hand_may_teach_from_the_split_that_is_measured() -> None:
    values = {"run": "r", "arm": "lec", "iteration": 1, "test_split": "train", "benchmarks": ["practice"]}
    assert build(recipe.StageParameters, values).error_split == "train"


def test_a_time_limit_is_no_number_to_the_base_of_sixty(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("slurm: {time: 24:00:00, mem: 4G}\nlimit: 12\nlearning_rate: 1.5\n")
    values, _ = recipe.load(tmp_path / "r.yaml")
    assert values == {"slurm": {"time": "24:00:00", "mem": "4G"}, "limit": 12, "learning_rate": 1.5}


def test_a_leading_zero_makes_no_octal_number(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("limit: 010\nseed: 0_12\nbudget: 0x10\nk: 0\n")
    assert recipe.load(tmp_path / "r.yaml")[0] == {"limit": 10, "seed": 12, "budget": 16, "k": 0}


def test_notebook_names_are_the_recipe_s_in_upper_case() -> None:
    p = from_notebook({"RUN": "x", "ARM": "le", "ITERATION": "2", "BUDGET": "9", "_HIDDEN": 1, "lower": 2})
    assert (p.run, p.arm, p.iteration, p.budget) == ("x", "le", 2, 9)
    with pytest.raises(ValueError, match="unknown recipe key 'bugdet'"):
        from_notebook({"BUGDET": 3})


def test_a_parameter_in_lower_case_is_said_to_set_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert from_notebook({"limit": 5, "audit": [1], "lower": 2}).limit == 0
    assert capsys.readouterr().out == "limit = 5 sets no parameter; write LIMIT for that.\n"


def test_a_name_that_only_the_kernel_remembers_is_forgotten_if_misspelt_and_told_if_it_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    build_it = "p = recipe.from_notebook(globals())"
    kernel: dict[str, Any] = {"RUN": "x", "BUGDET": 3, "AVERAGE": 0.5, "In": ["", 'RUN = "x"\nBUGDET = 3', build_it]}
    with pytest.raises(ValueError, match="unknown recipe key 'bugdet'"):
        from_notebook(kernel)
    kernel["In"] += [build_it]
    with pytest.raises(ValueError, match="unknown recipe key 'bugdet'"):
        from_notebook(kernel)  # the parameters cell did not run again: nothing tells that it was mended
    kernel["BUDGET"], kernel["In"] = 9, [*kernel["In"], 'RUN = "x"\nif True:\n    BUDGET: int = 9', build_it]
    capsys.readouterr()
    p = from_notebook(kernel)
    assert (p.budget, p.average) == (9, 0.5)
    assert capsys.readouterr().out == "AVERAGE still holds what an earlier cell set; write del AVERAGE to drop it.\n"


@pytest.mark.parametrize(("arm", "iteration"), [("le", 0), ("vanilla", 1)])
def test_iteration_0_is_the_untouched_target_alone(arm: str, iteration: int) -> None:
    with pytest.raises(ValueError, match="iteration 0 is the untouched target"):
        build(StageParameters, {"arm": arm, "iteration": iteration})


def test_recorded_answers_can_be_analysed_but_not_trained_on() -> None:
    assert build(StageParameters, {"target": "replay:x", "arm": "vanilla", "iteration": 0}).iterations == 2
    with pytest.raises(ValueError, match="cannot be trained"):
        build(StageParameters, {"target": "replay:x", "arm": "le", "iteration": 1})


def test_folders_of_an_iteration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    p = build(StageParameters, {"run": "r", "arm": "le", "iteration": 1})
    assert p.folder.path == tmp_path / "r" / "le" / "iter1"
    assert p.previous.path == tmp_path / "r" / "vanilla" / "iter0"
    assert Path(p.base_model) == ROOT / "data" / "nano"
    assert Path(p.model) == p.folder.checkpoint


def test_recipe_that_is_no_mapping_or_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="a recipe is a mapping"):
        recipe.load(path)
    path.write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        recipe.load(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budget: 3\nk: 2\n\nbudget: 4\n", "r.yaml: budget is given twice, in line 1 and in line 4; remove one"),
        (
            "prices:\n  m: {input: 1, output: 2}\n  m: {input: 1, output: 3}\n",
            "m is given twice, in line 2 and in line 3",
        ),
        ("{budget: 3, 'budget': 4}", "budget is given twice, in line 1 and in line 1"),
    ],
)
def test_a_key_given_twice_is_refused_with_both_lines(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        recipe.load(path)
    path.write_bytes("# für uns\nbudget: 3\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"r\.yaml: not UTF-8 .* save it as UTF-8"):
        recipe.load(path)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("quickstart", r"recipe quickstart does not exist; did you mean papermill_runs/quickstart\.yaml\?"),
        ("papermill_runs/smok.yaml", r"did you mean papermill_runs/smoke\.yaml\?"),
        ("papermill_runs", r"recipe papermill_runs is a folder; the recipes lie in papermill_runs/\*\.yaml"),
    ],
)
def test_a_recipe_that_is_not_there_names_the_nearest(path: str, sentence: str) -> None:
    with pytest.raises(FileNotFoundError, match=sentence):
        recipe.load(Path(path))


@pytest.mark.slow
def test_a_new_key_is_one_line_and_reaches_notebook_trainer_and_params(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key added to the section about training is found in the trainer's settings and in 05's parameters."""
    program = """
import json, sys
from pydantic import Field
from laif_helpers import sections

class TrainingSection(sections.TrainingSection):
    new_key: float = Field(0.0, ge=0)

sections.TrainingSection = TrainingSection
sections.READS = {stem: tuple(TrainingSection if s.__name__ == "TrainingSection" else s for s in read)
                  for stem, read in sections.READS.items()}
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from laif_helpers.runner import manifest, plan
from laif_helpers.train.settings import Settings
made = plan.make(Path(sys.argv[1]), "", {"new_key": 0.5})
given = {s.notebook: plan.parameters(s, made.parameters[s.notebook]) for s in made.stages}
print(json.dumps({
    "notebooks": sorted(stem for stem, values in given.items() if "NEW_KEY" in values),
    "params": "NEW_KEY: 0.5" in manifest.parameters_text(made.settings.model_dump()),
    "trainer": "new_key" in Settings.model_fields,
}))
"""
    quick = ROOT / "papermill_runs" / "quickstart.yaml"
    done = subprocess.run([sys.executable, "-c", program, str(quick)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"notebooks": ["05_train_deepspeed"], "params": True, "trainer": True}


def test_written_recipe_reads_back_as_the_same(tmp_path: Path) -> None:
    settings = build(Recipe, {"learning_rate": 5e-6, "arms": [], "instructor_model": "h: 1 # x", "limit": 7})
    path = tmp_path / "r.yaml"
    path.write_text(manifest.recipe_text(settings.model_dump(), {"limit": "--set"}))
    assert "limit: 7  # --set" in path.read_text()
    assert build(Recipe, recipe.load(path)[0]) == settings


def test_a_key_is_written_in_one_section_only() -> None:
    names = [name for section in Recipe.__bases__ for name in section.model_fields]
    assert len(names) == len(set(names)) and set(names) == set(Recipe.model_fields)
    for section in Recipe.__bases__:
        section()  # every section stands by itself


def test_changes_to_requests_are_read_and_written_back() -> None:
    given = {"target": {"rename": {"max_tokens": "max_completion_tokens"}, "leave_out": ["seed"]}}
    p = build(Recipe, {"request_options": given})
    assert p.request_options.target.rename == {"max_tokens": "max_completion_tokens"}
    assert p.model_dump()["request_options"] == given and build(Recipe, {}).model_dump()["request_options"] == {}
    text = "{instructor: {add: {reasoning_effort: low}}}"
    assert build(Recipe, {"request_options": text}).request_options.instructor.add == {"reasoning_effort": "low"}


@pytest.mark.parametrize(("given", "share"), [("true", "auto"), (False, 1.0), ("0.5", 0.5), ("auto", "auto"), (1, 1.0)])
def test_average_is_a_share_or_found_out(given: object, share: object) -> None:
    assert build(Recipe, {"average": given}).average == share


def test_held_out_items_are_the_same_whatever_the_arm() -> None:
    ids = [f"practice-train-{n}" for n in range(2_000)]
    first, other = (recipe.build(recipe.Recipe, {"seed": seed}) for seed in (0, 1))
    held = {id for id in ids if joined.held_out(first, "practice", id)}
    assert 340 < len(held) < 460
    assert held != {id for id in ids if joined.held_out(other, "practice", id)}
    none = recipe.build(recipe.Recipe, {"holdout_fraction": 0})
    assert not any(joined.held_out(none, "practice", id) for id in ids)


@pytest.mark.parametrize(
    ("in_domain", "chosen"),
    [
        ([], "scripted"),
        (["practice"], "scripted"),
        (["gsm8k"], "symbolic"),
        (["word_sorting"], "scripted"),
    ],
)
def test_the_instructor_of_a_recipe_that_names_none_knows_its_questions(in_domain: list[str], chosen: str) -> None:
    values = {"benchmarks": in_domain or ["practice"], "in_domain": in_domain, "iterations": 0}
    assert recipe.build(recipe.Recipe, values).instructor == chosen
    assert recipe.build(recipe.Recipe, {**values, "instructor": "scripted"}).instructor == "scripted"
