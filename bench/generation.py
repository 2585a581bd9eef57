"""Answers per second on the nano target: ours beside plain `generate`, lm-evaluation-harness and the pipeline.

    python bench/generation.py [ITEMS]

One process, the same prompts, greedy, up to 256 new tokens, each answer stopping where it stops. The pipeline, the way
of the original authors, is timed on a tenth of the prompts; lm-evaluation-harness' HF backend (extra `bench`) at
several batch sizes, of which the best counts. Texts are compared, so that nobody is fast by being wrong. Items per
second of computing stand beside those of the clock: on a machine with other work they are what can be compared. A
second table asks the same after worked examples, as few-shot benchmarks do: ours reads those once.
"""

import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from laif_helpers import benchmarks, models
from laif_helpers.paths import NANO
from laif_helpers.records import Message

NEW_TOKENS = 256
BATCH = 256
ONE = "TextGenerationPipeline, one at a time"


def plain(model: Any, tokenizer: Any, conversations: list[list[Message]]) -> list[str]:
    """`model.generate` over left-padded batches, sorted by nothing, each batch as long as its longest answer."""
    texts = []
    for at in range(0, len(conversations), BATCH):
        batch = tokenizer.apply_chat_template(
            conversations[at : at + BATCH],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            found = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts += tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def one_by_one(model: Any, tokenizer: Any, conversations: list[list[Message]]) -> list[str]:
    ask = pipeline("text-generation", model=model, tokenizer=tokenizer)
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "return_full_text": False}
    return [ask(turns, **options)[0]["generated_text"] for turns in conversations]


def lm_eval(batch_size: int) -> Any:
    """lm-evaluation-harness' HF backend at one batch size, loaded now; asked later."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    backend = HFLM(pretrained=str(NANO), device="cpu", batch_size=batch_size, max_length=512)
    until = {"until": [backend.tokenizer.eos_token], "max_gen_toks": NEW_TOKENS, "do_sample": False}

    def ask(model: Any, tokenizer: Any, conversations: list[list[Message]]) -> list[str]:
        prompts = tokenizer.apply_chat_template(conversations, add_generation_prompt=True, tokenize=False)
        requests = [Instance("generate_until", {}, (prompt, until), at) for at, prompt in enumerate(prompts)]
        return list(backend.generate_until(requests, disable_tqdm=True))

    return ask


def main(items: int) -> None:
    bench = benchmarks.get("practice")
    conversations = [bench.messages(example) for example in bench.load("train", limit=items)]
    tokenizer = AutoTokenizer.from_pretrained(NANO, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(NANO).eval()
    models.generate(str(NANO), conversations[:8], max_new_tokens=8, progress=False)  # loading is nobody's speed

    def ours(model: Any, tokenizer: Any, asked: list[list[Message]]) -> list[str]:
        return [c.text for c in models.generate(str(NANO), asked, max_new_tokens=NEW_TOKENS, progress=False)]

    ways: list[tuple[str, Any]] = [("laif_helpers.models.generate", ours)]
    ways += [(f"model.generate, batches of {BATCH}", plain)]
    try:
        ways += [(f"lm-eval HF backend, batches of {size}", lm_eval(size)) for size in (64, 256, 1024)]
    except ImportError:
        print("lm-evaluation-harness: not installed here, so not measured (pip install -e '.[bench]')")
    few = conversations[: max(items // 10, 1)]
    compare([(name, way, conversations) for name, way in ways] + [(ONE, one_by_one, few)], model, tokenizer)
    shown = [turn for example in bench.load("train")[-3:] for turn in solved(bench, example)]
    after = [shown + turns for turns in conversations]
    print(f"\nafter {len(shown) // 2} worked examples:")
    compare([(name, way, after) for name, way in ways], model, tokenizer)


def solved(bench: Any, example: Any) -> list[Message]:
    return [*bench.messages(example), {"role": "assistant", "content": bench.gold_response(example)}]


def compare(ways: list[tuple[str, Any, list[list[Message]]]], model: Any, tokenizer: Any) -> None:
    """Time each way on its prompts and print it against the first."""
    rates, computed, texts = {}, {}, {}
    for name, way, asked in ways:
        start, busy = time.perf_counter(), time.process_time()
        texts[name] = way(model, tokenizer, asked)
        computed[name] = len(asked) / (time.process_time() - busy)
        rates[name] = len(asked) / (time.perf_counter() - start)
    first = ways[0][0]
    print(f"{len(ways[0][2])} prompts, {torch.get_num_threads()} threads")
    for name, rate in rates.items():
        same = sum(a.strip() == b.strip() for a, b in zip(texts[first], texts[name], strict=False))
        ratio = f"ours is {rates[first] / rate:.2f} x, {computed[first] / computed[name]:.2f} x"
        speed = f"{rate:7.1f} items/s {computed[name]:7.1f} items/CPU-s"
        print(f"{name:<38} {speed}   {ratio:<24} {same}/{len(texts[name])} same text")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
