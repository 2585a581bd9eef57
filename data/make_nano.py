"""Train the nano target from scratch: `python data/make_nano.py` (about five minutes on two CPU cores).

A Llama of just under a million parameters learns the practised concepts of the practice world and none of its
gaps; no question of any split is among its practice data. Writes weights, tokenizer, ``scores.json`` and the
model card. The same machine and thread count give the same weights.

``--all-concepts`` makes a teacher for nano instead: the same recipe with the gaps among its practice data, other
problems and other starting weights, and nano's own tokenizer, because a teacher scores the target's tokens one by one.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from nano_card import TARGET_CARD, TEACHER, TEACHER_CARD, card, score_rows
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as token_models
from torch.nn import functional as F
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from laif_helpers import benchmarks, models
from laif_helpers.benchmarks import practice
from laif_helpers.benchmarks.practice.world import TWISTS, Problem
from laif_helpers.paths import NANO
from laif_helpers.records import write_json, write_text
from laif_helpers.stats import wilson

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# `generation` marks what a trainer's assistant-only loss covers: the answer and the end token, nothing else.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- elif message['role'] in ('system', 'user') -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- else -%}{{- raise_exception('unknown role ' + message['role']) -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Settings:
    """How nano is made; written into the model card."""

    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    vocabulary: int = 768
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    twisted: float = 0.2
    seed: int = 7
    threads: int = 2


def practice_data(count: int, twisted: float, seed: int, gap_share: float = 0.0) -> list[Problem]:
    """Problems, on practised concepts alone unless ``gap_share`` of them need a gap; no question of any split of either
    benchmark is among them."""
    held_out = {e.question for name, split in practice.SIZES for e in benchmarks.get(name).load(split)}
    rng = random.Random(seed)
    problems: list[Problem] = []
    while len(problems) < count:
        twist = rng.choice(TWISTS) if rng.random() < twisted else ""
        problem = practice.draw(rng, gap_share=gap_share, twist=twist)
        if problem.question not in held_out:
            problems.append(problem)
    return problems


def make_tokenizer(problems: list[Problem], settings: Settings) -> PreTrainedTokenizerFast:
    """Byte-level BPE (every UTF-8 text goes in and comes out unchanged), digits one by one."""
    bpe = Tokenizer(token_models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((text for p in problems[:8000] for text in (p.question, p.response)), trainer)
    return with_template(bpe, 512)


def with_template(bpe: Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer with its marks and the chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        additional_special_tokens=SPECIAL[2:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
        padding_side="left",
    )


def encode(problems: list[Problem], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """``(prompt, answer)`` token ids, by the same chat template and prompt as evaluation uses."""
    prompts = [benchmarks.get("practice").messages_for(p.question) for p in problems]
    head = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(
        [[*m, {"role": "assistant", "content": p.response}] for m, p in zip(prompts, problems, strict=True)],
        tokenize=False,
    )
    # some templates write a line break after the end token, which no answer needs
    tails = [text.removeprefix(start).rstrip("\n") for text, start in zip(whole, head, strict=True)]
    read = [tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (head, tails)]
    return list(zip(*read, strict=True))


def batches(samples: list[tuple[list[int], list[int]]], size: int, pad: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """``(input_ids, labels)``, both (size, longest): right-padded, loss on the answer only.

    Neighbouring batches share their samples out by length, which saves a quarter of the time.
    """
    for start in range(0, len(samples), size * 8):
        block = sorted(samples[start : start + size * 8], key=lambda sample: len(sample[0]) + len(sample[1]))
        chunks = [block[i : i + size] for i in range(0, len(block), size)]
        random.Random(start).shuffle(chunks)
        for chunk in chunks:
            longest = max(len(prompt) + len(answer) for prompt, answer in chunk)
            ids = torch.full((len(chunk), longest), pad)
            labels = torch.full((len(chunk), longest), -100)
            for row, (prompt, answer) in enumerate(chunk):
                end = len(prompt) + len(answer)
                ids[row, :end] = torch.tensor(prompt + answer)
                labels[row, len(prompt) : end] = torch.tensor(answer)
            yield ids, labels


def make_model(tokenizer: Any, settings: Settings) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, samples: list[Any], settings: Settings, pad: int) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay
    )
    warm = max(1, int(settings.steps * settings.warmup))
    curve = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps, eta_min=1e-5)
    model.train()
    for step, (ids, labels) in enumerate(batches(samples, settings.batch_size, pad), start=1):
        loss = answer_loss(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        (curve if step < warm else cosine).step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)


def answer_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, in nats; the head sees no other token.

    Right padding under a causal mask needs no attention mask: no real token looks at a pad.
    """
    kept = labels[:, 1:] != -100
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][kept]
    return F.cross_entropy(model.lm_head(hidden), labels[:, 1:][kept])


