"""Train the target of the self-repair runs: `python data/make_nano_logic.py` (25 minutes of one core; a training that
was stopped goes on from its last hundred steps).

nano_tripost, which can copy and add, learns logical deduction and date understanding in their seen buckets: answers by
the solver and, on errors put in by a script, what feedback and repair look like. No question of any split is among its
data, and the errors are never its own: to find those is what TriPosT has to teach.

What makes it learnable in minutes: a name is one token, and takes over the vector of a word that nano_tripost copies.
From fresh vectors nothing is copied after twelve times as many conversations; from these, after a tenth of them.
"""

import argparse
import random
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import make_nano
import make_tripost_nano
import torch
from make_tripost_nano import Sample, Settings, encode, held_out, measure, of_like_length, train
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from tripost_slips import wrong_attempt

from laif_helpers.benchmarks import date_understanding, logical_deduction, word_sorting
from laif_helpers.graders import steps
from laif_helpers.graders.steps.date_understanding import MONTHS, Relation, write
from laif_helpers.paths import ROOT
from laif_helpers.records import Message, write_json, write_text
from laif_helpers.tripost.trajectories import conversation

START = ROOT / "data" / "nano_tripost"
OUT = ROOT / "data" / "nano_logic"
TASKS: dict[str, Any] = {"logical_deduction": logical_deduction, "date_understanding": date_understanding}
CELLS = {"logical_deduction": {"3": 2, "5": 3}, "date_understanding": {"1": 2, "2": 3}}
"""How often each cell is drawn."""
NAMES = sorted(
    {thing.removeprefix("a ") for scene in logical_deduction.SCENES for thing in scene.things}
    | {event.removeprefix("the ") for event in date_understanding.EVENTS}
    | {*date_understanding.PEOPLE, *MONTHS[1:]},
    key=lambda name: (-len(name), name),
)
"""What the tasks speak of; one token each."""
BLOCK = 128
DRILLED, LEAST = 3000, 0.35
"""Conversations in which drills fall from all to their ``LEAST`` share."""
SETTINGS = Settings(
    steps=6000,
    tokens_a_step=1500,
    learning_rate=1e-3,
    decay=0.5,
    vocabulary=700,
    wrong=0.4,
    drills=LEAST,
)
Drawn = tuple[list[Message], list[bool]]
"""A conversation, and which of its answers are learned."""


def draw(rng: random.Random, forbidden: set[str]) -> Drawn:
    """A question with its answer and feedback; or an attempt with an error, which is not learned, and its repair."""
    while True:
        name = rng.choice(list(TASKS))
        question = TASKS[name].draw(rng, rng.choices(list(CELLS[name]), list(CELLS[name].values()))[0])
        if question not in forbidden:
            break
    module = steps.task(name)
    gold = steps.write(module.solve(module.read(question)))
    praise = steps.feedback(gold, module.check(question, gold))
    if rng.random() < SETTINGS.wrong:
        attempt = wrong_attempt(name, question, rng)
        verdict = module.check(question, attempt)
        if not verdict.correct:
            repaired = steps.repair(module, question, attempt, verdict)
            texts = (attempt, steps.feedback(attempt, verdict), repaired, praise)
            return conversation(name, question, *texts)[:-1], [False, True, True, True]
    return conversation(name, question, gold, praise)[:-1], [True, True]


def drill_clues(rng: random.Random) -> Drawn:
    """The clues of a question as patterns, or an order read off its places."""
    question = logical_deduction.draw(rng, rng.choice(["3", "5"]))
    module = steps.task("logical_deduction")
    item = module.read(question)
    if rng.random() < 0.5:
        return _turn(question, "\n".join(map(str, module.solve(item)[: len(item.clues)])))
    order = rng.sample(item.objects, len(item.objects))
    places = [f"({at}) Place {at}: {name}." for at, name in enumerate(order, start=1)]
    return _turn("\n".join(places), f"({len(order) + 1}) So the order is {', '.join(order)}.")


def drill_names(rng: random.Random) -> Drawn:
    """A list of names, repeated."""
    names = ", ".join(rng.sample(NAMES, rng.randint(4, 9)))
    return _turn(names, names)


def drill_dates(rng: random.Random) -> Drawn:
    """Six single steps from one date to another."""
    asked: list[str] = []
    answers: list[str] = []
    while len(asked) < 6:
        day = _day(rng)
        unit, most = rng.choice((("day", 30), ("day", 6), ("week", 4), ("month", 4), ("year", 3)))
        relation = Relation("The date asked for", rng.randint(1, most) * rng.choice((-1, 1)), unit, "today")
        try:
            found = relation.apply(day)
        except ValueError:  # a month without that day
            continue
        number = f"({len(asked) + 1})"
        asked.append(f"{number} {str(relation).removeprefix('The date asked for is ')} ({write(day)})")
        answers.append(f"{number} {relation} ({write(day)}), so it is {write(found)}.")
    return _turn("\n".join(asked), "\n".join(answers))


