"""Draws what `make_tripost_nano.py` learns from: conversations of a task, and drills of what a task is made of."""

import random
import re
from collections.abc import Callable
from typing import Any

import make_reasoning
import torch
from tripost_slips import wrong_attempt

from laif_helpers import benchmarks
from laif_helpers.graders import steps
from laif_helpers.graders.steps.word_sorting import ORDINALS
from laif_helpers.records import Message
from laif_helpers.tripost.trajectories import conversation

TASKS = ("word_sorting", "multistep_arithmetic")
CELLS = {
    "word_sorting": {"2-3": 3, "4-7": 5},  # the rounds have their own weights for it
    "multistep_arithmetic": {"l3d2": 6, "l4d2": 6, "l3d22": 2, "l4d22": 1},
}
"""How often each cell is drawn: long answers cost the most, and a fact is a fact in a short one too."""
Drawn = tuple[list[Message], list[bool]]
"""A conversation, and which of its answers are learned."""
Sample = tuple[list[int], list[int], list[float]]
"""Token ids, labels (the same ids if they are learned, else -100), and weights in the loss."""
Weigh = Callable[[str, list[tuple[int, int]]], list[float]]


def held_out() -> set[str]:
    """The questions of all splits, none of which is learned from."""
    splits = ("train", "validation", "test")
    return {e.question for name in TASKS for split in splits for e in benchmarks.get(name).load(split)}


def draw(
    rng: random.Random,
    wrong: float,
    forbidden: set[str],
    *,
    short: bool = False,
    sorting: float = 0.0,
    lists: tuple[int, int] = (3, 5),
) -> Drawn:
    """A conversation about a task: word sorting in the share ``sorting`` (0: both alike often), with short and longer
    lists as often as ``lists`` says. All answers are learned but an attempt with an error in it (share ``wrong``)."""
    names: tuple[str, ...] = TASKS
    if sorting:
        names = names[:1] if rng.random() < sorting else names[1:]
    while True:
        name = rng.choice(names)
        weights = dict(zip(CELLS[name], lists, strict=True)) if name == "word_sorting" else CELLS[name]
        cells = dict(list(weights.items())[:1]) if short else weights
        question = make_reasoning.DRAW[name](rng, rng.choices(list(cells), list(cells.values()))[0])
        if question not in forbidden:
            break
    module = steps.task(name)
    gold = steps.write(module.solve(module.read(question)))
    praise = steps.feedback(gold, module.check(question, gold))
    if rng.random() < wrong:
        attempt = wrong_attempt(name, question, rng)
        verdict = module.check(question, attempt)
        if not verdict.correct:
            repaired = steps.repair(module, question, attempt, verdict)
            texts = (attempt, steps.feedback(attempt, verdict), repaired, praise)
            return conversation(name, question, *texts)[:-1], [False, True, True, True]
    return conversation(name, question, gold, praise)[:-1], [True, True]


def draw_copy(rng: random.Random) -> Drawn:
    """A list of words that is repeated in one of the forms of the task: where copying is most of what there is to
    learn, it is learned in two minutes."""
    chosen = rng.sample(make_reasoning.words(), rng.randint(3, 12))
    question = "Sort the following words alphabetically:\nList: " + " ".join(chosen)
    lettered = ", ".join(f'"{word}"="{word[0]}" ({ord(word[0]) - 96})' for word in chosen)
    form = rng.randrange(4)
    if form == 0:
        question, answer = " ".join(chosen), " ".join(chosen)
    elif form == 1:
        answer = f"(1) The first letter: {lettered}."
    elif form == 2:
        separator = rng.choice((" < ", " ? "))
        answer = "(1) We now have: " + separator.join(f'"{word}"' for word in chosen) + "."
    else:
        question, answer = (
            f"(1) The first letter: {lettered}.",
            "(Final response) So the answer is: " + " ".join(chosen),
        )
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], [True]


def draw_letters(rng: random.Random) -> Drawn:
    """The letters of words at one place: what a word's token hides."""
    place = rng.randint(1, 4)
    chosen = rng.sample([word for word in make_reasoning.words() if len(word) > place], rng.randint(4, 10))
    lettered = ", ".join(f'"{word}"="{word[place]}" ({ord(word[place]) - 96})' for word in chosen)
    head = f"by looking at their {ORDINALS[place]} letters:"
    question = "Now sort this subpart [" + " ? ".join(f'"{word}"' for word in chosen) + f"] {head}"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": f"{head} {lettered}."}], [True]


def draw_sums(rng: random.Random) -> Drawn:
    """The single sums and products of an expression, one after the other."""
    cell = rng.choice(list(CELLS["multistep_arithmetic"]))
    question = make_reasoning.DRAW["multistep_arithmetic"](rng, cell)
    module = steps.task("multistep_arithmetic")
    gold = steps.write(module.solve(module.read(question)))
    found = dict.fromkeys(re.findall(r"\((-?\d+) ([-+*]) (-?\d+)\)", gold))
    work = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    sums = [(f"({a} {sign} {b})", work[sign](int(a), int(b))) for a, sign, b in found][:10]
    rng.shuffle(sums)
    answer = ", ".join(f"{text} = {value}" for text, value in sums)
    return [
        {"role": "user", "content": ", ".join(text for text, _ in sums)},
        {"role": "assistant", "content": answer},
    ], [True]


DRILLS = {"copy": draw_copy, "letters": draw_letters, "sums": draw_sums}


def encode(drawn: list[Drawn], tokenizer: Any, weigh: Weigh | None = None) -> list[Sample]:
    """The chat template's ids, turn by turn, with labels on the answers that are learned and their end tokens.

    ``weigh`` gives the weight of each token of a text from the places of its tokens; without it all weigh the same."""
    texts = [turn["content"] for turns, _ in drawn for turn in turns]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    read = iter(zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True))
    role = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("user", "assistant")}
    samples = []
    for turns, learned in drawn:
        ids: list[int] = []
        labels: list[int] = []
        weights: list[float] = []
        wanted = iter(learned)
        for turn in turns:
            answer = turn["role"] == "assistant"
            text, body, places = next(read)
            body = body + [tokenizer.eos_token_id] * answer
            ids += [role[turn["role"]], *body]
            labels += [-100, *(body if answer and next(wanted) else [-100] * len(body))]
            weights += [1.0, *(weigh(text, places) if weigh else [1.0] * len(places)), *[1.0] * answer]
        samples.append((ids, labels, weights))
    return samples


def sized(block: list[Sample], rng: random.Random, tokens_a_step: int) -> list[list[Sample]]:
    """The samples in batches of like length, at most ``tokens_a_step`` tokens with their padding."""
    found: list[list[Sample]] = [[]]
    for sample in sorted(block, key=lambda sample: len(sample[0])):
        if found[-1] and (len(found[-1]) + 1) * len(sample[0]) > tokens_a_step:
            found.append([])
        found[-1].append(sample)
    rng.shuffle(found)
    return found


def padded(batch: list[Sample], pad: int) -> tuple[torch.Tensor, ...]:
    """Ids, labels and weights of a batch, (rows, longest) each."""
    longest = max(len(ids) for ids, *_ in batch)
    whole = [torch.full((len(batch), longest), fill) for fill in (pad, -100, 0.0)]
    for row, sample in enumerate(batch):
        for tensor, values in zip(whole, sample, strict=True):
            tensor[row, : len(values)] = torch.tensor(values)
    return tuple(whole)
