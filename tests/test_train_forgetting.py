"""What keeps a training from forgetting: weights of messages, a penalty, own answers replayed, weights averaged."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import TEMPLATE, sample

from laif_helpers import recipe
from laif_helpers.paths import NANO
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Response, write_jsonl
from laif_helpers.train import measured, tables
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import average, base_model, checkpoint, sft
from laif_helpers.train.child import samples as sft_samples

Make = Callable[..., StageParameters]


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


REPAIR = [
    turn("user", "What is 2 + 2?"),
    turn("assistant", "It is 5.", weight=0),
    turn("user", "Is that right?"),
    turn("assistant", "No, the sum is wrong.", weight=1.5),
    turn("user", "Again."),
    turn("assistant", "It is 4.", weight=0.5),
]

# -- messages with weights


def test_messages_are_learned_by_their_weight_and_with_their_end(base: Path) -> None:
    tokenizer = sft_samples.load_tokenizer(str(base))
    [encoded] = sft_samples.encode(tokenizer, [REPAIR], {tokenizer.eos_token_id})
    by_weight = {
        weight: tokenizer.decode([i for i, w in zip(encoded["labels"], encoded["weights"], strict=True) if w == weight])
        for weight in (1.5, 0.5)
    }
    assert by_weight == {1.5: "No, the sum is wrong.<|end|>", 0.5: "It is 4.<|end|>"}
    labels = zip(encoded["labels"], encoded["weights"], strict=True)
    assert all((label != -100) == (weight > 0) for label, weight in labels), "the wrong attempt is only read"


def test_conversation_without_weights_learns_its_last_message(base: Path) -> None:
    tokenizer = sft_samples.load_tokenizer(str(base))
    plain = [turn(message["role"], message["content"]) for message in REPAIR]
    [encoded] = sft_samples.encode(tokenizer, [plain], {tokenizer.eos_token_id})
    assert tokenizer.decode([label for label in encoded["labels"] if label != -100]) == "It is 4.<|end|>"


def test_a_message_that_is_not_kept_ends_a_row_of_its_own(parameters: Make, base: Path, tmp_path: Path) -> None:
    """As templates of models that think write it: each prompt opens a thought, and earlier messages hold none."""
    folder = shutil.copytree(base, tmp_path / "thinker")
    thinks = TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|><think></think>{% endif %}")
    (folder / "chat_template.jinja").write_text(thinks)
    p = parameters(target=str(folder))
    write_jsonl(p.folder.training_set, [sample(1) | {"messages": REPAIR, "weight": 2.0}, sample(2)])
    tokenizer = sft_samples.load_tokenizer(str(folder))
    encoded, shares = sft_samples.make_samples(train_settings.make_settings(p), tokenizer)
    taught = [tokenizer.decode([label for label in row["labels"] if label != -100]) for row in encoded]
    assert taught == ["No, the sum is wrong.<|end|>", "It is 4.<|end|>", "2 + 2 = 4\n#### 4<|end|>"]
    assert [row["weights"][-1] for row in encoded] == [3.0, 1.0, 1.0] and shares["samples"] == 3
    asked = tokenizer.apply_chat_template([turn(m["role"], m["content"]) for m in REPAIR[:3]], tokenize=False)
    assert tokenizer.decode(encoded[0]["input_ids"]).startswith(asked + "<|assistant|><think></think>No")


def test_the_next_mark_ends_a_message_that_has_no_end_of_its_own(base: Path) -> None:
    """As in GLM-4's templates, where a model stops at the mark of the next turn."""
    tokenizer = sft_samples.load_tokenizer(str(base))
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", "")
    stops = set(tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>"]))
    [encoded] = sft_samples.encode(tokenizer, [REPAIR], stops)
    learned = tokenizer.decode([label for label in encoded["labels"] if label != -100])
    assert learned == "No, the sum is wrong.<|user|>It is 4.<|end|>"


def trainer_of(p: StageParameters, rows: list[dict[str, Any]], **changed: Any) -> Any:
    import torch

    torch.manual_seed(0)  # of a new adapter
    write_jsonl(p.folder.training_set, rows)
    settings = train_settings.make_settings(p).model_copy(update=changed)
    tokenizer = sft_samples.load_tokenizer(settings.base)
    samples, _ = sft_samples.make_samples(settings, tokenizer)
    arguments = sft.trainer_arguments(settings, samples)
    return sft.make_trainer(settings, arguments, base_model.load_model(settings), tokenizer, samples)


def losses(trainer: Any) -> float:
    """Loss of one optimiser step over all rows, gradients left on the model."""
    import torch

    batches = list(trainer.get_train_dataloader())
    trainer.current_gradient_accumulation_steps = len(batches)
    count = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    total = 0.0
    for batch in batches:
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=count)
        loss.backward()
        total += loss.item()
    return total


