"""Leaves out work that changes no gradient: the head over tokens without a loss, and the beginning that rows share.

Loss and gradient are those of the whole computation but for rounding. On SmolLM2-135M and two cores both together
take a third of a training's time away (``bench/training.py --model``).
"""

import types
from typing import Any

from laif_helpers.models.decoding.kv_cache import cache_name, rows_can_leave
from laif_helpers.records import Row

SHORTEST = 8
"""Tokens. A shorter beginning costs more as a call of its own than it saves."""


def score_learned_tokens_alone(trl_module: Any) -> None:
    """Let a loss of TRL multiply by the head at tokens with a label alone, on a CPU as on a GPU.

    TRL does so where a changing number of rows costs no new compilation, and asks for Triton; a CPU compiles nothing.
    """
    from trl.kernels import chunked_logprob

    trl_module._use_triton = lambda device: device.type == "cpu" or chunked_logprob._use_triton(device)


def share_beginnings(model: Any, samples: list[Row]) -> bool:
    """While it trains, let ``model`` read what all rows of a batch begin with once; returns whether it will.

    Such are a chat template's system message, instructions and worked examples. Their keys and values go to every row,
    as in generating, and the gradient comes back through them. Models that do not answer the same in this way keep
    their own: those with a state instead of keys, with dropout (each row draws its own), or spread by ZeRO-3.
    """
    import torch

    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = whole.base_model
    if body is whole or any(hasattr(each, "ds_id") for each in body.parameters()):
        return False
    if any(isinstance(part, torch.nn.Dropout) and part.p for part in body.modules()) or _by_chance(body.config):
        return False
    if not _answers_the_same(body, samples):
        return False
    body.forward = types.MethodType(_forward, body)
    return True


def _by_chance(config: Any) -> bool:
    """Whether a training drops or shakes something, under whatever name: some families do so without a layer for it."""
    names = ("drop", "jitter")
    found = {key: value for key, value in config.to_dict().items() if any(name in key for name in names)}
    return any(isinstance(value, float) and value for key, value in found.items() if "classifier" not in key)


def _forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **given: Any) -> Any:
    """The body's own forward; over the rows' common beginning once if nothing but hidden states is asked for."""
    own = type(self).forward
    # activations that are computed anew leave no keys behind
    apart = input_ids is None or not self.training or self.is_activation_checkpointing
    more = {key for key, value in given.items() if value is not None} - {"use_cache", "return_dict"}
    length = 0 if apart or more else common_length(input_ids)
    if not SHORTEST <= length < input_ids.shape[1]:
        return own(self, input_ids=input_ids, attention_mask=attention_mask, **given)
    return _shared(self, input_ids, attention_mask, length)


def _shared(body: Any, input_ids: Any, attention_mask: Any, length: int) -> Any:
    import torch
    from transformers import DynamicCache

    own, rows = type(body).forward, len(input_ids)
    given = {cache_name(type(body)): DynamicCache(config=body.config), "use_cache": True}
    first = own(body, input_ids=input_ids[:1, :length], **given)
    given[cache_name(type(body))].batch_repeat_interleave(rows)
    rest = own(body, input_ids=input_ids[:, length:], attention_mask=attention_mask, **given)
    beginning = first.last_hidden_state.expand(rows, -1, -1)
    rest.last_hidden_state = torch.cat([beginning, rest.last_hidden_state], dim=1)
    return rest


def common_length(input_ids: Any) -> int:
    """Tokens that all rows begin with; 0 for one row."""
    if len(input_ids) == 1:
        return 0
    return int((input_ids == input_ids[:1]).all(0).long().cumprod(0).sum())


def _answers_the_same(body: Any, samples: list[Row]) -> bool:
    """Whether two rows whose first half is shared get the hidden states of two whole rows."""
    import torch

    if not rows_can_leave(body):
        return False  # a state that is changed in place has no gradient
    ids = samples[0]["input_ids"][:32]
    rows = torch.tensor([ids, [*ids[: len(ids) // 2], *reversed(ids[len(ids) // 2 :])]], device=body.device)
    mask, trained = torch.ones_like(rows), body.training
    body.eval()
    try:
        with torch.no_grad():
            plain = body(input_ids=rows, attention_mask=mask, use_cache=False).last_hidden_state
            shared = _shared(body, rows, mask, len(ids) // 2).last_hidden_state
    except Exception:  # families refuse what they cannot do in words and errors of their own
        return False
    finally:
        body.train(trained)
    return plain.shape == shared.shape and torch.allclose(
        plain, shared, rtol=1e-2, atol=1e-2 * float(plain.abs().mean())
    )
