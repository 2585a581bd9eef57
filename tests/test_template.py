"""Values for chat templates, such as ``enable_thinking: false``: one recipe key for asking and for training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from train_toys import TEMPLATE

from laif_helpers import evaluate, models, recipe
from laif_helpers.key_types import RequestChange
from laif_helpers.models import check, local, tokenizers
from laif_helpers.paths import stamp_of
from laif_helpers.recipe import Recipe, StageParameters
from laif_helpers.records import Response, read_jsonl
from laif_helpers.runner import forecast, plan
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import samples as sft_samples

THINKS = TEMPLATE.replace(
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}",
).replace("{{ m.content }}", "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}")
"""As Qwen3's: it thinks unless it is told not to, and an answer that is trained on carries an empty thought."""
OFF = {"enable_thinking": False}
ASKED = [{"role": "user", "content": "What is 1 + 1?"}]
OPTIONS: dict[str, Any] = {"request_options": {"target": {"add": {"chat_template_kwargs": OFF}}}}


@pytest.fixture(name="thinker")
def thinker_fixture(base: Path, tmp_path: Path) -> Path:
    """The tiny model with a template that thinks."""
    folder = shutil.copytree(base, tmp_path / "thinker")
    (folder / "chat_template.jinja").write_text(THINKS)
    return folder


def rendered(tokenizer: Any, **values: Any) -> str:
    return str(tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True, **values))


def test_a_saved_template_keeps_its_values_and_a_request_can_name_others(thinker: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(thinker)
    changed = tokenizers.with_values(plain, OFF)
    assert rendered(changed) == rendered(plain, **OFF) != rendered(plain), "only the copy is changed"
    changed.save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert rendered(saved) == rendered(plain, **OFF)
    assert rendered(saved, enable_thinking=True) == rendered(plain)
    assert tokenizers.with_values(saved, OFF).chat_template == saved.chat_template, "nothing is written twice"


def test_the_day_is_the_same_on_every_day_and_in_a_checkpoint(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(base, tmp_path / "dated")
    own = '{% if not day is defined %}{% set day = strftime_now( "%Y-%m-%d" ) %}{% endif %}'
    (folder / "chat_template.jinja").write_text(own + TEMPLATE.replace("{{ m.content }}", "{{ day }} {{ m.content }}"))
    tokenizer = sft_samples.load_tokenizer(str(folder))
    assert "2024-07-26" in rendered(tokenizer) and "2030" in rendered(tokenizer, day="2030")
    assert "2024-07-26" in rendered(local.load(str(folder)).tokenizer)
    tokenizer.save_pretrained(tmp_path / "saved")
    assert rendered(AutoTokenizer.from_pretrained(tmp_path / "saved")) == rendered(tokenizer)
    assert "writes today's date" in check.notes(str(folder))[0] and not check.notes(str(base))
    (folder / "generation_config.json").write_text(json.dumps({"repetition_penalty": 1.3, "use_cache": True}))
    assert "the model asks for repetition_penalty 1.3: " in check.notes(str(folder))[0]


def test_any_value_and_the_first_line_come_through(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "\n  {% if true %}>{% endif %}{{ day }}|{{ shown | tojson }}"
    values = {"day": "it's 7 o\"clock\n\u2028 %} {{ é", "shown": {"a": [1, None, True, 0.5]}}
    assert rendered(tokenizers.with_values(tokenizer, values)) == rendered(tokenizer, **values)


def test_local_answers_are_asked_for_with_the_values(thinker: Path) -> None:
    change = RequestChange(add={"chat_template_kwargs": OFF})
    plain, without = (
        models.generate(str(thinker), [ASKED], max_new_tokens=2, change=change, progress=False)[0].prompt_tokens
        for change in (None, change)
    )
    assert without == plain + len("<think></think>"), "a token a byte"


def test_answers_say_with_which_values_they_were_asked(
    thinker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    asked = {"run": "r", "target": str(thinker), "benchmarks": ["practice"], "in_domain": [], "limit": 2}
    headers, prompts = [], []
    for more in ({}, OPTIONS):
        p = recipe.build(StageParameters, asked | {"max_new_tokens": 4} | more)
        (path,) = evaluate.evaluate(p)
        headers.append(json.loads(stamp_of(path).read_text())["header"])
        prompts.append([row.prompt_tokens for row in read_jsonl(path, Response)])
    assert headers[0]["dtype"] == "float32" and "request_options" not in headers[0]
    assert headers[1]["request_options"] == {"add": {"chat_template_kwargs": OFF}}
    assert [after - before for before, after in zip(*prompts, strict=True)] == [len("<think></think>")] * 2


def test_a_training_sees_the_prompt_that_is_asked(parameters: Callable[..., StageParameters], thinker: Path) -> None:
    taught = {}
    for more in ({}, OPTIONS):
        settings = train_settings.make_settings(parameters(target=str(thinker), **more))
        tokenizer = sft_samples.load_tokenizer(settings.base, settings.template_values)
        first = sft_samples.make_samples(settings, tokenizer)[0][0]
        learned = [at for at, label in enumerate(first["labels"]) if label != -100]
        taught[settings.identity] = tokenizer.decode(first["input_ids"][learned[0] :])
    first, second = taught.values()
    assert first.startswith("<think></think>0 + 0") and second.startswith("0 + 0")
    old = train_settings.make_settings(parameters(target=str(thinker)))
    assert "template_values" not in old.deciding, "without values, a checkpoint of an earlier release is still whole"


def test_what_only_a_server_can_be_told_is_noted_for_a_model_of_this_machine(tmp_path: Path) -> None:
    def noted(target: dict[str, Any], **more: Any) -> list[str]:
        (tmp_path / "r.yaml").write_text(
            yaml.safe_dump({"request_options": {"target": target}, "iterations": 0} | more)
        )
        return forecast.warnings(plan.make(tmp_path / "r.yaml").stages)

    values = OPTIONS["request_options"]["target"]
    assert recipe.build(Recipe, OPTIONS).request_options.target.template_values == OFF
    assert noted(values) == [] == noted({"leave_out": ["seed"]}, serve="vllm serve {model} --port {port}")
    assert "nothing but add: {chat_template_kwargs: …} counts" in noted({"leave_out": ["seed"]})[0]
    assert len(noted({"add": {"top_p": 0.9, **values["add"]}})) == 1


@pytest.mark.parametrize("bad", ["no", {"enable thinking": False}])
def test_values_for_templates_have_names(bad: Any) -> None:
    with pytest.raises(ValueError, match="a mapping of names"):
        recipe.build(Recipe, {"request_options": {"target": {"add": {"chat_template_kwargs": bad}}}})