def test_loss_is_the_weighted_mean_over_learned_tokens(parameters: Make) -> None:
    import torch

    rows = [{"id": "a", "benchmark": "b", "source": "lesson", "messages": REPAIR, "weight": 2.0}, sample(1), sample(2)]
    trainer = trainer_of(parameters(batch_size=2), rows)
    parts = []
    for row in trainer.train_dataset:  # each row alone, without padding
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, torch.tensor(row["input_ids"][1:]), reduction="none")
        parts.append((each, torch.tensor(row["weights"][1:])))
    expected = sum((each * weight).sum() for each, weight in parts) / sum(weight.sum() for _, weight in parts)
    assert losses(trainer) == pytest.approx(float(expected), rel=1e-4)
    assert {float(weight) for weight in parts[0][1]} == {0.0, 1.0, 3.0}, "row times message"


@pytest.mark.parametrize("weight", [-1, "2", True])
def test_weight_of_a_message_that_is_none(parameters: Make, weight: Any) -> None:
    p = parameters()
    bad = sample(0)
    bad["messages"][-1]["weight"] = weight
    write_jsonl(p.folder.training_set, [bad])
    with pytest.raises(ValueError, match=rf"row 1 has weight {weight!r}; a weight is a number from 0 on"):
        train_settings.make_settings(p)


# -- the penalty

ROWS = [sample(at) | {"source": "replay" if at % 2 else "lesson"} for at in range(6)]


