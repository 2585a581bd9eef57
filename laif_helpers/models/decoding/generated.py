"""Runs plain ``generate`` in batches, for every model for which this package's decode loop is not proven.

Hybrid and state-space models, other caches, whatever comes next. Prompts are sorted by length, so that a batch holds
alike ones; in a family to which padding might matter, a batch holds prompts of one length only.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from laif_helpers.models.decoding.families import alone, padded, same_angles_until
from laif_helpers.models.decoding.rows import Answer, Prompt


def decode(model: Any, prompts: list[Prompt], stop_ids: list[int], temperature: float) -> list[Answer]:
    """Answers to prompts that may share a batch (see ``batches``), in their order."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.full((len(prompts), width), stop_ids[0] if stop_ids else 0, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    # The model's own settings (repetition penalty, top-p, …) are not applied here either.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=prompts[0].limit, eos_token_id=stop_ids or None, pad_token_id=int(ids[0, 0])
    )
    chosen = [_Draw(prompts, width, temperature)] if temperature > 0 else []
    with torch.inference_mode():
        found = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), logits_processor=LogitsProcessorList(chosen)
        )
    return [_answer(prompt, row, stop_ids) for prompt, row in zip(prompts, found[:, width:].tolist(), strict=True)]


def batches(model: Any, prompts: list[Prompt], size: int) -> Iterator[list[Prompt]]:
    """Prompts that may share a batch: of one limit, and of one length if padding might matter; longest first."""
    mixed, size = same_angles_until(model) if padded(model) else 0, 1 if alone(model) else size

    def alike(prompt: Prompt) -> tuple[int, int]:
        return prompt.limit, 0 if len(prompt.ids) + prompt.limit <= mixed else len(prompt.ids)

    ordered = sorted(prompts, key=lambda prompt: (alike(prompt), len(prompt.ids)), reverse=True)
    for _, group in itertools.groupby(ordered, key=alike):
        waiting = list(group)
        for at in range(0, len(waiting), size):
            yield waiting[at : at + size]


def _answer(prompt: Prompt, row: list[int], stop_ids: list[int]) -> Answer:
    stops = set(stop_ids)
    end = next((at for at, token in enumerate(row) if token in stops), None)
    ids = row if end is None else row[:end]
    return Answer(prompt.index, ids, len(ids) + (end is not None), end is not None)


class _Draw:
    """A logits processor that draws each row's token with the row's own seed, by inverting its distribution."""

    def __init__(self, prompts: list[Prompt], width: int, temperature: float):
        self.width, self.temperature = width, temperature
        self.noise = np.stack([np.random.default_rng(prompt.seed).random(prompt.limit + 1) for prompt in prompts])

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """(rows, columns), (rows, vocabulary) -> scores with which the drawn token is the greedy one."""
        import torch

        noise = torch.tensor(self.noise[:, input_ids.shape[1] - self.width, None], dtype=torch.float32)
        token = draw(scores, noise.to(scores.device), self.temperature)
        return torch.full_like(scores, float("-inf")).scatter_(1, token[:, None], 0.0)


def draw(logits: Any, noise: Any, temperature: float) -> Any:
    """(rows, vocabulary) logits and (rows, 1) uniform numbers -> (rows,) token ids."""
    import torch

    cumulative = torch.softmax(logits.float() / temperature, -1).cumsum(-1)
    found = torch.searchsorted(cumulative, noise * cumulative[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)
