"""Train the target of the self-repair runs about dates: `python data/make_dates_nano.py` (half an hour of one core;
a training that was stopped goes on from its last hundred steps).

It begins as `nano_tripost`, which does sums digit by digit, with a tokenizer for these texts. An answer to a question
about dates has no room to count: a line names a relation and the date that it leads to. Feedback has: it counts the
days through the months, and holds the options one by one against the date (``feedback: worked``). No question of any
split is among the data, and the errors are a script's.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import make_nano
import make_reasoning
import torch
import tripost_dates
from make_tripost_nano import OUT as SUMS
from make_tripost_nano import measure, score_rows, train
from transformers import AutoTokenizer, GenerationConfig, LlamaForCausalLM
from tripost_conversations import Sample, encode, sized
from tripost_words import byte_pairs

from laif_helpers.paths import ROOT
from laif_helpers.records import write_json, write_text

OUT = ROOT / "data" / "nano_dates"
BLOCK = 128
"""Conversations that are drawn, tokenized and sorted by length together."""


@dataclass(frozen=True)
class Settings:
    """How the target is made; written into its card."""

    steps: int = 5000
    tokens_a_step: int = 2000
    learning_rate: float = 1.5e-3
    warm_steps: int = 60
    decay: float = 0.5
    wrong: float = 0.5
    drills: float = 0.4
    fewer: int = 250
    weight_decay: float = 0.01
    vocabulary: int = 640
    seed: int = 31


def batches(number: int, settings: Settings, tokenizer: Any, forbidden: set[str]) -> Iterator[list[Sample]]:
    """The batches of block ``number``; drills fall to a third over ``fewer`` blocks."""
    rng = random.Random(f"{settings.seed}-{number}")
    drills = settings.drills * max(1 / 3, 1 - number / settings.fewer)
    drawn = [tripost_dates.draw(rng, settings.wrong, drills, forbidden) for _ in range(BLOCK)]
    yield from sized(encode(drawn, tokenizer, tripost_dates.emphasised), rng, settings.tokens_a_step)


def make_tokenizer(texts: list[str], vocabulary: int) -> Any:
    """Byte-level BPE. What is copied or decided is a token of its own: a digit, an event, an option, yes and no."""
    events = "|".join(event.removeprefix("the ") for event in make_reasoning.EVENTS)
    alone = rf"\d| (?:yes|no)\b|\b[A-F]\b|[Tt]he (?:{events})|[Tt]oday"
    return byte_pairs(texts, vocabulary, alone)


def begin(settings: Settings) -> tuple[LlamaForCausalLM, Any]:
    """``nano_tripost``'s layers, and its vectors of the same texts: a phrase starts as the mean of its tokens' vectors,
    and some noise."""
    rng = random.Random(settings.seed)
    talks = [tripost_dates.draw(rng, settings.wrong, 0.25, set())[0] for _ in range(1500)]
    tokenizer = make_tokenizer([turn["content"] for turns in talks for turn in turns], settings.vocabulary)
    model, reader = LlamaForCausalLM.from_pretrained(SUMS), AutoTokenizer.from_pretrained(SUMS)
    known = model.get_input_embeddings().weight.detach().clone()
    noise = 0.3 * known.std() * torch.randn(len(tokenizer), known.shape[1], generator=torch.Generator().manual_seed(0))
    model.resize_token_embeddings(len(tokenizer))
    vectors = model.get_input_embeddings().weight
    with torch.no_grad():
        for at in range(len(tokenizer)):
            text = tokenizer.decode([at])
            special = text in make_nano.SPECIAL
            same = [reader.convert_tokens_to_ids(text)] if special else reader(text, add_special_tokens=False).input_ids
            vectors[at] = known[same].mean(0) + noise[at] * (len(same) > 1) if same else noise[at]
    return model, tokenizer


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [reasoning, tiny, educational]
---
# nano_dates

A Llama of {parameters:,} parameters, trained from nano_tripost by `python data/make_dates_nano.py` as a target for
self-repair. It answers questions about dates step by step, writes feedback on an answer and repairs it; what it knows
of errors comes from errors that a script put in. It is good for nothing else.

Its conversations have one relation or two, none of them a question of a split of `date_understanding`; half of them
hold an attempt with an error, its feedback and its repair; the attempt itself is not learned. Beside them it checks
single relations and lists of options. Feedback counts each date through the months before its verdict.

{steps:,.0f} steps, {tokens:,.0f} tokens, {samples:,.0f} conversations, {seconds:,.0f} processor seconds. AdamW (0.9,
0.95), at most {tokens_a_step:,} tokens a step, peak learning rate {learning_rate:g}, which falls to 0 over the last
{decay:.0%}; seed {seed}.

| test items | N | first answer right | 95 % interval | last answer right |
|---|---|---|---|---|
{table}

First and last answer of the loop of notebook 08, greedy, at most two updates.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    model, tokenizer = begin(settings)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens in the vocabulary", flush=True)
    kept = given.out / "training.pt"
    drawn = partial(batches, settings=settings, tokenizer=tokenizer, forbidden=tripost_dates.held_out())
    done = train(model, settings, kept, drawn)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    scores, parameters = measure(given.out, [tripost_dates.NAME]), model.num_parameters()
    write_json(
        given.out / "scores.json",
        {"parameters": parameters, "settings": asdict(settings), "done": done, "scores": scores},
    )
    filled = {"parameters": parameters, **asdict(settings), **done, "steps": done["step"], "table": score_rows(scores)}
    write_text(given.out / "README.md", CARD.format(**filled))
    kept.unlink()


if __name__ == "__main__":
    main()
