"""A tiny base model, a training set and parameters: what the tests of stage 5 share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import recipe, train
from laif_helpers.recipe import StageParameters
from laif_helpers.records import write_jsonl
from laif_helpers.train import settings as train_settings

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_base(folder: Path, hidden: int = 32) -> Path:
    """A random Llama over bytes with a small chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|pad|>"]
    vocabulary = {token: at for at, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", name="base")
def base_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(name="parameters")
def parameters_fixture(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StageParameters]:
    """``make_parameters`` with the run in ``tmp_path``."""
    set_environment(monkeypatch, tmp_path / "runs")
    return lambda n=16, **values: make_parameters(base, n, **values)


def set_environment(patch: pytest.MonkeyPatch, runs: Path) -> None:
    patch.setenv("LAIF_RUNS", str(runs))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("HF_HUB_OFFLINE", "1")


def make_parameters(base: Path, n: int = 16, **values: Any) -> StageParameters:
    """Parameters of arm le, iteration 1, with a training set of ``n`` samples."""
    settings = {"run": "r", "arm": "le", "iteration": 1, "target": str(base), "batch_size": 8, "epochs": 1}
    settings["average"] = 1.0  # five times fewer answers at the end of each training
    p = recipe.build(StageParameters, settings | values)
    if n:
        write_jsonl(p.folder.training_set, [sample(at) for at in range(n)])
    return p


def train_here(p: StageParameters) -> dict[str, Any]:
    """What ``launch`` and its child do, in this process, which has imported torch and trl once for all tests."""
    settings = train_settings.make_settings(p)
    train._fresh_folder(settings)
    train_in_process(settings)
    return train_settings.read_json(p.folder.train_metrics)


def train_in_process(settings: train_settings.Settings, *_: Any) -> int:
    """In ``train._run``'s place, which starts the child; its exit status."""
    import torch

    from laif_helpers.train.child import sft

    torch.set_num_threads(1)
    sft.train(settings)
    return 0


def sample(at: int, response: str = "") -> dict[str, Any]:
    words = " ".join(["box"] * (at % 5))
    asked = {"role": "user", "content": f"What is {at} + {at}? {words}"}
    answer = {"role": "assistant", "content": response or f"{at} + {at} = {2 * at}\n#### {2 * at}"}
    return {"id": f"s{at}", "benchmark": "practice", "source": "lesson", "messages": [asked, answer], "weight": 1.0}
