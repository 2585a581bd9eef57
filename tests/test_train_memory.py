"""What a training will need, beside what it needed: memory, time, precision."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import make_base, train_here

from laif_helpers import train
from laif_helpers.recipe import StageParameters
from laif_helpers.records import write_jsonl
from laif_helpers.train import memory
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import sft

Make = Callable[..., StageParameters]


def shaped(folder: Path, **shape: Any) -> Path:
    """A random Llama of another shape over the toy's tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    make_base(folder)
    config = LlamaConfig.from_pretrained(folder)
    for key, value in ({"max_position_embeddings": 2048, "num_key_value_heads": 4} | shape).items():
        setattr(config, key, value)
    config.head_dim = config.hidden_size // config.num_attention_heads
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def long_rows(count: int, letters: int) -> list[dict[str, Any]]:
    rng, rows = random.Random(0), []
    for at in range(count):
        text = "".join(rng.choice("abcdefgh ") for _ in range(letters))
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        rows.append({"id": f"s{at}", "benchmark": "practice", "source": "replay", "messages": turns})
    return rows


DEEP = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4}
WIDE_HEAD = DEEP | {"vocab_size": 32768, "num_hidden_layers": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape, values",
    [
        pytest.param(DEEP, {}, id="layers"),
        pytest.param(WIDE_HEAD, {}, id="head", marks=pytest.mark.thorough),
        pytest.param(WIDE_HEAD, {"kl_weight": 0.1}, id="start", marks=pytest.mark.thorough),
    ],
)
def test_memory_is_estimated_within_15_percent(
    parameters: Make, tmp_path: Path, shape: dict[str, Any], values: dict[str, Any]
) -> None:
    p = parameters(n=0, target=str(shaped(tmp_path / "base", **shape)), batch_size=8, max_new_tokens=4, **values)
    write_jsonl(p.folder.training_set, long_rows(16, 120))
    metrics = train.launch(p)
    assert metrics["preflight"]["needed_mb"] == pytest.approx(metrics["peak_memory_mb"], rel=0.15)
    assert 100 < metrics["start_memory_mb"] < metrics["peak_memory_mb"]


@pytest.mark.slow
def test_a_training_s_peak_is_not_that_of_the_process_that_started_it() -> None:
    code = "from laif_helpers.train import memory; print(memory.resident_peak_mb())"
    large = b"x" * (700 << 20)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert memory.resident_peak_mb() >= len(large) >> 20
    assert 5 < int(found.stdout) < 500


def test_start_model_of_the_penalty_counts(parameters: Make, base: Path) -> None:
    model = memory.shape(str(base))
    settings = train_settings.make_settings(parameters())
    without, with_start, adapted = (
        memory.need(model, settings.model_copy(update=update), gpu=False, longest=64).activations
        for update in ({}, {"kl_weight": 0.1}, {"kl_weight": 0.1, "lora_rank": 4})
    )
    assert with_start - adapted == 4 * model.weights and adapted > without


def test_bfloat16_computes_and_keeps_float32_weights(parameters: Make, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file

    p = parameters(n=48, learning_rate="5e-3", epochs=3, dtype="bfloat16", max_new_tokens=4)
    metrics = train_here(p)
    assert (metrics["computed_in"], metrics["dtype"]) == ("bfloat16", "torch.float32")
    assert metrics["final_loss"] < metrics["start_loss"] - 0.5
    saved = load_file(p.folder.checkpoint / "model.safetensors")
    assert {str(tensor.dtype) for tensor in saved.values()} == {"torch.float32"}
    assert any((tensor != tensor.bfloat16().float()).any() for tensor in saved.values()), "small steps are kept"
    assert "computed in bfloat16" in (p.folder.checkpoint / "README.md").read_text()


def test_auto_is_float32_for_a_small_model_and_says_what_is_slow(
    parameters: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laif_helpers.models.precision.processor_has_bfloat16", lambda: False)
    settings = train_settings.make_settings(parameters())
    assert not sft.trainer_arguments(settings, [], weights=1_000_000).bf16
    assert "slow" not in capsys.readouterr().out
    assert sft.trainer_arguments(settings.model_copy(update={"dtype": "bfloat16"}), [], weights=1_000_000).bf16
    assert "dtype: bfloat16 is slow here" in capsys.readouterr().out
