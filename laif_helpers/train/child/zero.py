"""Prepares DeepSpeed inside the training process: its file's keys, its CPU backend, how it reads its states."""

import os

from laif_helpers.train.settings import Settings

DEEPSPEED_KEYS = {
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    *("optimizer", "scheduler", "fp16", "bf16", "data_types", "torch_autocast", "zero_optimization"),
    *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "activation_checkpointing", "aio"),
    *("steps_per_print", "wall_clock_breakdown", "flops_profiler", "comms_logger", "communication_data_type"),
    *("prescale_gradients", "tensorboard", "wandb", "csv_monitor", "checkpoint"),
}
"""DeepSpeed reads its file by name and passes over what it does not know, so a typing error would be silent."""


def gloo_on_cpu() -> None:
    """Let DeepSpeed use plain gloo if there is no GPU.

    Without this call DeepSpeed first compiles a shared-memory operator. That takes 45 to 100 s on two cores and needs a
    compiler. On a CPU it also has no process group yet, so ZeRO-3 would split the weights as if there were one rank.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    if get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__ = {}  # also spares the probing of every operator there is
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)


def states_hold_only_data() -> None:
    """Let DeepSpeed read tensors and its own few classes from a training's states, and nothing that could run.

    DeepSpeed asks torch to unpickle whatever a state holds. Torch's environment variable overrules that for the whole
    process; a state that holds anything else then raises ``pickle.UnpicklingError``.
    """
    import torch
    from deepspeed.runtime.fp16 import loss_scaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    def member(kind: type[ZeroStageEnum], name: str) -> ZeroStageEnum:
        """Stands for ``getattr``, by which Python 3.11.0 to 3.11.3 pickle a member of an enum."""
        if kind is not ZeroStageEnum:
            raise ValueError(f"Weights only load failed: getattr({kind!r}, {name!r}) is no stage of ZeRO")
        return ZeroStageEnum[name]

    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    scalers = [loss_scaler.LossScaler, loss_scaler.DynamicLossScaler]
    allowed = [*scalers, ZeroStageEnum, fragment_address, (member, "builtins.getattr")]
    torch.serialization.add_safe_globals(allowed)


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
