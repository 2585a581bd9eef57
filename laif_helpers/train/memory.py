"""Estimates the memory and disk that a training needs from the model's shape alone; no weights are loaded.

Model states: DeepSpeed's own estimators for ZeRO-2 and 3; 16 bytes a weight without DeepSpeed (weights, gradients,
Adam's two moments, all float32). Activations are counted tensor by tensor (``LAYER_HIDDEN``), without stored attention.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laif_helpers.models.local import count
from laif_helpers.records import read_json
from laif_helpers.train.settings import Settings

GIB = 2**30
PROCESS = 0.7e9  # bytes of Python, torch and trl before any weight; on a GPU the CUDA context and its workspaces
BUCKET = 5e8  # DeepSpeed's default reduce and all-gather buckets, in weights; 4.5 of each pair live at once
TILE = (4096, 32768)  # most tokens and words of which TRL's fused head makes logits at a time
LAYER_HIDDEN, LAYER_INNER = 13, 4
"""Tensors that a layer keeps for the backward pass, of hidden width (two norms, scaled and weighted; q, k and v before
and after rotation; attention's output twice; two residuals) and of intermediate width (gate, up, activated, product).
Measured in ``tests/test_train_memory.py``, as are the copies of logits."""
HEAD_COPIES, PENALTY_COPIES = {"cpu": 8, "gpu": 2}, 5
"""Copies of a tile of logits in the head's backward pass (a kernel of its own on a GPU), and of whole logits under
``kl_weight``: both models', their logarithms, the gradient."""

KNOWN = Path(__file__).with_name("known_models.json")
"""Configs of the recipes' models, as published, for machines that cannot ask the hub."""


@dataclass(frozen=True)
class Shape:
    """Size of a model: weights in all, of its largest layer, of an adapter of rank 1, and its dimensions."""

    weights: int
    largest: int
    per_rank: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    guessed: bool = False


@dataclass(frozen=True)
class Need:
    """Bytes: model states and activations of a process on its device, of all processes' host memory, and on disk."""

    states: int
    activations: int
    host: int
    disk: int

    @property
    def device(self) -> int:
        return self.states + self.activations


def shape(base: str) -> Shape:
    """Shape of a model folder or hub name, by its config. Raises ValueError if no config can be read."""
    from transformers import AutoConfig

    try:
        return _shape(AutoConfig.from_pretrained(base))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(" to load the files")[0]
    for name, config in read_json(KNOWN).items():
        if name in base.lower().replace("meta-", "").replace("_", "-"):
            return _shape(AutoConfig.for_model(**config), guessed=True)
    raise ValueError(f"the config of {base} cannot be read ({reason})")


def _shape(config: Any, guessed: bool = False) -> Shape:
    import torch
    from transformers import AutoModelForCausalLM

    from laif_helpers.train.child.base_model import new_adapter

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    weights = sum(weight.numel() for weight in model.parameters())
    own = [sum(weight.numel() for weight in part.parameters(recurse=False)) for part in model.modules()]
    text = config.get_text_config()
    return Shape(
        weights=weights,
        largest=max(own),
        per_rank=sum(weight.numel() for weight in new_adapter(model, 1).parameters()) - weights,
        hidden=text.hidden_size,
        intermediate=count(text, "intermediate_size") or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        guessed=guessed,
    )


def need(
    model: Shape, settings: Settings, *, gpu: bool, longest: int, learned: float = 1.0, beginning: int = 0
) -> Need:
    """What one process needs to train ``model`` with batches of ``longest`` tokens a row.

    ``learned``: the share of the tokens that carries loss, at which alone logits are made; ``beginning``: the tokens
    that all rows begin with and that are read once.
    """
    states, host = _states(model, settings, gpu)
    trained = model.per_rank * settings.lora_rank if settings.lora_rank else model.weights
    zero = settings.deepspeed != "none"
    state = trained * (16 if zero else 12)
    whole = model.weights * (2 if gpu else 4) if not settings.lora_rank or settings.merge_lora else 4 * trained
    return Need(
        states=int(states + PROCESS + _teacher(model, settings, gpu)),
        activations=int(_activations(model, settings, gpu, (longest, learned, beginning))),
        host=int(host + PROCESS * settings.num_processes),
        disk=int(3 * state + 2 * whole),  # two states kept and one being written; the checkpoint and what it replaces
    )


def _states(model: Shape, settings: Settings, gpu: bool) -> tuple[float, float]:
    """Bytes of weights, gradients and optimiser: on a process's device, and in a node's host memory."""
    ranks = settings.num_processes
    if settings.lora_rank:
        learned = model.per_rank * settings.lora_rank
        frozen = model.weights * (0.55 if settings.load_in_4bit else 2 if gpu else 4)
        spread = ranks if settings.deepspeed.startswith("zero3") else 1
        shared = 1 if settings.deepspeed == "none" else ranks
        return frozen / spread + 16 * learned / shared, frozen
    if settings.deepspeed == "none":
        return 16.0 * model.weights, 4.0 * model.weights
    if settings.deepspeed in ("zero1", "zero2"):
        from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as estimate

        host, device = estimate(model.weights, num_gpus_per_node=ranks, cpu_offload=False)
        whole_gradients = 2 * model.weights * (1 - 1 / ranks) if settings.deepspeed == "zero1" else 0
        return device + whole_gradients + 4.5 * 2 * 2 * min(BUCKET, model.weights), host
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as estimate3

    offload = settings.deepspeed == "zero3_offload"
    options = {"num_gpus_per_node": ranks, "cpu_offload": offload, "cpu_offload_params": offload}
    host, device, _ = estimate3(model.weights, model.largest, **options)
    return float(device), float(host)


def _teacher(model: Shape, settings: Settings, gpu: bool) -> float:
    """Bytes of the model that scores rollouts; what lies under an adapter scores them for nothing."""
    if settings.signal == "answers" or (settings.signal == "lesson" and settings.lora_rank):
        return 0.0
    weights = model.weights if settings.signal == "lesson" else shape(settings.teacher).weights
    return weights * (2.0 if gpu else 4.0)


def _activations(model: Shape, settings: Settings, gpu: bool, rows: tuple[int, float, int]) -> float:
    """Bytes kept for the backward pass: every layer, or its input alone if gradients are checkpointed."""
    (longest, learned, beginning), checkpointed = rows, gpu and settings.gradient_checkpointing
    if checkpointed or settings.deepspeed.startswith("zero3"):
        beginning = 0  # each row reads it
    scored, tokens = settings.batch_size * longest * learned, settings.batch_size * (longest - beginning) + beginning
    # bf16 on the CPU is autocast: norms and residuals stay float32, products are kept in 2 bytes
    size = 2 if gpu else 4
    layer = tokens * (LAYER_HIDDEN * model.hidden + LAYER_INNER * model.intermediate) * size
    inputs = model.layers * tokens * model.hidden * size
    kept = inputs + layer if checkpointed else model.layers * layer
    tile = 4 * min(scored, TILE[0]) * min(model.vocabulary, TILE[1])
    head = HEAD_COPIES["gpu" if gpu else "cpu"] * tile
    if not settings.kl_weight:
        return kept + head
    # a batch of replayed items alone: passed through twice, its whole logits beside those of the starting model
    start = 0 if settings.lora_rank else (2 if gpu else 4) * model.weights
    return 2 * kept + start + max(head, PENALTY_COPIES * 4 * tokens * model.vocabulary)


def held_mb() -> int:
    """Memory of this process now: of the GPU if there is one, else resident."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.memory_allocated() >> 20)
    return int(psutil.Process().memory_info().rss >> 20)


def peak_mb() -> int:
    """Largest memory of this process until now: of the GPU if there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() >> 20)
    return resident_peak_mb()


def resident_peak_mb() -> int:
    """Largest resident memory of this process's own program; getrusage also counts the process that started it."""
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text(encoding="utf-8").split()
        return int(words[words.index("VmHWM:") + 1]) >> 10
    # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
