"""Make the real target of the self-repair runs, ``data/downloads/smollm2-steps``: `python data/make_smollm2_steps.py`.

SmolLM2-135M-Instruct (`make smollm2`) learns word sorting and multistep arithmetic, in their seen buckets, from the
solvers' answers alone: it has seen no wrong answer, no feedback and no repair. No question of any split is among its
problems. Two minutes on one H100 GPU; two cores learn about a hundred tokens a second, so that they need a night.
"""

import argparse
import json
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import make_reasoning
import torch
from make_smollm2 import DOWNLOADS, HEAD, Settings, halves, train
from transformers import AutoModelForCausalLM, AutoTokenizer
from tripost_conversations import CELLS, TASKS, held_out

from laif_helpers import benchmarks, models
from laif_helpers.graders import steps
from laif_helpers.records import write_json, write_text
from laif_helpers.stats import wilson

DEFAULTS = replace(Settings(), problems=20_000, batch_size=64, learning_rate=5e-4, twisted=0.0)
CARD = """# smollm2-steps

SmolLM2-135M-Instruct after {problems:,} problems of word sorting and multistep arithmetic with the solvers' answers,
made by `python data/make_smollm2_steps.py`: one pass in batches of {batch_size}, learning rate {learning_rate} down to
zero on a straight line, seed {seed}; {tokens:,} tokens in {seconds} s on {place}.

Greedy first answers, first {measured} items of each task's test split in its seen buckets; 95 % Wilson interval.

| bucket | N | right | interval |
|---|---|---|---|
{table}
"""


def samples(settings: Settings, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """``(prompt, answer)`` token ids: questions of both tasks' seen buckets, none twice and none of any split."""
    rng, forbidden, found = random.Random(settings.seed), held_out(), []
    while len(found) < settings.problems:
        name = TASKS[len(found) % len(TASKS)]
        question = make_reasoning.DRAW[name](rng, rng.choices(list(CELLS[name]), list(CELLS[name].values()))[0])
        if question in forbidden:
            continue
        forbidden.add(question)
        module, asked = steps.task(name), benchmarks.get(name).messages_for(question)
        answer = steps.write(module.solve(module.read(question)))
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        read = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer)]
        found.append((read[0], [*read[1], tokenizer.eos_token_id]))
    return found


def measure(folder: Path, limit: int) -> dict[str, dict[str, float]]:
    """Share of right first answers in each seen bucket."""
    scores = {}
    for name in TASKS:
        bench = benchmarks.get(name)
        items = [e for e in bench.load("test") if e.fields["seen"]][:limit]
        done = models.generate(str(folder), [bench.messages(e) for e in items], max_new_tokens=900, progress=False)
        for bucket in sorted({e.fields["bucket"] for e in items}):
            here = [bench.grade(e, a.text).correct for e, a in zip(items, done, strict=True)
                    if e.fields["bucket"] == bucket]  # fmt: skip
            low, high = wilson(sum(here), len(here))
            scores[f"{name} {bucket}"] = {"n": len(here), "right": sum(here) / len(here), "low": low, "high": high}
    return scores


def make(base: Path, folder: Path, settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    tokenizer, place = AutoTokenizer.from_pretrained(base), "cuda" if torch.cuda.is_available() else "cpu"
    problems = samples(settings, tokenizer)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(place)
    began = time.perf_counter()
    train(model, problems, settings, tokenizer.pad_token_id)
    facts: dict[str, Any] = {"seconds": round(time.perf_counter() - began), "bf16": halves()}
    facts["tokens"] = sum(len(prompt) + len(answer) for prompt, answer in problems)
    facts["place"] = torch.cuda.get_device_name() if place == "cuda" else f"{settings.threads} CPU cores"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    scores = measure(folder, settings.measured)
    write_json(folder / "scores.json", {"settings": asdict(settings), **facts, "scores": scores})
    row = "| {} | {n} | {right:.1%} | {low:.1%} to {high:.1%} |".format
    table = "\n".join(row(name, **values) for name, values in scores.items())
    write_text(folder / "README.md", HEAD + CARD.format(**asdict(settings), **facts, table=table))
    print(json.dumps(scores), f"\n{facts['seconds']} s of training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOWNLOADS / "smollm2-steps")
    for key in ("problems", "batch_size", "learning_rate", "seed", "threads", "measured"):
        parser.add_argument(f"--{key}", type=type(getattr(DEFAULTS, key)), default=getattr(DEFAULTS, key))
    given = vars(parser.parse_args())
    out, base = given.pop("out"), DOWNLOADS / "smollm2-135m-instruct"
    if not base.is_dir():
        raise SystemExit(f"{base} is not there; make it: make smollm2")
    if out.is_dir():
        raise SystemExit(f"{out} is there; remove it to make it again")
    partial_folder = out.with_name(f".{out.name}.partial")
    make(base, partial_folder, replace(DEFAULTS, **given))
    partial_folder.rename(out)


if __name__ == "__main__":
    main()
