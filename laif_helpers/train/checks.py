"""Refuses, in a sentence, a training that could not come through: before anything heavy is loaded."""

import math
from collections import Counter
from pathlib import Path

from laif_helpers import launch, target
from laif_helpers.paths import resolve
from laif_helpers.recipe import Recipe, StageParameters, local_target
from laif_helpers.records import ROLLOUT, read_json, read_rows, read_state

ON_HEAD = (
    "acts on the model's head, which TRL does not train; merge the two (laif_helpers.train.child.base_model.merge) and "
    "name the result as target"
)


def check_training_set(path: Path) -> dict[str, int]:
    """Samples of a training file by benchmark and source. Raises, naming the row that cannot be trained on."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make the training set first (notebook 05, section Mix)")
    count, counts, learns = 0, Counter[str](), False
    for count, row in enumerate(read_rows(path), start=1):
        messages = row.get("messages") or [{}]
        last = messages[-1]
        if row.get("source") == ROLLOUT:
            messages = [*messages, {"role": "assistant"}]  # its answer is yet to be written
        elif last.get("role") != "assistant" or not str(last.get("content") or "").strip():
            raise ValueError(f"{path}: row {count} (id {row.get('id')!r}) has no response; remove it from the lessons")
        if odd := next((part for part in row.get("messages") or [] if not isinstance(part.get("content"), str)), None):
            what = type(odd.get("content")).__name__
            raise ValueError(f"{path}: row {count} (id {row.get('id')!r}) has content of type {what}; write it as text")
        if len(messages) < 2:
            raise ValueError(f"{path}: row {count} (id {row.get('id')!r}) has no question before its response")
        for weight in [part.get("weight", 1.0) for part in (row, *row["messages"])]:
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(
                    f"{path}: row {count} has weight {weight!r}; a weight is a number from 0 on (1: as it is)"
                )
        said = [part["weight"] for part in row["messages"] if "weight" in part and part.get("role") == "assistant"]
        learns = learns or bool(row.get("weight", 1.0) and any(said or [1.0]))
        counts[f"{row.get('benchmark', '?')}, {row.get('source', '?')}"] += 1
    if not count:
        raise ValueError(f"{path} holds no samples, so there is nothing to train on; look at the lessons' funnel")
    if not learns:
        raise ValueError(f"{path}: every weight is 0, so there is nothing to learn; give an answer a weight above 0")
    return dict(sorted(counts.items()))


def check_base(p: StageParameters) -> None:
    """Refuse a base that is not there, is no model, or is a LoRA adapter that does not fit the settings."""
    base = target.place(p.base_model)
    if not base.is_dir():
        if p.iteration > 1:
            raise FileNotFoundError(f"{base} does not exist; train iteration {p.iteration - 1} of arm {p.arm!r} first")
        return target.check(p.base_model)
    if (base / "adapter_config.json").is_file():
        return check_adapter(base, p)
    if not (base / "config.json").is_file():
        raise ValueError(f"base model {base} holds no config.json; target must name a Hugging Face model folder")
    check_fit(base, p)


def check_hosts(p: StageParameters) -> None:
    """Refuse a hostfile that is not there, or whose slots are not the processes asked for."""
    if not p.hostfile:
        return
    slots = sum(launch.hosts(resolve(p.hostfile)).values())
    if slots != p.num_processes:
        raise ValueError(
            f"num_processes {p.num_processes} is not the {slots} slots of hostfile {p.hostfile}; make them equal"
        )


def check_penalty(p: StageParameters) -> None:
    """Refuse a penalty that has nothing to act on, or a starting model that ZeRO-3 spreads over the ranks."""
    if p.kl_weight and p.deepspeed.startswith("zero3"):
        raise ValueError(
            f"kl_weight {p.kl_weight:g} compares with a whole copy of the starting model, and deepspeed: {p.deepspeed} "
            "spreads the weights over the ranks; set deepspeed: zero2, or kl_weight: 0"
        )
    if p.kl_weight and not p.replay_fraction:
        raise ValueError(
            f"kl_weight {p.kl_weight:g} acts on replayed items, and replay_fraction is 0; set it, for instance to 0.25"
        )


def check_adapter(folder: Path, p: StageParameters) -> None:
    """Refuse to go on with a LoRA adapter of another base than the recipe's target, or as ``check_fit`` does."""
    adapter = read_json(folder / "adapter_config.json")
    made_for, target = str(adapter.get("base_model_name_or_path")), local_target(p.target)
    if p.iteration > 1 and made_for != target and not (Path(target) / "adapter_config.json").is_file():
        raise ValueError(f"adapter {folder} was trained for {made_for}, but the target is {target}; use that target")
    check_fit(folder, p)


def check_fit(folder: Path, p: Recipe) -> None:
    """Refuse to train a quantised model, or to go on with an adapter whose base is gone, of another rank, or on a head
    that TRL does not train."""
    how = (read_state(folder / "config.json").get("quantization_config") or {}).get("quant_method", "")
    if how and not (how == "bitsandbytes" and p.lora_rank):
        raise ValueError(f"{folder} is quantised ({how}): it answers and is not trained; name its unquantised weights")
    if not (adapter := read_state(folder / "adapter_config.json")):
        return
    made_for, acts_on = str(adapter.get("base_model_name_or_path")), adapter.get("target_modules")
    if isinstance(acts_on, list) and "lm_head" in acts_on:
        raise ValueError(f"adapter {folder} {ON_HEAD}")
    if Path(made_for).is_absolute() and not Path(made_for).is_dir():
        raise FileNotFoundError(f"adapter {folder} was trained for {made_for}, which does not exist; put it back")
    if p.lora_alpha and p.lora_alpha != (alpha := adapter.get("lora_alpha")):
        raise ValueError(f"lora_alpha {p.lora_alpha} does not fit adapter {folder} of alpha {alpha}; leave it out")
    if p.lora_rank != (rank := adapter.get("r") or 0):  # not every kind of adapter has one
        raise ValueError(
            f"lora_rank {p.lora_rank} does not fit adapter {folder} of rank {rank}; set lora_rank: {rank} to go on "
            "training it"
        )
