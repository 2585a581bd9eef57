"""Stage 5's options: weights, adapters merged, several nodes, the preflight's findings."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from train_toys import TEMPLATE, make_base, sample, train_here

from laif_helpers import launch as processes
from laif_helpers import models, recipe, train
from laif_helpers.models import card as model_card
from laif_helpers.models import check, local
from laif_helpers.paths import ROOT
from laif_helpers.recipe import Recipe, StageParameters
from laif_helpers.records import read_json, write_json, write_jsonl
from laif_helpers.runner import forecast, plan
from laif_helpers.train import checks, memory, preflight, tables, trackers
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import base_model, sft, zero
from laif_helpers.train.child import samples as sft_samples

Make = Callable[..., StageParameters]


def trainer_of(p: StageParameters, rows: list[dict[str, Any]]) -> Any:
    """The trainer of ``p`` on ``rows``, before its first step."""
    write_jsonl(p.folder.training_set, rows)
    settings = train_settings.make_settings(p)
    tokenizer = sft_samples.load_tokenizer(settings.base)
    samples, _ = sft_samples.make_samples(settings, tokenizer)
    arguments = sft.trainer_arguments(settings, samples)
    return sft.make_trainer(settings, arguments, base_model.load_model(settings), tokenizer, samples)


def gradients(p: StageParameters, rows: list[dict[str, Any]]) -> tuple[float, Any]:
    """Loss of one optimiser step over all rows, and its gradient."""
    import torch

    trainer = trainer_of(p, rows)
    batches = list(trainer.get_train_dataloader())
    trainer.current_gradient_accumulation_steps = len(batches)
    count = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    total = 0.0
    for batch in batches:
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=count)
        loss.backward()
        total += loss.item()
    return total, torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()])


# -- the table of settings


def test_a_default_that_depends_on_other_keys_is_no_value_of_the_notebook(tmp_path: Path) -> None:
    names = {"RUN": str(tmp_path / "run"), "ARM": "le", "ITERATION": 1, "EPOCHS": 1.0, "BATCH_SIZE": 32}
    origin = tables.settings_table(recipe.from_notebook(names)).set_index("setting")["from"]
    assert (origin["average"], origin["batch_size"], origin["epochs"]) == ("default", "default", "notebook")
    origin = tables.settings_table(recipe.from_notebook(names | {"AVERAGE": 0.5})).set_index("setting")["from"]
    assert origin["average"] == "notebook"


# -- weights


def test_weight_0_is_absent_and_weight_2_counts_twice(parameters: Make) -> None:
    rows = [sample(at) for at in range(6)]
    p = parameters(batch_size=3)
    weighted = [rows[0] | {"weight": 2}, rows[1] | {"weight": 0}, *rows[2:]]
    loss, slope = gradients(p, weighted)
    expected_loss, expected = gradients(p, [rows[0], rows[0], *rows[2:]])
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (slope - expected).abs().max() < 1e-6
    _, without = gradients(p, rows)
    assert (slope - without).abs().max() > 1e-4, "the weights make a difference"


def test_weights_below_1_scale_nothing_when_alike(parameters: Make) -> None:
    rows = [sample(at) for at in range(4)]
    p = parameters(batch_size=2)
    loss, _ = gradients(p, [row | {"weight": 0.001} for row in rows])
    assert loss == pytest.approx(gradients(p, rows)[0], rel=1e-4)


def test_weights_1_leave_the_plain_trainer(parameters: Make) -> None:
    assert type(trainer_of(parameters(), [sample(at) for at in range(8)])).__name__ == "SFTTrainer"


# -- warm-up and packing


def test_warmup_fits_small_sets(parameters: Make) -> None:
    settings = train_settings.make_settings(parameters(batch_size=1, gradient_accumulation=8, warmup_steps=100))
    settings = settings.model_copy(update={"num_processes": 4})
    assert sft.warmup(settings, 9000) == 100, "the papers' 282 steps"
    assert sft.warmup(settings, 320) == 5, "half of ten"
    assert sft.warmup(settings.model_copy(update={"warmup_steps": 0}), 320) == 0.1


def test_packing_says_why_it_is_off(parameters: Make, capsys: pytest.CaptureFixture[str]) -> None:
    settings = train_settings.make_settings(parameters(packing=True))
    assert not sft.trainer_arguments(settings, []).packing
    assert "packing is off: on the CPU attention over packed rows costs more" in capsys.readouterr().out
    assert "weights of their own" in sft.why_no_packing(settings, [{"weights": [2.0]}], gpu=True)


# -- adapters


def test_merged_adapter_answers_like_the_two(parameters: Make, base: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    adapted.save_pretrained(tmp_path / "adapter")
    sft_samples.load_tokenizer(str(base)).save_pretrained(tmp_path / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(base_model.merge(tmp_path / "adapter", tmp_path / "merged"))
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted.eval()(ids).logits, atol=1e-5)
    with pytest.raises(FileExistsError, match="merged exists; name a new folder"):
        base_model.merge(tmp_path / "adapter", tmp_path / "merged")
    with pytest.raises(ValueError, match="holds no adapter_config"):
        base_model.merge(base, tmp_path / "no")


def test_an_adapter_with_added_tokens_is_trained_on_and_merged(parameters: Make, base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tokenizer, adapter = sft_samples.load_tokenizer(str(base)), tmp_path / "adapter"
    tokenizer.add_tokens("<new>")
    tokenizer.save_pretrained(adapter)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(adapter, save_embedding_layers=True)
    p = parameters(n=8, target=str(adapter), lora_rank=4)
    write_jsonl(p.folder.training_set, [sample(at, "<new> 7") for at in range(8)])
    metrics = train_here(p)
    assert "probe_failed" not in metrics
    merged = base_model.merge(p.folder.checkpoint, tmp_path / "merged")
    assert AutoModelForCausalLM.from_pretrained(merged).get_input_embeddings().num_embeddings == len(tokenizer)


@pytest.mark.parametrize(
    ("acts_on", "refusal"),
    [
        ({"target_modules": ["q_proj", "embed_tokens"]}, ""),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [3]}, "acts on the model's head"),
        ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, "acts on the model's head"),
    ],
)
def test_an_adapter_on_the_embedding_is_trained_on_unless_it_is_the_head_too(
    parameters: Make, base: Path, tmp_path: Path, acts_on: dict[str, Any], refusal: str
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, task_type="CAUSAL_LM", **acts_on)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    p = parameters(n=8, target=str(tmp_path / "adapter"), lora_rank=4)
    with pytest.raises(ValueError, match=refusal) if refusal else nullcontext():
        assert train_here(p)["steps"] == 1


def test_an_adapter_of_which_a_part_finds_no_place_is_refused(base: Path, tmp_path: Path) -> None:
    """PEFT warns, and leaves the part out: a family whose layers have other names in files than in memory."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if "q_proj" in name}, file)
    with pytest.raises(ValueError, match="does not fit its base: Found missing adapter keys"):
        base_model.merge(tmp_path / "adapter", tmp_path / "merged")
    with pytest.raises(ValueError, match=r"cannot be loaded: .*Found missing adapter keys"):
        models.generate(str(tmp_path / "adapter"), [sample(1)["messages"][:1]], progress=False)


