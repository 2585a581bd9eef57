"""Training speed on the nano target: ours beside TRL's defaults and the scheme of the original authors.

    python bench/training.py [ITEMS]              tokens a second, three ways, one after another in one process
    python bench/training.py --model FOLDER       the same on any model folder, in float32 and in bfloat16
    python bench/training.py --overhead [SECONDS] notebook + papermill + launch over calling the trainer directly
    python bench/training.py --flops [ROWS]       a Llama of 1 billion random weights on a GPU: utilisation, memory

The items are gold lessons of the practice world with their real lengths, all ways train one epoch of the same ones. A
real token is one of a sample: padding is work but no token. The original pads every sample to 512 tokens, alone in its
batch, with loss on the padding; it is timed on a sixteenth of the items.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from laif_helpers import lessons, recipe
from laif_helpers.benchmarks import get
from laif_helpers.paths import NANO
from laif_helpers.recipe import StageParameters
from laif_helpers.records import write_jsonl
from laif_helpers.train import memory
from laif_helpers.train import settings as train_settings
from laif_helpers.train.child import base_model, sft
from laif_helpers.train.child import samples as sft_samples

PADDED = 512
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bf16 operations a second from the makers' data sheets."""


def prepared(runs: str, items: int, **values: Any) -> train_settings.Settings:
    """Settings of a training on ``items`` gold lessons, with the recipe's defaults for nano."""
    os.environ["LAIF_RUNS"] = runs
    given = {"run": "bench", "arm": "fine_tuning", "iteration": 1, "epochs": 1} | values
    p = recipe.build(StageParameters, given)
    gold = lessons.from_gold(get("practice").load("train"), "practice", items, 0, p.arm, 1)
    bench = get("practice")
    known = {example.id: example for example in bench.load("train")}
    rows = []
    for lesson in gold[:items]:
        asked = bench.messages(known[lesson.source_ids[0]])
        answer = {"role": "assistant", "content": lesson.response}
        rows.append({"id": lesson.id, "benchmark": "practice", "source": "gold", "messages": [*asked, answer]})
    write_jsonl(p.folder.training_set, rows)
    return train_settings.make_settings(p)


def ours(settings: train_settings.Settings, tokenizer: Any, samples: list[dict[str, Any]]) -> Any:
    arguments = sft.trainer_arguments(settings, samples)
    return sft.make_trainer(settings, arguments, base_model.load_model(settings), tokenizer, samples)


def defaults(settings: train_settings.Settings, tokenizer: Any, samples: list[dict[str, Any]]) -> Any:
    """TRL as it comes: its batch size, its order, its padding; the same tokens, no file written."""
    from datasets import Dataset
    from trl.kernels import chunked_logprob
    from trl.trainer import utils
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    utils._use_triton = chunked_logprob._use_triton  # as it comes: ours has changed it in this process
    arguments = SFTConfig(
        output_dir=settings.folder, num_train_epochs=1, report_to="none", save_strategy="no", disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available() or settings.dtype == "bfloat16",
    )  # fmt: skip
    data = Dataset.from_list(samples)
    return SFTTrainer(
        model=base_model.load_model(settings), args=arguments, train_dataset=data, processing_class=tokenizer
    )


