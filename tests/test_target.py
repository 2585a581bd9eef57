"""What a recipe's target may name, and that a name which leads nowhere is refused before anything is tried."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy

from laif_helpers import target
from laif_helpers.models import adapters, check
from laif_helpers.paths import NANO, ROOT
from laif_helpers.records import write_json
from laif_helpers.runner import forecast
from laif_helpers.target import Target


def test_each_kind_is_told_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    for name in ("m.gguf", "M.GGUF", "sha256-0a1b"):
        (tmp_path / name).write_bytes(b"GGUF")
    kinds = {
        "data/nano": "folder",
        str(NANO): "folder",
        str(tmp_path / "adapter"): "adapter",
        str(tmp_path / "m.gguf"): "gguf",
        str(tmp_path / "M.GGUF"): "gguf",
        str(tmp_path / "sha256-0a1b"): "gguf",
        "someone/model": "hub",
        "server:someone/model": "server",
        "replay:answers.jsonl#gpt": "replay",
    }
    assert {text: Target.of(text).kind for text in kinds} == kinds
    assert Target.of("server:someone/model").name == "someone/model"
    assert not Target.of("server:m").local and not Target.of("replay:x").local and Target.of("a/b").local
    (tmp_path / "answers.jsonl").write_text("")
    assert Target.of("replay:answers.jsonl#gpt").recording(str(tmp_path)) == tmp_path / "answers.jsonl"
    (tmp_path / "one#two").mkdir()
    assert Target.of("replay:one#two").recording(str(tmp_path)) == tmp_path / "one#two", "its own name holds the sign"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("data/nan", "did you mean data/nano?"),
        ("data/nano/config.json", "name its folder, data/nano"),
        ("/no/such/model", "correct target, or put the model there"),
        ("./models/x", "correct target"),
        ("a/b/c", "correct target"),
        ("$HOME/model", "correct target"),
        ("модель", "correct target"),
        ("http://localhost:8000/v1", "is written server:<model>, its address target_url"),
        ("ollama:llama3", "is written server:<model>, its address target_url"),
        ("model.gguf", "neither a model folder nor a GGUF file"),
    ],
)
def test_a_path_that_leads_nowhere_is_no_name_of_the_hub(text: str, hint: str) -> None:
    with pytest.raises(FileNotFoundError, match=hint.replace("?", r"\?")):
        target.check(text)


@pytest.mark.parametrize("text", ["someone/model", "gpt2", "server:a/b/c", "replay:no/file", "data/nano"])
def test_other_names_pass(text: str) -> None:
    target.check(text)


def test_a_hub_model_that_cannot_be_had_is_refused_at_once(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:1")
    for name in ("https_proxy", "HTTPS_PROXY", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("another attempt was waited for"))
    with pytest.raises(
        ValueError, match=r"'someone/model' is no folder \(/.*/someone/model\) .* the hub cannot be reached"
    ):
        toy.run(target="someone/model")
    assert toy.engine.ran == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in target.unreachable("someone/model")


def test_what_the_hub_s_cache_holds_is_looked_at_as_a_folder_is(
    toy: Toy, tmp_path: Path, cache: Callable[..., Path]
) -> None:
    (folder := tmp_path / "packed").mkdir()
    write_json(folder / "config.json", {"quantization_config": {"quant_method": "gptq"}})
    snapshot = cache("acme/packed", folder)
    assert Target.of("acme/packed").kind == "hub" and target.place("acme/packed") == snapshot
    assert "is quantised (gptq)" in "".join(forecast.warnings(toy.plan(target="acme/packed").stages))
    assert check.problems("acme/packed")[0].startswith(f"{snapshot}: no weights"), "none can come"
    assert target.part("acme/packed", "none.json") == snapshot / "none.json"
    assert target.place("acme/none") == ROOT / "acme/none" and target.part("a b", "c") == ROOT / "a b/c"


def test_an_adapter_in_the_hub_s_cache_is_one(tmp_path: Path, cache: Callable[..., Path]) -> None:
    """It was refused as not in the cache, which was searched for the config of a whole model alone."""
    (folder := tmp_path / "lora").mkdir()
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": str(NANO)})
    snapshot = cache("acme/lora", folder)
    assert (found := Target.of("acme/lora")).kind == "adapter" and found.path == snapshot
    assert target.unreachable("acme/lora") == "" and adapters.base_of("acme/lora") == str(NANO)


def test_a_broken_gguf_file_is_refused_before_anything_runs(toy: Toy, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    for content in (b"", b"GGUF\x03\x00\x00\x00cut"):
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(ValueError, match="not a readable GGUF file"):
            forecast.target_missing(toy.plan(target=str(tmp_path / "m.gguf")))


def test_a_target_that_has_answered_already_need_not_be_there(toy: Toy) -> None:
    assert toy.run(arms=[], iterations=0)[0] == 0
    (toy.root / "model").rename(toy.root / "moved")
    assert forecast.target_missing(toy.plan()) == ""


@pytest.mark.parametrize("tracker", ["wandbb", "mlflow"])
def test_a_tracker_that_is_not_there_is_told_before_anything_runs(
    toy: Toy, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tracker == "mlflow":
        monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert f"stage 5 will stop: report_to: {tracker}" in "".join(forecast.warnings(toy.plan(report_to=tracker).stages))
    assert forecast.warnings(toy.plan(report_to=tracker, arms=[]).stages) == []


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"quantization_config": {"quant_method": "torchao"}}, "is quantised (torchao): it answers and is not trained"),
        ({"r": 4}, "of rank 4; set lora_rank: 4 to go on training it"),
        ({"r": 0, "target_modules": ["lm_head"]}, "acts on the model's head, which TRL does not train; merge the two"),
        ({"base_model_name_or_path": "/gone"}, "was trained for /gone, which does not exist"),
        ({}, ""),
    ],
)
def test_a_target_that_cannot_be_trained_is_told_before_anything_is_asked(
    toy: Toy, tmp_path: Path, about: dict[str, Any], sentence: str
) -> None:
    name = "config.json" if "quantization_config" in about else "adapter_config.json"
    write_json(tmp_path / "model" / name, about)
    found = "".join(forecast.warnings(toy.plan(target=str(tmp_path / "model"), lora_rank=0).stages))
    assert ("stage 5 will stop: " in found and sentence in found) == bool(sentence)


def test_an_embedding_that_is_not_here_is_told_before_any_question_is_asked(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy.root / "encoder").mkdir()
    for name in ("tfidf", str(toy.root / "encoder"), f"bert-mean:{toy.root}/encoder"):
        assert forecast.warnings(toy.plan(embedding=name).stages) == []
    for name, model in (("none", "sentence-transformers/none"), ("bert-mean", "bert-base-uncased"), ("a/b", "a/b")):
        (sentence,) = forecast.warnings(toy.plan(embedding=name).stages)
        assert sentence.startswith(f"stage 2 will stop at embedding {name!r}: model {model!r} is no folder")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (sentence,) = forecast.warnings(toy.plan(embedding="minilm").stages)
    assert "offline-embeddings, is not installed" in sentence
