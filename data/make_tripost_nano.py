"""Train the target of the self-repair runs: `python data/make_tripost_nano.py` (110 minutes of one core; a training
that was stopped goes on from its last hundred steps).

A Llama of a million parameters learns word sorting and multistep arithmetic in their seen buckets: answers by the
solver, and, on errors put in by a script, what feedback and repair look like. No question of any split is among its
data, and the errors are never its own: to find those is what TriPosT has to teach. From the fifth round on feedback
works each step out before its verdict: what a model of this size cannot see at a glance it can compute.

What makes the tasks learnable for so small a model: a fixed phrase, a word of the list and a digit are one token each,
so that an answer has a fifth of the tokens that bytes would need; lists of words are repeated first, because among
other tokens a model of this size does not learn to copy one word of a thousand; and one conversation holds answer,
feedback and repair, so that each token that is read is learned from as often as possible.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import make_nano
import torch
import tripost_checks
from transformers import GenerationConfig, LlamaForCausalLM
from tripost_conversations import DRILLS, TASKS, Sample, draw, encode, held_out, padded, sized
from tripost_words import CONTEXT, make_tokenizer, spread, warm_start, word_rows

from laif_helpers import benchmarks, models
from laif_helpers.paths import ROOT
from laif_helpers.records import write_json, write_text
from laif_helpers.stats import wilson
from laif_helpers.tripost import loop

OUT = ROOT / "data" / "nano_tripost"
Drawing = Callable[[int], Iterator[list[Sample]]]
"""Of the number of a block: its batches."""
BLOCK = 128
"""Conversations that are drawn, tokenized and sorted by length together."""


@dataclass(frozen=True)
class Settings:
    """How the target is made; written into its card."""

    steps: int = 9000
    tokens_a_step: int = 1000
    learning_rate: float = 2e-3
    warm_steps: int = 40
    decay: float = 0.3
    copy_blocks: int = 150
    drills: float = 0.3
    drilled: tuple[str, ...] = ("copy",)
    sorting: float = 0.0
    lists: tuple[int, int] = (3, 5)
    short_blocks: int = 40
    weight_decay: float = 0.01
    vocabulary: int = 1100
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    wrong: float = 0.5
    seed: int = 7
    again: bool = False
    spread: float = 1.7
    threads: int = 1
    worked: bool = False


SECOND = Settings(
    steps=5500,
    learning_rate=1e-3,
    decay=0.6,
    seed=8,
    again=True,
    drilled=("copy", "letters", "sums", "sums"),
)
THIRD = replace(
    SECOND,
    steps=3000,
    tokens_a_step=2000,
    seed=9,
    spread=1.0,
    wrong=0.3,
    drills=0.1,
    drilled=("letters", "copy", "sums"),
    sorting=0.8,
    lists=(2, 6),
)
FOURTH = replace(THIRD, steps=4000, seed=10, drills=0.25, drilled=("sums",), sorting=0.35)
FIFTH = replace(
    THIRD, steps=5400, learning_rate=1.3e-3, seed=21, wrong=0.5, drills=0.45, sorting=0.42, drilled=(), worked=True
)
SIXTH = replace(FIFTH, steps=1500, learning_rate=6e-4, seed=22, wrong=0.4, drills=0.25)
ROUNDS = (Settings(), SECOND, THIRD, FOURTH, FIFTH, SIXTH)
"""A round goes on with the weights of the one before, other problems and more kinds of drill. From the second on the
words' vectors get no gradient any more. The third has mostly word sorting, the fourth mostly arithmetic: after two
rounds with both alike often, a list of four to seven words was sorted 11 times in 100. In the fifth feedback is worked
out (``tripost_checks``); its drills, 45 % at first, fall to 18 % over its first 48 blocks. The sixth has
fewer."""


def batches(number: int, settings: Settings, tokenizer: Any, forbidden: set[str]) -> Iterator[list[Sample]]:
    """The batches of block ``number``."""
    rng = random.Random(f"{settings.seed}-{number}")
    if settings.worked:
        drills = settings.drills * max(0.4, 1 - number / 80)
        fixed = (settings.wrong, settings.sorting, drills, forbidden)
        checks = [tripost_checks.draw(rng, *fixed) for _ in range(BLOCK)]
        yield from sized(encode(checks, tokenizer, tripost_checks.emphasised), rng, settings.tokens_a_step)
        return
    early = 0 if settings.again else settings.copy_blocks
    short = not settings.again and number - early < settings.short_blocks
    drills = [DRILLS[name] for name in settings.drilled]
    usual = {"short": short, "sorting": settings.sorting, "lists": settings.lists}
    drawn = [
        (rng.choice(drills) if settings.again else drills[0])(rng)
        if number < early or rng.random() < settings.drills
        else draw(rng, settings.wrong / (1 + short), forbidden, **usual)
        for _ in range(BLOCK)
    ]
    yield from sized(encode(drawn, tokenizer), rng, settings.tokens_a_step)


def weighted_loss(model: LlamaForCausalLM, *batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens by their weights, in nats; see ``make_nano.answer_loss``."""
    ids, labels, weights = batch
    kept = labels[:, 1:] != -100
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][kept]
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden), labels[:, 1:][kept], reduction="none")
    weights = weights[:, 1:][kept]
    return (weights * losses).sum() / weights.sum()


