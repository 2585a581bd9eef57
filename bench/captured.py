"""Tokens per second on a GPU with decode steps captured as CUDA graphs, beside the same steps one by one.

    python bench/captured.py [ROWS …]        batches of up to so many rows, 512 and 64 if none is given

A random model of SmolLM2-135M's shape in bfloat16; prompts of 40 to 90 tokens, 32, 64 or 128 new ones, no stop token.
The ways run one after the other in one process, and their texts are compared.
"""

import random
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laif_helpers.models import decoding
from laif_helpers.models.decoding import captured

SHAPE = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
HEADS = {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192}


def seconds(model: LlamaForCausalLM, prompts: list[decoding.Prompt], rows: int) -> tuple[float, dict[int, list[int]]]:
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = {a.index: a.ids for some in decoding.decode(model, prompts, [0], batch_size=rows) for a in some}
    torch.cuda.synchronize()
    return time.perf_counter() - began, found


def main(sizes: list[int]) -> None:
    if not torch.cuda.is_available():
        print("there is no GPU here: not measured")
        return
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, tie_word_embeddings=True)).to(torch.bfloat16).eval()
    drawn = random.Random(0)
    prompts = [
        decoding.Prompt(at, [drawn.randrange(49152) for _ in range(drawn.randint(40, 90))], drawn.choice([32, 64, 128]))
        for at in range(1024)
    ]
    seconds(model, prompts[:64], 64)  # first steps load kernels: nobody's speed
    serves = captured.serves
    for rows in sizes:
        asked = prompts[: 2 * max(rows, 128)]
        one, texts = seconds(model, asked, rows)
        captured.serves = lambda model, growable: False
        other, plain = seconds(model, asked, rows)
        captured.serves = serves
        same, tokens = sum(plain[at] == ids for at, ids in texts.items()), sum(map(len, texts.values()))
        print(
            f"{torch.cuda.get_device_name()}, {len(asked)} prompts, {tokens:,} tokens, up to {rows} rows: captured "
            f"{one:.2f} s, one by one {other:.2f} s, {other / one:.1f} x, {same} of {len(asked)} texts equal"
        )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [512, 64])
