"""Lets transformers 4 open a model folder that transformers 5 has saved, and answer as it does there.

Version 4 finds no such tokenizer, and reads angles of positions under other names: without them it takes its defaults,
and none of ten texts of a model with another ``rope_theta`` was the same. Version 5 reads both.
"""

from pathlib import Path
from typing import Any

from laif_helpers.records import read_state, write_json

_ANGLES = ("rope_theta", "partial_rotary_factor")


def write(folder: Path) -> None:
    """Add the older names to the config and the tokenizer's config of ``folder``, as far as they are there.

    A config that version 5 would then read otherwise stays as it is: of a family that version 4 does not know.
    """
    for name, named in (("config.json", _config), ("tokenizer_config.json", _tokenizer)):
        if (before := read_state(folder / name)) and (after := named(before)) != before:
            angles = _as_read(folder)
            write_json(folder / name, after)
            if _as_read(folder) != angles:
                write_json(folder / name, before)


def _as_read(folder: Path) -> Any:
    """How a model's angles are scaled, as the installed transformers reads its config; None if it has none."""
    from transformers import AutoConfig

    try:
        return getattr(AutoConfig.from_pretrained(folder).get_text_config(), "rope_parameters", None)
    except (KeyError, OSError, ValueError):  # an adapter's folder has no config
        return None


def _tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    after = dict(config)
    if after.get("tokenizer_class") == "TokenizersBackend":
        after["tokenizer_class"] = "PreTrainedTokenizerFast"
        after.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(more := after.get("extra_special_tokens"), list):
        del after["extra_special_tokens"]
        after["additional_special_tokens"] = more
    return after


def _config(config: dict[str, Any]) -> dict[str, Any]:
    after = dict(config)
    if isinstance(text := config.get("text_config"), dict):
        after["text_config"] = _config(text)
    angles = config.get("rope_parameters") or {}
    whole = angles.get("full_attention", angles) or {}  # of layers of two kinds, in Gemma 3's manner
    after |= {name: whole[name] for name in _ANGLES if name in whole}
    if whole.get("rope_type", "default") != "default":
        after["rope_scaling"] = {name: value for name, value in whole.items() if name not in _ANGLES}
    if near := angles.get("sliding_attention"):
        after["rope_local_base_freq"] = near.get("rope_theta")
    return after
