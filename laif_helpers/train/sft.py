"""What happens inside the training process: samples to tokens, TRL's SFTTrainer, a checkpoint that is whole.

Only ``train.py``'s child runs this. With several ranks, every rank runs all of it; rank 0 writes.
"""

import json
import math
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from laif_helpers.records import write_json
from laif_helpers.train.checkpoint import finish, save
from laif_helpers.train.samples import LengthGrouped, load_tokenizer, make_samples
from laif_helpers.train.settings import Row, Settings, read_json

DEEPSPEED_KEYS = {
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    *("optimizer", "scheduler", "fp16", "bf16", "data_types", "torch_autocast", "zero_optimization"),
    *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "activation_checkpointing", "aio"),
    *("steps_per_print", "wall_clock_breakdown", "flops_profiler", "comms_logger", "communication_data_type"),
    *("prescale_gradients", "tensorboard", "wandb", "csv_monitor", "checkpoint"),
}
"""DeepSpeed reads its file by name and passes over what it does not know, so a typing error would be silent."""


def run(settings: Settings) -> None:
    """Train; a problem that a person can mend ends up as one sentence in ``train_error.json``."""
    try:
        train(settings)
    except ValueError as error:
        traceback.print_exc()
        write_json(Path(settings.folder) / "train_error.json", {"sentence": str(error)})
        shutil.rmtree(settings.unfinished, ignore_errors=True)
        # Not sys.exit: other ranks may be waiting in a collective, and so would this one's clean-up.
        os._exit(2)


def train(settings: Settings) -> None:
    """One training from base to checkpoint, metrics and probe. Raises ValueError with a sentence."""
    import_seconds = _import_trainer()
    begin = time.perf_counter()
    check_deepspeed_keys(settings)
    tokenizer = load_tokenizer(settings.base)
    samples, shares = make_samples(settings, tokenizer)
    arguments = trainer_arguments(settings)
    if settings.deepspeed_config:
        _gloo_on_cpu()
    model = load_model(settings)
    model.generation_config.save_pretrained(settings.unfinished)  # an invalid one must not be found out at the end
    trainer = make_trainer(settings, arguments, model, tokenizer, samples)
    setup_seconds = time.perf_counter() - begin
    log = make_log(settings)
    trainer.add_callback(log)
    trainer.train()
    setup_seconds += log.waited
    save(trainer, tokenizer, settings)
    if trainer.is_world_process_zero():
        history = trainer.state.log_history
        metrics = {
            **{"steps": trainer.state.global_step, "world_size": arguments.world_size, "deepspeed": settings.deepspeed},
            **throughput(history, log.seconds),
            **shares,
            **{"start_loss": history[0]["loss"], "final_loss": _last(history, "loss")},
            **{"seconds": round(log.seconds, 2), "import_seconds": round(import_seconds, 2)},
            **{"setup_seconds": round(setup_seconds, 2), "peak_memory_mb": peak_memory_mb()},
            **{"learning_rate": settings.learning_rate, "epochs": settings.epochs, "packing": arguments.packing},
            **{"lora_rank": settings.lora_rank, "device": str(arguments.device), "dtype": str(model.dtype)},
            **{"versions": versions()},
        }
    is_first = trainer.is_world_process_zero()
    del trainer, model, log
    _leave_group()
    if is_first:
        finish(settings, metrics)


def _import_trainer() -> float:
    begin = time.perf_counter()
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: F401

    return time.perf_counter() - begin


def _gloo_on_cpu() -> None:
    """Let DeepSpeed use plain gloo where there is no GPU.

    By itself it would compile a shared-memory operator first: 45 to 100 s on two cores, and a compiler needed.
    And on the CPU nobody has told it of the other ranks, so that ZeRO-3 would split the weights for one.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    if get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__ = {}  # also spares the probing of every operator there is
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)


def check_deepspeed_keys(settings: Settings) -> None:
    """Refuse a DeepSpeed file with a key that DeepSpeed would ignore or stumble over."""
    if not settings.deepspeed_config:
        return
    name = f"papermill_runs/deepspeed/{settings.deepspeed}.json"
    if unknown := sorted(settings.deepspeed_config.keys() - DEEPSPEED_KEYS):
        raise ValueError(f"{name}: unknown DeepSpeed key {unknown[0]!r}; correct or remove it")
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    fields = DeepSpeedZeroConfig.model_fields
    known = {*fields, *(field.alias for field in fields.values())}
    if unknown := sorted(settings.deepspeed_config.get("zero_optimization", {}).keys() - known):
        raise ValueError(f"{name}: unknown key {unknown[0]!r} in zero_optimization; correct or remove it")


def trainer_arguments(settings: Settings) -> Any:
    """TRL's arguments. Made before the model: under ZeRO-3 their existence decides how the model is loaded."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    gpu = torch.cuda.is_available()
    packing = settings.packing and gpu
    if settings.packing and not gpu:
        print("packing is off: on the CPU attention over packed rows costs more than padding (batches go by length)")
    return SFTConfig(
        output_dir=str(settings.unfinished),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        seed=settings.seed,
        max_length=settings.max_length,
        packing=packing,
        # Rows are tokenised already; TRL's preparation would walk through them four times more.
        dataset_kwargs=None if packing else {"skip_prepare_dataset": True},
        bf16=gpu and torch.cuda.is_bf16_supported(),
        use_cpu=not gpu,
        gradient_checkpointing=gpu,
        deepspeed=settings.deepspeed_config or None,
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
    )


