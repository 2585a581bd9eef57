"""Tiny random models of many families: what is decoded in batches must equal ``generate``, one prompt at a time.

    python -m tests.families [FAMILY …]

prints for every family which way of decoding gives the same texts.
"""

import random
import sys
from typing import Any

BASE: dict[str, Any] = {
    "vocab_size": 261, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "intermediate_size": 96, "max_position_embeddings": 256, "eos_token_id": 0, "pad_token_id": 0,
    "bos_token_id": 0,
}  # fmt: skip
MOE = {
    "moe_intermediate_size": 48, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
    "shared_expert_intermediate_size": 48, "first_k_dense_replace": 1,
}  # fmt: skip
MLA = {
    "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
    "num_key_value_heads": 4, "head_dim": 8,
}  # fmt: skip
MAMBA = {
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_chunk_size": 16
}  # fmt: skip
LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16
}  # fmt: skip
WINDOW = {"sliding_window": 16}
BESIDE = {
    "vocab_size_per_layer_input": 261,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 6,
    "num_hidden_layers": 12,
}
FEW = dict.fromkeys(("num_key_value_heads", "head_dim"))
"""None: not given, since the family derives them."""
DELTA = {"layer_types": ["linear_attention", "full_attention"] * 2, **LINEAR}

DENSE = """llama qwen2 qwen3 gemma phi phi3 granite olmo olmo2 smollm3 stablelm cohere glm glm4 nemotron helium arcee
seed_oss hunyuan_v1_dense ernie4_5 apertus diffllama persimmon bitnet nanochat jais2 ministral3"""
MIXTURES = """mixtral qwen2_moe qwen3_moe olmoe granitemoe granitemoeshared phimoe jetmoe flex_olmo dots1 glm4_moe
ernie4_5_moe minimax_m2 hunyuan_v1_moe"""

FAMILIES: dict[str, dict[str, Any]] = {
    **{name: {} for name in DENSE.split()},
    # dense, full attention, old names
    "gpt2": FEW, "gpt_neox": FEW, "gpt_bigcode": FEW, "opt": FEW, "xglm": FEW, "biogpt": FEW,
    "gptj": FEW | {"rotary_dim": 8}, "codegen": FEW | {"rotary_dim": 8},
    # ALiBi
    "bloom": FEW, "mpt": FEW | {"max_seq_len": 256}, "falcon": FEW | {"alibi": True},
    # sliding windows
    "mistral": WINDOW, "gemma2": WINDOW, "gemma3_text": WINDOW, "cohere2": WINDOW, "olmo3": WINDOW, "exaone4": WINDOW,
    "starcoder2": WINDOW, "ministral": WINDOW, "cwm": WINDOW, "gpt_oss": WINDOW | MOE,
    # mixtures of experts
    **dict.fromkeys(MIXTURES.split(), MOE),
    "deepseek_v2": MOE | MLA | {"topk_method": "greedy"}, "deepseek_v3": MOE | MLA, "minicpm3": MLA,
    # layers that differ in the size of their heads, their angles, their width
    "gemma4_text": WINDOW | BESIDE, "gemma3n_text": WINDOW | BESIDE, "lfm3": WINDOW,
    "llama4_text": MOE | {"attention_chunk_size": 16, "intermediate_size_mlp": 96},
    # hybrids of attention and recurrent layers
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "block_ff_dim": 128},
    "lfm2_moe": MOE | {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "granitemoehybrid": MOE | MAMBA | {"layer_types": ["mamba", "attention"] * 2, "shared_intermediate_size": 64},
    "qwen3_next": MOE | DELTA, "qwen3_5_text": DELTA, "olmo_hybrid": DELTA,
    "falcon_h1": MAMBA | {"mamba_d_ssm": 128}, "bamba": MAMBA | {"attn_layer_indices": [1, 3]},
    "jamba": MOE | {
        "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "mamba_d_state": 8, "use_mamba_kernels": False,
    },
    "nemotron_h": MOE | {
        "layers_block_type": ["mamba", "attention", "mlp", "mamba"], "mamba_num_heads": 8, "mamba_head_dim": 16,
        "ssm_state_size": 16, "n_groups": 1, "chunk_size": 16,
    },
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "n_mamba_heads": 8, "mamba_headdim": 16,
        "mamba_d_state": 16, "mamba_ngroups": 1, "chunk_size": 16, "num_mem_blocks": 1, "head_dim": None,
        "num_key_value_heads": None,
    },
    "minimax": MOE, "recurrent_gemma": {"lru_width": 64, "attention_window_size": 16},
    # states alone
    "mamba": FEW | {"state_size": 8}, "falcon_mamba": FEW | {"state_size": 8},
    "mamba2": FEW | {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1, "chunk_size": 16},
    "rwkv": FEW | {"attention_hidden_size": 64},
}  # fmt: skip
WORDS = ("the", "red", "cat", "has", "seven", "boxes", "of", "nine", "apples", "and", "gives", "two", "to", "each")
NEW = 10


