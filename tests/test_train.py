"""Stage 5: settings and checks, samples and their labels, a real training, and DeepSpeed on two CPU ranks."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_toys import TEMPLATE, sample, train_here

from laif_helpers import launch as processes
from laif_helpers import train
from laif_helpers.models import check, local
from laif_helpers.paths import IterationDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Response, read_rows, sound_rows, write_json, write_jsonl
from laif_helpers.train import checks, tables
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import callbacks, checkpoint, order, zero
from laif_helpers.train.child import samples as sft_samples
from tests.test_models import make_tokenizer


def settings_of(p: StageParameters) -> train_settings.Settings:
    return train_settings.make_settings(p)


def test_a_whole_checkpoint_stands_whatever_its_log_says(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = parameters()
    log = p.folder.path / "train.out"
    log.write_text("tensorboard: Address already in use\n")
    monkeypatch.setattr(train, "finished", lambda settings: True)
    train._judge(settings_of(p), 0, log)
    with pytest.raises(RuntimeError, match="three free ports in a row were taken"):
        train._judge(settings_of(p), 1, log)


# -- bad input: one sentence each, before anything is trained


def test_empty_training_file(parameters: Callable[..., StageParameters]) -> None:
    p = parameters(n=0)
    write_jsonl(p.folder.training_set, [])
    with pytest.raises(ValueError, match=r"train\.jsonl holds no samples.*funnel"):
        train.launch(p)


def test_missing_training_file(parameters: Callable[..., StageParameters]) -> None:
    with pytest.raises(FileNotFoundError, match="make the training set first"):
        train.launch(parameters(n=0))


@pytest.mark.parametrize("content", ["", "  \n"])
def test_lesson_without_response(parameters: Callable[..., StageParameters], content: str) -> None:
    p = parameters()
    bad = sample(3)
    bad["messages"][-1]["content"] = content
    write_jsonl(p.folder.training_set, [sample(0), bad])
    with pytest.raises(ValueError, match=r"row 2 \(id 's3'\) has no response"):
        train.launch(p)


@pytest.mark.parametrize("weight", [-1, "2", True, float("nan"), float("inf")])
def test_weight_that_is_none(parameters: Callable[..., StageParameters], weight: Any) -> None:
    p = parameters()
    write_jsonl(p.folder.training_set, [sample(0) | {"weight": weight}])
    with pytest.raises(ValueError, match=rf"row 1 has weight {weight!r}; a weight is a number from 0 on"):
        train.launch(p)


def test_weights_that_leave_nothing_to_learn(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    in_turns = sample(1)
    in_turns["messages"][1]["weight"] = 0.0
    write_jsonl(p.folder.training_set, [sample(0) | {"weight": 0.0}, in_turns])
    with pytest.raises(ValueError, match="every weight is 0, so there is nothing to learn"):
        train.launch(p)


def test_content_in_parts(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    parts = sample(2)
    parts["messages"][1]["content"] = [{"type": "text", "text": "4"}]
    write_jsonl(p.folder.training_set, [sample(0), parts])
    with pytest.raises(ValueError, match=r"row 2 \(id 's2'\) has content of type list; write it as text"):
        train.launch(p)


def test_a_second_training_in_a_folder_waits(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both at once went on from each other's states, and the checkpoint was neither's."""
    p, inside, first = parameters(), list[str](), threading.Event()

    def trained(settings: train_settings.Settings, folder: IterationDir) -> None:
        inside.append("in")
        first.set()
        time.sleep(0.3)
        inside.append("out")
        write_json(folder.train_metrics, {"steps": 2})

    monkeypatch.setattr(train, "_train", trained)
    monkeypatch.setattr(train, "_grade_probe", lambda p: None)
    one = threading.Thread(target=train.launch, args=(p,))
    one.start()
    first.wait()
    assert train.launch(p) == {"steps": 2}
    one.join()
    assert inside == ["in", "out"] * 2
    assert f"process {os.getpid()} trains in {p.folder.path} already; this one waits" in capsys.readouterr().out


