"""Answers per second: ours beside plain `generate`, lm-evaluation-harness and the pipeline.

    python bench/generation.py [ITEMS]                          the nano target, all of them
    python bench/generation.py [ITEMS] --model FOLDER           any model folder, beside `generate` sorted by length
                               [--dtype float32 bfloat16] [--batch 32] [--new-tokens 128]

One process, the same prompts, greedy, each answer stopping where it stops. The ways take turns and the better of two
turns counts. The pipeline, the way of the original authors, is timed on a tenth of the prompts; lm-evaluation-harness'
HF backend (extra `bench`) at several batch sizes, of which the best counts. Texts are compared, so that nobody is fast
by being wrong. Items per second of computing stand beside those of the clock: on a machine with other work they are
what can be compared. A second table asks the same after worked examples, as few-shot benchmarks do: ours reads those
once.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from laif_helpers import benchmarks, models
from laif_helpers.paths import NANO
from laif_helpers.records import Message

ONE = "TextGenerationPipeline, one at a time"
Way = tuple[str, Callable[[list[list[Message]]], list[str]]]


@dataclass(frozen=True)
class Loaded:
    """A model as transformers loads it, and how it is asked."""

    folder: str
    dtype: str
    batch: int
    new_tokens: int
    model: Any
    tokenizer: Any


def load(folder: str, dtype: str, batch: int, new_tokens: int) -> Loaded:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Loaded(folder, dtype, batch, new_tokens, model, tokenizer)


def ours(it: Loaded, asked: list[list[Message]]) -> list[str]:
    options = {"max_new_tokens": it.new_tokens, "batch_size": it.batch, "dtype": it.dtype}
    return [found.text for found in models.generate(it.folder, asked, progress=False, **options)]


def plain(it: Loaded, asked: list[list[Message]]) -> list[str]:
    """`model.generate` over left-padded batches of prompts that are alike in length, the longest first."""
    prompts = it.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    order = sorted(range(len(prompts)), key=lambda at: -len(it.tokenizer(prompts[at])["input_ids"]))
    texts = {}
    for at in range(0, len(order), it.batch):
        rows = order[at : at + it.batch]
        options = {"padding": True, "return_tensors": "pt", "add_special_tokens": False}
        batch = it.tokenizer([prompts[row] for row in rows], **options)
        wanted = {name: batch[name].to(it.model.device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            found = it.model.generate(
                **wanted, max_new_tokens=it.new_tokens, do_sample=False, pad_token_id=it.tokenizer.pad_token_id
            )
        new = it.tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        texts |= dict(zip(rows, new, strict=True))
    return [texts[row] for row in range(len(prompts))]


def one_by_one(it: Loaded, conversations: list[list[Message]]) -> list[str]:
    ask = pipeline("text-generation", model=it.model, tokenizer=it.tokenizer)
    options = {"max_new_tokens": it.new_tokens, "do_sample": False, "return_full_text": False}
    return [ask(turns, **options)[0]["generated_text"] for turns in conversations]


def lm_eval(it: Loaded, batch_size: int) -> Callable[[list[list[Message]]], list[str]]:
    """lm-evaluation-harness' HF backend at one batch size, loaded now; asked later."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    backend = HFLM(pretrained=it.folder, device=str(it.model.device), batch_size=batch_size, max_length=512)
    until = {"until": [backend.tokenizer.eos_token], "max_gen_toks": it.new_tokens, "do_sample": False}

    def ask(conversations: list[list[Message]]) -> list[str]:
        prompts = it.tokenizer.apply_chat_template(conversations, add_generation_prompt=True, tokenize=False)
        requests = [Instance("generate_until", {}, (prompt, until), at) for at, prompt in enumerate(prompts)]
        return list(backend.generate_until(requests, disable_tqdm=True))

    return ask


def both(it: Loaded) -> list[Way]:
    return [
        (f"laif_helpers.models.generate, {it.dtype}", lambda asked: ours(it, asked)),
        (f"model.generate, sorted, batches of {it.batch}", lambda asked: plain(it, asked)),
    ]


def of_nano(items: int) -> None:
    it = load(str(NANO), "float32", batch=256, new_tokens=256)
    conversations, shown = questions(items)
    ways = both(it)
    try:
        ways += [(f"lm-eval HF backend, batches of {size}", lm_eval(it, size)) for size in (64, 256, 1024)]
    except ImportError:
        print("lm-evaluation-harness: not installed here, so not measured (pip install -e '.[bench]')")
    compare(ways, conversations)
    compare([ways[0], (ONE, lambda asked: one_by_one(it, asked))], conversations[: max(items // 10, 1)])
    print(f"\nafter {len(shown) // 2} worked examples:")
    compare(ways, [shown + turns for turns in conversations])


def of_model(items: int, folder: str, dtypes: list[str], batch: int, new_tokens: int) -> None:
    for dtype in dtypes:
        compare(both(load(folder, dtype, batch, new_tokens)), questions(items)[0])


def questions(items: int) -> tuple[list[list[Message]], list[Message]]:
    """Prompts of the practice world, and three worked examples of it."""
    bench = benchmarks.get("practice")
    examples = bench.load("train")
    shown = [
        turn
        for example in examples[-3:]
        for turn in (*bench.messages(example), {"role": "assistant", "content": bench.gold_response(example)})
    ]
    return [bench.messages(example) for example in examples[:items]], shown


def compare(ways: list[Way], asked: list[list[Message]]) -> None:
    """Time the ways in turns on the same prompts and print each beside the first."""
    for _, way in ways:
        way(asked[:2])  # loading and first steps are nobody's speed
    clock, computed, texts = dict.fromkeys(dict(ways), 1e9), dict.fromkeys(dict(ways), 1e9), {}
    for _ in range(2):
        for name, way in ways:
            start, busy = time.perf_counter(), time.process_time()
            texts[name] = way(asked)
            computed[name] = min(computed[name], time.process_time() - busy)
            clock[name] = min(clock[name], time.perf_counter() - start)
    first = ways[0][0]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    print(f"{len(asked)} prompts, {device}")
    for name, seconds in clock.items():
        same = sum(a.strip() == b.strip() for a, b in zip(texts[first], texts[name], strict=True))
        speed = f"{len(asked) / seconds:7.2f} items/s {len(asked) / computed[name]:7.2f} items/CPU-s"
        ratio = f"ours is {seconds / clock[first]:.2f} x, {computed[name] / computed[first]:.2f} x"
        print(f"{name:<44} {speed}   {ratio:<24} {same}/{len(asked)} same text")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("items", type=int, nargs="?", default=0)
    parser.add_argument("--model", default="")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=128)
    given = parser.parse_args()
    if given.model:
        of_model(given.items or 64, given.model, given.dtype, given.batch, given.new_tokens)
    else:
        of_nano(given.items or 1000)


if __name__ == "__main__":
    main()
