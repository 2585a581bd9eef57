"""llama.cpp's own server, as the wheel ``xllamacpp`` brings it, for a GGUF file or a Llama model's folder.

    python data/llamacpp.py MODEL PORT

Ends on SIGTERM. In a recipe: ``serve: python data/llamacpp.py {model} {port}`` for a target and each of its
checkpoints, or ``target: server:NAME`` with ``target_url: http://127.0.0.1:PORT/v1`` if it runs already.
A folder is written as GGUF in float32, into a temporary folder, before it is served.
"""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

SLOTS = 8
"""Requests answered at once. Each has a context of the model's own length, so that no prompt is refused for them."""
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{letter}_proj": f"attn_{letter}" for letter in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
}


def write_gguf(folder: Path, path: Path, architecture: str = "llama", pre: str = "", parts: int = 1) -> dict[str, Any]:
    """A Llama model with a byte-level tokenizer as llama.cpp's converter would write it; returns its state.

    ``pre``: llama.cpp's name of what splits a text before the tokenizer; "" finds it. Raises ValueError.
    """
    from gguf import GGUFWriter
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        AutoTokenizer.from_pretrained(folder),
    )
    config, state = model.config, model.state_dict()
    if config.model_type != "llama" or config.rope_parameters["rope_type"] != "default":
        raise ValueError(
            f"{folder} is no plain Llama model ({config.model_type}); convert it with llama.cpp's own tools"
        )
    writer = GGUFWriter(path, architecture)
    _write_sizes(writer, config, folder.name)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    _write_tokenizer(writer, tokenizer, pre)
    for name, values in state.items():
        if not (name == "lm_head.weight" and config.tie_word_embeddings):
            writer.add_tensor(*_as_llama_cpp(name, values.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return dict(state)


def _write_sizes(writer: Any, config: Any, name: str) -> None:
    from gguf import LlamaFileType

    writer.add_name(name)
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: Any, tokenizer: Any, pre: str) -> None:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    single_digits = '"individual_digits": true' in json.dumps(state["pre_tokenizer"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre or ("smollm" if single_digits else "default"))
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([3 if i in tokenizer.all_special_ids else 1 for i in range(len(tokenizer))])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_add_bos_token(False)  # a chat template writes it where it belongs
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _as_llama_cpp(name: str, values: Any, config: Any) -> tuple[str, Any]:
    """llama.cpp rotates neighbouring pairs where transformers rotates halves: rows of q and k change places."""
    import numpy as np

    for ours, theirs in NAMES.items():
        if ours in name:
            name = name.replace(ours, theirs)
            break
    if "attn_q." in name or "attn_k." in name:
        heads = config.num_attention_heads if "attn_q." in name else config.num_key_value_heads
        values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return name.replace("model.layers", "blk"), np.ascontiguousarray(values)


def serve(file: Path, port: int) -> None:
    """Answer on 127.0.0.1 until SIGTERM."""
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path, params.hostnames, params.port = str(file), ["127.0.0.1"], port
    params.n_parallel = SLOTS
    # Blocked before the server starts its threads, so that the signal comes here.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    model, port = Path(sys.argv[1]), int(sys.argv[2])
    if model.is_file():
        return serve(model, port)
    with tempfile.TemporaryDirectory(prefix="gguf-") as folder:
        write_gguf(model, file := Path(folder, "model.gguf"))
        serve(file, port)


if __name__ == "__main__":
    main()
