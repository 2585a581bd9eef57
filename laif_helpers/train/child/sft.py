"""Runs the training inside its process: samples to tokens, TRL's SFTTrainer, a checkpoint that is whole.

Only ``train.py``'s child runs this. With several ranks, every rank runs all of it; rank 0 writes.
"""

import contextlib
import copy
import errno
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from laif_helpers import machine
from laif_helpers.models import adapters, check, precision
from laif_helpers.records import Row, sound_rows, write_json
from laif_helpers.train import memory, preflight, snapshots
from laif_helpers.train.child import order, rollouts, savings
from laif_helpers.train.child.base_model import check_head, load_model
from laif_helpers.train.child.callbacks import make_log, make_saver
from laif_helpers.train.child.checkpoint import finish, save
from laif_helpers.train.child.samples import load_tokenizer, make_samples, parts
from laif_helpers.train.child.zero import check_deepspeed_keys, gloo_on_cpu, states_hold_only_data
from laif_helpers.train.settings import BETAS, SCHEDULE, Settings
from laif_helpers.train.trackers import prepare_tracker, tracked_name


def run(settings: Settings) -> None:
    """Train; a problem that a person can mend ends up as one sentence in ``train_error.json``."""
    try:
        train(settings)
    except Exception as error:
        traceback.print_exc()
        sentence = str(error) if isinstance(error, ValueError) else disk_sentence(error, settings)
        if not sentence:
            raise
        with contextlib.suppress(OSError):  # on a disk without room for a sentence, the log has it
            shutil.rmtree(settings.unfinished, ignore_errors=True)
            write_json(Path(settings.folder) / "train_error.json", {"sentence": sentence})
        # Not sys.exit: other ranks may be waiting in a collective, and so would this one's clean-up.
        os._exit(2)


def train(settings: Settings) -> None:
    """One training from base (or the last state kept) to checkpoint, metrics and probe. Raises ValueError."""
    import_seconds = _import_trainer()
    begin = time.perf_counter()
    check_deepspeed_keys(settings)
    tokenizer = load_tokenizer(settings.base, settings.template_values)
    samples, shares = make_samples(settings, tokenizer)
    write_json(Path(settings.folder) / "train_row.json", parts(samples[0], tokenizer))
    size = preflight.size(settings)
    arguments = trainer_arguments(settings, samples, 0 if isinstance(size, str) else size.weights)
    if settings.deepspeed_config:
        gloo_on_cpu()
        states_hold_only_data()
    check_world(settings, arguments)
    needed = preflight.before_loading(settings, size, shares, arguments)
    model = load_model(settings)
    config = copy.deepcopy(model.config)
    model.generation_config.save_pretrained(settings.unfinished)  # an invalid one must not be found out at the end
    trainer = make_trainer(settings, arguments, model, tokenizer, samples)
    resumed = snapshots.latest(settings)
    log = make_log(settings, resumed)
    trainer.add_callback(log)
    trainer.add_callback(make_saver(settings, trainer, log))
    setup_seconds, start_memory = time.perf_counter() - begin, memory.held_mb()
    trainer._total_train_tokens = resumed.tokens if resumed else 0
    trainer.train(resume_from_checkpoint=str(resumed.path) if resumed else None)
    seconds, setup_seconds = log.seconds, setup_seconds + log.waited
    model.config = config  # trainers set what they need: no cache, and a router's logits, with which none can answer
    save(trainer, tokenizer, settings)
    is_first = trainer.is_world_process_zero()
    if is_first:
        metrics = shares | describe(trainer, settings, seconds)
        metrics |= {} if settings.signal == "answers" else rollouts.cost(settings, samples, metrics)
        metrics |= {"import_seconds": round(import_seconds, 2), "setup_seconds": round(setup_seconds, 2)}
        metrics |= {"start_memory_mb": start_memory, "preflight": needed}
        metrics |= {"dtype": str(model.dtype), "resumed_from": resumed.step if resumed else 0}
    del trainer, model, log
    _leave_group()
    if is_first:
        finish(settings, metrics)


