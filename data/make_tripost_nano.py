"""Train the target of the self-repair runs: `python data/make_tripost_nano.py` (about six minutes on two CPU cores).

A Llama of a million parameters learns word sorting and logical deduction in their seen buckets: answers by the solver,
and, on errors put in by a script, what feedback and repair look like. No question of any split is among its data. The
errors are never its own: to find those is what TriPosT has to teach. Tokenizer, model and training are nano's.
"""

import argparse
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import make_nano
import torch
from transformers import GenerationConfig, LlamaForCausalLM

from laif_helpers import benchmarks
from laif_helpers.benchmarks import logical_deduction, word_sorting
from laif_helpers.graders import steps
from laif_helpers.graders.steps.mutations import mutants
from laif_helpers.models import generate
from laif_helpers.paths import ROOT
from laif_helpers.records import write_json, write_text
from laif_helpers.stats import wilson
from laif_helpers.tripost.turns import CHECK, REPAIR, conversation

OUT = ROOT / "data" / "nano_tripost"
TASKS = {"word_sorting": word_sorting, "logical_deduction": logical_deduction}
CONTEXT = 1536


PHRASES = (
    "Sort the following words alphabetically:\nList: ",
    *(
        '(1) The first letter: "',
        ") We now have: (",
        ') Hence, we have "',
        ') Now sort this subpart ["',
        '"] by looking at their ',
    ),
    *(f'{word} letters: "' for word in ("second", "third", "fourth", "fifth", "sixth", "seventh")),
    *('"=""', '"="', '" (', '), "', '" < "', '" ? "', "] < (", ') "', ') ["', '".\n(', '"].\n(', ").\n("),
    *("(Final response) So the answer is: ", "(Final response) ", ". So the answer is (", "\nOptions:\n(A) "),
    *(": On a shelf, there are ", "On a shelf, there are ", " cups in a row: ", "On a farm, there are ", " machines: "),
    *("In a rowing race, there were ", " rowers: ", "A market stall sells ", " kinds of nuts: "),
    *("At a post office, there are ", " parcels: ", " is to the left of the ", " is to the right of the "),
    *(" is older than the ", " is newer than the ", " finished above ", " finished below ", " is lighter than the "),
    *(" are less expensive than the ", " are more expensive than the ", " is heavier than the ", " from the "),
    *(") Place ", ") So the order is ", ': "?? ', ' ??".\n(', " ?? ", ". The ", "\n(", ", and a ", ", a "),
    *("Step (1) is correct. ", "Step (1) to (", ") are correct. ", "In step (", ') the part "'),
    *('" is incorrect. This is because ', "The final response is also correct.", CHECK, REPAIR),
)
"""Fixed words of the two tasks, one token each: they halve the length of a sample, and cost nothing to learn."""


@dataclass(frozen=True)
class Mix:
    """Shares of the training samples: answers, feedback (half of it on right answers) and repairs."""

    answers: float = 0.7
    feedback: float = 0.18


def practice_data(settings: make_nano.Settings, mix: Mix) -> list[tuple[str, list[dict[str, str]], str]]:
    """``(question, prompt turns, response)``; no paragraph of any split is among them."""
    held_out = {_paragraph(e.question) for name in TASKS for split in ("train", "validation", "test")
                for e in benchmarks.get(name).load(split)}  # fmt: skip
    rng = random.Random(settings.seed)
    samples: list[tuple[str, list[dict[str, str]], str]] = []
    while len(samples) < settings.steps * settings.batch_size:
        name = rng.choice(list(TASKS))
        question = TASKS[name].draw(rng, rng.choice(TASKS[name].SEEN))
        if _paragraph(question) not in held_out:
            samples.append((question, *_sample(name, question, rng, mix)))
    return samples


def _paragraph(question: str) -> str:
    return question.partition("\nOptions:")[0]


def _sample(name: str, question: str, rng: random.Random, mix: Mix) -> tuple[list[dict[str, str]], str]:
    module, draw = steps.task(name), rng.random()
    gold = steps.write(module.solve(module.read(question)))
    if draw < mix.answers:
        return conversation(name, question), gold
    if draw < mix.answers + mix.feedback / 2:
        return conversation(name, question, gold), steps.feedback(gold, module.check(question, gold))
    wrong = rng.choice(list(mutants(name, question, rng))).text
    verdict = module.check(question, wrong)
    criticism = steps.feedback(wrong, verdict)
    if draw < mix.answers + mix.feedback:
        return conversation(name, question, wrong), criticism
    return conversation(name, question, wrong, criticism), steps.repair(module, question, wrong, verdict)


