"""Computes attention for one new token a row on CPU cores; torch's own kernel is designed for many tokens.

With one query a row, ``scaled_dot_product_attention`` spends its time on setting up blocks and on turning the same mask
into numbers in every layer; two batched products take half of that (figures in ``docs/LOG.md``).
"""

from typing import Any

NAME = "laif_decode"


def use(model: Any) -> Any:
    """Let ``model`` use this attention if it runs on the CPU with torch's; other models stay unchanged. Returns it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
    return model


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """transformers' attention function: (rows, heads, columns, size) -> (rows, columns, heads, size)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, new, size = query.shape
    ready = attention_mask is not None and attention_mask.dtype == query.dtype
    if new != 1 or not ready or options.get("softcap") or options.get("s_aux") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    # Heads that share keys are the rows of one product.
    groups, columns = rows * key.shape[1], key.shape[2]
    scale = options.get("scaling") or size**-0.5
    scores = torch.bmm(query.reshape(groups, -1, size) * scale, key.reshape(groups, columns, size).transpose(1, 2))
    weights = torch.softmax(scores.view(rows, heads, 1, columns) + attention_mask, -1)
    found = torch.bmm(weights.view(groups, -1, columns), value.reshape(groups, columns, size))
    return found.view(rows, 1, heads, size), None
