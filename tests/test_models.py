"""generate(): the same texts as plain transformers, whatever the batch; servers that fail in every way they do."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from laif_helpers import launch, models
from laif_helpers.graders import turns as thoughts
from laif_helpers.key_types import RequestChange
from laif_helpers.models import check, connecting, decoding, older, precision, protocol
from laif_helpers.models import local as local_model
from laif_helpers.models import server as server_model
from laif_helpers.models.decoding import prefixes
from laif_helpers.models.sampling import Sampling
from laif_helpers.records import Completion, Message

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|eos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
QUESTIONS = [
    "How many?",
    "Two plus two",
    "x",
    "A longer question about nothing in particular, with words",
    "Why 7?",
] * 4


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


CONVERSATIONS = [ask(f"{text} {number}") for number, text in enumerate(QUESTIONS)]


def make_tokenizer(
    folder: Path, template: str | None = TEMPLATE, merges: tuple[tuple[str, str], ...] = (), **options: Any
) -> None:
    """Every byte a token, five special ones and what is merged; no pad token."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as parts
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL, *letters, *map("".join, merges)]
    tokenizer = Tokenizer(parts.BPE({token: i for i, token in enumerate(tokens)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    options = {"eos_token": "<|eos|>", "extra_special_tokens": SPECIAL[1:]} | options
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
    fast.chat_template = template
    fast.save_pretrained(folder)


def make_model(folder: Path, kind: str = "llama", **settings: Any) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
    }[kind]
    base = {
        "vocab_size": 261,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.4,
        "eos_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = model_class(config_class(**(base | settings)))
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def plain_generate(folder: Path, conversations: list[Any], new: int, extra_stop: list[int]) -> list[str]:
    """transformers' own greedy generate, one prompt at a time; stop tokens widened where many should stop early."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = []
    for turns in conversations:
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        stops = [0, 4, *extra_stop]
        out = model.generate(**prompt, max_new_tokens=new, do_sample=False, eos_token_id=stops, pad_token_id=0)
        ids = out[0, prompt["input_ids"].shape[1] :].tolist()
        ids = ids[: next((i for i, token in enumerate(ids) if token in stops), len(ids))]
        texts.append(tokenizer.decode(ids, skip_special_tokens=True))
    return texts


def stopping_early(folder: Path) -> tuple[local_model.LocalModel, list[int]]:
    """The model with a third of all tokens as stop tokens, so that rows finish at different times."""
    local = local_model.load(str(folder))
    extra = list(range(5, 261, 9))
    return local_model.LocalModel(local.name, local.model, local.tokenizer, [0, 4, *extra], local.context), extra


def greedy(most: int, conversations: list[list[Message]]) -> Sampling:
    return Sampling([most] * len(conversations), 0.0, 0, range(len(conversations)))


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_greedy_texts_equal_plain_generate(tiny: Path, batch_size: int) -> None:
    local, extra = stopping_early(tiny)
    found = dict(local_model.answer(local, CONVERSATIONS, greedy(40, CONVERSATIONS), batch_size))
    expected = plain_generate(tiny, CONVERSATIONS, 40, extra)
    assert [found[i].text for i in range(len(CONVERSATIONS))] == expected
    lengths = {completion.new_tokens for completion in found.values()}
    assert len(lengths) > 4, "the rows must end at different times, or nothing is tested"


@pytest.mark.slow
def test_sliding_window_model_equals_plain_generate(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "window", "mistral", sliding_window=12)
    local, extra = stopping_early(folder)
    found = dict(local_model.answer(local, CONVERSATIONS, greedy(30, CONVERSATIONS), 6))
    expected = plain_generate(folder, CONVERSATIONS, 30, extra)
    assert [found[i].text for i in range(len(CONVERSATIONS))] == expected


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [7, 24, 100])
def test_a_beginning_that_prompts_share_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    folder = make_model(tmp_path / "long", max_position_embeddings=512)
    shown = [" ".join(f"Example {n}: {word} {n} is {n * n}." for n in range(5)) for word in ("square", "power")]
    asked = [f"{shown[n % 2]} And {'the ' * (n % 4)}{n}?" for n in range(40)] + [f"Alone {n}" for n in range(5)]
    conversations = [[{"role": "user", "content": text}] for text in asked]
    monkeypatch.setattr(prefixes, "LEAST_PROMPTS", 5)
    local, extra = stopping_early(folder)
    read = [0]

    def count(module: Any, args: Any, kwargs: Any) -> None:
        read[0] += kwargs["input_ids"].numel()

    hook = local.model.register_forward_pre_hook(count, with_kwargs=True)
    found = dict(local_model.answer(local, conversations, greedy(20, conversations), batch_size))
    once, read[0] = read[0], 0
    monkeypatch.setattr(prefixes, "LEAST_TOKENS", 1000)
    assert found.keys() == dict(local_model.answer(local, conversations, greedy(20, conversations), batch_size)).keys()
    hook.remove()
    assert [found[i].text for i in range(len(asked))] == plain_generate(folder, conversations, 20, extra)
    assert once < (0.5 if batch_size == 7 else 0.25) * read[0], (once, read[0])


@pytest.mark.model
def test_a_large_model_reads_even_the_templates_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "headed", max_position_embeddings=512)
    header = {"role": "system", "content": "Be brief."}
    conversations = [[header, *ask(f"{n} and {'more ' * (n % 3)}?")] for n in range(24)]
    local, extra = stopping_early(folder)
    read = []
    local.model.register_forward_pre_hook(lambda module, args, given: read.append(given["input_ids"]), with_kwargs=True)
    first = {}
    for large in (10**9, 0):
        monkeypatch.setattr(precision, "LARGE", large)
        read.clear()
        found = dict(local_model.answer(local, conversations, greedy(8, conversations), 24))
        assert [found[i].text for i in range(24)] == plain_generate(folder, conversations, 8, extra)
        first[large] = len(read[0])
    assert first == {10**9: 24, 0: 1}, "rows of the first reading"


@pytest.mark.model
def test_matrices_lie_by_columns_and_embeddings_by_rows(tiny: Path) -> None:
    import torch
    from safetensors.torch import load_file

    model = local_model.load(str(tiny)).model
    matrix, embedding = model.model.layers[0].mlp.up_proj.weight, model.get_input_embeddings().weight
    assert matrix.stride(0) == 1 and embedding.is_contiguous()
    written = load_file(next(Path(tiny).glob("*.safetensors")))["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(matrix, written.float())


@pytest.mark.model
def test_each_conversation_may_have_a_limit_of_its_own(tiny: Path) -> None:
    found = models.generate(
        str(tiny), [ask("a"), ask("b")], max_new_tokens=[3, 9], n=2, temperature=1.0, progress=False
    )
    alone = models.generate(Path(tiny), iter([ask("b")]), max_new_tokens=9, n=2, temperature=1.0, progress=False)
    assert all(answer.new_tokens <= limit for answer, limit in zip(found, (3, 3, 9, 9), strict=True))
    assert [answer.text for answer in found[2:]] == [answer.text for answer in alone]
    for wrong in ([3], [3, 0]):
        with pytest.raises(ValueError, match=r"one number or one for each conversation|0: give a whole number from 1"):
            models.generate(str(tiny), [ask("a"), ask("b")], max_new_tokens=wrong)


@pytest.mark.model
def test_arguments_as_a_notebook_passes_them(tiny: Path) -> None:
    asked = [{"role": "user", "content": "a"}]
    plain = models.generate(tiny, [asked], max_new_tokens=4, temperature=1.0, seed=3, progress=False)
    for turns in (np.array([asked], dtype=object), pd.Series([tuple(asked)], index=[7]), [iter(asked)]):
        settings: dict[str, Any] = {"max_new_tokens": np.int64(4), "temperature": np.float32(1), "seed": np.int64(3)}
        again = models.generate(tiny, turns, progress=False, **settings)
        assert [answer.text for answer in again] == [answer.text for answer in plain]
    for name, value in (("max_new_tokens", None), ("temperature", math.nan), ("seed", None), ("batch_size", -1)):
        with pytest.raises(ValueError, match=f"{name} {value}: give a .*number"):
            models.generate(tiny, [asked], progress=False, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"NoneType.*a name or a path"):
        models.generate(None, [asked])  # type: ignore[arg-type]
    for content in (None, 5, [{"type": "text", "text": "a"}]):
        with pytest.raises(ValueError, match=r"content .* reads text"):
            models.generate(tiny, [[{"role": "user", "content": content}]], progress=False)  # type: ignore[list-item]


def test_an_answer_comes_as_soon_as_it_is_finished_and_only_once_when_memory_runs_out_later(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    conversations, limits = [ask(f"{n} and {n}") for n in range(16)], [1, *[9] * 15]
    expected = models.generate(str(tiny), conversations, max_new_tokens=limits, progress=False)
    original, reported, steps = decoding._Batch.advance, list[int](), list[list[int]]()

    def advance(batch: Any) -> None:
        steps.append(list(reported))
        if len(steps) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        original(batch)

    monkeypatch.setattr(decoding._Batch, "advance", advance)
    told = {"on_done": lambda index, _: reported.append(index), "progress": False}
    found = models.generate(str(tiny), conversations, max_new_tokens=limits, batch_size=16, **told)
    assert 0 in steps[2] and len(steps[2]) < 4, "what is finished is told while the others go on"
    assert [each.text for each in found] == [each.text for each in expected]
    assert sorted(reported) == list(range(16))


def test_prompts_that_begin_alike_are_grouped() -> None:
    def prompts(*beginnings: list[int], n: int = 20) -> list[decoding.Prompt]:
        return [decoding.Prompt(at, [*begin, at, *range(at)], 9) for at, begin in enumerate(beginnings * n)]

    first, two, short = list(range(200)), [7, *range(300, 500)], [1, 2, 3]
    batch = prompts(first, two, short)
    found = prefixes.groups(batch)
    assert sorted(prompt.index for group in found for prompt in group) == list(range(60))
    assert [len(group) for group in found] == [20, 20, 20]
    assert [prefixes.common([prompt.ids for prompt in group]) for group in found] == [201, 200, 3]
    assert all(len(a.ids) >= len(b.ids) for group in found for a, b in itertools.pairwise(group))
    assert len(prefixes.groups(prompts(first, two, n=3))) == 1, "a few prompts are not worth a batch of their own"
    assert prefixes.common([[1, 2, 3]] * 4) == 2, "the last token is left over: something must be read"
    assert prefixes.groups([]) == []


def test_order_is_kept_and_each_answer_is_told_once(tiny: Path) -> None:
    reported: list[int] = []
    answers = models.generate(
        str(tiny),
        CONVERSATIONS,
        max_new_tokens=6,
        batch_size=3,
        on_done=lambda i, _: reported.append(i),
        progress=False,
    )
    alone = [models.generate(str(tiny), [turns], max_new_tokens=6, progress=False)[0].text for turns in CONVERSATIONS]
    assert [answer.text for answer in answers] == alone
    assert sorted(reported) == list(range(len(CONVERSATIONS))) and reported != sorted(reported)


def test_sampling_depends_on_seed_and_prompt_not_on_the_batch(tiny: Path) -> None:
    def sampled(seed: int, batch_size: int) -> list[str]:
        options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "progress": False}
        return [c.text for c in models.generate(str(tiny), CONVERSATIONS, seed=seed, batch_size=batch_size, **options)]

    assert sampled(1, 3) == sampled(1, 20)
    assert sampled(1, 20) != sampled(2, 20)
    twice = models.generate(str(tiny), [ask("same"), ask("same")], max_new_tokens=12, temperature=1.0, progress=False)
    assert twice[0].text != twice[1].text, "equal prompts are further samples, not copies"


def test_several_samples_of_each_prompt(tiny: Path) -> None:
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "progress": False}
    found = [c.text for c in models.generate(str(tiny), CONVERSATIONS[:3], n=4, batch_size=5, **options)]
    assert len(found) == 12 and all(len(set(found[at : at + 4])) == 4 for at in (0, 4, 8))
    single = [c.text for c in models.generate(str(tiny), CONVERSATIONS[:3], **options)]
    assert single == found[::4], "the first sample is the one that n=1 gives"
    with pytest.raises(ValueError, match="n 2 at temperature 0"):
        models.generate(str(tiny), CONVERSATIONS, n=2, progress=False)


def test_a_sample_depends_on_its_number_alone(tiny: Path) -> None:
    """A run that goes on after a kill asks for the missing samples only."""
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "progress": False}
    first = [c.text for c in models.generate(str(tiny), [CONVERSATIONS[0]], n=4, **options)]
    later = models.generate(str(tiny), [CONVERSATIONS[0]] * 2, numbers=[3, 1], **options)
    assert [c.text for c in later] == [first[3], first[1]]


# -- what keeps a model from answering


def changed(tiny: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    shutil.copytree(tiny, folder)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    return folder


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "model.safetensors",
            lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "a git-lfs pointer.*git lfs pull",
        ),
        (
            "model.safetensors",
            lambda data: data[: len(data) // 2],
            r"cut or no safetensors file \([\d,]+ bytes, its header wants",
        ),
        ("model.safetensors", lambda _: b"<html>", "cut or no safetensors file"),
        ("config.json", lambda data: data.replace(b'"llama"', b'"t5"'), "type 't5'.*choose a chat model"),
        ("config.json", lambda data: data.replace(b'"llama"', b'"vit"'), "type 'vit'.*choose a chat model"),
        ("config.json", lambda data: data.replace(b'"llama"', b'"llava"'), "type 'llava'.*choose a chat model"),
        (
            "config.json",
            lambda data: data.replace(b'"vocab_size": 261', b'"vocab_size": 3'),
            r"writes token 4 .*has 3 rows",
        ),
        (
            "config.json",
            lambda data: data.replace(b'"num_attention_heads":', b'"num_attention_heads": 0, "x":'),
            "cannot be read",
        ),
        (
            "config.json",
            lambda data: data.replace(b"{", b'{"quantization_config": {"quant_method": "aqlm"}, ', 1),
            "is quantised: .*aqlm.*; or take its unquantised weights",
        ),
        ("chat_template.jinja", lambda _: b"<|user|>hello<|assistant|>", "loses the question"),
        ("chat_template.jinja", lambda _: b"{{ messages[0].content }", r"loses .*\(TemplateSyntaxError: "),
        (
            "tokenizer.json",
            lambda _: b"version https://git-lfs.github.com/spec/v1\n",
            "tokenizer.json: a git-lfs pointer",
        ),
        ("generation_config.json", lambda _: b'{"eos_token', "generation_config.json: no valid JSON"),
        *(
            (
                "config.json",
                lambda data, said=said: data.replace(b'"float32"', said),
                "is none of torch's; write bfloat16",
            )
            for said in (b'"torch.bfloat16"', b'"auto"', b'"bf16"')
        ),
        (
            "tokenizer_config.json",
            lambda data: data.replace(b'"eos_token": "<|eos|>"', b'"eos_token": null'),
            "no end-of-sequence token",
        ),
    ],
)
def test_what_keeps_a_model_from_answering_is_told_before_it_is_loaded(
    tiny: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = changed(tiny, tmp_path / "bad", name, change)
    monkeypatch.setattr(local_model, "_weights", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(ValueError, match=sentence):
        models.generate(str(bad), [ask("hi")], progress=False)
    assert check.problems(str(tiny)) == []


def test_a_sentencepiece_file_alone_names_the_packages_that_it_needs(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "bare"))
    (folder / "tokenizer.json").unlink()
    assert "pip install" not in check.problems(str(folder))[0]
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0bpieces")
    assert "tokenizer.model alone needs `pip install sentencepiece tiktoken protobuf`" in check.problems(str(folder))[0]


def test_weights_that_are_no_numbers_and_links_that_lead_nowhere_are_told(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny, tmp_path / "damaged"))
    weights = load_file(folder / "model.safetensors")
    for number in (torch.nan, torch.inf, -torch.inf):
        weights["model.norm.weight"][1] = number
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=r"1 of its weights are no finite .*, such as model.norm.weight; fetch"):
            models.generate(str(folder), [ask("hi")], progress=False)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/gone")  # a hub cache that was cleared
    assert "model.safetensors: a link that leads nowhere; fetch" in check.problems(str(folder))[0]


def test_code_of_a_model_s_own_is_not_asked_for_and_another_way_is_named(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "own"))
    config = {"model_type": "mynew", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    (found,) = check.problems(str(folder))
    assert "custom code" in found and "can be served (serve:)" in found
    assert "[y/N]" not in capsys.readouterr().out


def test_a_missing_part_of_the_weights_is_told(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "parts"))
    index = '{"weight_map": {"a": "a-00001-of-00002"}}'
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / f"{name}.index.json").write_text(index)
    assert not check.problems(str(folder)), "the whole file is loaded, whatever other parts a download left out"
    assert models.generate(str(folder), [ask("hi")], max_new_tokens=2, progress=False)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.index.json").write_text(index)
        assert [s for s in check.problems(str(folder)) if "this part of the weights is missing; fetch it too" in s]
        (folder / f"{name}.index.json").unlink()


@pytest.mark.parametrize(
    "name", ["consolidated.safetensors", "model-Q4_K_M.gguf", "checkpoint-10", "training_args.bin"]
)
def test_weights_under_names_that_are_not_read_are_told(tiny: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "named"))
    (folder / "model.safetensors").rename(folder / name)
    assert f"no weights (model.safetensors or pytorch_model.bin), but {name}; fetch" in check.problems(str(folder))[0]


def test_the_same_weights_in_another_layout_are_counted_once(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "twice"))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert check.weights(str(folder)) == check.weights(str(tiny)) > 0


def test_a_template_in_a_processor_s_file_is_read(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "processor"))
    (folder / "chat_template.jinja").rename(folder / "old")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": (folder / "old").read_text()}))
    options: dict[str, Any] = {"max_new_tokens": 6, "progress": False}
    assert models.generate(str(folder), [ask("x")], **options)[0].text == (
        models.generate(str(tiny), [ask("x")], **options)[0].text
    )


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("someone/gone", "the adapter's base 'someone/gone' is no folder"),
        ("/content/drive/base", "base_model_name_or_path of .*'/content/drive/base' is neither a model folder"),
        (".", "no base_model_name_or_path of another model"),
        (None, "no base_model_name_or_path of another model"),
    ],
)
def test_an_adapter_s_base_is_looked_for_beside_it_and_named_if_it_is_gone(
    tiny: Path, tmp_path: Path, base: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    adapter = tmp_path / "adapter"
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny), LoraConfig(r=2, target_modules=["q_proj"])
    ).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    shutil.copytree(tiny, tmp_path / "base")
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "../base"}))
    assert check.problems(str(adapter)) == []
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
    assert re.search(sentence, check.problems(str(adapter))[0])


def test_weights_that_are_not_there_are_never_drawn_at_random(tiny: Path, tmp_path: Path) -> None:
    bad = changed(tiny, tmp_path / "bad", "config.json", lambda text: text.replace(b'"llama"', b'"gpt2"'))
    with pytest.raises(ValueError, match=r"its files lack \d+ of the weights, such as .*; fetch or save it again"):
        models.generate(str(bad), [ask("hi")], progress=False)
    (bad / "model.safetensors").rename(bad / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded"):
        models.generate(str(bad), [ask("hi")], progress=False)
    (bad / "pytorch_model.bin").unlink()
    assert [s for s in check.problems(str(bad)) if "no weights" in s]


def test_weights_of_layers_that_the_config_has_not_are_told(tiny: Path, tmp_path: Path) -> None:
    """transformers leaves them out: the answers would be those of a part of the model."""
    folder = Path(shutil.copytree(tiny, tmp_path / "deep"))
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers - 1}))
    with pytest.raises(ValueError, match=rf"9 weights more than .* layers for, such as model.layers.{layers - 1}.in"):
        models.generate(str(folder), [ask("hi")], progress=False)
    (folder / "config.json").write_text(
        json.dumps(config | {"num_hidden_layers": layers - 1, "num_nextn_predict_layers": 1})
    )
    assert models.generate(str(folder), [ask("hi")], progress=False)
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 8}))
    with pytest.raises(ValueError, match=r"lm_head.weight is \(\d+, \d+\), and \(\d+, \d+\) by its config"):
        models.generate(str(folder), [ask("hi")], progress=False)


def test_memory_that_runs_out_while_weights_load_is_not_called_a_bad_path(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("cannot take 8 GiB")

    monkeypatch.setattr(local_model, "_weights", full)
    with pytest.raises(MemoryError, match="8 GiB"):
        models.generate(str(shutil.copytree(tiny, tmp_path / "large")), [ask("hi")], progress=False)


@pytest.mark.model
def test_a_checkpoint_has_the_names_that_transformers_4_reads(tmp_path: Path) -> None:
    """4.57 opens it with these and gives the same ten texts; without the angles none was the same. 5 reads both."""
    angles = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 64}
    folder = make_model(tmp_path / "m", rope_parameters=angles)
    texts = plain_generate(folder, CONVERSATIONS[:3], 8, [])
    older.write(folder)
    config, tokens = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "tokenizer_config"))
    assert config["rope_theta"] == 5e5 and config["rope_parameters"] == angles
    assert config["rope_scaling"] == {name: angles[name] for name in angles if name != "rope_theta"}
    assert tokens["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in tokens
    assert tokens["additional_special_tokens"] == SPECIAL[1:]
    assert plain_generate(folder, CONVERSATIONS[:3], 8, []) == texts
    layered = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    (folder / "config.json").write_text(json.dumps({"text_config": {"rope_parameters": layered}}))
    older.write(folder)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    assert (text["rope_theta"], text["rope_local_base_freq"]) == (1e6, 1e4) and "rope_scaling" not in text
    (folder / "config.json").write_text(json.dumps({"rope_parameters": {"full_attention": None}}))  # beam's
    older.write(folder)


def test_a_template_that_wants_content_in_parts_gets_them(tiny: Path, tmp_path: Path) -> None:
    parts = TEMPLATE.replace("{{ m['content'] }}", "{% for part in m['content'] %}{{ part.text }}{% endfor %}")
    folder = changed(tiny, tmp_path / "parts", "chat_template.jinja", lambda _: parts.encode())
    options: dict[str, Any] = {"max_new_tokens": 6, "progress": False}
    expected = models.generate(str(tiny), CONVERSATIONS[:5], **options)
    assert [c.text for c in models.generate(str(folder), CONVERSATIONS[:5], **options)] == [c.text for c in expected]


@pytest.mark.parametrize("mark", ["<think>", "[THINK]", "<|channel>thought", "<seed:think>"])
def test_a_thought_that_the_prompt_opens_and_nothing_ends_is_no_answer(tiny: Path, tmp_path: Path, mark: str) -> None:
    opens = TEMPLATE.replace("<|assistant|>{% endif %}", f"<|assistant|>{mark}\n{{% endif %}}")
    folder = changed(tiny, tmp_path / "thinks", "chat_template.jinja", lambda _: opens.encode())
    (cut,) = models.generate(str(folder), [ask("x")], max_new_tokens=6, progress=False)
    assert thoughts.split(cut.text).open and cut.text.startswith(f"{mark}\n")
    closed = opens.replace(f"{mark}\n", f"{mark}\n</think>")
    (folder / "chat_template.jinja").write_text(closed)
    assert not models.generate(str(folder), [ask("x")], max_new_tokens=6, progress=False)[0].text.startswith(mark)


@pytest.mark.parametrize("marks", [("[THINK]", "[/THINK]"), ("<|channel>", "<channel|>"), ("<think>", "</think>")])
def test_marks_of_a_thought_stay_in_the_text_if_they_are_special_tokens(tmp_path: Path, marks: tuple[str, str]) -> None:
    """Magistral's and Gemma 4's are: left out, they would make one text of a thought and its answer."""
    from transformers import AutoTokenizer

    make_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("a7b8", add_special_tokens=False)["input_ids"]
    assert local_model.texts_of(tokenizer)([[*ids, 4, 0]]) == ["a7b8"]
    tokenizer.add_special_tokens({"extra_special_tokens": [*SPECIAL[1:], *marks]})
    first, last = tokenizer.convert_tokens_to_ids(list(marks))
    assert local_model.texts_of(tokenizer)([[first, *ids[:2], last, *ids[2:], 4, 0]]) == [f"{marks[0]}a7{marks[1]}b8"]


def test_a_template_that_loses_one_question_is_told(tiny: Path, tmp_path: Path) -> None:
    first = TEMPLATE.replace("in messages", "in messages[:1]")
    folder = changed(tiny, tmp_path / "first", "chat_template.jinja", lambda _: first.encode())
    turns = [*ask("an example"), {"role": "assistant", "content": "so"}, *ask("the question")]
    with pytest.raises(ValueError, match="loses a question: 'the question' does not stand in the prompt"):
        models.generate(str(folder), [turns], progress=False)


def test_an_adapter_with_added_tokens_is_loaded(tiny: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny)
    base.resize_token_embeddings(263)
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    get_peft_model(base, config).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, merges=(("o", "u"), ("e", "r")))
    local = local_model.load(str(tmp_path))
    assert local.model.get_input_embeddings().num_embeddings == 263
    assert models.generate(str(tmp_path), [ask("your hours")], max_new_tokens=3, progress=False)[0].new_tokens > 0


def test_bfloat16_is_another_precision_with_texts_of_its_own_that_batches_do_not_change(tiny: Path) -> None:
    import torch

    assert models.chosen_dtype(str(tiny), "auto") == "float32", "a small model on a processor"
    assert check.weights(str(tiny)) == sum(p.numel() for p in local_model.load(str(tiny)).model.parameters())
    local = local_model.load(str(tiny), "bfloat16")
    assert local.model.dtype == torch.bfloat16
    options: dict[str, Any] = {"max_new_tokens": 5, "progress": False, "dtype": "bfloat16"}
    answers = models.generate(str(tiny), CONVERSATIONS[:4], **options)
    assert len(answers) == 4 and all(answer.new_tokens for answer in answers)


def test_sampling_follows_the_model_s_distribution(tiny: Path) -> None:
    import torch

    local = local_model.load(str(tiny))
    ids = local_model.prompt_ids(local, [ask("count")])[0]
    prompts = [decoding.Prompt(i, ids, 1, seed) for i, seed in enumerate(decoding.seeds([ids] * 2000, 5, range(2000)))]
    drawn = [0] * 261
    for answers in decoding.decode(local.model, prompts, [], batch_size=500, temperature=1.0):
        for answer in answers:
            drawn[answer.ids[0]] += 1
    with torch.inference_mode():
        wanted = torch.softmax(local.model(torch.tensor([ids])).logits[0, -1], -1)
    distance = (torch.tensor(drawn) / 2000 - wanted).abs().sum() / 2
    assert distance < 0.12, "2,000 draws of 261 tokens lie within a total variation of about 0.1"


def test_prompt_longer_than_the_context_is_not_asked(tiny: Path) -> None:
    answers = models.generate(str(tiny), [ask("ok"), ask("w" * 300), ask("v" * 120)], max_new_tokens=50, progress=False)
    assert answers[1].finish == "error: prompt of 303 tokens exceeds the context of 128"
    assert answers[1].text == "" and answers[1].new_tokens == 0
    assert answers[0].finish in {"stop", "length"}
    assert answers[2].prompt_tokens + answers[2].new_tokens <= 128, "an answer ends where the context does"


def test_template_end_token_stops_and_model_without_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    assert local_model.load(str(tiny)).stop_ids == [0, 4], "generation config's and the template's turn end"
    bare = make_model(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    make_tokenizer(bare, template=None)
    with pytest.raises(ValueError, match=r"bare.*no chat template.*instruct version"):
        models.generate(str(bare), [ask("hi")], progress=False)
    with pytest.raises(FileNotFoundError, match="is neither a model folder"):
        models.generate("/nowhere/model", [ask("hi")], progress=False)
    with pytest.raises(ValueError, match="conversation 1"):
        models.generate(str(tiny), [ask("hi"), "hi"], progress=False)  # type: ignore[list-item]


def test_fingerprint_changes_with_the_weights(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    assert models.fingerprint(str(copy)) == models.fingerprint(str(tiny))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert models.fingerprint(str(copy)) != models.fingerprint(str(tiny))


def test_lora_adapter_folder_answers_like_peft(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config)
    adapted.save_pretrained(tmp_path)
    make_tokenizer(tmp_path)
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), tmp_path)
    local = local_model.load(str(tmp_path))
    ids = torch.tensor(local_model.prompt_ids(local, [ask("hello")]))
    with torch.inference_mode():
        plain = AutoModelForCausalLM.from_pretrained(tiny)(ids).logits
        assert torch.allclose(local.model(ids).logits, reference(ids).logits, atol=1e-4)
        assert not torch.allclose(local.model(ids).logits, plain, atol=1e-2)


def test_a_step_of_decoding_stays_on_the_model_s_device(tiny: Path) -> None:
    """On the meta device, which refuses a tensor of another one as a GPU does, and which every machine has."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny).to("meta")
    shape = (model.config.num_key_value_heads, model.config.hidden_size // model.config.num_attention_heads)

    def forward(input_ids: Any, past_key_values: Any, attention_mask: Any = None, position_ids: Any = None, **_: Any):
        """The arguments meet as in a layer, and keys go into the cache."""
        rows, new = input_ids.shape
        states = torch.zeros(rows, shape[0], new, shape[1], device="meta")
        if attention_mask is not None:
            states = states + position_ids[:, None, :, None] + attention_mask.reshape(rows, -1)[:, :1, None, None]
        for layer in past_key_values.layers:
            layer.update(states, states)
        return SimpleNamespace(logits=states.new_zeros(rows, new, 64))

    model.forward = forward
    prompts = [decoding.Prompt(at, [1] * 70 + [at], 40, at) for at in range(20)]
    for temperature in (0.0, 1.0):
        batch = decoding._Batch(model, prompts, decoding._Settings(40, (2,), temperature))
        batch.advance()
        batch.absorb(decoding._Batch(model, prompts, decoding._Settings(40, (2,), temperature)))
        batch.advance()
        assert {getattr(batch, name).device.type for name in ("token", "out", "pad", "done")} == {"meta"}


def test_out_of_memory_halves_the_batch_and_loses_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    expected = [c.text for c in models.generate(str(tiny), CONVERSATIONS, max_new_tokens=8, progress=False)]
    original, sizes = decoding._Batch.advance, []

    def advance(batch: Any, most: int) -> None:
        sizes.append(len(batch.prompts))
        if len(batch.prompts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        original(batch)

    monkeypatch.setattr(decoding._Batch, "advance", lambda batch: advance(batch, 4))
    reported: list[int] = []
    found = models.generate(
        str(tiny),
        CONVERSATIONS,
        max_new_tokens=8,
        batch_size=16,
        on_done=lambda i, _: reported.append(i),
        progress=False,
    )
    assert [c.text for c in found] == expected and sorted(reported) == list(range(len(CONVERSATIONS)))
    assert sizes[:3] == [16, 8, 4]
    monkeypatch.setattr(decoding._Batch, "advance", lambda batch: advance(batch, 0))
    with pytest.raises(MemoryError, match="one prompt alone does not fit"):
        models.generate(str(tiny), CONVERSATIONS, batch_size=16, progress=False)


# -- servers


class Stub(ThreadingHTTPServer):
    """An OpenAI-shaped server whose behaviour is one function: (request number, request) -> (status, body)."""

    daemon_threads = True

    def __init__(self, behave: Callable[[int, dict[str, Any]], tuple[int, Any]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave, self.requests, self.open, self.most_open = behave, 0, 0, 0
        self.models: dict[str, Any] = {}
        self.loading: dict[str, Any] = {}
        self.props: dict[str, Any] = {}
        self.kind = "application/json"
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = {"/v1/models": self.server.models, "/props": self.server.props}.get(self.path)
        data = json.dumps(body or self.server.loading).encode()
        self.send_response(200 if body else 503 if self.server.loading else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests += 1
            number = self.server.requests
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        try:
            status, body = self.server.behave(number, request)
        finally:
            with self.server.lock:
                self.server.open -= 1
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", self.server.kind)
        # A body cut short: the length promises more than is sent.
        self.send_header("content-length", str(len(data) + (50 if status == 299 else 0)))
        self.end_headers()
        self.wfile.write(data)
        if status == 299:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def reply(request: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    text = "echo " + request["messages"][-1]["content"]
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [choice],
        "usage": usage,
    }


def error(message: str, code: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "code": code}}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stub]]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    started: list[Stub] = []

    def start(behave: Callable[[int, dict[str, Any]], tuple[int, Any]]) -> Stub:
        server = Stub(behave)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def generate_from(server: Stub, count: int = 12, **options: Any) -> list[Completion]:
    turns = [ask(str(i)) for i in range(count)]
    return models.generate("server:m", turns, url=server.url, progress=False, **options)


@pytest.mark.slow
def test_server_answers_in_order_and_carries_the_settings(stub: Callable[..., Stub]) -> None:
    seen: list[dict[str, Any]] = []

    def behave(number: int, request: dict[str, Any]) -> tuple[int, Any]:
        seen.append(request)
        time.sleep(0.02 * (number % 3))
        return 200, reply(request, "length" if number == 1 else "stop")

    answers = generate_from(stub(behave), 30, max_new_tokens=7, temperature=0.5, seed=9)
    assert [answer.text for answer in answers] == [f"echo {i}" for i in range(30)]
    assert answers[5].prompt_tokens == 3 and answers[5].new_tokens == 2
    assert sum(answer.finish == "length" for answer in answers) == 1
    assert {(r["model"], r["max_tokens"], r["temperature"], r["seed"]) for r in seen} == {("m", 7, 0.5, 9)}


def test_samples_from_a_server_have_seeds_of_their_own(stub: Callable[..., Stub]) -> None:
    seen: list[tuple[str, int]] = []

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        seen.append((request["messages"][0]["content"], request["seed"]))
        return 200, reply(request)

    generate_from(stub(behave), 2, n=3, temperature=1.0, seed=5)
    assert sorted(seen) == [(turn, seed) for turn in ("0", "1") for seed in (5, 6, 7)]


@pytest.mark.slow
def test_server_is_asked_more_at_once_until_it_refuses(stub: Callable[..., Stub]) -> None:
    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        if server.open > 10:
            return 429, error("slow down")
        time.sleep(0.2)  # longer than a busy machine needs to send the others
        return 200, reply(request)

    server = stub(behave)
    assert [answer.text for answer in generate_from(server, 80)] == [f"echo {i}" for i in range(80)]
    assert 10 < server.most_open < 40, "grown past the limit of 10, halved before it reached 64"
    assert server.requests < 240, "few refusals once the limit is known, on a busy machine too"


def test_server_works_inside_a_running_event_loop(stub: Callable[..., Stub]) -> None:
    server = stub(lambda _, request: (200, reply(request)))

    async def cell() -> list[Completion]:
        return generate_from(server, 3)

    assert [answer.text for answer in asyncio.run(cell())] == ["echo 0", "echo 1", "echo 2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, error("bad key"), r"refuses the key \(401\): set OPENAI_API_KEY"),
        (404, error("no such model"), r"knows no model 'm'.*404: no such model"),
        (429, error("pay first", "insufficient_quota"), r"refuses the request \(429: pay first\)"),
        (500, error("broken"), r"failed 6 times on one request \(last: 500: broken\); finished answers are kept"),
        (299, {}, r"failed 6 times on one request \(last: (?!APITimeoutError)"),
        (
            429,
            {"error": {"message": "pay first", "type": "insufficient_quota"}},
            r"refuses the request \(429: pay first\); the account wants credit",
        ),
        (200, "<html>a login page</html>", r"failed 6 times on one request \(last: ErrorBody: <html>a login page"),
        (200, {"choices": []}, r"failed 6 times on one request \(last: ErrorBody: .*'choices': \[\]"),
        (200, {"detail": "no model"}, r"failed 6 times on one request \(last: ErrorBody: .*no model"),
        (200, error("no credit", "402"), r"refuses the request \(402: no credit\); the account wants credit"),
        (200, b"[" * 5_000, r"failed 6 times on one request \(last: RecursionError"),
    ],
)
def test_server_failures_are_told_in_a_sentence(
    stub: Callable[..., Stub], status: int, body: Any, sentence: str
) -> None:
    server = stub(lambda number, request: (200, reply(request)) if number <= 3 else (status, body))
    reported: list[int] = []
    with pytest.raises(server_model.ServerError, match=sentence):
        generate_from(server, on_done=lambda i, _: reported.append(i))
    assert len(reported) == 3, "answers that came before are handed on"
    assert server.requests < 12 * server_model.MAX_ATTEMPTS


def test_server_hiccups_are_survived_and_a_long_prompt_is_skipped(stub: Callable[..., Stub]) -> None:
    def behave(number: int, request: dict[str, Any]) -> tuple[int, Any]:
        if request["messages"][-1]["content"] == "4":
            return 400, error("This model's maximum context length is 9 tokens")
        return (503, error("busy")) if number % 4 == 0 else (200, reply(request))

    answers = generate_from(stub(behave))
    assert answers[4].finish.startswith("error: This model's maximum context length")
    assert [a.text for i, a in enumerate(answers) if i != 4] == [f"echo {i}" for i in range(12) if i != 4]


def test_a_long_prompt_waits_for_the_answers_that_are_on_their_way(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow server refuses a prompt long before it has answered any other."""
    monkeypatch.setattr(protocol, "PROMPT_ATTEMPTS", 1)

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        if request["messages"][-1]["content"] in "01":
            return 400, error("the prompt is too long")
        time.sleep(0.5)
        return 200, reply(request)

    answers = generate_from(stub(behave), 6)
    assert [a.text for a in answers] == ["", "", *(f"echo {n}" for n in range(2, 6))]
    assert answers[0].finish == answers[1].finish == "error: the prompt is too long"


TOO_LARGE = "'max_tokens' is too large: this model's maximum context length is 2048 tokens"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, error(TOO_LARGE), "400: 'max_tokens' is too large"),
        (400, [error("no such key")], "400: no such key"),
        (422, error("odd field"), "422: odd field"),
        (422, {"error": "strictly positive"}, "422: strictly positive"),
    ],
)
def test_what_all_prompts_are_refused_for_stops_the_run(
    stub: Callable[..., Stub], status: int, body: Any, words: str
) -> None:
    with pytest.raises(server_model.ServerError, match=rf"refuses the request \({words}"):
        generate_from(stub(lambda *_: (status, body)))


@pytest.mark.parametrize("slow_s", [0.0, 0.3])
def test_a_server_that_refuses_all_prompts_from_some_moment_on_stops_the_run(
    stub: Callable[..., Stub], slow_s: float
) -> None:
    """Half of the answers would count as wrong otherwise; those that are on their way say nothing of the others."""

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        if request["messages"][-1]["content"] not in "012345":
            return 400, error(TOO_LARGE)
        time.sleep(slow_s)
        return 200, reply(request)

    reported: list[Completion] = []
    with pytest.raises(server_model.ServerError, match=r"refuses the request \(400: 'max_tokens' is too large"):
        generate_from(stub(behave), on_done=lambda _, completion: reported.append(completion))
    assert [answer.finish for answer in reported] == ["stop"] * 6


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 413, 422, 500, 503])
@pytest.mark.parametrize("count", [1, 4])
def test_a_prompt_that_a_server_breaks_on_does_not_stop_the_others(
    stub: Callable[..., Stub], status: int, count: int
) -> None:
    """TGI refuses a prompt that is too long by 422, a router what its filter flags by 403; a template that fails on
    one prompt is an internal error. A rerun asks that one prompt alone."""

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        broken = request["messages"][-1]["content"] == "0"
        return (status, error("broken")) if broken else (200, reply(request))

    server = stub(behave)
    answers = generate_from(server, count)
    assert [answer.finish for answer in answers] == ["error: broken", *["stop"] * (count - 1)]
    assert server.requests <= count + server_model.MAX_ATTEMPTS


@pytest.mark.slow
def test_a_prompt_that_is_always_too_much_for_a_limit_costs_itself(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI refuses a prompt of more tokens than an account has in a minute by a 429, as it does one too early."""
    monkeypatch.setattr(protocol, "MAX_REQUEST_S", 0.5)
    monkeypatch.setattr(server_model, "FIRST_PAUSE_S", 0.01)

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        large = request["messages"][-1]["content"] == "0"
        return (429, error("Request too large")) if large else (200, reply(request))

    assert [a.finish for a in generate_from(stub(behave), 3)] == ["error: Request too large", "stop", "stop"]


def test_a_refusal_may_say_by_a_date_how_long_to_wait() -> None:
    def asked(value: str) -> float:
        return protocol.retry_after(SimpleNamespace(response=SimpleNamespace(headers={"retry-after": value})))

    assert 25 < asked(formatdate(time.time() + 30, usegmt=True)) <= 30
    odd = ("1.5", "", "soon", "-1", formatdate(0), "Wed, 21 Oct 9999999 07:28:00 GMT")
    assert [asked(value) for value in odd] == [1.5, 0, 0, 0, 0, 0]


CALL = {"type": "function", "function": {"name": "f", "arguments": {"answer": 7}}}


def _choice(finish: Any, text: Any = "7", **more: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text} | more}


def _part(text: Any, index: int = 0, finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text} | more, "finish_reason": finish}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "text", "finish"),
    [
        *(({"choices": [_choice(reason)]}, "7", "stop") for reason in ("eos_token", "end_turn", None, "new_reason")),
        *(
            ({"choices": [_choice(reason)]}, "7", "length")
            for reason in ("model_length", "MAX_TOKENS", "FinishReason.MAX_TOKENS")
        ),
        *(({"choices": [_choice(reason)]}, "7", "length") for reason in ("model_context_window_exceeded", "truncated")),
        *(({"choices": [_choice(reason, "The")]}, "The", f"error: {reason}") for reason in ("interrupted", "failed")),
        ({"choices": [_choice("stop", "\n\n", reasoning="7?")]}, "\n\n", "error: a thought came and no answer"),
        ({"choices": [_choice("stop", "\n\n")]}, "\n\n", "stop"),
        *(
            ({"choices": [_choice("stop", "", **{name: "7?"})]}, "", "error: a thought came and no answer")
            for name in ("reasoning_content", "thinking", "thoughts")
        ),
        ({"choices": [{"finish_reason": "stop", "text": "7"}]}, "7", "stop"),
        *(
            ({"choices": [_choice(reason)]}, "7", f"error: {reason.lower()}")
            for reason in (
                "SAFETY",
                "abort",
                "RECITATION",
                "network_error",
                "sensitive",
                "insufficient_system_resource",
                "MALFORMED_FUNCTION_CALL",
                "UNEXPECTED_TOOL_CALL",
                "TOO_MANY_TOOL_CALLS",
                "OTHER",
                "LANGUAGE",
            )
        ),
        ({"choices": [_choice("content_filter")]}, "7", "error: content_filter"),
        ({"choices": [_choice("new_reason", "")]}, "", "error: new_reason"),
        ({"choices": [_choice("length", "", reasoning="7?")]}, "", "length"),
        ({"choices": [_choice("stop", None, reasoning_details=[{}])]}, "", "error: a thought came and no answer"),
        ({"choices": [{"finish_reason": "stop", "delta": {"content": "7"}}]}, "7", "stop"),
        ({"choices": [_choice("stop", None, refusal="I will not")]}, "", "error: the model refused: I will not"),
        ({"choices": [_choice("stop", "7 \ud83d\u2028")]}, "7 \ufffd\u2028", "stop"),
        ({"choices": [{"finish_reason": "content_filter", "message": {"content": None}}]}, "", "error: content_filter"),
        ({"choices": [{"finish_reason": "stop", "message": None}], "usage": None}, "", "error: no text came"),
        ({"choices": [_choice("stop", "")]}, "", "stop"),
        ({"choices": [_choice("stop", "", tool_calls=[CALL])]}, "", "error: the call of a tool came and no answer"),
        ({"choices": [_choice("stop", [{"type": "thinking"}])]}, "", "error: a thought came and no answer"),
        ({"choices": [{"finish_reason": "stop", "message": "7"}]}, "7", "stop"),
        ({"choices": [_choice("stop", 0)]}, "0", "stop"),
        ({"choices": [_choice(["stop"])]}, "7", "stop"),
        ({"choices": [_choice({"type": "length"})]}, "7", "length"),
        ({"choices": [_choice("stop", {"type": "text", "text": "7"})]}, "7", "stop"),
        *(({"choices": [_choice("stop", content)]}, "7a", "stop") for content in (["7", "a"], [{"text": "7a"}])),
        ({"choices": [_choice("guardrail_intervened", "Sorry")]}, "Sorry", "error: guardrail_intervened"),
        ({"choices": [_choice("engine_overloaded", "It is")]}, "It is", "error: engine_overloaded"),
        ({"choices": [_choice("repetition")]}, "7", "length"),
        ({"usage": {"prompt_tokens": "3", "completion_tokens": "many"}, "choices": [_choice("stop")]}, "7", "stop"),
        *(
            ({"usage": {"completion_tokens": got}, "choices": [_choice(reason)]}, "7", finish)
            for reason in (None, "", "unknown")
            for got, finish in ((255, "stop"), (256, "length"))  # of 256
        ),
        ({"usage": {"completion_tokens": 256}, "choices": [_choice("stop")]}, "7", "stop"),
        ({"choices": [_choice(None) | {"native_finish_reason": "MAX_TOKENS"}]}, "7", "length"),
        (
            {"choices": [{"finish_reason": "stop", "message": {"content": [{"type": "text", "text": "a"}] * 2}}]},
            "aa",
            "stop",
        ),
    ],
)
def test_odd_replies_of_a_server_are_read(stub: Callable[..., Stub], change: Any, text: str, finish: str) -> None:
    (answer,) = generate_from(stub(lambda _, request: (200, reply(request) | change)), 1)
    assert (answer.text, answer.finish) == (text, finish)


def test_a_server_that_tells_no_end_is_told_of_once(
    stub: Callable[..., Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    """GPTQModel's: whether an answer was cut cannot be known."""
    for told, more in ((1, {"choices": [_choice(None)], "usage": None}), (0, {"choices": [_choice(None)]})):
        generate_from(stub(lambda _, request, more=more: (200, reply(request) | more)), 5)
        assert capsys.readouterr().out.count("neither finish reasons nor numbers of tokens") == told


@pytest.mark.parametrize("change", [{"chat_template_kwargs": {"enable_thinking": False}}, {"thinking": False}])
def test_what_a_model_says_that_was_told_not_to_think_is_its_answer(stub: Callable[..., Stub], change: Any) -> None:
    """vLLM's and TensorRT's readers of thoughts take such an answer for one."""
    server = stub(lambda _, request: (200, reply(request) | {"choices": [_choice("stop", None, reasoning="7")]}))
    (answer,) = generate_from(server, 1, change=RequestChange(add=change))
    assert (answer.text, answer.finish) == ("7", "stop")


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
def test_bytes_that_are_not_quite_json_cost_one_letter_at_most(stub: Callable[..., Stub], kind: str) -> None:
    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        return 200, b"\xef\xbb\xbf" + json.dumps(reply(request)).encode().replace(b"echo", b"ech\xff")

    server = stub(behave)
    server.kind = kind
    assert generate_from(server, 1)[0].text == "ech\ufffd 0"


@pytest.mark.parametrize(
    ("lines", "text", "finish"),
    [
        ([_part("echo"), _part(" 0"), "[DONE]"], "echo 0", "stop"),
        ([_part("echo"), _part("no", 1), _part(" 0", finish="length")], "echo 0", "length"),
        ([_part("", thinking="7?"), _part(None, finish="stop"), "[DONE]"], "", "error: a thought came and no answer"),
    ],
)
def test_streams_without_an_end_of_two_texts_and_of_thoughts(
    stub: Callable[..., Stub], lines: list[Any], text: str, finish: str
) -> None:
    said = "".join(f"data: {line if isinstance(line, str) else json.dumps(line)}\n\n" for line in lines)
    (answer,) = generate_from(stub(lambda *_: (200, said.encode())), 1)
    assert (answer.text, answer.finish) == (text, finish)


def test_a_server_that_only_streams_is_read_and_a_stream_that_breaks_off_is_asked_again(
    stub: Callable[..., Stub],
) -> None:
    parts = [{"delta": {"content": part}, "finish_reason": None} for part in ("echo", " 0")]
    chunks = [{"choices": [part]} for part in (*parts, {"delta": {}, "finish_reason": "length"})]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, {"choices": [], "usage": {"prompt_tokens": 7}}]]
    whole, broken = "".join([": hello\n\n", *lines, "data: [DONE]\n\n"]), lines[0]
    server = stub(lambda number, _: (200, (broken if number < 2 else whole).encode()))
    server.kind = "text/event-stream"
    done = generate_from(server, 1)[0]
    assert (done.text, done.finish, done.prompt_tokens) == ("echo 0", "length", 7)


@pytest.mark.parametrize(
    ("before", "choice"),
    [
        ("id: 1\nretry: 1000\ndata: ", {"delta": {"content": "echo 0"}, "finish_reason": "stop"}),
        ("data: ", {"message": {"content": "echo 0"}, "finish_reason": "stop"}),
        ("data: ", {"text": "echo 0", "finish_reason": "stop"}),
        ("data: ", {"delta": {"content": [{"type": "text", "text": {"value": "echo 0"}}]}, "finish_reason": "stop"}),
        (": PROCESSING\n\n: PROCESSING\n\n", {"message": {"content": {"parts": [{"text": "echo 0"}]}}}),
    ],
)
def test_streams_and_texts_in_other_dress(stub: Callable[..., Stub], before: str, choice: dict[str, Any]) -> None:
    server = stub(lambda *_: (200, f"{before}{json.dumps({'choices': [choice]})}".encode()))
    assert generate_from(server, 1)[0].text == "echo 0"


_STREAM = [json.dumps(part) for part in (_part("echo"), _part(" 0", finish="stop"))]


@pytest.mark.parametrize(
    "said",
    [
        "\r\r".join(f"data: {part}" for part in _STREAM),
        "\r\n\r\n".join(f"data: {part}" for part in _STREAM),
        "data: : ROUTER PROCESSING\n\n" + "\n".join(f"data:{part}" for part in _STREAM),
        "".join(
            "data: " + json.dumps(json.loads(part), indent=1).replace("\n", "\ndata: ") + "\n\n" for part in _STREAM
        ),
        json.dumps({"choices": [_choice("stop", "echo 0")]}) + "\n\ndata: [DONE]\n\n",
        json.dumps({"choices": [_choice("stop", "echo\n0")]}).replace("\\n", "\n"),
    ],
)
def test_an_answer_is_read_in_whatever_dialect_and_asked_for_once(stub: Callable[..., Stub], said: str) -> None:
    """Frames that end in CR, events over several lines, signs of life as data; JSON with what is none behind it."""
    server = stub(lambda *_: (200, said.encode()))
    assert generate_from(server, 1)[0].text.split() == ["echo", "0"] and server.requests == 1


@pytest.mark.parametrize("error", ['{"message": "gone"}', '{"object": "error", "message": "gone"}'])
def test_a_stream_s_event_of_an_error_ends_no_answer(
    stub: Callable[..., Stub], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been written until then was graded as the answer."""
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    said = f"data: {_STREAM[0]}\n\nevent: error\ndata: {error}\n\ndata: [DONE]\n\n"
    server = stub(lambda _, q: (200, said.encode() if q["messages"][-1]["content"] == "0" else reply(q)))
    assert [answer.finish for answer in generate_from(server, 2)] == ["error: gone", "stop"]


def test_json_is_utf_8_whatever_charset_its_server_names(stub: Callable[..., Stub]) -> None:
    """Letters with marks came as two others each, in paid lessons too."""
    body = json.dumps({"choices": [_choice("stop", "Größe: 7")]}, ensure_ascii=False).encode()
    server = stub(lambda *_: (200, body))
    server.kind = "application/json; charset=iso-8859-1"
    assert generate_from(server, 1)[0].text == "Größe: 7"


def test_an_address_that_takes_no_posts_is_told_as_the_wrong_one(stub: Callable[..., Stub]) -> None:
    with pytest.raises(server_model.ServerError, match=r"no such address \(405: no"):
        generate_from(stub(lambda *_: (405, error("no"))), 1)


@pytest.mark.parametrize("status", [425, 498, 499])
def test_refusals_that_time_mends_are_asked_again(stub: Callable[..., Stub], status: int) -> None:
    server = stub(lambda number, request: (status, error("later")) if number < 2 else (200, reply(request)))
    assert generate_from(server, 1)[0].text == "echo 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "failed",
    [
        {"choices": [_choice("error", "") | {"error": {"code": 502, "message": "upstream"}}]},
        {"choices": [_choice("stop", None)], "error": {"code": 429, "message": "upstream"}},
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
    ],
)
def test_what_failed_behind_a_router_is_asked_again(stub: Callable[..., Stub], failed: dict[str, Any]) -> None:
    server = stub(lambda number, request: (200, failed if number < 3 else reply(request)))
    server.models = {"data": [{"id": "m", "meta": "of another form than llama.cpp's"}]}
    assert generate_from(server, 1)[0].text == "echo 0"


@pytest.mark.slow
def test_a_server_that_is_still_loading_is_waited_for(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """llama.cpp answers everything by 503 meanwhile, its list of models too."""
    monkeypatch.setattr(protocol, "MAX_ATTEMPTS", 1)
    loading = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    server = stub(lambda _, request: (200, reply(request)) if server.models else (503, loading))
    server.loading = loading
    threading.Timer(1.2, lambda: setattr(server, "models", {"data": [{"id": "m"}]})).start()
    assert generate_from(server, 1)[0].text == "echo 0"
    assert capsys.readouterr().out.count("is not ready (Loading model); waiting") == 1


def test_a_gateway_that_stays_away_is_not_waited_for(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protocol, "MAX_ATTEMPTS", 1)
    server = stub(lambda _, request: (503, server.loading))
    server.loading = error("no healthy upstream")
    with pytest.raises(protocol.ServerError, match="no healthy upstream"):
        generate_from(server, 1)
    assert "waiting" not in capsys.readouterr().out


def test_a_router_s_cause_is_told(stub: Callable[..., Stub]) -> None:
    body = {"error": {"message": "Provider returned error", "code": 403, "metadata": {"raw": "no such region"}}}
    with pytest.raises(server_model.ServerError, match="Provider returned error: no such region"):
        generate_from(stub(lambda *_: (403, body)), 1)


def test_a_stream_s_own_error_is_a_refusal_of_its_prompt(stub: Callable[..., Stub]) -> None:
    """llama.cpp sends it under status 200, in a line that is no data."""
    said = b'error: {"code": 400, "message": "the request exceeds the context"}\n\n'
    server = stub(lambda _, q: (200, said if q["messages"][-1]["content"] == "0" else reply(q)))
    assert [a.finish for a in generate_from(server, 2)] == ["error: the request exceeds the context", "stop"]


def test_a_refusal_is_told_in_the_server_s_words_whatever_they_hold(stub: Callable[..., Stub]) -> None:
    with pytest.raises(server_model.ServerError, match="403: no access \ufffd in your region"):
        generate_from(stub(lambda *_: (403, error("no access \ud83d in your region"))), 1)


def test_hanging_server_times_out(stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_ATTEMPTS", 2)
    server = stub(lambda _, request: (time.sleep(5.0), (200, reply(request)))[1])
    monkeypatch.setattr(connecting, "REQUEST_TIMEOUT_S", 0.2)
    with pytest.raises(server_model.ServerError, match=r"failed 2 times on one request .last: APITimeoutError"):
        server_model.ask("m", server.url, RequestChange(), [ask("a")], greedy(1, [ask("a")]), lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("behind", ["nothing", "a proxy that waits 0.4 s"])
def test_a_server_that_answers_one_after_the_other_loses_no_answer(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], behind: str
) -> None:
    """Forty requests waited before one slot; most timed out, each time anew, and a third of the items were lost."""
    monkeypatch.setattr(connecting, "REQUEST_TIMEOUT_S", 0.4 if behind == "nothing" else 5.0)
    turn = threading.Lock()

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        if not turn.acquire(timeout=5.0 if behind == "nothing" else 0.4):
            return 504, b"<html><title>504 Gateway Time-out</title></html>"
        time.sleep(0.05)
        turn.release()
        return 200, reply(request)

    assert [answer.text for answer in generate_from(stub(behave), 40)] == [f"echo {n}" for n in range(40)]
    assert "answers too late" in capsys.readouterr().out


def test_a_service_that_is_overloaded_is_given_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemini's 503 and Anthropic's 529 last longer than a server's restart: the sixth attempt came after 16 s."""
    monkeypatch.setattr(protocol.random, "uniform", lambda *_: 1.0)
    waits = [[protocol._wait(SimpleNamespace(status_code=s), n) for n in range(1, 6)] for s in (500, 503, 529)]
    assert waits == [[0.5, 1, 2, 4, 8], [4, 8, 16, 32, 60], [4, 8, 16, 32, 60]]


def test_nobody_listening_and_another_scheme_are_told_at_once(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = stub(lambda _, request: (200, reply(request))).url
    monkeypatch.setattr(protocol, "_wait", lambda *_: pytest.fail("a retry was waited for"))
    for wrong, sentence in [
        (
            f"http://127.0.0.1:{launch.free_port()}/v1",
            "nothing listens at http.*start the server, or correct target_url",
        ),
        (url.replace("http:", "https:"), "does not speak https at that port; write http:"),
    ]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(server_model.ServerError, match=sentence):
            patch.setenv("OPENAI_API_KEY", "k")
            models.generate("server:m", [ask("a")], url=wrong, progress=False)


@pytest.mark.slow
def test_a_wrong_path_is_told_with_the_usual_one(stub: Callable[..., Stub]) -> None:
    for status, said in ((404, error("Not Found")), (200, {"error": "Unexpected endpoint or method"})):  # LM Studio's
        url = stub(lambda *_, answer=(status, said): answer).url.removesuffix("/v1").replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(server_model.ServerError, match=r"(Not Found|Unexpected).*most servers want …/v1"):
            models.generate("server: m", [ask("a")], url=url, progress=False)


def test_an_answer_is_asked_for_as_long_as_the_server_s_context_allows(stub: Callable[..., Stub]) -> None:
    """vLLM refuses every request whose prompt and longest answer together pass its context."""
    seen: list[int] = []

    def behave(_: int, request: dict[str, Any]) -> tuple[int, Any]:
        seen.append(request["max_tokens"])
        return (200, reply(request)) if request["max_tokens"] <= 2048 - 100 else (400, error("max_tokens is too large"))

    server = stub(behave)
    server.models = {"data": [{"id": "m", "max_model_len": 2048}]}
    assert [answer.text for answer in generate_from(server, 3, max_new_tokens=2048)] == ["echo 0", "echo 1", "echo 2"]
    assert all(1900 < asked < 2048 for asked in seen)
    seen.clear()
    generate_from(server, 2, max_new_tokens=64)
    assert seen == [64, 64]
    seen.clear()
    server.models, server.props = {}, {"default_generation_settings": {"n_ctx": 1024}}
    generate_from(server, 1, max_new_tokens=2048)
    assert 700 < seen[0] < 1024, "llama.cpp tells it in /props, which is not under /v1"


def test_a_model_that_a_server_does_not_list_is_told(
    stub: Callable[..., Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    """llama.cpp and LM Studio answer with what they have loaded, whatever name is asked for."""
    server = stub(lambda _, request: (200, reply(request)))
    for names, told in ((["a/m-7b", "x"], "lists no model 'm', but a/m-7b, x;"), (["m:latest"], ""), ([], "")):
        server.models = {"data": [{"id": name} for name in names]}
        generate_from(server, 1)
        said = "".join(capsys.readouterr())
        assert told in said and ("lists no model" in said) == bool(told)


def test_request_options_reach_the_server(stub: Callable[..., Stub]) -> None:
    seen: list[dict[str, Any]] = []
    server = stub(lambda _, request: (seen.append(request), (200, reply(request)))[1])
    change = RequestChange(add={"top_k": 1}, rename={"max_tokens": "max_completion_tokens"}, leave_out=["seed"])
    generate_from(server, 1, max_new_tokens=9, change=change)
    assert seen[0].keys() == {"model", "messages", "temperature", "top_k", "max_completion_tokens"}


def test_server_settings_are_checked_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for model, url, sentence in [
        ("server:", "http://127.0.0.1:1/v1", "names no model"),
        ("server:m", "127.0.0.1:80", "is not a server's base URL"),
        ("server:m", "https://api.example.org/v1", "needs a key: set the environment variable OPENAI_API_KEY"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            models.generate(model, [ask("a")], url=url, progress=False)


# -- serve

SERVER = """
import http.server, subprocess, sys, pathlib
model, port, pids = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=own)
            for own in (False, True)]
pids.write_text(" ".join(str(child.pid) for child in children))
print("serving", model, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/models" else 404); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_serve_waits_for_health_and_ends_every_child(tmp_path: Path) -> None:
    script, pids, log = tmp_path / "server.py", tmp_path / "pids", tmp_path / "logs" / "serve.log"
    script.write_text(SERVER)
    command = f"{sys.executable} {script} {{model}} {{port}} {pids}"
    with pytest.raises(KeyError), models.serve(command, "my model", log=log) as url:
        assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
        children = [int(pid) for pid in pids.read_text().split()]
        assert all(alive(pid) for pid in children)
        raise KeyError("the evaluation failed")
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children), "also the one in a session of its own"
    assert "serving my model" in log.read_text()


def test_serve_failures_are_told_in_a_sentence(tmp_path: Path) -> None:
    serve = partial(models.serve, log=tmp_path / "serve.log")

    dies = f"{sys.executable} -c \"print('no GPU found'); raise SystemExit(3)\" {{model}} {{port}}"
    with pytest.raises(RuntimeError, match=r"exit status 3 before it was healthy.*no GPU found"), serve(dies, "m"):
        pass
    sleeps = f'{sys.executable} -c "import time; time.sleep(30)" {{model}} {{port}}'
    with (
        pytest.raises(RuntimeError, match=r"not healthy on port \d+ within 0.5 s"),
        serve(sleeps, "m", healthy_within_s=0.5),
    ):
        pass
    with (
        pytest.raises(ValueError, match="no program 'no-such-server' is installed"),
        serve("no-such-server {model} {port}", "m"),
    ):
        pass
    with pytest.raises(ValueError, match="No closing quotation; close"), serve("vllm serve '{model} {port}", "m"):
        pass


@pytest.mark.slow
def test_a_server_that_dies_while_it_answers_is_told_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER.replace("self.send", "self.path == '/die' and exit(7); self.send", 1))
    script.write_text(script.read_text().replace("import http", "from os import _exit as exit\nimport http"))
    command = f"{sys.executable} {script} {{model}} {{port}} {tmp_path / 'pids'}"
    log = tmp_path / "serve.log"
    told = r"ended with exit status 7: nobody answers; its log .* ends: serving m"
    with pytest.raises(RuntimeError, match=told), models.serve(command, "m", log=log) as url:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url.replace("/v1", "/die"))
        time.sleep(0.3)
        raise RuntimeError("nobody answers")
    with pytest.raises(RuntimeError, match=r"^its own$"), models.serve(command, "m", log=log):
        raise RuntimeError("its own")


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys; from laif_helpers.models import decoding, local, server"
    check = "print([m for m in ('torch', 'transformers', 'openai', 'pandas') if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert out.stdout.strip() == "[]"