def encode(samples: list[Any], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """``(prompt, answer)`` token ids, by the chat template that evaluation uses."""
    heads = tokenizer.apply_chat_template(
        [turns for _, turns, _ in samples], add_generation_prompt=True, tokenize=False
    )
    tails = [response + make_nano.SPECIAL[1] for _, _, response in samples]
    read = [tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (heads, tails)]
    return [(head, tail) for head, tail in zip(*read, strict=True) if len(head) + len(tail) <= CONTEXT]


def measure(out: Path) -> dict[str, dict[str, float]]:
    """First-attempt accuracy on the test splits, by bucket."""
    scores = {}
    for name in TASKS:
        bench = benchmarks.get(name)
        examples = bench.load("test")[:300]
        done = generate(str(out), [bench.messages(e) for e in examples], max_new_tokens=600, progress=False)
        for bucket in sorted({e.fields["bucket"] for e in examples}):
            right = [bench.grade(e, c.text).correct for e, c in zip(examples, done, strict=True)
                     if e.fields["bucket"] == bucket]  # fmt: skip
            low, high = wilson(sum(right), len(right))
            scores[f"{name}: {bucket}"] = {"n": len(right), "accuracy": round(sum(right) / len(right), 4),
                                           "low": round(low, 4), "high": round(high, 4)}  # fmt: skip
    return scores


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [reasoning, tiny, educational]
---
# nano_tripost

A Llama of {parameters:,} parameters, trained from scratch by `python data/make_tripost_nano.py` as a target for
self-repair. It sorts words and orders objects step by step, writes feedback on an answer and repairs it; what it knows
of errors comes from errors that a script put in. It is good for nothing else.

{samples:,} samples of {tokens_a_sample} tokens ({answers:.0%} answers, {feedback:.0%} feedback, the rest repairs) in
the seen buckets of `word_sorting` and `logical_deduction`, none of them a question of a split. {steps} steps of
{batch_size}, AdamW, peak learning rate {learning_rate}, cosine, seed {seed}; {seconds} s on {threads} CPU threads.

| test items | N | accuracy of the first attempt | 95 % interval |
|---|---|---|---|
{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    defaults = replace(make_nano.Settings(), steps=500, batch_size=24, vocabulary=768)
    for key, value in asdict(defaults).items():
        parser.add_argument(f"--{key}", type=type(value), default=value)
    given = vars(parser.parse_args())
    out, settings, mix = given.pop("out"), make_nano.Settings(**given), Mix()
    torch.set_num_threads(settings.threads)
    began = time.perf_counter()
    drawn = practice_data(settings, mix)
    texts = [SimpleNamespace(question=turns[-1]["content"], response=response) for _, turns, response in drawn]
    tokenizer = make_nano.make_tokenizer(texts, settings)
    tokenizer.model_max_length = CONTEXT
    tokenizer.add_tokens(list(PHRASES))
    samples = encode(drawn, tokenizer)
    length = sum(len(head) + len(tail) for head, tail in samples) / len(samples)
    model: LlamaForCausalLM = make_nano.make_model(tokenizer, settings)
    model.config.max_position_embeddings = CONTEXT
    print(f"{model.num_parameters():,} parameters, {len(samples):,} samples of {length:.1f} tokens", flush=True)
    make_nano.train(model, samples, settings, tokenizer.pad_token_id)
    seconds = round(time.perf_counter() - began)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    scores = measure(out)
    facts = {"parameters": model.num_parameters(), "seconds": seconds, "tokens_a_sample": round(length, 1)}
    write_json(out / "scores.json", {"settings": asdict(settings), "mix": asdict(mix), **facts, "scores": scores})
    rows = [f"| {k} | {s['n']} | {s['accuracy']:.3f} | {s['low']:.3f}–{s['high']:.3f} |" for k, s in scores.items()]
    write_text(out / "README.md", CARD.format(**asdict(settings), **asdict(mix), **facts, samples=len(samples),
                                              table="\n".join(rows)))  # fmt: skip
    print(scores)


if __name__ == "__main__":
    main()
