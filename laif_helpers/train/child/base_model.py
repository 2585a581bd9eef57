"""Loads the model to train: the whole base, the base under an adapter (LoRA, QLoRA), and an adapter merged into it."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from laif_helpers.models import older, precision
from laif_helpers.models.adapters import adapted, adapter_base, base_of, merged
from laif_helpers.models.check import UNTRAINED, tokenizer_of
from laif_helpers.records import Row
from laif_helpers.train.checks import ON_HEAD
from laif_helpers.train.settings import Settings


def load_model(settings: Settings) -> Any:
    """The base, ready to train: whole, or frozen under a LoRA adapter (a new one, or the base's own).

    float32, so that small steps are not lost in rounding; bf16 on a GPU if float32 copies are kept
    elsewhere (DeepSpeed) or the weights stay as they are (LoRA).
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.utils import is_flash_attn_2_available

    gpu = torch.cuda.is_available()
    halves = gpu and precision.choose(settings.dtype, 0, gpu) == "bfloat16"
    light = halves and (settings.deepspeed != "none" or settings.lora_rank > 0)
    options: Row = {"dtype": torch.bfloat16 if light else torch.float32}
    if settings.packing and gpu and is_flash_attn_2_available():
        options["attn_implementation"] = "flash_attention_2"  # the kernel that keeps packed samples apart
    if settings.load_in_4bit:
        options |= four_bits(options["dtype"])
    base = base_of(settings.base)
    model = load_base(base, **options)
    if settings.load_in_4bit:
        from peft import prepare_model_for_kbit_training

        saved = gpu and settings.gradient_checkpointing and model.supports_gradient_checkpointing
        model = prepare_model_for_kbit_training(model, saved)
    if base != settings.base:
        tuned = fitted(adapted, model, settings.base, is_trainable=True)
        head = tuned.get_output_embeddings()
        if isinstance(head, BaseTunerLayer) or not hasattr(head, "bias"):
            raise ValueError(f"adapter {settings.base} {ON_HEAD}")
        return tuned
    if not settings.lora_rank:
        return model
    torch.manual_seed(settings.seed)  # else every seed would begin with the same factors
    return new_adapter(model, settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout)


def load_base(base: str, **options: Any) -> Any:
    """A causal language model. Raises ValueError if there is none, or if its config cannot be read."""
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(base, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a causal language model from {base}: {str(error).splitlines()[0]}") from error
    if model.base_model is model and hasattr(model, "model"):
        model.base_model_prefix = "model"  # Llama 4's text model names another part, and TRL takes its head from there
    return model


def four_bits(dtype: Any) -> Row:
    """Options of QLoRA: NF4 with double quantisation (arXiv 2305.14314). Raises ValueError if it cannot run."""
    import importlib.util

    if not importlib.util.find_spec("bitsandbytes"):
        raise ValueError("load_in_4bit needs bitsandbytes; pip install -e .[qlora], or set load_in_4bit: false")
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": quantised}


def fitted(put: Callable[..., Any], model: Any, folder: str, **options: Any) -> Any:
    """The adapter of ``folder`` on ``model``, as ``put`` has it. Raises ValueError if it was made for another base."""
    try:
        return put(model, folder, **options)
    except (RuntimeError, ValueError, UserWarning) as error:
        raise ValueError(f"adapter {folder} does not fit its base: {str(error).splitlines()[0]}") from error


def new_adapter(model: Any, rank: int, lora_alpha: int = 0, lora_dropout: float = 0.0) -> Any:
    """Adapters on all linear layers but the head; scaled by 2 (alpha = 2 r) unless set, as is common practice.

    Without those that PEFT cannot adapt: routers that return more than a product, products in groups, layers of Mamba
    whose weight a kernel reads by itself, and layers that share their weights: merged, each would add its own part.
    """
    from peft import LoraConfig, get_peft_model

    shared = Counter(id(part.weight) for part in model.modules() if getattr(part, "weight", None) is not None)
    config = LoraConfig(
        r=rank,
        lora_alpha=lora_alpha or 2 * rank,
        lora_dropout=lora_dropout,
        target_modules="all-linear",
        exclude_modules=[name for name, part in model.named_modules() if _unfit(model, name, part, shared)],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _unfit(model: Any, name: str, part: Any, shared: Counter[int]) -> bool:
    parent, _, last = name.rpartition(".")
    in_mamba = last in ("x_proj", "dt_proj", "out_proj") and hasattr(model.get_submodule(parent), "conv1d")
    is_other = any(word in type(part).__name__ for word in ("Router", "Grouped"))
    return in_mamba or is_other or shared[id(getattr(part, "weight", None))] > 1


def check_head(model: Any, ids: list[int]) -> None:
    """Raises ValueError if TRL's loss, for which the head is one product, is not that of the model's own logits."""
    import torch

    if any(hasattr(weight, "ds_id") for weight in model.parameters()):
        return  # ZeRO-3 has spread the weights
    given, trained = torch.tensor([ids[:32]], device=model.device), model.training
    model.eval()
    with torch.no_grad():
        own = model(input_ids=given).logits[0, :-1].float().log_softmax(-1).gather(-1, given[0, 1:, None])[:, 0]
        try:
            apart = float((own - model(input_ids=given, labels=given, fused_lm_head=True).log_probs[0]).abs().mean())
        except (AssertionError, RuntimeError):  # RemBERT's head has another width than its layers
            apart = math.inf
    model.train(trained)
    if not apart <= 0.1:  # nats; more than rounding in bfloat16
        raise ValueError(UNTRAINED.format(model.config.model_type))


def merge(adapter: str | Path, into: str | Path, base: str = "") -> Path:
    """Write adapter and base as one plain Hugging Face model, in the base's own precision; returns ``into``.

    ``base``: the base's folder, if it is not the one that the adapter names. Raises ValueError if the two do not fit,
    FileExistsError if ``into`` is there already.
    """
    adapter, into = Path(adapter), Path(into)
    below = base or adapter_base(adapter)
    if not below:
        raise ValueError(f"{adapter} holds no adapter_config.json, so it is no LoRA adapter")
    if into.exists():
        raise FileExistsError(f"{into} exists; name a new folder for the merged model")
    whole = fitted(merged, load_base(below, dtype="auto"), str(adapter), safe_merge=True)
    whole.save_pretrained(into)
    tokenizer_of(str(adapter)).save_pretrained(into)
    older.write(into)
    return into
