"""Every family of causal models is trained, whole and under an adapter; the checkpoint is as sound as its base."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import train_here

from laif_helpers.models import check, local, older
from laif_helpers.recipe import StageParameters
from laif_helpers.train import memory
from laif_helpers.train.child import base_model, savings, sft
from tests.families import FAMILIES, STOPS, conversations, decoded, make, wanted
from tests.test_models import make_tokenizer

Make = Callable[..., StageParameters]
SAMPLE = ("gpt2", "biogpt", "mixtral", "granitemoe", "phimoe", "mamba2", "zamba2", "llama4_text")
"""In each run of the tests: layers that are no ``Linear``, a head of another name, experts under two names for their
count, a router that returns a pair, Mamba, layers that share their weights, a backbone of another name."""
EACH = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.thorough) for name in FAMILIES]
)


def trained(parameters: Make, family: str, folder: Path, **values: Any) -> Path:
    model = make(family)
    assert not check.headed(model.config)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    p = parameters(n=8, target=str(folder), batch_size=4, learning_rate="1e-3", **values)
    assert train_here(p)["steps"] == 2
    return p.folder.checkpoint


@pytest.mark.slow
@EACH
def test_whole(family: str, parameters: Make, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    checkpoint = trained(parameters, family, tmp_path)
    older.write(tmp_path)  # a checkpoint has version 4's names beside its own
    assert json.loads((checkpoint / "config.json").read_text()) == json.loads((tmp_path / "config.json").read_text())
    model, found = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    before = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert not all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    prompts = local.prompt_ids(local.load(str(checkpoint)), conversations())
    assert decoded(model.eval(), prompts, STOPS) == wanted(model, prompts, STOPS)


@pytest.mark.slow
@EACH
def test_under_an_adapter(family: str, parameters: Make, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    checkpoint = trained(parameters, family, tmp_path / "base", lora_rank=4)
    adapted = PeftModel.from_pretrained(base_model.load_base(str(tmp_path / "base")), str(checkpoint)).eval()
    weights = {name: weight for name, weight in adapted.named_parameters() if "lora_" in name}
    assert sum(weight.numel() for weight in weights.values()) == 4 * memory.shape(str(tmp_path / "base")).per_rank
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)
    loaded = local.load(str(checkpoint))
    merged = base_model.load_base(str(base_model.merge(checkpoint, tmp_path / "merged"))).eval()
    (ids,) = local.prompt_ids(loaded, conversations()[3:4])
    kept_apart = local.log_probabilities(adapted, ids)
    for model in (loaded.model, merged):
        assert torch.allclose(local.log_probabilities(model, ids), kept_apart, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jetmoe", "granitemoehybrid"])
def test_a_family_that_cannot_save_activations_or_has_no_experts(
    kind: str, parameters: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU activations are saved unless the recipe says no; small Granites are mixtures without experts."""
    none = {"num_local_experts": 0, "num_experts_per_tok": 0} if kind == "granitemoehybrid" else {}
    monkeypatch.setitem(FAMILIES, kind, FAMILIES[kind] | none)
    original = sft.trainer_arguments

    def saving(*given: Any) -> Any:
        arguments = original(*given)
        arguments.activation_checkpointing = True
        return arguments

    monkeypatch.setattr(sft, "trainer_arguments", saving)
    assert trained(parameters, kind, tmp_path).is_dir()


@pytest.mark.parametrize("family", ["bert", "rembert"])
def test_a_family_whose_head_is_more_than_a_product_is_refused(family: str, parameters: Make, tmp_path: Path) -> None:
    """TRL would train BERT's decoder without its head's first half, and RemBERT's not at all."""
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(family, **small, is_decoder=True, vocab_size=261, initializer_range=0.3)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    make_tokenizer(tmp_path)
    told = f"models of type {family} can answer and cannot be trained"
    assert [told in sentence for sentence in check.problems(str(tmp_path), taught=True)] == [True]
    assert check.problems(str(tmp_path)) == []
    with pytest.raises(ValueError, match=told):
        train_here(parameters(n=8, target=str(tmp_path)))


def test_a_family_that_cannot_go_on_from_a_cache_reads_every_beginning_itself(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPM-Ant gives the later half alone, ProphetNet refuses by an assertion: both ended the training."""

    def refuses(*_: Any) -> Any:
        raise AssertionError("one token at a time")

    model = base_model.load_base(str(base))
    original, samples = savings._shared, [{"input_ids": list(range(5, 37))}]
    monkeypatch.setattr(savings, "_shared", refuses)
    assert not savings.share_beginnings(model, samples)

    def half(*given: Any) -> Any:
        found = original(*given)
        found.last_hidden_state = found.last_hidden_state[:, 16:]
        return found

    monkeypatch.setattr(savings, "_shared", half)
    assert not savings.share_beginnings(model, samples)
    monkeypatch.setattr(savings, "_shared", original)
    assert savings.share_beginnings(model, samples)


def test_each_seed_begins_with_its_own_adapter(parameters: Make) -> None:
    """The factors were drawn before the seed was set: with any seed the same."""
    import torch
    from safetensors.torch import load_file

    def first(seed: int) -> Any:
        p = parameters(n=8, lora_rank=2, seed=seed, learning_rate="1e-9")
        torch.manual_seed(5)
        train_here(p)
        saved = load_file(p.folder.checkpoint / "adapter_model.safetensors")
        return next(part for name, part in sorted(saved.items()) if "lora_A" in name)

    zero = first(0)
    assert torch.allclose(zero, first(0), atol=1e-6) and not torch.allclose(zero, first(1), atol=1e-3)