def original(settings: train_settings.Settings, tokenizer: Any, samples: list[dict[str, Any]]) -> Any:
    """One sample a step, padded to 512 tokens, the padding in the labels, as the authors' code does."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    pad = tokenizer.pad_token_id
    rows = []
    for sample in samples[: max(1, len(samples) // 16)]:
        gap = [pad] * (PADDED - len(sample["input_ids"]))
        rows.append({"input_ids": sample["input_ids"] + gap, "labels": sample["labels"] + gap})
    arguments = TrainingArguments(
        output_dir=settings.folder, num_train_epochs=1, per_device_train_batch_size=1, report_to="none",
        save_strategy="no", disable_tqdm=True, logging_steps=1, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    return Trainer(model=base_model.load_model(settings), args=arguments, train_dataset=Dataset.from_list(rows))


def timed(make: Callable[..., Any], *given: Any) -> tuple[float, int]:
    """Seconds of ``train()`` alone, and the samples it saw."""
    trainer = make(*given)
    begin = time.perf_counter()
    trainer.train()
    return time.perf_counter() - begin, len(trainer.train_dataset)


def side_by_side(items: int, **values: Any) -> None:
    with tempfile.TemporaryDirectory() as runs:
        settings = prepared(runs, items, **values)
        tokenizer = sft_samples.load_tokenizer(settings.base)
        samples, shares = sft_samples.make_samples(settings, tokenizer)
        ways = {
            f"laif_helpers.train (batches of {settings.batch_size} by length, {settings.dtype})": ours,
            "TRL SFTTrainer, default settings (batches of 8)": defaults,
            "the original's scheme (batch 1, padded to 512)": original,
        }
        timed(ours, settings, tokenizer, samples[:64])  # first steps set up threads and memory: nobody's speed
        rates = dict.fromkeys(ways, 0.0)
        for _ in range(2):  # the better of two rounds: a busy machine is not what is measured
            for name, way in ways.items():
                seconds, seen = timed(way, settings, tokenizer, samples)
                tokens = sum(len(sample["input_ids"]) for sample in samples[:seen])
                rates[name] = max(rates[name], tokens / seconds)
    lengths = sorted(len(sample["input_ids"]) for sample in samples)
    quarters = [round(value) for value in statistics.quantiles(lengths, n=4)]
    print(f"{len(samples)} samples, {shares['sample_tokens']:,} tokens, {torch.get_num_threads()} threads")
    print(f"tokens a sample: {lengths[0]} to {lengths[-1]}, quartiles {quarters}")
    first = next(iter(rates))
    for name, rate in rates.items():
        print(f"{name:<64} {rate:9,.0f} real tokens/s   ours is {rates[first] / rate:5.2f} x")


def of_model(folder: str, items: int = 64) -> None:
    """Any model folder, in both precisions; gold lessons of the practice world, few because it may be large."""
    for dtype in ("float32", "bfloat16"):
        side_by_side(items, target=folder, dtype=dtype, batch_size=16, learning_rate=1e-4)


def overhead(seconds: float) -> None:
    """One training by ``laif`` (papermill, kernel, launch, probe) beside the same training child called directly."""
    with tempfile.TemporaryDirectory() as runs:
        settings = prepared(runs, 1000)
        tokenizer = sft_samples.load_tokenizer(settings.base)
        samples, _ = sft_samples.make_samples(settings, tokenizer)
        epoch = min(timed(ours, settings, tokenizer, samples)[0] for _ in range(2))
        epochs = max(1, round(seconds / epoch))
        direct, noted = [], []
        for turn in ("a", "b"):  # in turns, the faster of each counts: machines slow down for minutes
            settings = prepared(runs, 1000, epochs=epochs, run=f"direct-{turn}")
            direct.append(clocked(lambda settings=settings: by_itself(settings)))
            noted.append(clocked(lambda turn=turn: through_notebook(runs, epochs, turn)))
    print(f"{epochs} epochs of 1000 items: the training child alone {direct} s, by the notebook {noted} s")
    print(f"overhead {min(noted) / min(direct) - 1:.1%}")


def clocked(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return round(time.perf_counter() - begin, 1)


def by_itself(settings: train_settings.Settings) -> None:
    folder = Path(settings.folder)
    write_config(folder, settings)
    command = [sys.executable, "-m", "laif_helpers.train.child", str(folder / "train_config.json")]
    env = os.environ | {"PYTHONPATH": str(NANO.parents[1])}
    with (folder / "train.out").open("wb") as log:
        subprocess.run(command, env=env, check=True, stdout=log, stderr=log)


def write_config(folder: Path, settings: train_settings.Settings) -> None:
    from laif_helpers.records import write_json

    write_json(folder / "train_config.json", settings.model_dump() | {"identity": settings.identity})


def through_notebook(runs: str, epochs: int, turn: str) -> None:
    """Notebook 05 on gold lessons by papermill, as the runner executes it."""
    notebook = NANO.parents[1] / "notebooks" / "05_train_deepspeed.ipynb"
    given = {"RUN": f"noted-{turn}", "ARM": "fine_tuning", "BUDGET": 1000, "REPLAY_FRACTION": 0, "EPOCHS": epochs}
    given |= {"HOLDOUT_FRACTION": 0, "ITERATION": 1}
    words = [word for key, value in given.items() for word in ("-p", key, str(value))]
    env = os.environ | {"PYTHONPATH": str(NANO.parents[1]), "LAIF_RUNS": runs}
    argv = [sys.executable, "-m", "papermill", str(notebook), str(Path(runs) / "out.ipynb"), *words, "-k", "python3"]
    subprocess.run(argv, env=env, check=True, capture_output=True)


def flops(rows: int = 4, length: int = 2048, items: int = 128) -> None:
    """Our trainer on a random Llama of 1 billion weights, ``rows`` full rows of 2,048 tokens a step, bf16, no
    checkpointing.

    Utilisation of the device's peak, as PaLM's appendix B defines it: 6 operations a weight and token, and attention's
    own products, 12 × layers × width × length a token; without these in brackets. Beside it the plain Trainer that pads
    practice lengths to 512, and the preflight's estimate beside the peak memory.
    """
    if not torch.cuda.is_available():
        print("--flops needs a GPU, and there is none here: not measured")
        return
    from transformers import LlamaConfig, LlamaForCausalLM

    with tempfile.TemporaryDirectory() as runs:
        base = Path(runs) / "random-1b"
        tokenizer = sft_samples.load_tokenizer(str(NANO))
        tokenizer.save_pretrained(base)
        shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
        config = LlamaConfig(vocab_size=32000, num_key_value_heads=8, max_position_embeddings=length, **shape)
        with torch.device("cuda"):
            LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(base)
        values = {"target": str(base), "batch_size": rows, "max_length": length, "gradient_checkpointing": False}
        settings = prepared(runs, items, **values)
        random = torch.Generator().manual_seed(0)
        ids = torch.randint(0, 32000, (items, length), generator=random).tolist()
        full = [{"input_ids": row, "labels": row} for row in ids]
        short, _ = sft_samples.make_samples(settings, tokenizer)
        model = memory.shape(str(base))
        needed = memory.need(model, settings, gpu=True, longest=length)
        for name, way, data in (("ours, full rows", ours, full), ("plain Trainer, padded", original, short * 4)):
            timed(way, settings, tokenizer, data[: len(data) // 8])  # first steps compile kernels: nobody's speed
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            seconds, seen = timed(way, settings, tokenizer, data)
            longest = max(len(row["input_ids"]) for row in data[:seen])
            attention = 12 * config.num_hidden_layers * config.hidden_size * longest
            tell(name, model.weights, sum(len(row["input_ids"]) for row in data[:seen]) / seconds, attention)
            print(f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        print(f"preflight's estimate for ours: {needed.device / 2**30:.1f} GiB")


def tell(name: str, weights: int, rate: float, attention: int) -> None:
    """``attention``: operations of one token in attention's own products."""
    device = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAK.items() if key in device), 0.0)
    plain, whole = (rate * each / peak if peak else 0.0 for each in (6 * weights, 6 * weights + attention))
    used = f"{whole:.1%} of the peak ({plain:.1%})" if peak else "this device's peak is not in the table"
    print(f"{device}, {weights / 1e9:.2f} billion weights, {name}: {rate:,.0f} real tokens/s, {used}")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--overhead"]:
        overhead(float(words[1]) if words[1:] else 120.0)
    elif words[:1] == ["--model"] and words[1:]:
        of_model(words[1])
    elif words[:1] == ["--flops"]:
        flops(int(words[1]) if words[1:] else 4)
    else:
        side_by_side(int(words[0]) if words else 1000)