def drill_forms(rng: random.Random) -> Drawn:
    """Dates as a question gives them, written as an answer does."""
    days = [_day(rng) for _ in range(5)]
    asked = [f"({at}) {date_understanding.given(rng, 'today', day)}" for at, day in enumerate(days, start=1)]
    return _turn("\n".join(asked), "\n".join(f"({at}) ({write(day)})" for at, day in enumerate(days, start=1)))


def drill_options(rng: random.Random) -> Drawn:
    """Each option of a question, and its letter."""
    name = rng.choice(list(TASKS))
    question = TASKS[name].draw(rng, rng.choice(list(CELLS[name])))
    options = list(steps.task(name).read(question).options.items())
    answers = [f"{text}. So the answer is ({letter})." for letter, text in rng.sample(options, len(options))]
    return _turn(question[question.index("Options:") :], "\n".join(answers))


DRILLS = (drill_clues, drill_clues, drill_names, drill_dates, drill_dates, drill_forms, *[drill_options] * 3)


def _turn(question: str, answer: str) -> Drawn:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], [True]


def _day(rng: random.Random) -> date:
    return date(1950, 1, 1) + timedelta(days=rng.randrange(365 * 100))


def batches(number: int, tokenizer: Any, forbidden: set[str]) -> list[list[Sample]]:
    """The batches of block ``number``."""
    rng = random.Random(f"{SETTINGS.seed}-{number}")
    drawn = []
    for at in range(number * BLOCK, (number + 1) * BLOCK):
        drills = max(LEAST, 1 - at / DRILLED)
        drawn.append(rng.choice(DRILLS)(rng) if rng.random() < drills else draw(rng, forbidden))
    return of_like_length(encode(drawn, tokenizer), SETTINGS.tokens_a_step, rng)


def begin() -> tuple[LlamaForCausalLM, Any]:
    """nano_tripost's layers, a tokenizer for these tasks, and for each name the vector of a word of the list."""
    rng = random.Random(SETTINGS.seed)
    conversations = [draw(rng, set())[0] for _ in range(1500)]
    tokenizer = make_tripost_nano.make_tokenizer(conversations, SETTINGS.vocabulary, NAMES, alone=r"\d|\n")
    model = make_nano.make_model(tokenizer, SETTINGS)
    model.config.max_position_embeddings = make_tripost_nano.CONTEXT
    before = LlamaForCausalLM.from_pretrained(START)
    reader = PreTrainedTokenizerFast.from_pretrained(START)
    vectors = make_tripost_nano.taken_over(before, reader, tokenizer, torch.Generator().manual_seed(0))
    known = [ids[0] for ids in reader(word_sorting.words(), add_special_tokens=False)["input_ids"] if len(ids) == 1]
    vectors[name_rows(tokenizer)] = before.get_input_embeddings().weight.detach()[rng.sample(known, len(NAMES))]
    model.load_state_dict(before.state_dict() | {"model.embed_tokens.weight": vectors, "lm_head.weight": vectors})
    return model, tokenizer


def name_rows(tokenizer: Any) -> torch.Tensor:
    return torch.tensor(tokenizer.convert_tokens_to_ids(NAMES))


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [reasoning, tiny, educational]
---
# nano_logic

A Llama of {parameters:,} parameters, trained from nano_tripost by `python data/make_nano_logic.py` as a target for
self-repair. It puts three or five things in order and works dates out, step by step, writes feedback on an answer and
repairs it; what it knows of errors comes from errors that a script put in. It is good for nothing else.

{steps:,.0f} steps of at most {tokens_a_step:,} tokens ({samples:,.0f} conversations, {tokens:,.0f} tokens,
{seconds:,.0f} processor seconds), AdamW (0.9, 0.95), learning rate {learning_rate:g}, falling to 0 in the second half.
Its conversations lie in the seen buckets of `logical_deduction` and `date_understanding`, none of them a question of a
split; {wrong:.0%} hold an attempt with an error, its feedback and its repair (the attempt itself is not learned). All
at the beginning and then a third are drills: clues, names, single dates, letters of options.

| test items | N | first answer right | 95 % interval | last answer right |
|---|---|---|---|---|
{table}

First and last answer of the loop of notebook 08, greedy, at most two updates.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=SETTINGS.threads)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = begin()
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens in the vocabulary", flush=True)
    kept = given.out / "training.pt"
    blocks = partial(batches, tokenizer=tokenizer, forbidden=held_out(TASKS))
    done = train(model, blocks, SETTINGS, kept, name_rows(tokenizer))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    write_card(given.out, model.num_parameters(), done, measure(given.out, TASKS))
    kept.unlink()


def write_card(out: Path, parameters: int, done: dict[str, float], scores: dict[str, dict[str, float]]) -> None:
    write_json(out / "scores.json", {"parameters": parameters, "done": done, "scores": scores})
    rows = [f"| {k} | {s['n']} | {s['first']:.3f} | {s['low']:.3f}–{s['high']:.3f} | {s['last']:.3f} |"
            for k, s in scores.items()]  # fmt: skip
    filled = asdict(SETTINGS) | done | {"steps": done["step"], "parameters": parameters, "table": "\n".join(rows)}
    write_text(out / "README.md", CARD.format(**filled))


if __name__ == "__main__":
    main()