def train(
    model: LlamaForCausalLM, settings: Any, kept: Path, drawn: Drawing, frozen: torch.Tensor | None = None
) -> dict[str, float]:
    """Train on ``drawn``. The state is kept after each hundred steps: a training that was stopped goes on from there.
    ``frozen``: rows of the embedding that stay as they are."""
    adam = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95),
                             weight_decay=settings.weight_decay, fused=True)  # fmt: skip
    done: dict[str, float] = {"step": 0, "block": 0, "tokens": 0, "samples": 0, "seconds": 0.0}
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        done = state["done"]
    began, before, saved, losses = time.process_time(), done["seconds"], done["step"], list[float]()
    model.train()
    while done["step"] < settings.steps:
        for batch in drawn(int(done["block"])):
            left = (settings.steps - done["step"]) / (settings.decay * settings.steps)
            pace = min(1.0, (done["step"] + 1) / settings.warm_steps, max(0.01, left))
            adam.param_groups[0]["lr"] = settings.learning_rate * pace
            ids, labels, weights = padded(batch, model.config.pad_token_id)
            loss = weighted_loss(model, ids, labels, weights)
            losses.append(loss.item())
            loss.backward()
            if frozen is not None:
                model.get_input_embeddings().weight.grad[frozen] = 0
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad()
            done["step"] += 1
            done["tokens"] += ids.numel()
            done["samples"] += len(batch)
        done["block"] += 1
        done["seconds"] = before + time.process_time() - began
        if done["step"] - saved >= 100 or done["step"] >= settings.steps:
            saved = done["step"]
            save({"model": model.state_dict(), "adam": adam.state_dict(), "done": done}, kept)
            loss_now = sum(losses) / len(losses)
            print(f"step {saved:.0f} loss {loss_now:.4f} CPU seconds {done['seconds']:.0f}", flush=True)
            losses.clear()
    return done


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state; a kill leaves the old one."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def measure(out: Path, tasks: Sequence[str] = TASKS, limit: int = 160) -> dict[str, dict[str, float]]:
    """Self-repair of the fresh target on the test splits' seen buckets: first and last answer, contribution, harm."""
    scores = {}
    for name in tasks:
        items = [e for e in benchmarks.get(name).load("test") if e.fields["seen"]][:limit]
        done = loop.run(partial(models.generate, str(out)), items, updates=2, style="worked")
        for bucket in sorted({e.fields["bucket"] for e in items}):
            here = [each for each in done if each.example.fields["bucket"] == bucket]
            right = [[benchmarks.get(name).grade(e.example, text).correct for text in (e.turns[0], e.answers[-1])]
                     for e in here]  # fmt: skip
            first, last = (sum(pair[at] for pair in right) for at in (0, 1))
            low, high = wilson(first, len(right))
            scores[f"{name} {bucket}"] = {"n": len(right), "first": first / len(right), "low": low, "high": high,
                                          "last": last / len(right)}  # fmt: skip
    return scores


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [reasoning, tiny, educational]
---
# nano_tripost