def shaken(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("rank", [0, 4])
def test_penalty_is_the_divergence_on_replayed_answers(parameters: Make, rank: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    p = parameters(batch_size=4, kl_weight=0.5, lora_rank=rank)
    trainer = trainer_of(p, ROWS)
    plain = trainer_of(p, ROWS, kl_weight=0.0)
    assert losses(trainer) == pytest.approx(losses(plain), rel=1e-5), "no distance at the start"
    shaken(trainer.model)
    shaken(plain.model)
    start = AutoModelForCausalLM.from_pretrained(p.target)
    apart, tokens = 0.0, 0
    for row, source in zip(trainer.train_dataset, ROWS, strict=True):
        answer = torch.tensor(row["labels"][1:]) != -100
        tokens += int(answer.sum())
        if source["source"] == "replay":
            ids = torch.tensor([row["input_ids"]])
            with torch.no_grad():
                before, now = (m(input_ids=ids).logits[0, :-1][answer].log_softmax(-1) for m in (start, trainer.model))
            apart += float((before.exp() * (before - now)).sum())
    assert apart > 0.1
    assert losses(trainer) == pytest.approx(losses(plain) + 0.5 * apart / tokens, rel=1e-4)


def test_penalty_pulls_back_to_the_start(parameters: Make) -> None:
    import torch

    trainer = trainer_of(parameters(batch_size=8, kl_weight=100.0), ROWS)
    start = [weight.detach().clone() for weight in trainer.model.parameters()]
    shaken(trainer.model)
    first = losses(trainer)
    for _ in range(5):
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight -= 1e-4 * weight.grad
        trainer.model.zero_grad()
        last = losses(trainer)
    assert last < first
    assert all(weight.grad is None for weight in trainer.start.parameters()), "the start stays as it is"
    assert all(torch.equal(a, b) for a, b in zip(start, trainer.start.parameters(), strict=True))


def test_penalty_that_cannot_act_is_refused(parameters: Make) -> None:
    with pytest.raises(ValueError, match=r"kl_weight 0.1 compares with a whole copy .*set deepspeed: zero2"):
        train_settings.make_settings(parameters(kl_weight=0.1, deepspeed="zero3"))
    with pytest.raises(ValueError, match=r"acts on replayed items, and replay_fraction is 0"):
        train_settings.make_settings(parameters(kl_weight=0.1, replay_fraction=0))


# -- averaging


@pytest.mark.parametrize(
    "right, chosen",
    [
        ({0.2: "1111100000", 0.6: "1111110000", 1.0: "1111110000"}, 0.2),  # one of ten is within a standard error
        ({0.2: "1000000000", 0.6: "1111111000", 1.0: "1111111100"}, 0.6),
        ({0.2: "1000000000", 0.6: "1100000000", 1.0: "1111111111"}, 1.0),
        ({0.2: "0000000000", 0.6: "0000000000", 1.0: "0000000000"}, 0.2),
    ],
)
def test_smallest_share_that_is_as_good(right: dict[float, str], chosen: float) -> None:
    marks = {share: [mark == "1" for mark in row] for share, row in right.items()}
    assert average.smallest_as_good(marks) == chosen


def shaken_copy(folder: Path, size: float) -> Path:
    """The nano target with noise on its weights."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(NANO, folder)
    generator = torch.Generator().manual_seed(0)
    state = load_file(folder / "model.safetensors")
    noisy = {name: tensor + size * torch.randn(tensor.shape, generator=generator) for name, tensor in state.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def averaged(parameters: Make, start: Path, end: Path, share: float | str) -> tuple[dict[str, Any], Path]:
    settings = train_settings.make_settings(parameters(target=str(start), average=share, max_new_tokens=64, limit=200))
    shutil.copytree(end, settings.unfinished)
    return average.apply(
        settings.model_copy(update={"held_out": settings.held_out[:24]}), settings.unfinished
    ), settings.unfinished


def test_fixed_share_lies_between_the_two(parameters: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    end = shaken_copy(tmp_path / "end", 0.1)
    found, folder = averaged(parameters, NANO, end, 0.25)
    assert found == {"average": {"share": 0.25, "curve": []}}
    start, last, mixed = (load_file(path / "model.safetensors") for path in (NANO, end, folder))
    assert mixed.keys() == last.keys()
    assert all(mixed[k].allclose(0.75 * start[k] + 0.25 * last[k], atol=1e-6) for k in mixed)


def test_share_is_chosen_on_held_out_items(parameters: Make, tmp_path: Path) -> None:
    broken = shaken_copy(tmp_path / "broken", 0.08)
    found, _ = averaged(parameters, NANO, broken, "auto")
    counts = [point["correct"] for point in found["average"]["curve"]]
    assert found["average"]["share"] == 0.2 and counts[0] > 12 > counts[-1], "the further, the worse"
    shutil.rmtree(train_settings.make_settings(parameters(target=str(NANO))).unfinished)
    found, _ = averaged(parameters, broken, NANO, "auto")
    counts = [point["correct"] for point in found["average"]["curve"]]
    assert found["average"]["share"] >= 0.8 and counts[0] < 12 < counts[-1]


def test_adapter_is_scaled(parameters: Make, base: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = train_settings.make_settings(parameters(lora_rank=4, average=0.5))
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    adapted.save_pretrained(settings.unfinished)
    average.apply(settings, settings.unfinished)
    half = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), settings.unfinished)
    name = "model.layers.0.self_attn.q_proj"
    first, second = (m.base_model.model.get_submodule(name).get_delta_weight("default") for m in (adapted, half))
    assert torch.allclose(second, 0.5 * first, atol=1e-6) and first.abs().max() > 1e-3


@pytest.mark.parametrize("safe", [True, False])
def test_an_adapter_that_is_trained_on_is_averaged_with_its_start(
    parameters: Make, base: Path, tmp_path: Path, safe: bool
) -> None:
    from peft import LoraConfig, get_peft_model
    from peft.utils.save_and_load import load_peft_weights
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    start, made = tmp_path / "start", get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    made.save_pretrained(start, safe_serialization=safe)
    settings = train_settings.make_settings(parameters(target=str(start), lora_rank=4, average=0.5))
    for weight in (weight for name, weight in made.named_parameters() if "lora_" in name):
        weight.data *= 3
    made.save_pretrained(settings.unfinished)
    average.apply(settings, settings.unfinished)
    before, half = (load_peft_weights(str(folder), device="cpu") for folder in (start, settings.unfinished))
    assert all((half[name] - 2 * weight).abs().max() < 1e-6 for name, weight in before.items())


def test_average_without_held_out_items_is_refused(parameters: Make) -> None:
    with pytest.raises(ValueError, match=r"average: auto chooses on held-out items, and holdout_fraction is 0; raise"):
        parameters(average="auto", holdout_fraction=0)


def test_held_out_items_choose_unless_there_are_none(parameters: Make, tmp_path: Path) -> None:
    assert recipe.Recipe().average == "auto" and recipe.Recipe(holdout_fraction=0).average == 1.0
    settings = train_settings.make_settings(parameters(average="auto", limit=1, holdout_fraction=0.01))
    assert settings.held_out == [], "an item at random"
    assert average.apply(settings, tmp_path) == {"average": {"share": 1.0, "curve": []}}
    assert "trained weights stay" in tables._averaged({"share": 1.0, "curve": []})
    assert "0.2: 3 of 4" in tables._averaged({"share": 0.2, "curve": [{"share": 0.2, "correct": 3, "n": 4}]})


def test_weights_that_have_other_names_in_files(parameters: Make, tmp_path: Path) -> None:
    """Mixtures of experts hold their experts as one tensor in memory and one by one in files."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, max_position_embeddings=64,
    )  # fmt: skip
    start, end = tmp_path / "start", tmp_path / "end"
    model = MixtralForCausalLM(config)
    model.save_pretrained(start)
    before = load_file(start / "model.safetensors")
    assert not before.keys() <= AutoModelForCausalLM.from_pretrained(start).state_dict().keys()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    model.save_pretrained(end)
    settings = train_settings.make_settings(parameters(average=0.5)).model_copy(update={"base": str(start)})
    average.apply(settings, end)
    after = load_file(end / "model.safetensors")
    assert all(torch.allclose(after[name], before[name] + 0.5, atol=1e-5) for name in before)


def test_held_out_items_are_those_that_nobody_saw(parameters: Make) -> None:
    from laif_helpers.answers import joined

    p = parameters(average="auto")
    rows = measured.held_out(p)
    assert len(rows) == measured.HELD_OUT
    assert all(joined.held_out(p, "practice", row["example"]["id"]) for row in rows)
    assert train_settings.make_settings(p).held_out == rows and not train_settings.make_settings(parameters()).held_out


# -- drift


def test_drift_of_an_untouched_and_of_a_shaken_model(parameters: Make, tmp_path: Path) -> None:
    p = parameters(target=str(NANO))
    answered(p, right=True)
    settings = train_settings.make_settings(p)
    assert settings.anchors
    shutil.copytree(NANO, settings.unfinished)
    same = checkpoint.drift(settings)
    assert same["nats_before"] == same["nats_after"] and same["kl"] == 0 and same["answers"] == len(settings.anchors)
    shutil.rmtree(settings.unfinished)
    shaken_copy(settings.unfinished, 0.1)
    moved = checkpoint.drift(settings)
    assert moved["nats_before"] == same["nats_before"] and moved["kl"] > 0.01
    assert checkpoint.drift(settings.model_copy(update={"anchors": []}))["kl"] is None


def answered(p: StageParameters, right: bool, count: int = 60) -> None:
    """Answers of the untouched target to practice items."""
    from laif_helpers import benchmarks

    bench = benchmarks.get("practice")
    rows = [
        Response(
            **{"id": e.id, "benchmark": "practice", "split": "train", "messages": bench.messages(e), "gold": e.gold},
            **{"text": f"in my own words\n#### {e.gold}", "extracted": e.gold, "correct": right, "readable": True},
            **{"reason": "", "prompt_tokens": 1, "new_tokens": 1, "model": "m"},
        )
        for e in bench.load("train", limit=count)
    ]
    write_jsonl(p.previous.responses("practice", "train"), rows)