def test_base_missing(parameters: Callable[..., StageParameters]) -> None:
    with pytest.raises(FileNotFoundError, match=r"'/no/such/model' is neither a model folder.*correct target"):
        train.launch(parameters(target="/no/such/model"))
    with pytest.raises(FileNotFoundError, match="train iteration 1 of arm 'le' first"):
        train.launch(parameters(iteration=2))


def test_base_that_is_no_model(parameters: Callable[..., StageParameters], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        train.launch(parameters(target=str(tmp_path)))


def test_base_without_chat_template(parameters: Callable[..., StageParameters], base: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(base, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"bare' has no chat template.*chat_template\.jinja"):
        sft_samples.load_tokenizer(str(bare))


def test_all_samples_too_long(parameters: Callable[..., StageParameters], base: Path) -> None:
    p = parameters(max_length=16)
    with pytest.raises(ValueError, match=r"all 16 samples are longer than max_length 16 tokens \(the shortest has \d+"):
        sft_samples.make_samples(settings_of(p), sft_samples.load_tokenizer(str(base)))


def test_unknown_deepspeed_name_and_file(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"deepspeed: .*'zero4'"):
        parameters(deepspeed="zero4")
    monkeypatch.setattr(train_settings, "DEEPSPEED", tmp_path)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"deepspeed 'zero2': .*zero2\.json does not exist; there are: mine"):
        train.launch(parameters(deepspeed="zero2"))


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"zero_optimisation": {}}, "'zero_optimisation'"),
        ({"zero_optimization": {"stages": 2}}, "'stages' in zero_opt"),
    ],
)
def test_unknown_deepspeed_key(
    parameters: Callable[..., StageParameters], change: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    settings = settings_of(parameters(deepspeed="zero2"))
    zero.check_deepspeed_keys(settings)
    with pytest.raises(ValueError, match=sentence):
        zero.check_deepspeed_keys(settings.model_copy(update={"deepspeed_config": settings.deepspeed_config | change}))


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3", "zero3_offload"])
def test_tracked_deepspeed_files(name: str) -> None:
    config = train_settings.deepspeed_config(name)
    assert config["zero_optimization"]["stage"] == int(name[4])
    if name.startswith("zero3"):
        assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


def test_adapter_that_does_not_fit(parameters: Callable[..., StageParameters], base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": str(base), "r": 4})
    with pytest.raises(ValueError, match=r"lora_rank 8 does not fit adapter .* of rank 4; set lora_rank: 4"):
        train.launch(parameters(target=str(adapter), lora_rank=8))
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": "/no/base", "r": 4})
    with pytest.raises(FileNotFoundError, match="was trained for /no/base, which does not exist"):
        train.launch(parameters(target=str(adapter), lora_rank=4))
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": str(base), "peft_type": "IA3"})
    checks.check_fit(adapter, parameters(target=str(adapter)))  # this kind has no rank
    with pytest.raises(ValueError, match=r"of rank 0; set lora_rank: 0 to go on"):
        checks.check_fit(adapter, parameters(target=str(adapter), lora_rank=4))


def test_checkpoint_adapter_of_another_base(parameters: Callable[..., StageParameters], tmp_path: Path) -> None:
    p = parameters(iteration=2, lora_rank=4)
    other = tmp_path / "other"
    other.mkdir()
    write_json(p.previous.checkpoint / "adapter_config.json", {"base_model_name_or_path": str(other), "r": 4})
    with pytest.raises(ValueError, match=r"was trained for .*other, but the target is .*tiny; use that target"):
        train.launch(p)


def test_folder_that_cannot_be_written(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = parameters()

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # A read-only mode does not stop root, whom containers run as; the disk's answer is what matters.
    monkeypatch.setattr(train, "write_json", refuse)
    with pytest.raises(PermissionError, match=r"cannot write to .*iter1 \(Permission denied\); choose a run folder"):
        train.launch(p)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    p.folder.path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot write to"):
        train.launch(p)
    p.folder.path.chmod(0o700)


@pytest.mark.parametrize(
    "recent, norm, pattern",
    [
        ([3.2, 2.9], 1.0, ""),
        ([3.2, float("nan")], 1.0, "the loss is nan"),
        ([3.2], float("inf"), "the gradient's norm is inf"),
        ([3.0, 9.0, 9.0, 9.0, 9.0], 1.0, ""),
        ([9.0, 9.5, 10.0, 12.0, 15.0], 1.0, r"the loss runs away \(11\.10 over the last 5 .* 3\.20 at first\)"),
        ([9.0, 9.5, 10.0, 12.0], 1.0, ""),
    ],
)
def test_loss_that_breaks(recent: list[float], norm: float, pattern: str) -> None:
    found = callbacks.broken_loss(recent, 3.2, norm)
    assert re.search(pattern, found) if pattern else not found


# -- samples


def test_labels_cover_the_response_and_its_end_alone(base: Path) -> None:
    tokenizer = sft_samples.load_tokenizer(str(base))
    samples = sft_samples.encode(tokenizer, [sample(4)["messages"]], {tokenizer.eos_token_id})
    learned = [token for token in samples[0]["labels"] if token != -100]
    assert tokenizer.decode(learned) == "4 + 4 = 8\n#### 8<|end|>"
    prompt = tokenizer.apply_chat_template(sample(4)["messages"][:1], tokenize=False, add_generation_prompt=True)
    context = samples[0]["input_ids"][: -len(learned)]
    assert tokenizer.decode(context) == prompt, "trained on another context than generation will see"


def test_end_token_is_added_where_the_template_has_none(base: Path) -> None:
    tokenizer = sft_samples.load_tokenizer(str(base))
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", "")
    samples = sft_samples.encode(tokenizer, [sample(1)["messages"]], {tokenizer.eos_token_id})
    assert samples[0]["labels"][-1] == tokenizer.eos_token_id


OPENED = TEMPLATE.replace(
    "{% if add_generation_prompt %}<|assistant|>", "{% if add_generation_prompt %}<|assistant|><think>\n"
)
CUT = OPENED.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
TRIMMED = TEMPLATE.replace("{{ m.content }}", "{{ m.content.strip() if loop.last else m.content }}")
IN_PARTS = TEMPLATE.replace("{{ m.content }}", "{% for part in m.content %}{{ part.text }}{% endfor %}")


@pytest.mark.parametrize(
    "template, said, learned",
    [
        pytest.param(OPENED, "7", "</think>\n\n7<|end|>", id="a thought that the prompt alone opens"),
        pytest.param(CUT, "3 and 4\n</think>\n\n7", "3 and 4\n</think>\n\n7<|end|>", id="a thought that is left out"),
        pytest.param(TRIMMED, "7", "7<|end|>", id="a question that is trimmed while it is the last message"),
        pytest.param(IN_PARTS, "7", "7<|end|>", id="content in parts"),
        pytest.param(TEMPLATE.replace("m.role == 'assistant'", "false"), "7", "7<|end|>", id="no end"),
    ],
)
def test_a_response_stands_behind_the_prompt_that_is_asked(
    base: Path, tmp_path: Path, template: str, said: str, learned: str
) -> None:
    folder = shutil.copytree(base, tmp_path / "other")
    (folder / "chat_template.jinja").write_text(template)
    turns = [{"role": "user", "content": " What is 3 + 4? "}, {"role": "assistant", "content": said}]
    asked = local.prompt_ids(local.load(str(folder)), [turns[:1]])[0]
    tokenizer = sft_samples.load_tokenizer(str(folder))
    [encoded] = sft_samples.encode(tokenizer, [turns], {tokenizer.eos_token_id})
    behind = len(asked)
    assert encoded["input_ids"][:behind] == asked and encoded["labels"][:behind] == [-100] * behind
    assert encoded["input_ids"][behind:] == encoded["labels"][behind:]
    assert tokenizer.decode(encoded["labels"][behind:]) == learned
    assert encoded["weights"] == [0.0] * behind + [1.0] * (len(encoded["labels"]) - behind)


@pytest.mark.slow
def test_a_token_that_would_join_prompt_and_response(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, TEMPLATE.replace("|>{", "|>\n{"), merges=(("\u010a", "\u010a"),))
    tokenizer = sft_samples.load_tokenizer(str(tmp_path))
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "\n\n7"}]
    [encoded] = sft_samples.encode(tokenizer, [turns], {tokenizer.convert_tokens_to_ids("<|end|>")})
    written = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    asked = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert encoded["input_ids"][: len(asked)] == asked
    assert tokenizer.decode(encoded["labels"][len(asked) :]) == "\n\n7<|end|>\n"


@pytest.mark.parametrize(
    "template, sentence",
    [
        (TEMPLATE.replace("messages %}", "messages[:1] %}"), "does not write what the assistant says"),
        (
            "{% if messages[1] %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}",
            "refuses .*: one turn",
        ),
    ],
)
def test_template_without_an_answer_is_told(base: Path, tmp_path: Path, template: str, sentence: str) -> None:
    folder = shutil.copytree(base, tmp_path / "other")
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = sft_samples.load_tokenizer(str(folder))
    with pytest.raises(ValueError, match=sentence):
        sft_samples.encode(tokenizer, [sample(1)["messages"]], {tokenizer.eos_token_id})
    assert check.problems(str(folder)) == [], "it can answer"
    (found,) = check.problems(str(folder), taught=True)
    assert "does not write what the assistant says" in found


def test_tokens_without_a_row_in_the_embedding(
    parameters: Callable[..., StageParameters], base: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(base, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens("<new>")
    tokenizer.save_pretrained(folder)
    p = parameters(n=8, target=str(folder), batch_size=4)
    assert train_here(p)["steps"] == 2, "padding is looked up, and learned by nobody"
    write_jsonl(p.folder.training_set, [sample(1, "<new>")])
    with pytest.raises(ValueError, match=r"writes token \d+ \('<new>'\), and its embedding has 261 rows"):
        train_here(p)


def test_long_samples_are_left_out_whole(
    parameters: Callable[..., StageParameters], base: Path, tmp_path: Path
) -> None:
    """As are those for which the model has no positions: learned ones ended the training with an IndexError."""
    p = parameters(max_length=64)
    write_jsonl(p.folder.training_set, [sample(1), sample(2, "long " * 40), sample(3), sample(4)])
    kept, shares = sft_samples.make_samples(settings_of(p), sft_samples.load_tokenizer(str(base)))
    assert (shares["samples"], shares["left_out"], shares["truncated_share"]) == (3, 1, 0.25)
    assert all(len(row["input_ids"]) <= 64 for row in kept)
    short = tmp_path / "short"
    shutil.copytree(base, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    p = parameters(n=0, max_length=512, target=str(short))
    assert sft_samples.make_samples(settings_of(p), sft_samples.load_tokenizer(str(base)))[1]["left_out"] == 1
    assert 0 < shares["loss_token_share"] < 1


def test_a_response_with_a_token_that_ends_it_is_left_out(
    parameters: Callable[..., StageParameters], base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that learned it would stop in the middle. In a question such a mark is only read."""
    p = parameters()
    rows = [sample(0, "4<|end|>, no, 5"), sample(1), sample(2, "6<|user|>")]
    rows[1]["messages"][0]["content"] += "<|end|>"
    write_jsonl(p.folder.training_set, rows)
    settings, tokenizer = settings_of(p), sft_samples.load_tokenizer(str(base))
    kept, _ = sft_samples.make_samples(settings, tokenizer)
    assert [tokenizer.decode(each["input_ids"])[8:19] for each in kept] == ["What is 1 +", "What is 2 +"]
    assert "1 of 3 samples hold <|end|>, which ends an answer, and are left out" in capsys.readouterr().out
    write_jsonl(p.folder.training_set, rows[:1])
    with pytest.raises(ValueError, match=r"all 1 samples hold <\|end\|>, which ends an answer; remove it"):
        sft_samples.make_samples(settings, tokenizer)


def test_template_that_hides_the_prompt_is_refused(parameters: Callable[..., StageParameters], base: Path) -> None:
    tokenizer = sft_samples.load_tokenizer(str(base))
    tokenizer.chat_template = "{% if not add_generation_prompt %}{{ messages[-1].content }}<|end|>{% endif %}"
    with pytest.raises(ValueError, match="100% of the training tokens carry loss"):
        sft_samples.make_samples(settings_of(parameters()), tokenizer)


def test_order_is_the_same_for_one_process_and_two() -> None:
    lengths = [(7 * at) % 40 for at in range(100)]
    orders = [list(order.LengthGrouped(lengths, 16, seed=3)) for _ in range(2)]
    assert orders[0] == orders[1] and sorted(orders[0]) == list(range(100))
    later = order.LengthGrouped(lengths, 16, seed=3)
    later.set_epoch(1)
    assert list(later) != orders[0]
    spread = [max(lengths[i] for i in part) - min(lengths[i] for i in part) for part in _chunks(orders[0], 16)]
    assert sum(spread) / len(spread) < 10, "batches of like length"


def _chunks(order: list[int], size: int) -> list[list[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


# -- a real training


def responses(p: StageParameters, count: int = 12) -> None:
    """Previous responses of real practice items, every third one wrong."""
    from laif_helpers import benchmarks

    bench = benchmarks.get("practice")
    rows = [
        Response(
            **{"id": e.id, "benchmark": "practice", "split": "train", "messages": bench.messages(e), "gold": e.gold},
            **{"text": f"#### {e.gold}" if at % 3 else "no idea", "extracted": e.gold, "correct": bool(at % 3)},
            **{"readable": True, "reason": "", "prompt_tokens": 1, "new_tokens": 1, "model": "m"},
        )
        for at, e in enumerate(bench.load("train", limit=count))
    ]
    write_jsonl(p.previous.responses("practice", "train"), rows)


def tracked(folder: Path) -> list[float]:
    """Losses that TensorBoard reads back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars("train/loss")]


def test_training_from_base_to_checkpoint(parameters: Callable[..., StageParameters]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    values = {"request_options": {"target": {"add": {"chat_template_kwargs": {"day": "1 May"}}}}}
    p = parameters(n=48, learning_rate="5e-3", epochs=3, max_new_tokens=8, report_to="tensorboard", **values)
    responses(p)
    p.folder.checkpoint.mkdir(parents=True)  # what a killed training of old might have left
    metrics = train.launch(p)

    assert metrics["steps"] == 18 and metrics["world_size"] == 1 and metrics["deepspeed"] == "none"
    assert metrics["final_loss"] < metrics["start_loss"] - 0.5
    assert metrics["tokens"] == 3 * metrics["sample_tokens"]
    assert metrics["truncated_share"] == 0 and 0 < metrics["loss_token_share"] < 1
    assert metrics["tokens_per_s"] > 0 and metrics["seconds"] > 0
    assert [row["step"] for row in sound_rows(p.folder.train_log, more=False)] == list(range(1, 19))
    assert {"samples", "steps", "memory", "disk"} <= set(tables.preflight_table(p.folder)["check"])
    assert metrics["drift"]["nats_before"] > 0 and metrics["drift"]["kl"] is None, "nothing was answered right"
    losses = [row["loss"] for row in sound_rows(p.folder.train_log, more=False)]
    assert tracked(p.folder.path / "tensorboard") == pytest.approx(losses), "kept beside the run, not with the states"

    model = AutoModelForCausalLM.from_pretrained(p.folder.checkpoint)
    template = AutoTokenizer.from_pretrained(p.folder.checkpoint).chat_template
    assert template.endswith(TEMPLATE) and "set day = '1 May'" in template, "it asks as it was trained"
    assert model.generation_config.eos_token_id is not None
    sentinel = json.loads((p.folder.checkpoint / train_settings.SENTINEL).read_text())
    assert sentinel["steps"] == 18
    assert sentinel["weights_sha256"] == train_settings.file_hash([p.folder.checkpoint / "model.safetensors"])
    assert not p.folder.checkpoint.with_name("checkpoint.partial").exists()

    probed = list(read_rows(p.folder.path / "probe.jsonl"))
    assert [row["before_correct"] for row in probed] == [False] * 4 + [True] * 4
    assert all(isinstance(row["after"], str) and row["after_correct"] in (True, False) for row in probed)
    assert "18 steps" in tables.observation(metrics, p.folder)
    assert len(tables.probe_table(p.folder)) == 8 and len(tables.log_table(p.folder)) == 18

    before = (p.folder.checkpoint / "model.safetensors").stat().st_mtime_ns
    assert train.launch(p) == metrics, "a finished training is not repeated"
    ungraded = [{key: value for key, value in row.items() if key != "after_correct"} for row in probed]
    write_jsonl(p.folder.path / "probe.jsonl", ungraded)
    train.launch(p)
    assert list(read_rows(p.folder.path / "probe.jsonl")) == probed, "a kill right after the training costs no grade"
    assert (p.folder.checkpoint / "model.safetensors").stat().st_mtime_ns == before
    (p.folder.checkpoint / "model.safetensors").write_bytes(b"torn")
    assert not train_settings.finished(settings_of(p)), "a damaged checkpoint is noticed"


def test_identity_follows_what_decides_the_weights(parameters: Callable[..., StageParameters]) -> None:
    first = settings_of(parameters()).identity
    assert settings_of(parameters()).identity == first
    assert settings_of(parameters(learning_rate="1e-3")).identity != first
    assert settings_of(parameters(n=15)).identity != first
    assert settings_of(parameters(run="elsewhere")).identity == first


def test_lora_adapter_and_its_second_iteration(parameters: Callable[..., StageParameters], base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    first = parameters(lora_rank=4, learning_rate="1e-2")
    train_here(first)
    files = {file.name for file in first.folder.checkpoint.iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    second = parameters(lora_rank=4, learning_rate="1e-2", iteration=2)
    train_here(second)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), second.folder.checkpoint)
    earlier = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), first.folder.checkpoint)
    pairs = zip(loaded.state_dict().items(), earlier.state_dict().items(), strict=True)
    moved = {name for (name, a), (_, b) in pairs if not a.equal(b)}
    assert moved and all("lora_" in name for name in moved), "only the adapter moves on"


def test_sentence_of_the_child_reaches_the_caller(parameters: Callable[..., StageParameters]) -> None:
    p = parameters(max_length=16)
    with pytest.raises(ValueError, match="all 16 samples are longer"):
        train.launch(p)
    assert not p.folder.checkpoint.exists() and not p.folder.train_metrics.exists()


# -- processes


def run_python(text: str, log: Path, **options: Any) -> int:
    script = log.with_suffix(".py")
    script.write_text(textwrap.dedent(text))
    return processes.run([sys.executable, str(script)], log, env=processes.environment(), **options)


def test_exit_status_and_output(tmp_path: Path) -> None:
    assert run_python("print('said'); raise SystemExit(3)", tmp_path / "log") == 3
    assert processes.tail(tmp_path / "log") == "said"


def test_broken_training_is_told_with_its_log(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = [sys.executable, "-c", "print('last words'); import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(processes, "command", lambda *_, **__: crash)
    with pytest.raises(
        RuntimeError, match=r"(?s)status -9 and no whole checkpoint \(killed.*fewer workers.*last words"
    ):
        train.launch(parameters())


def test_exit_0_without_sentinel_is_no_success(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "command", lambda *_, **__: [sys.executable, "-c", "pass"])
    with pytest.raises(RuntimeError, match="status 0 and no whole checkpoint"):
        train.launch(parameters())


GROUP = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupt_when_started() -> None:
        if log.is_file() and log.read_text().strip():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_python(GROUP, log, on_wait=interrupt_when_started)
    assert gone(int(log.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' parent-death signal")
def test_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = subprocess.Popen([
        sys.executable, "-c",
        "import sys; from pathlib import Path; from laif_helpers import launch\n"
        "code = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        f"launch.run([sys.executable, '-c', code], Path({str(log)!r}), env=launch.environment())",
    ])  # fmt: skip
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(int(log.read_text()))


def gone(pid: int, patience: float = 60.0) -> bool:
    """Whether the process ends within ``patience`` seconds (a zombie whose parent has not looked is gone)."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_visible_devices_are_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    assert processes.devices(2) == [3, 5]
    assert processes.environment(1)["CUDA_VISIBLE_DEVICES"] == "3"
    with pytest.raises(ValueError, match=r"num_processes 4 is more than the 3 GPU\(s\) here: 3, 5, 7"):
        processes.command("m", "c", processes=4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.devices(2) == [0, 1]
    assert processes.environment(2)["DS_ACCELERATOR"] == "cpu"


@pytest.mark.slow
def test_kernel_side_stays_light() -> None:
    code = (
        "import sys; from laif_helpers import train; from laif_helpers.train import mix as train_mix\n"
        "heavy = {'torch', 'trl', 'transformers', 'deepspeed', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- several ranks


@pytest.mark.slow
def test_a_probe_that_fails_does_not_cost_the_weights(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = parameters()
    settings = train_settings.make_settings(p)
    shutil.copytree(p.target, settings.unfinished)
    monkeypatch.setattr(checkpoint, "probe", lambda *_: 1 / 0)
    monkeypatch.setattr(checkpoint.model_card, "write", lambda *_: None)
    checkpoint.finish(settings, {"steps": 3})
    assert train_settings.finished(settings)
    metrics = json.loads(p.folder.train_metrics.read_text())
    assert metrics["probe_failed"] == "ZeroDivisionError: division by zero"
    assert tables.observation(metrics, p.folder).startswith("3 steps done and kept, but the probe failed: ZeroDiv")


MORE_STAGES = [pytest.param(stage, marks=pytest.mark.thorough) for stage in ("zero1", "zero2")]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [*MORE_STAGES, "zero3"])
def test_zero_on_two_cpu_ranks_equals_one_process(parameters: Callable[..., StageParameters], stage: str) -> None:
    """Every step's loss to 1e-3, and the saved weights to 1e-4: only the order of sums differs."""
    from safetensors.torch import load_file

    single = parameters(n=48, run="one", batch_size=16, epochs=2)
    train_here(single)
    losses = [row["loss"] for row in sound_rows(single.folder.train_log, more=False)]
    expected = load_file(single.folder.checkpoint / "model.safetensors")
    p = parameters(n=48, run=stage, batch_size=8, epochs=2, deepspeed=stage, num_processes=2, max_new_tokens=4)
    responses(p)
    metrics = train.launch(p)
    assert "probe_failed" not in metrics and len(tables.probe_table(p.folder)) == 8, "the checkpoint loads and answers"
    assert (metrics["steps"], metrics["world_size"], metrics["deepspeed"]) == (6, 2, stage)
    log = [row["loss"] for row in sound_rows(p.folder.train_log, more=False)]
    assert log == pytest.approx(losses, abs=1e-3)
    found = load_file(p.folder.checkpoint / "model.safetensors")
    assert found.keys() == expected.keys()
    assert max((found[key] - expected[key]).abs().max().item() for key in expected) < 1e-4