def load_model(settings: Settings) -> Any:
    """The base, ready to train: whole, or frozen under a LoRA adapter (a new one, or the base's own).

    float32, so that small steps are not lost in rounding; bf16 on a GPU where float32 copies are kept
    elsewhere (DeepSpeed) or the weights stay as they are (LoRA).
    """
    import torch
    from transformers import AutoModelForCausalLM

    light = torch.cuda.is_available() and (settings.deepspeed != "none" or settings.lora_rank > 0)
    adapter = Path(settings.base) / "adapter_config.json"
    base = read_json(adapter)["base_model_name_or_path"] if adapter.is_file() else settings.base
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if light else torch.float32)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a causal language model from {base}: {str(error).splitlines()[0]}") from error
    if adapter.is_file():
        return _continue_adapter(model, settings.base)
    return _new_adapter(model, settings.lora_rank) if settings.lora_rank else model


def _continue_adapter(model: Any, folder: str) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=True)
    except RuntimeError as error:
        raise ValueError(f"adapter {folder} does not fit its base: {str(error).splitlines()[0]}") from error


def _new_adapter(model: Any, rank: int) -> Any:
    """Adapters on all linear layers but the head, scaled by 2 (alpha = 2 r), as is common practice."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def make_trainer(settings: Settings, arguments: Any, model: Any, tokenizer: Any, samples: list[Row]) -> Any:
    """The SFTTrainer over our tokens, in our order, logging to ``train_log.jsonl``."""
    from datasets import Dataset
    from trl.trainer.sft_trainer import SFTTrainer

    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(samples),
        processing_class=tokenizer,
    )
    if not arguments.packing:
        step = settings.batch_size * settings.gradient_accumulation * arguments.world_size
        sampler = LengthGrouped([len(sample["input_ids"]) for sample in samples], step, settings.seed)
        trainer._get_train_sampler = lambda *_: sampler
    return trainer


def make_log(settings: Settings) -> Any:
    """A callback that appends a row a logging step, and stops a training whose loss is no number.

    ``seconds`` is the training proper; ``waited`` what came before its first step (DeepSpeed's engine).
    """
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        def __init__(self) -> None:
            self.made, self.seconds, self.waited = time.perf_counter(), 0.0, 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.waited = time.perf_counter() - self.made
            # A hundred points draw the curve; reading the loss each step makes a GPU wait.
            state.logging_steps = max(1, state.max_steps // 100)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.seconds = time.perf_counter() - self.made - self.waited

        def on_log(self, args: Any, state: Any, control: Any, logs: Row | None = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            check_loss(logs["loss"], state.global_step, settings.learning_rate)
            if state.is_world_process_zero:
                row = {"step": state.global_step, "of": state.max_steps}
                row |= {key: logs.get(key) for key in ("loss", "learning_rate", "epoch")}
                row["seconds"] = round(time.perf_counter() - self.made - self.waited, 3)
                with (Path(settings.folder) / "train_log.jsonl").open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(row) + "\n")

    return Log()


def check_loss(loss: float, step: int, learning_rate: float) -> None:
    """Raise ValueError for a loss that is no number."""
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} at step {step}, nothing was saved; lower learning_rate (given: {learning_rate:g})"
        )


def throughput(history: list[Row], seconds: float) -> Row:
    """Real tokens (no padding) over all epochs and ranks, and their rate."""
    tokens = int(_last(history, "num_tokens"))
    return {"tokens": tokens, "tokens_per_s": round(tokens / seconds, 1)}


def _last(history: list[Row], key: str) -> float:
    return float(next(row[key] for row in reversed(history) if key in row))


def peak_memory_mb() -> int:
    """Largest memory of this process: of the GPU where there is one, else resident."""
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() >> 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def versions() -> Row:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "deepspeed", "accelerate")}


def _leave_group() -> None:
    """Free what training held: the probe loads the checkpoint anew, on rank 0 alone."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
