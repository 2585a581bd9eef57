"""Puts an adapter of PEFT on its base: finds the base, gives it the adapter's rows, and merges the two."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers import records, target
from laif_helpers.models import weight_files
from laif_helpers.paths import resolve

CONFIG = "adapter_config.json"
UNMERGED = "PEFT merges into its base, which answers and training need here; serve it (serve:), or name a LoRA adapter"
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.(.*\.)?weight$")


def adapter_base(folder: Path) -> str:
    """What to load below a LoRA adapter's folder; "" if it is none. Raises ValueError if the adapter does not say.

    A relative path starts at this checkout, at the adapter's folder, or at one of those above it.
    """
    if not (adapter := folder / CONFIG).is_file():
        return ""
    base = str(records.read_json(adapter).get("base_model_name_or_path") or "")
    places = [resolve(base), *(above / base for above in (folder, *folder.resolve().parents))] if base else []
    if found := [place for place in places if (place / "config.json").is_file() and not place.samefile(folder)]:
        return str(found[0])
    if not base or folder.resolve() in {place.resolve() for place in places[:2]}:
        raise ValueError(f"{adapter}: no base_model_name_or_path of another model; write its base there")
    if (places[0] / CONFIG).is_file():
        raise ValueError(f"{adapter}: its base {base} is an adapter; merge that first, and name the result here")
    target.check(base, f"base_model_name_or_path of {adapter}")
    return base


def base_of(name: str) -> str:
    """The model that holds all weights: what lies below a LoRA adapter, else the model itself."""
    return adapter_base(target.place(name)) or name


def problems(folder: Path) -> Iterator[str]:
    """Why the adapter in ``folder`` is none that PEFT could merge into a chat model; nothing if there is no adapter."""
    if not (file := folder / CONFIG).is_file():
        return
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    about = records.read_json(file)
    kind, task = about.get("peft_type"), about.get("task_type") or "CAUSAL_LM"
    mixed = kind in ("POLY", "XLORA")  # these mix their parts anew at each prompt
    if mixed or not issubclass(PEFT_TYPE_TO_TUNER_MAPPING.get(kind, str), BaseTuner):
        yield f"{file}: {kind} is no adapter that {UNMERGED}"
    if task != "CAUSAL_LM":
        yield f"{file}: the adapter is for {task} and writes no answers; choose another"


def embedded_rows(folder: Path) -> int:
    """Rows of the embedding that an adapter brings, because tokens were added to its base; 0 if it brings none."""
    kept = ((name, shape) for name, shape in _shapes(folder).items() if "lora_" not in name and len(shape) == 2)
    rows = (shape[0] for name, shape in kept if _EMBEDDING.search(name))
    return max(rows, default=0)


def rows(model: Any) -> int:
    """Rows of a model's embedding, whatever an adapter has put around it."""
    parts = model.get_input_embeddings().modules()
    return next(int(part.num_embeddings) for part in parts if hasattr(part, "num_embeddings"))


def _shapes(folder: Path) -> dict[str, list[int]]:
    """The tensors of an adapter's file, new or old, with their shapes."""
    if (new := folder / "adapter_model.safetensors").is_file():
        header = weight_files.read_header(new)[0] or {}
        return {name: part["shape"] for name, part in header.items() if name != "__metadata__"}
    if not (old := folder / "adapter_model.bin").is_file():
        return {}
    from transformers.modeling_utils import load_state_dict

    return {name: list(part.shape) for name, part in load_state_dict(old, map_location="meta").items()}


def adapted(model: Any, folder: str, **options: Any) -> Any:
    """The LoRA adapter of ``folder`` on its base. Raises UserWarning if a part of either has no place in the other."""
    from peft import PeftModel
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    if rows := embedded_rows(Path(folder)):  # tokens were added before the adapter was trained
        model.resize_token_embeddings(rows)
    left = list[str]()
    hook = model.register_load_state_dict_post_hook(lambda _, keys: left.extend(keys.unexpected_keys))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # the rest would act as if it were all
        tuned = PeftModel.from_pretrained(model, folder, **options)
    hook.remove()
    mark = PEFT_TYPE_TO_PREFIX_MAPPING[tuned.active_peft_config.peft_type]
    if left := [name for name in left if mark in name]:  # not a copy of the base's own that lies beside them
        raise UserWarning(f"{len(left)} of its weights have no place in the base, such as {left[0]}")
    return tuned


def merged(model: Any, folder: str, **options: Any) -> Any:
    """Base and adapter as one model. Raises ValueError in PEFT's words if this adapter cannot be merged."""
    tuned = adapted(model, folder)
    _apart(tuned)
    try:
        whole = tuned.merge_and_unload(**options)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        words = f" ({str(error).splitlines()[0]})" if str(error) else ""
        kind = tuned.active_peft_config.peft_type.value
        raise ValueError(f"{folder}: this {kind} is no adapter that {UNMERGED}{words}") from error
    head, embedding = whole.get_output_embeddings(), whole.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight:  # else what is saved would lose its head
        for config in (whole.config, whole.config.get_text_config()):
            config.tie_word_embeddings = False
    return whole


def _apart(tuned: Any) -> None:
    """Give each adapted layer weights of its own: merged into those that a head, an embedding or a repeated layer
    shares, an adapter would change these too. All layers, if some are repeated: what is saved holds each of them."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [part.get_base_layer() for part in tuned.modules() if isinstance(part, BaseTunerLayer)]
    if getattr(tuned.active_peft_config, "layer_replication", None):
        layers = list(tuned.modules())
    shared = Counter(id(weight) for part in tuned.modules() for weight in part._parameters.values())
    for layer in layers:
        for name, weight in layer._parameters.items():
            if weight is not None and shared[id(weight)] > 1:
                setattr(layer, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=False))