def describe(trainer: Any, settings: Settings, seconds: float) -> Row:
    """What ``train_metrics.json`` says of the training proper."""
    history, arguments = trainer.state.log_history, trainer.args
    first = sound_rows(settings.files.train_log)[0]["loss"]  # of all attempts, not of this one
    tokens = int(_last(history, "num_tokens"))  # without padding, over all epochs and ranks
    return {
        **{"steps": trainer.state.global_step, "world_size": arguments.world_size, "deepspeed": settings.deepspeed},
        **{"tokens": tokens, "tokens_per_s": round(tokens / seconds, 1)},
        **{"start_loss": first, "final_loss": _last(history, "loss"), "seconds": round(seconds, 2)},
        **{"peak_memory_mb": memory.peak_mb(), "learning_rate": settings.learning_rate, "epochs": settings.epochs},
        **{"packing": getattr(arguments, "packing", False), "lora_rank": settings.lora_rank},
        "device": str(arguments.device),
        "computed_in": "bfloat16" if arguments.bf16 else "float32",
        "versions": machine.versions(),
    }


def check_world(settings: Settings, arguments: Any) -> None:
    """Refuse to train with another number of processes than was asked for: batches and states would not fit."""
    if arguments.world_size != settings.num_processes:
        raise ValueError(
            f"num_processes is {settings.num_processes}, but {arguments.world_size} came up; make it the number of "
            "GPUs (with a hostfile: of all its slots)"
        )


def disk_sentence(error: BaseException, settings: Settings) -> str:
    """The sentence for a disk that is full or read-only, "" for every other error.

    torch and safetensors wrap the system's answer in errors of their own, so the free space is asked for too.
    """
    number = getattr(error, "errno", None)
    free = shutil.disk_usage(settings.folder).free
    full = number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or free < 1 << 20
    if not full and number not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ""
    kept = snapshots.latest(settings)
    went = f"the state of step {kept.step} is kept and is gone on from" if kept else "nothing was kept"
    what = (
        f"the disk is full ({free / 2**20:.0f} MB free)" if full else f"the disk refuses ({os.strerror(number or 0)})"
    )
    return f"cannot write to {settings.folder}: {what}; {went} once there is room and you may write there"


def _import_trainer() -> float:
    begin = time.perf_counter()
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: F401

    return time.perf_counter() - begin


def trainer_arguments(settings: Settings, samples: list[Row], weights: int = 0) -> Any:
    """TRL's arguments for a model of so many weights.

    Made before the model: under ZeRO-3 their existence decides how the model is loaded.
    """
    import torch
    from trl.trainer.sft_config import SFTConfig

    prepare_tracker(settings.report_to, settings.folder)
    gpu = torch.cuda.is_available()
    common = {
        "output_dir": str(settings.snapshots),
        **_descent(settings, len(samples)),
        "bf16": _halves(settings, weights, gpu),
        "use_cpu": not gpu,
        "activation_checkpointing": gpu and settings.gradient_checkpointing,
        "deepspeed": settings.deepspeed_config or None,
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # our own callback says when, and seals what was written
        "save_total_limit": snapshots.KEPT,
        "report_to": settings.report_to,
        "run_name": tracked_name(settings.folder),
        "disable_tqdm": True,
        "dataloader_pin_memory": gpu,
    }
    if settings.signal != "answers":
        return rollouts.arguments(settings, len(samples), common)
    why_not = why_no_packing(settings, samples, gpu) if settings.packing else ""
    if why_not:
        print(f"packing is off: {why_not}; batches go by length instead")
    packing = settings.packing and not why_not
    # Rows are tokenised already; TRL's preparation would walk through them four times more.
    prepared = None if packing else {"skip_prepare_dataset": True}
    return SFTConfig(**common, max_length=settings.max_length, packing=packing, dataset_kwargs=prepared)


def _descent(settings: Settings, samples: int) -> Row:
    """The arguments that decide the steps: how many, how large, how the rate changes."""
    same = ("learning_rate", "weight_decay", "max_grad_norm", "seed")
    return {name: getattr(settings, name) for name in same} | {
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "num_train_epochs": settings.epochs,
        "lr_scheduler_type": SCHEDULE,
        "warmup_steps": warmup(settings, samples),
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
    }