def test_an_adapter_without_a_tokenizer_has_its_bases(parameters: Make, base: Path, tmp_path: Path) -> None:
    """PEFT saves none."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    assert check.problems(str(tmp_path / "adapter")) == []
    p = parameters(n=8, target=str(tmp_path / "adapter"), lora_rank=4)
    metrics = train_here(p)
    assert metrics["steps"] == 1 and "probe_failed" not in metrics, "it answers too"
    merged = base_model.merge(tmp_path / "adapter", tmp_path / "merged")
    assert sft_samples.load_tokenizer(str(merged)).chat_template == TEMPLATE


def test_adapter_of_another_base_is_refused_by_its_sizes(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    other = make_base(tmp_path / "other", hidden=64)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(other), config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"adapter .* does not fit its base"):
        base_model.merge(tmp_path / "adapter", tmp_path / "merged", base=str(base))


def test_options_of_adapters_need_one() -> None:
    with pytest.raises(ValueError, match="are for adapters, and lora_rank is 0; set lora_rank"):
        recipe.build(Recipe, {"merge_lora": True})


def test_four_bits_under_an_adapter_learn(parameters: Make, tmp_path: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (extra qlora)")
    import torch

    wide = str(make_base(tmp_path / "wide", hidden=64))  # bitsandbytes quantises blocks of 64
    settings = train_settings.make_settings(parameters(target=wide, lora_rank=4, load_in_4bit=True))
    model = base_model.load_model(settings)
    layers = [module for name, module in model.named_modules() if name.endswith("q_proj.base_layer")]
    assert layers and all(isinstance(layer, bitsandbytes.nn.Linear4bit) for layer in layers)
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert learned and all("lora_" in name for name in learned)
    tokens = torch.arange(5, 37).reshape(2, 16)
    step = torch.optim.AdamW(learned.values(), lr=0.02)
    losses = []
    for _ in range(12):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        step.step()
        step.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def test_a_model_of_quantised_weights_answers_as_in_transformers_and_is_not_trained(
    parameters: Make, tmp_path: Path
) -> None:
    """BitNet's packed weights are the one kind that needs no library of its own."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM
    from transformers.integrations.bitnet import pack_weights

    base = make_base(tmp_path / "packed")
    weights = load_file(base / "model.safetensors")
    for name in [name for name in weights if name.endswith("proj.weight")]:
        scale = 1 / weights[name].abs().mean()
        weights[name.removesuffix("weight") + "weight_scale"] = scale[None]
        weights[name] = pack_weights((weights[name] * scale).round().clamp(-1, 1))
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    write_json(
        base / "config.json", read_json(base / "config.json") | {"quantization_config": {"quant_method": "bitnet"}}
    )
    asked = [[{"role": "user", "content": f"{number} and 7?"}] for number in range(4)]
    found = models.generate(str(base), asked, max_new_tokens=6, dtype="float32", progress=False)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert plain.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    loaded = local.load(str(base), "float32")
    for ids, answer in zip(local.prompt_ids(loaded, asked), found, strict=True):
        (row,) = plain.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, eos_token_id=loaded.stop_ids)
        assert len(row) - len(ids) == answer.new_tokens
        assert loaded.tokenizer.decode(row[len(ids) :], skip_special_tokens=True).strip() == answer.text.strip()
    with pytest.raises(ValueError, match=r"is quantised \(bitnet\): it answers and is not trained"):
        checks.check_fit(base, parameters(target=str(base)))


