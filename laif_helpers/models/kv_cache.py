"""A key-value cache whose rows may come and go, with spare columns so that a new token does not copy the old ones."""

from functools import lru_cache
from typing import Any

ROOM = 64
"""Columns by which a buffer grows."""


def new_cache(model: Any) -> tuple[Any, bool]:
    """An empty cache, and whether rows can join it later (not with sliding windows or recurrent layers)."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache(config=model.config)
    growable = all(type(layer) is DynamicLayer for layer in cache.layers)
    if growable:
        cache.layers = [_roomy_layer()() for _ in cache.layers]
    return cache, growable


@lru_cache(maxsize=1)
def _roomy_layer() -> Any:
    """transformers' cache layer on a buffer with spare columns (a class made here, so that importing stays light)."""
    import torch
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        """Keys and values (rows, heads, columns, size) are views of the first ``get_seq_length()`` columns."""

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self._buffers = (key_states[..., :0, :], value_states[..., :0, :])
            begin, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
            if end > self._buffers[0].shape[-2]:
                old = (self.keys, self.values) if begin else self._buffers
                self._buffers = tuple(_with_room(part, end + ROOM, begin) for part in old)
            for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
                buffer[..., begin:end, :] = new
            self._show(end)
            return self.keys, self.values

        def _show(self, end: int) -> None:
            self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)

        def batch_select_indices(self, indices: Any) -> None:
            end = self.get_seq_length()
            self._buffers = tuple(buffer[indices] for buffer in self._buffers)
            self._show(end)

        def drop_columns(self, count: int) -> None:
            """Forget the first ``count`` columns: padding in every row. The space is freed at the next growth."""
            end = self.get_seq_length() - count
            self._buffers = tuple(buffer[..., count:, :] for buffer in self._buffers)
            self._show(end)

        def absorb(self, other: Any, width: int) -> None:
            """Add the rows of another layer; both end in column ``width``."""
            self._buffers = tuple(
                _stacked(mine, theirs, width) for mine, theirs in ((self.keys, other.keys), (self.values, other.values))
            )
            self._show(width)

    def _with_room(part: Any, columns: int, used: int) -> Any:
        room = part.new_empty((*part.shape[:-2], columns, part.shape[-1]))
        room[..., :used, :] = part[..., :used, :]
        return room

    def _stacked(upper: Any, lower: Any, width: int) -> Any:
        shape = (upper.shape[0] + lower.shape[0], upper.shape[1], width + ROOM, upper.shape[3])
        # Zeros, not empty: a masked column still enters the product, and 0 × NaN is NaN.
        both = torch.zeros(shape, dtype=upper.dtype, device=upper.device)
        both[: upper.shape[0], :, width - upper.shape[2] : width] = upper
        both[upper.shape[0] :, :, width - lower.shape[2] : width] = lower
        return both

    return RoomyLayer