def _halves(settings: Settings, weights: int, gpu: bool) -> bool:
    """Whether products are computed in bfloat16, by autocast: the weights themselves stay float32."""
    if slow := precision.warning(settings.dtype, gpu):
        print(slow)
    return precision.choose(settings.dtype, weights, gpu) == "bfloat16"


def warmup(settings: Settings, samples: int) -> float:
    """Warm-up as the Trainer wants it: a share of all steps below 1, else steps; at most half of the training."""
    if not settings.warmup_steps:
        return settings.warmup_ratio
    batch = settings.batch_size * settings.gradient_accumulation * settings.num_processes
    steps = int(settings.epochs * -(-samples // batch))
    return min(settings.warmup_steps, max(1, steps // 2))


def why_no_packing(settings: Settings, samples: list[Row], gpu: bool) -> str:
    """Why samples cannot share a row here; "" if they can."""
    if not gpu:
        return "on the CPU attention over packed rows costs more than padding"
    if any("weights" in sample for sample in samples):
        return "samples have weights of their own"
    from transformers.utils import is_flash_attn_2_available

    return (
        "" if is_flash_attn_2_available() else "flash-attn, whose kernel keeps packed samples apart, is not installed"
    )


def make_trainer(settings: Settings, arguments: Any, model: Any, tokenizer: Any, samples: list[Row]) -> Any:
    """The SFTTrainer over our tokens, in our order; with a loss of its own if samples have weights. For rollouts, one
    that writes them. Raises ValueError if a token has no row in the embedding."""
    rows = adapters.rows(model)
    if beyond := next((token for sample in samples for token in sample["input_ids"] if token >= rows), 0):
        raise ValueError(check.too_large(settings.base, tokenizer, beyond, rows))
    if tokenizer.pad_token_id >= rows:  # padding carries no loss, but is looked up
        tokenizer.pad_token = tokenizer.eos_token
    _fit(arguments, model)
    if settings.signal != "answers":
        return rollouts.make_trainer(settings, arguments, model, tokenizer, samples)
    from datasets import Dataset
    from trl.trainer import utils
    from trl.trainer.sft_trainer import SFTTrainer

    savings.score_learned_tokens_alone(utils)
    trainer_class, more = SFTTrainer, {}
    if any("weights" in sample for sample in samples):
        from laif_helpers.train.child.weighted import WeightedTrainer

        trainer_class, more = WeightedTrainer, {"kl_weight": settings.kl_weight}
    data = Dataset.from_list(samples)
    trainer = trainer_class(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, **more)
    check_head(model, samples[0]["input_ids"])
    savings.share_beginnings(model, samples)
    if not arguments.packing:
        step = settings.batch_size * settings.gradient_accumulation * arguments.world_size
        lengths = [len(sample["input_ids"]) for sample in samples]
        sampler = order.LengthGrouped(lengths, step, settings.seed)
        trainer._get_train_sampler = lambda *_: sampler
        trainer.add_callback(order.follow_epochs(sampler))
    return trainer


def _fit(arguments: Any, model: Any) -> None:
    """Ask of a family what it has: some cannot save activations, some name their experts otherwise or have none."""
    if arguments.activation_checkpointing and not model.supports_gradient_checkpointing:
        print("gradient_checkpointing is off: this family of models has none")
        arguments.activation_checkpointing = False
    text = model.config.get_text_config()
    experts = getattr(text, "num_experts", 0) or getattr(text, "num_local_experts", 0)
    if experts and getattr(text, "is_moe", True):
        text.num_experts = experts  # TRL balances them, and knows them by this name only
    elif hasattr(text, "output_router_logits"):
        arguments.router_aux_loss_coef = 0.0


def _last(history: list[Row], key: str) -> float:
    return float(next(row[key] for row in reversed(history) if key in row))


def _leave_group() -> None:
    """Free what training held: the probe loads the checkpoint anew, on rank 0 alone, and under ZeRO-3 as a whole."""
    import gc

    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
