"""Finds beginnings that many prompts share (a benchmark's worked examples), so that the model reads each one once."""

from collections.abc import Sequence
from typing import Any

from laif_helpers.models import precision
from laif_helpers.models.decoding.kv_cache import cache_name, new_cache
from laif_helpers.models.decoding.rows import Prompt

LEAST_TOKENS = 64
"""Shorter beginnings, such as a chat template's header, cost a small model less to read again than to copy."""
LEAST_OF_LARGE = 8
"""The same for a model of more than ``precision.LARGE`` weights."""
LEAST_SHARE = 0.5
"""Share of a prompt that must be common: with less, prompts sorted by length decode better than prompts that share."""
LEAST_PROMPTS = 16
"""Fewer are read side by side in less time than one after another."""


def groups(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Prompts that begin alike together, each group longest prompt first; those that share no beginning are one group.

    Groups with the longest prompts come first, so that a batch which is too large is found out at the start.
    """
    alone: list[Prompt] = []
    found: list[list[Prompt]] = []
    for run in _runs(sorted(prompts, key=lambda prompt: prompt.ids)):
        if len(run) < LEAST_PROMPTS:
            alone += run
        else:
            found.append(run)
    ordered = [sorted(group, key=lambda prompt: -len(prompt.ids)) for group in (*found, alone) if group]
    return sorted(ordered, key=lambda group: -len(group[0].ids))


def _runs(ordered: Sequence[Prompt]) -> list[list[Prompt]]:
    """Neighbours in the order of their tokens, cut between two that share too little."""
    runs: list[list[Prompt]] = []
    for prompt in ordered:
        least = max(LEAST_TOKENS, LEAST_SHARE * len(prompt.ids))
        if runs and common([runs[-1][0].ids, prompt.ids]) >= least:
            runs[-1].append(prompt)
        else:
            runs.append([prompt])
    return runs


def common(prompts: Sequence[list[int]]) -> int:
    """Tokens with which all of them begin; at least one token of each is left over, for the model to go on from."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((at for at in range(most) if first[at] != last[at]), most)


def read(model: Any, cache: Any, prompts: Sequence[Prompt], pad: Any, **options: Any) -> int:
    """Let the model read the beginning that all prompts share, once, into every row of an empty ``cache``.

    ``pad``: (rows,) columns of padding before each prompt. Returns the columns read, 0 if none is worth it.
    """
    import torch

    shared = common([prompt.ids for prompt in prompts])
    large = model.num_parameters() > precision.LARGE
    if shared < (LEAST_OF_LARGE if large else LEAST_TOKENS) or len(prompts) < LEAST_PROMPTS:
        return 0
    single_row, _ = new_cache(model)
    with torch.inference_mode():
        ids = torch.tensor([prompts[0].ids[:shared]], device=model.device)
        model(input_ids=ids, use_cache=True, **{cache_name(model): single_row}, **options)
        # Moved right by each row's padding. Columns under the padding hold copies that no one attends to; tokens moved
        # out on the right are read again by their row.
        source = (torch.arange(shared, device=pad.device) - pad[:, None]).clamp(min=0)
        for empty, layer in zip(cache.layers, single_row.layers, strict=True):
            # (heads, columns, size)[:, (rows, columns)] -> (heads, rows, columns, size)
            empty.update(*(part[0][:, source].transpose(0, 1) for part in (layer.keys, layer.values)))
    return shared