def measure(folder: Path, limit: int | None = None) -> dict[str, dict[str, float]]:
    """Scores on the (first ``limit`` items of the) two test splits, in all and by what is known about their items."""
    scores: dict[str, dict[str, float]] = {}
    for name in ("practice", "practice_plus"):
        examples = benchmarks.get(name).load("test", limit=limit)
        asked = [benchmarks.get(name).messages(e) for e in examples]
        answers = models.generate(str(folder), asked, max_new_tokens=64)
        grade = benchmarks.get(name).grade
        right = [grade(e, answer.text).correct for e, answer in zip(examples, answers, strict=True)]
        groups: dict[str, list[bool]] = {}
        for example, correct in zip(examples, right, strict=True):
            concept, gap = example.fields["concept"], example.fields["gap"]
            keys = ["all", "gaps" if gap else "practised"]
            keys += [f"twist {example.fields['twist']}"] if name == "practice_plus" else [f"concept {concept}"]
            for key in keys:
                groups.setdefault(f"{name}: {key}", []).append(correct)
        for key in sorted(groups, key=lambda key: ("concept" in key, key)):
            scores[key] = _score(groups[key])
    return scores


def _score(right: list[bool]) -> dict[str, float]:
    low, high = wilson(sum(right), len(right))
    return {
        "n": len(right),
        "accuracy": round(sum(right) / len(right), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--all-concepts", action="store_true", help="a teacher that knows nano's gaps too")
    for key, value in asdict(Settings()).items():
        parser.add_argument(f"--{key}", type=type(value), default=value)
    given = vars(parser.parse_args())
    teacher = given.pop("all_concepts")
    out = given.pop("out") or (TEACHER if teacher else NANO)
    settings = Settings(**given)
    if teacher:  # other problems and other starting weights than nano's
        settings = replace(settings, seed=settings.seed + 1)
    torch.set_num_threads(settings.threads)
    began = time.perf_counter()
    gap_share = practice.GAP_SHARE if teacher else 0.0
    problems = practice_data(settings.steps * settings.batch_size, settings.twisted, settings.seed, gap_share)
    tokenizer = AutoTokenizer.from_pretrained(NANO) if teacher else make_tokenizer(problems, settings)
    samples = encode(problems, tokenizer)
    length = sum(len(prompt) + len(answer) for prompt, answer in samples) / len(samples)
    model = make_model(tokenizer, settings)
    print(f"{model.num_parameters():,} parameters, {length:.1f} tokens a sample, {len(tokenizer)} in the vocabulary")
    train(model, samples, settings, tokenizer.pad_token_id)
    seconds = time.perf_counter() - began
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    scores = measure(out)
    facts = {"parameters": model.num_parameters(), "seconds": round(seconds), "tokens_a_sample": round(length, 1)}
    write_json(out / "scores.json", {"settings": asdict(settings), **facts, "scores": scores})
    write_text(out / "README.md", card(settings, facts, scores, TEACHER_CARD if teacher else TARGET_CARD))
    print(f"{score_rows(scores)}\n{seconds:.0f} s")


if __name__ == "__main__":
    main()
