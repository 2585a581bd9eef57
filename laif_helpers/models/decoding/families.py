"""Chooses the way of decoding for a model by what is proven for its family, never by trial and error.

Every name stands here because ``tests/test_families.py`` compares its texts with plain ``generate``, one prompt at a
time. A family that is untested takes plain ``generate`` over prompts of one length, which no padding can disturb;
one without a cache of the usual kind (RWKV) takes them one by one.
"""

import inspect
import math
from typing import Any

_CAPTURED = """
llama qwen2 qwen3 gemma phi phi3 granite olmo olmo2 smollm3 stablelm cohere glm glm4 nemotron helium arcee
seed_oss hunyuan_v1_dense ernie4_5 apertus diffllama persimmon nanochat jais2 ministral3 gpt2 gpt_neox
gpt_bigcode opt gptj codegen biogpt
"""
CAPTURED = frozenset(_CAPTURED.split())
"""Model types whose captured texts equal plain ``generate``'s (``tests/test_gpu.py``). Mixtures of experts ask the
processor where a token goes, which no graph can hold."""
_LOOPED = """
mistral gemma2 gemma3_text cohere2 olmo3 exaone4 starcoder2 ministral cwm
gpt_oss mixtral qwen2_moe qwen3_moe olmoe granitemoe granitemoeshared phimoe jetmoe flex_olmo dots1 glm4_moe
ernie4_5_moe minimax_m2 hunyuan_v1_moe deepseek_v2 deepseek_v3 llama4_text
"""
OWN_LOOP = CAPTURED | frozenset(_LOOPED.split())
"""Model types that the decode loop of this package serves."""
_PADDED = """
bitnet xglm minicpm3 bloom mpt falcon gemma3n_text gemma4_text lfm3 lfm2 lfm2_moe granitemoehybrid qwen3_next
qwen3_5_text olmo_hybrid falcon_h1 bamba jamba nemotron_h zamba2 minimax recurrent_gemma mamba falcon_mamba mamba2
"""
PADDED = frozenset(_PADDED.split())
"""Model types to which padding on the left changes nothing: ``generate`` takes prompts of several lengths at once."""


def own_loop(model: Any) -> bool:
    """Whether the decode loop serves it: a proven family, its layers' caches of a kind whose rows can leave."""
    from laif_helpers.models.decoding.kv_cache import rows_can_leave

    return type_of(model) in OWN_LOOP and rows_can_leave(model)


def padded(model: Any) -> bool:
    """Whether prompts of several lengths may share a batch of plain ``generate``."""
    return type_of(model) in PADDED | OWN_LOOP


def same_angles_until(model: Any) -> float:
    """Tokens up to which a row has angles of its own: with longrope (Phi 3.5 and 4 mini) the longest row of a batch
    chooses between two sets for all, so that longer ones share a batch only with those of their very length."""
    ropes = (rope for rope in ropes_of(model) if rope.get("rope_type") == "longrope")
    return min((rope["original_max_position_embeddings"] for rope in ropes), default=math.inf)


def ropes_of(model: Any) -> list[dict[str, Any]]:
    """How a model's layers scale their angles: one way for all, or one for each kind of layer."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    return [rope] if "rope_type" in rope else [part for part in rope.values() if isinstance(part, dict)]


def alone(model: Any) -> bool:
    """Whether each prompt needs a batch of its own: the model keeps its state in a way of its own."""
    return not {"cache", "past_key_values", "cache_params"} & set(inspect.signature(model.forward).parameters)


def type_of(model: Any) -> str:
    """``model_type`` of the part that writes text."""
    return str(model.config.get_text_config().model_type)
