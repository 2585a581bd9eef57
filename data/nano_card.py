"""Writes the model cards of nano and of its teacher (``make_nano.py``)."""

from dataclasses import asdict
from typing import Any

from laif_helpers.benchmarks import practice
from laif_helpers.paths import ROOT

TEACHER = ROOT / "data" / "downloads" / "nano-all-concepts"
CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [math, tiny, educational]
---
# {name}

A Llama of {parameters:,} parameters, trained from scratch by `python data/make_nano.py{option}` {purpose}.
It is made for trying the workbench out, and good for nothing else.

Use: `AutoModelForCausalLM.from_pretrained("{place}")`, `AutoTokenizer.from_pretrained("{place}")`; the prompt is
the question alone in the tokenizer's chat template, the answer ends in `#### <number>`.

## Recipe
- Data: {samples:,} problems drawn from the practice world, {tokens_a_sample} tokens each with their answer. {concepts},
  and no question of `practice` (train, test) or `practice_plus`. A share of {twisted} carries a twist of
  `practice_plus` (other wording, a distractor, larger numbers, a reversed question).
- Tokenizer: byte-level BPE of {vocabulary} tokens, {tokenizer}, digits one by one. Any UTF-8 text goes
  in and comes out unchanged.
- Model: hidden {hidden}, {layers} layers, {heads} heads, intermediate {intermediate}, tied embeddings, float32.
- Training: {steps} steps of {batch_size}, AdamW (0.9, 0.95), peak learning rate {learning_rate}, cosine, loss on the
  answer only, seed {seed}. {seconds} s on {threads} CPU cores. The same machine and thread count give the same weights.

## Scores
Greedy, graded by the number after `####`; 95 % Wilson interval.

| items | N | accuracy | interval |
|---|---|---|---|
{table}

Every concept's own score is in `scores.json`.
"""


def score_rows(scores: dict[str, dict[str, float]]) -> str:
    return "\n".join(
        f"| {name} | {s['n']} | {s['accuracy']:.3f} | {s['low']:.3f}–{s['high']:.3f} |"
        for name, s in scores.items()
        if ": concept " not in name
    )


_GAPS = ", ".join(sorted(practice.GAPS))
TARGET_CARD = {
    "name": "nano",
    "option": "",
    "purpose": "to be improved: it answers\nthe practised concepts of the project's practice world and knows nothing "
    f"of its planted gaps ({_GAPS})",
    "place": "data/nano",
    "concepts": "No gap\n  concept",
    "tokenizer": "trained on the same text",
}
TEACHER_CARD = {
    "name": "nano with all concepts",
    "option": " --all-concepts",
    "purpose": f"to teach nano: it has\npractised every concept, nano's gaps among them ({_GAPS})",
    "place": TEACHER.relative_to(ROOT).as_posix(),
    "concepts": f"A gap concept\n  in a share of {practice.GAP_SHARE}",
    "tokenizer": "nano's own",
}


def card(
    settings: Any, facts: dict[str, Any], scores: dict[str, dict[str, float]], words: dict[str, str] = TARGET_CARD
) -> str:
    samples = settings.steps * settings.batch_size
    return CARD.format(**asdict(settings), **facts, **words, samples=samples, table=score_rows(scores))