def test_four_bits_need_their_library(parameters: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = train_settings.make_settings(parameters(lora_rank=4, load_in_4bit=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"load_in_4bit needs bitsandbytes; pip install -e .\[qlora\]"):
        base_model.load_model(settings)


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_trackers_that_are_not_installed(parameters: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"report_to: {name} is not installed; pip install {name}"):
        train_settings.make_settings(parameters(report_to=name))


def test_tracker_that_nobody_knows_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"report_to: wandbb is not supported, only .*; set report_to: none"):
        trackers.prepare_tracker("wandbb", str(tmp_path))


def test_what_trackers_keep_lies_beside_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", kept := {})
        trackers.prepare_tracker("tensorboard", str(tmp_path))
    places = {name: value for name, value in kept.items() if value != "laif"}
    assert "_MLFLOW_SERVER_ARTIFACT_ROOT" in places and all(str(tmp_path) in place for place in places.values())


def test_trackers_name_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))
    assert trackers.tracked_name(str(tmp_path / "runs/grid/points/seed0/le/iter1")) == "grid/points/seed0/le/iter1"
    assert trackers.tracked_name("/elsewhere/a/grid/le/iter1") == "grid/le/iter1"


# -- processes and nodes


def write_hosts(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_command_over_nodes(tmp_path: Path) -> None:
    hostfile = write_hosts(tmp_path / "hosts", "# two nodes\nnode-a slots=4\nnode-b slots=4  # far\n\n")
    argv = processes.command("laif_helpers.train.child", "c.json", processes=8, distributed=True, hostfile=hostfile)
    assert argv[:4] == [sys.executable, "-u", "-m", "deepspeed.launcher.runner"]
    assert f"--hostfile={hostfile}" in argv and "--master_addr=node-a" in argv and "--no_local_rank" in argv
    assert argv[-3:] == ["--module", "laif_helpers.train.child", "c.json"]
    from deepspeed.launcher import runner

    given = runner.parse_args(argv[4:])
    assert (given.user_script, given.user_args, given.module) == ("laif_helpers.train.child", ["c.json"], True)
    assert runner.fetch_hostfile(hostfile) == processes.hosts(Path(hostfile)), "read as DeepSpeed reads it"


def test_nodes_see_to_their_own_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    env = processes.environment(0)
    assert env["CUDA_VISIBLE_DEVICES"] == "0,1,2,3" and "DS_ACCELERATOR" not in env


@pytest.mark.parametrize(
    "text, sentence", [("", "names no host"), ("a slots=4\na slots=2", "line 2"), ("a 4 5", "line 1")]
)
def test_bad_hostfile(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"{sentence}.*name slots=<GPUs>"):
        processes.hosts(Path(write_hosts(tmp_path / "hosts", text)))


def test_hostfile_and_processes_agree(parameters: Make, tmp_path: Path) -> None:
    hostfile = write_hosts(tmp_path / "hosts", "a slots=4\nb slots=4\n")
    with pytest.raises(ValueError, match=r"num_processes 2 is not the 8 slots of hostfile .*; make them equal"):
        train.launch(parameters(hostfile=hostfile, deepspeed="zero2", num_processes=2))
    with pytest.raises(FileNotFoundError, match=r"hostfile .*gone does not exist"):
        train.launch(parameters(hostfile=str(tmp_path / "gone"), deepspeed="zero2", num_processes=2))
    with pytest.raises(ValueError, match="needs DeepSpeed's launcher; set deepspeed: zero2"):
        parameters(hostfile=hostfile)


def test_wrong_world_size(parameters: Make) -> None:
    settings = train_settings.make_settings(parameters())
    arguments = sft.trainer_arguments(settings, [])
    sft.check_world(settings, arguments)
    with pytest.raises(ValueError, match="num_processes is 4, but 1 came up"):
        sft.check_world(settings.model_copy(update={"num_processes": 4}), arguments)


def test_port_that_is_taken_is_changed(parameters: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def taken(*_: Any, **__: Any) -> list[str]:
        calls.append(processes.free_port())
        return [sys.executable, "-c", "raise SystemExit('The server socket has failed: EADDRINUSE')"]

    monkeypatch.setattr(processes, "command", taken)
    with pytest.raises(RuntimeError, match="three free ports in a row were taken"):
        train.launch(parameters())
    assert len(calls) == 3


# -- preflight


def preflight_of(p: StageParameters, base: Path, **changed: Any) -> list[dict[str, Any]]:
    settings = train_settings.make_settings(p).model_copy(update=changed)
    tokenizer = sft_samples.load_tokenizer(str(base))
    samples, shares = sft_samples.make_samples(settings, tokenizer)
    arguments = sft.trainer_arguments(settings, samples)
    preflight.before_loading(settings, preflight.size(settings), shares, arguments)
    return json.loads((p.folder.path / "preflight.json").read_text())


def test_preflight_of_a_sound_training(parameters: Make, base: Path) -> None:
    p = parameters(n=160)
    rows = {row["check"]: row for row in preflight_of(p, base)}
    assert {row["verdict"] for row in rows.values()} == {"fine"}
    assert rows["steps"]["found"].startswith("20, each of up to 8 samples (1 process(es)), 2 of them")
    assert list(tables.preflight_table(p.folder).columns) == ["check", "found", "verdict"]


@pytest.mark.parametrize(
    "free, total, sentence",
    [(1 << 20, 80 << 30, "another process fills it; end that one"), (1 << 20, 1 << 21, "try deepspeed: zero2 or more")],
)
def test_memory_that_is_not_there(
    parameters: Make, base: Path, monkeypatch: pytest.MonkeyPatch, free: int, total: int, sentence: str
) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda device: (free, total))
    with pytest.raises(ValueError, match=f"GiB needed on this machine .*{sentence}"):
        preflight_of(parameters(), base)


@pytest.mark.parametrize("free, verdict", [(16 << 30, "look"), (18 << 30, "fine")])
def test_memory_that_may_not_be_enough_is_told_with_what_needs_less(parameters: Make, free: int, verdict: str) -> None:
    needed = memory.Need(states=3 << 30, activations=14 << 30, host=0, disk=0)
    row = preflight._fits(train_settings.make_settings(parameters()), needed, free, 24 << 30, "cpu")
    assert row["verdict"] == verdict and ("gradient_accumulation" in row["found"]) == (verdict == "look")


def test_disk_that_is_too_small(parameters: Make, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"up to .* GiB for states and checkpoint, .*free some, or set LAIF_RUNS"):
        preflight_of(parameters(), base)


def test_known_models_are_estimated_without_a_network(parameters: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no minute of retries
    mistral = memory.shape("mistralai/Mistral-7B-Instruct-v0.2")
    llama = memory.shape("meta-llama/Meta-Llama-3-8B-Instruct")
    assert (mistral.weights, llama.weights) == (7_241_732_096, 8_030_261_248), "the published counts"
    settings = train_settings.make_settings(parameters()).model_copy(update={"num_processes": 4, "batch_size": 1})
    needs = [
        memory.need(llama, settings.model_copy(update={"deepspeed": stage}), gpu=True, longest=512).states
        for stage in ("none", "zero1", "zero2", "zero3")
    ]
    assert needs == sorted(needs, reverse=True) and needs[0] / needs[3] > 3
    lora = memory.need(llama, settings.model_copy(update={"lora_rank": 16, "num_processes": 1}), gpu=True, longest=512)
    assert 15 < lora.device / memory.GIB < 25
    with pytest.raises(ValueError, match="config of nobody/nothing cannot be read"):
        memory.shape("nobody/nothing")


def test_recipe_of_a_small_target_costs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.subprocess, "run", lambda *_, **__: pytest.fail("not needed"))
    assert preflight.ask(Recipe()) == ["training: a target of 4 MB fits any machine"]
    assert preflight.ask(Recipe(iterations=0)) == preflight.ask(Recipe(arms=[])) == ["training: none"]


# -- DeepSpeed's files, the card


@pytest.mark.parametrize("path", sorted((ROOT / "papermill_runs" / "deepspeed").glob("*.json")), ids=lambda p: p.stem)
def test_tracked_deepspeed_files_hold_known_keys(parameters: Make, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    zero.check_deepspeed_keys(train_settings.make_settings(parameters(deepspeed=path.stem)))


def test_card_takes_scores_later(tmp_path: Path) -> None:
    metrics = {
        **{"samples": 4, "tokens": 1000, "steps": 2, "left_out": 0, "start_loss": 2.0, "final_loss": 1.0},
        **{"seconds": 1.0, "world_size": 1, "device": "cpu", "versions": {"torch": "2"}},
    }
    about = {"target": "org/name", "base": "", "arm": "le", "iteration": 1, "lessons": {"practice, lesson": 4}}
    write_json(tmp_path / "generation_config.json", {"repetition_penalty": 1.05, "eos_token_id": 1})
    path = model_card.write(tmp_path, about, {"learning_rate": 0.1}, metrics)
    assert "Without what its generation config asks for (repetition_penalty 1.05): " in path.read_text()
    assert "base_model: org/name" in path.read_text() and "Not measured yet" in path.read_text()
    row = {"benchmark": "practice", "split": "test", "n": 10, "accuracy": 0.5, "ci_low": 0.2, "ci_high": 0.8}
    for _ in range(2):
        model_card.fill_scores(tmp_path, [row], "in float32 on this machine")
        assert path.read_text().count("| practice | test | 10 | 50.0 % | [20.0, 80.0] |") == 1
    assert "Answered in float32 on this machine." in path.read_text() and "computed in float32" in path.read_text()
    assert "fingerprint" not in path.read_text() and "Not measured" not in path.read_text()
    write_json(tmp_path / "none" / "config.json", {})
    model_card.fill_scores(tmp_path / "none", [row])
    assert not (tmp_path / "none" / "README.md").exists()


# -- the full-size recipes


def test_what_stops_paid_calls_is_said_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laif_helpers.models.server.check_reached", lambda *given: None)  # of servers, see test_cli

    def said(**more: Any) -> list[str]:
        values: dict[str, Any] = {
            "instructor": "llm",
            "instructor_model": "m",
            "prices": {"m": {"input": 1, "output": 3}},
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(values | more))
        return forecast.warnings(plan.make(tmp_path / "r.yaml").stages)

    assert "max_usd is 0" in said()[0] and "the price of 'm' is missing" in said(prices={}, max_usd=1)[0]
    assert said(max_usd=1) == said(quote_only=True) == said(arms=["fine_tuning"]) == []