def conversations() -> list[list[dict[str, str]]]:
    draw = random.Random(1)
    lengths = [1, 2, 2, 9, 4, 6, 2, 12, 3, 9]
    return [[{"role": "user", "content": " ".join(draw.choices(WORDS, k=n))}] for n in lengths]


def make(family: str, seed: int = 3) -> Any:
    """A model with random weights, large enough that argmax is decided clearly; on the GPU if there is one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from laif_helpers import launch

    given = {key: value for key, value in (BASE | FAMILIES[family]).items() if value is not None}
    known = set(AutoConfig.for_model(family).to_dict()) | {"head_dim", "layer_types", "layers_block_type", "alibi"}
    extra = {key for key in given if key not in known and key not in BASE}
    config = AutoConfig.for_model(family, **{key: value for key, value in given.items() if key not in extra})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.15)
    return model.to("cuda" if launch.gpus() else "cpu")


def wanted(model: Any, prompts: list[list[int]], stops: list[int]) -> list[list[int]]:
    """What ``generate`` answers to each prompt alone, its stop token left out."""
    import torch

    found = []
    for ids in prompts:
        asked = torch.tensor([ids], device=model.device)
        out = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=NEW, do_sample=False, pad_token_id=0,
            eos_token_id=stops,
        )  # fmt: skip
        new = out[0, len(ids) :].tolist()
        found.append(new[: next((at for at, token in enumerate(new) if token in stops), len(new))])
    return found


def decoded(model: Any, prompts: list[list[int]], stops: list[int]) -> list[list[int]]:
    """What our decoding answers to all of them in batches."""
    from laif_helpers.models import decoding

    asked = [decoding.Prompt(at, ids, NEW) for at, ids in enumerate(prompts)]
    found = {a.index: a.ids for batch in decoding.decode(model, asked, stops, batch_size=6) for a in batch}
    return [found[at] for at in range(len(prompts))]


def prompt_ids(tokenizer: Any) -> list[list[int]]:
    texts = [
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) for turns in conversations()
    ]
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"])


STOPS = [0, 4, *range(5, 261, 11)]
"""Many, so that rows end at different times."""


def ways(family: str, prompts: list[list[int]]) -> str:
    """Which way of decoding gives the texts of ``generate``, whatever the tables say."""
    from laif_helpers.models.decoding import families

    model = make(family)
    expected, none = wanted(model, prompts, STOPS), frozenset[str]()
    kind = frozenset({str(model.config.get_text_config().model_type)})
    found = []
    for name, families.OWN_LOOP, families.PADDED in (
        ("own", kind, kind),
        ("padded", none, kind),
        ("alike", none, none),
    ):
        try:
            same = sum(a == b for a, b in zip(decoded(make(family), prompts, STOPS), expected, strict=True))
            served = "" if name != "own" or families.own_loop(model) else " (its cache keeps it from the loop)"
            found.append(f"{name}: {same} of {len(prompts)}{served}")
        except Exception as error:  # a scan goes on
            found.append(f"{name}: {type(error).__name__} {str(error)[:80]}")
    return f"{family:20} {' | '.join(found)} | {len({len(ids) for ids in expected})} lengths"


if __name__ == "__main__":
    import tempfile
    import warnings
    from pathlib import Path

    import transformers

    from tests.test_models import make_tokenizer

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    make_tokenizer(folder := Path(tempfile.mkdtemp()))
    ids = prompt_ids(transformers.AutoTokenizer.from_pretrained(folder))
    for family in sys.argv[1:] or FAMILIES:
        try:
            print(ways(family, ids), flush=True)
        except Exception as error:  # a scan goes on
            print(f"{family:20} not made, {type(error).__name__}: {str(error)[:200]!r}", flush=True)
