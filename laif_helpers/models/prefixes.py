"""Beginnings that many prompts share (the worked examples of a few-shot benchmark), read by the model once."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

LEAST_TOKENS = 64
"""Shorter beginnings, such as a chat template's header, cost less to read again than to copy."""
LEAST_SHARE = 0.5
"""Share of a prompt that must be common: with less, prompts sorted by length decode better than prompts that share."""
LEAST_PROMPTS = 16
"""Fewer are read side by side in less time than one after another."""


class Tokens(Protocol):
    """What of a prompt is looked at."""

    @property
    def ids(self) -> list[int]: ...


P = TypeVar("P", bound=Tokens)


def groups(prompts: Sequence[P]) -> list[list[P]]:
    """Prompts that begin alike together, each group longest prompt first; those that share with nobody are one group.

    Groups with the longest prompts come first, so that a batch which is too large is found out at the start.
    """
    alone: list[P] = []
    found: list[list[P]] = []
    for run in _runs(sorted(prompts, key=lambda prompt: prompt.ids)):
        if len(run) < LEAST_PROMPTS:
            alone += run
        else:
            found.append(run)
    ordered = [sorted(group, key=lambda prompt: -len(prompt.ids)) for group in (*found, alone) if group]
    return sorted(ordered, key=lambda group: -len(group[0].ids))


def _runs(ordered: Sequence[P]) -> list[list[P]]:
    """Neighbours in the order of their tokens, cut where two of them share too little."""
    runs: list[list[P]] = []
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


def spread(cache: Any, read: Any, pad: Any) -> None:
    """Put one row's keys and values into each row of an empty ``cache``, moved right by that row's padding.

    ``read``: the cache of one row that has read ``columns`` tokens; ``pad``: (rows,) columns of padding. The columns
    under the padding hold copies that no one attends to; tokens moved out on the right are read again by their row.
    """
    import torch

    columns = read.get_seq_length()
    source = (torch.arange(columns, device=pad.device) - pad[:, None]).clamp(min=0)
    for empty, layer in zip(cache.layers, read.layers, strict=True):
        # (heads, columns, size)[:, (rows, columns)] -> (heads, rows, columns, size)
        keys, values = (part[0][:, source].transpose(0, 1) for part in (layer.keys, layer.values))
        empty.update(keys, values)
