"""Adapters as PEFT writes them: the base that they name, weights that are shared, kinds that cannot be merged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import make_base

from laif_helpers import records
from laif_helpers.models import adapters, check, columns
from laif_helpers.models import local as local_model
from laif_helpers.train.child.base_model import merge

Change = dict[str, Any]


@pytest.fixture(scope="module", name="base")
def base_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("adapters") / "base")


@pytest.fixture(name="write")
def write_fixture(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a LoRA adapter with settings of its own, none of whose weights is zero, and changes its config."""

    def write(change: Change | None = None, tokens: int = 0, safe: bool = True, **settings: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base)
        if tokens:
            model.resize_token_embeddings(model.config.vocab_size + tokens)
        adapted = get_peft_model(model, LoraConfig(r=4, **({"target_modules": ["q_proj"]} | settings)))
        torch.manual_seed(1)
        for weight in (weight for weight in adapted.parameters() if weight.requires_grad):
            weight.data += 0.3 * torch.randn_like(weight)
        adapted.save_pretrained(folder := tmp_path / "adapter", safe_serialization=safe)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | (change or {})))
        return folder

    return write


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([ids])).logits


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
        {"modules_to_save": ["lm_head"]},
        {"layer_replication": [[0, 2], [0, 2]]},
    ],
    ids=str,
)
def test_an_adapter_on_weights_that_are_shared_is_merged_as_peft_computes_it(
    base: Path, write: Callable[..., Path], tmp_path: Path, settings: Change
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, ids = write(**settings), [5, 60, 90, 7]
    wanted = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder), ids)
    assert torch.allclose(logits(local_model.load(str(folder)).model, ids), wanted, atol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(merge(folder, tmp_path / "merged"))
    assert torch.allclose(logits(plain, ids), wanted, atol=1e-4), "as another tool reads what was merged"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "PREFIX_TUNING is no adapter that PEFT merges into its base"),
        ({"peft_type": "XLORA"}, "XLORA is no adapter that PEFT merges"),
        ({"peft_type": "OF_TOMORROW"}, "OF_TOMORROW is no adapter that PEFT merges"),
        ({"task_type": "SEQ_CLS"}, "the adapter is for SEQ_CLS and writes no answers"),
        ({"base_model_name_or_path": "{folder}"}, "is an adapter; merge that first"),
    ],
    ids=str,
)
def test_an_adapter_that_is_not_for_merging_is_told_before_it_is_loaded(
    write: Callable[..., Path], tmp_path: Path, change: Change, sentence: str
) -> None:
    below = shutil.copytree(write(), tmp_path / "below")
    folder = write({key: value.format(folder=below) for key, value in change.items()})
    (found,) = check.problems(str(folder))
    assert sentence in found


def test_what_only_merging_shows_is_told_in_peft_s_words(write: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"LORA is no adapter that PEFT merges .*Impossible to merge"):
        local_model.load(str(write(lora_bias=True)))


def test_an_adapter_of_a_deeper_base_is_told(base: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    """PEFT leaves out what has no place in the base; the rest would act as if it were all."""
    from transformers import AutoModelForCausalLM

    shallow = AutoModelForCausalLM.from_pretrained(base, num_hidden_layers=1)
    below = Path(shutil.copytree(base, tmp_path / "shallow"))
    shallow.save_pretrained(below)
    folder = write({"base_model_name_or_path": str(below)})
    with pytest.raises(ValueError, match=r"of its weights have no place in the base, such as .*layers\.1\."):
        local_model.load(str(folder))


def test_an_adapter_that_is_not_a_number_is_told(write: Callable[..., Path]) -> None:
    from safetensors.torch import load_file, save_file

    file = write() / "adapter_model.safetensors"
    save_file({name: part.fill_(float("nan")) for name, part in load_file(file).items()}, file)
    with pytest.raises(ValueError, match=r"weights are no finite numbers \(NaN, inf\)"):
        local_model.load(str(file.parent))


@pytest.mark.parametrize("safe", [True, False])
def test_rows_of_added_tokens_are_found_in_any_file_of_an_adapter(write: Callable[..., Path], safe: bool) -> None:
    folder = write(tokens=3, safe=safe, modules_to_save=["embed_tokens"])
    model = local_model.load(str(folder)).model
    assert model.get_input_embeddings().num_embeddings == adapters.embedded_rows(folder) > 0


def test_rows_of_added_tokens_that_alone_were_trained_are_found(write: Callable[..., Path]) -> None:
    folder = write(tokens=3, trainable_token_indices=[261, 262, 263])
    model = local_model.load(str(folder)).model
    assert model.get_input_embeddings().num_embeddings == adapters.embedded_rows(folder) == 264


def test_a_relative_base_is_looked_for_above_the_adapter_too(
    base: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "models" / "tiny")
    folder = write({"base_model_name_or_path": "models/tiny"})
    assert Path(adapters.adapter_base(folder)).samefile(tmp_path / "models" / "tiny")


@pytest.mark.parametrize("kind", ["LlamaForSequenceClassification", "LlamaModel"])
def test_a_model_that_scores_or_embeds_texts_is_no_chat_model(base: Path, tmp_path: Path, kind: str) -> None:
    """With a tied embedding an embedding model was loaded whole, and answered."""
    import transformers

    model = getattr(transformers, kind).from_pretrained(base)
    model.config.tie_word_embeddings = True
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    (found,) = check.problems(str(tmp_path))
    assert f"is a {kind}, which scores, fills or embeds texts and writes none" in found


def test_a_sentence_transformer_and_a_model_that_fills_gaps_are_no_chat_models(base: Path, tmp_path: Path) -> None:
    config = records.read_json(base / "config.json")
    for made, beside in (("LlamaForCausalLM", "modules.json"), ("BertForMaskedLM", "config.json")):
        folder = shutil.copytree(base, tmp_path / made)
        records.write_json(folder / beside, [])
        records.write_json(folder / "config.json", config | {"architectures": [made]})
        assert "embeds texts and writes none" in check.problems(str(folder))[0]


def test_weights_under_other_names_are_told_with_one_of_them(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(base, tmp_path / "compiled"))
    parts = {f"_orig_mod.{name}": part for name, part in load_file(folder / "model.safetensors").items()}
    save_file(parts, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its files lack .* and hold _orig_mod\..* which has no place"):
        local_model.load(str(folder))


def test_models_further_down_are_named(base: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-3", "run/checkpoint-6"):
        shutil.copytree(base, tmp_path / name)
    (found,) = check.problems(str(tmp_path))
    assert "but checkpoint-3, run/checkpoint-6; name one of these folders" in found
    (deepspeed := tmp_path / "deepspeed" / "global_step2").mkdir(parents=True)
    (deepspeed.parent / "zero_to_fp32.py").touch()
    assert "but global_step2; run `python zero_to_fp32.py . .` there" in check.problems(str(deepspeed.parent))[0]


def test_layers_that_keep_their_weights_in_a_form_of_their_own_are_left_alone() -> None:
    """compressed-tensors' layers have no weight, torchao's are of another class than torch's."""
    import torch

    class Quantised(torch.Tensor):
        pass

    model = torch.nn.Sequential(*(torch.nn.Linear(4, 6) for _ in range(3)))
    del model[0].weight
    model[1].weight = torch.nn.Parameter(torch.ones(6, 4).as_subclass(Quantised))
    columns.store(model)
    assert model[1].weight.is_contiguous() and not model[2].weight.is_contiguous()
    assert [columns.plain(part._parameters.get("weight")) for part in model] == [False, False, True]