A Llama of {parameters:,} parameters, trained from nano by `python data/make_tripost_nano.py` as a target for
self-repair. It sorts words and does multistep arithmetic step by step, writes feedback on an answer and repairs it;
what it knows of errors comes from errors that a script put in. It is good for nothing else.

Its conversations lie in the seen buckets of `word_sorting` and `multistep_arithmetic`, none of them a question of a
split; half of them (three in ten in rounds three and four) hold an attempt with an error, its feedback and its repair;
the attempt itself is not learned. Beside them it repeats lists of words, spells them and does single sums. From the
fifth round on its feedback checks each step before the verdict: sums digit by digit, lists word by word.

| round | steps | tokens | conversations | peak learning rate | seed | processor seconds |
|---|---|---|---|---|---|---|
{rounds}

AdamW (0.9, 0.95), at most 1,000 tokens a step, 2,000 from the third round on; the learning rate falls to 0 over the
last 30 % of the first round and 60 % of the others. The third round is mostly word sorting, the fourth mostly
arithmetic, the last two both. The rounds were added one after the other, and the script that draws their data grew
with them: run from the start it draws another tokenizer, so it makes a sibling of these weights, not the same ones.

| test items | N | first answer right | 95 % interval | last answer right |
|---|---|---|---|---|
{table}

First and last answer of the loop of notebook 08, greedy, at most two updates.
"""


def begin(settings: Settings) -> tuple[LlamaForCausalLM, Any]:
    """nano, with a tokenizer for these tasks."""
    rng = random.Random(settings.seed)
    tokenizer = make_tokenizer([draw(rng, settings.wrong, set())[0] for _ in range(1500)], settings.vocabulary)
    model = make_nano.make_model(tokenizer, settings)
    model.config.max_position_embeddings = CONTEXT
    warm_start(model, tokenizer)
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=Settings.threads)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = begin(ROUNDS[0])
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens in the vocabulary", flush=True)
    kept = [given.out / f"training{number}.pt" for number in range(len(ROUNDS))]
    done = []
    for settings, state in zip(ROUNDS, kept, strict=True):
        if settings.again and settings.spread != 1:
            spread(model, tokenizer, settings.spread)
        frozen = word_rows(tokenizer) if settings.again else None  # the words' vectors, so that they stay apart
        drawn = partial(batches, settings=settings, tokenizer=tokenizer, forbidden=held_out())
        done.append(train(model, settings, state, drawn, frozen))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    write_card(given.out, model.num_parameters(), done, measure(given.out))
    for state in kept:
        state.unlink()


def write_card(out: Path, parameters: int, done: list[dict[str, float]], scores: dict[str, dict[str, float]]) -> None:
    settings = [asdict(each) for each in ROUNDS]
    write_json(out / "scores.json", {"parameters": parameters, "rounds": settings, "done": done, "scores": scores})
    rounds = []
    for number, (of, d) in enumerate(zip(ROUNDS, done, strict=True), start=1):
        numbers = " | ".join(f"{d[key]:,.0f}" for key in ("step", "tokens", "samples"))
        rounds.append(f"| {number} | {numbers} | {of.learning_rate:g} | {of.seed} | {d['seconds']:,.0f} |")
    filled = {"parameters": parameters, "rounds": "\n".join(rounds)}
    write_text(out / "README.md", CARD.format(**filled, table=score_rows(scores)))


def score_rows(scores: dict[str, dict[str, float]]) -> str:
    return "\n".join(f"| {k} | {s['n']} | {s['first']:.3f} | {s['low']:.3f}–{s['high']:.3f} | {s['last']:.3f} |"
                     for k, s in scores.items())  # fmt: skip


if __name__ == "__main__":
    main()
