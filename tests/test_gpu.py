"""On a GPU (``make gpu``): plain ``generate``'s texts, and every way to train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import base_fixture, parameters_fixture  # noqa: F401

from laif_helpers import benchmarks, launch, models, train
from laif_helpers.models.decoding import captured
from laif_helpers.paths import NANO
from laif_helpers.recipe import StageParameters
from tests.families import STOPS, decoded, make, prompt_ids, wanted
from tests.test_models import make_tokenizer

pytestmark = [
    pytest.mark.real,
    pytest.mark.model,
    pytest.mark.skipif(not launch.gpus(), reason="no GPU here, or none wanted: make gpu"),
]
Make = Callable[..., StageParameters]


def asked(count: int) -> list[list[Any]]:
    bench = benchmarks.get("practice")
    return [bench.messages(example) for example in bench.load("train")[:count]]


def texts(conversations: list[list[Any]], **options: Any) -> list[str]:
    found = models.generate(str(NANO), conversations, max_new_tokens=96, progress=False, **options)
    return [answer.text for answer in found]


def test_greedy_texts_equal_plain_generate_one_by_one() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(NANO).to("cuda")
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    plain = []
    for turns in asked(40):
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]], device="cuda")
        found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=96, do_sample=False)
        plain.append(tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))
    for batch_size in (0, 8):
        assert texts(asked(40), batch_size=batch_size, dtype="float32") == plain


@pytest.mark.parametrize("family", sorted(captured.CAPTURED))
def test_captured_steps_give_the_texts_of_plain_generate(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    make_tokenizer(tmp_path)
    prompts = prompt_ids(AutoTokenizer.from_pretrained(tmp_path))
    model = make(family).to("cuda")
    assert captured.serves(model, growable=True)
    assert decoded(model, prompts, STOPS) == wanted(model, prompts, STOPS)


def test_samples_depend_on_seeds_and_not_on_the_batch() -> None:
    drawn = [texts(asked(40), batch_size=size, dtype="float32", temperature=1.0, seed=1) for size in (0, 8)]
    assert drawn[0] == drawn[1]
    assert texts(asked(40), dtype="float32", temperature=1.0, seed=2) != drawn[0]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="plain"),
        pytest.param({"deepspeed": "zero2"}, id="zero2"),
        pytest.param({"deepspeed": "zero3"}, id="zero3"),
        pytest.param({"deepspeed": "zero3_offload"}, id="offload"),
        pytest.param({"lora_rank": 4}, id="lora"),
        pytest.param({"kl_weight": 0.1}, id="penalty"),
        pytest.param({"gradient_checkpointing": True}, id="checkpointing"),
        pytest.param({"dtype": "float32"}, id="float32"),
    ],
)
def test_training_lowers_the_loss(parameters: Make, values: dict[str, Any]) -> None:
    p = parameters(n=32, epochs=4, learning_rate=1e-2, **values)
    metrics = train.launch(p)
    assert metrics["device"].startswith("cuda") and metrics["deepspeed"] == values.get("deepspeed", "none")
    assert metrics["computed_in"] == values.get("dtype", "bfloat16")
    assert metrics["final_loss"] < metrics["start_loss"]
    answers = models.generate(str(p.folder.checkpoint), asked(2), max_new_tokens=4, progress=False)
    assert len(list(answers)) == 2


def test_more_processes_than_gpus_are_refused(parameters: Make) -> None:
    with pytest.raises(ValueError, match=f"num_processes {len(launch.gpus()) + 1} is more than"):
        train.launch(parameters(num_processes=len(launch.gpus()) + 1))
