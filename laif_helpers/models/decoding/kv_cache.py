"""Holds a key-value cache whose rows come and go, with spare columns so that a new token does not copy old ones."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

ROOM = 64
"""Columns by which a buffer grows."""


def cache_name(model: Any) -> str:
    """What the model's ``forward`` calls its cache: newer releases of transformers say ``cache``."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def rows_can_leave(model: Any) -> bool:
    """Whether every layer keeps keys and values, whole or of a window: recurrent states and others are not proven."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    known = {DynamicLayer, DynamicSlidingWindowLayer}
    return {type(layer) for layer in DynamicCache(config=model.config).layers} <= known


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
    """transformers' cache layer with ``_Room`` (a class made here, so that importing stays light)."""
    from transformers.cache_utils import DynamicLayer

    return type("RoomyLayer", (_Room, DynamicLayer), {})


class _Room:
    """Keys and values (rows, heads, columns, size) are views of the first ``get_seq_length()`` columns of buffers."""

    # of transformers' layer
    keys: Any
    values: Any
    is_initialized: bool
    lazy_initialization: Callable[[Any, Any], None]
    get_seq_length: Callable[[], int]

    _buffers: tuple[Any, ...]
    _at: Any = None

    @property
    def capacity(self) -> int:
        """Columns of the buffers."""
        return int(self._buffers[0].shape[-2])

    def reserve(self, columns: int) -> None:
        """Grow the buffers if fewer than so many columns are free."""
        end = self.get_seq_length()
        if end + columns > self.capacity:
            self._buffers = tuple(_with_room(part, end + columns + ROOM, end) for part in self._buffers)
            self.show(end)

    def write_at(self, column: Any) -> None:
        """(1,) the column on the device that ``update`` writes from now on, and all columns are returned; None: the
        next one again."""
        self._at = column

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Add the columns of new tokens; returns all keys and all values. The buffers grow only when they are full."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = (key_states[..., :0, :], value_states[..., :0, :])
        if self._at is not None:
            for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
                buffer.index_copy_(-2, self._at, new)
            return self._buffers
        begin, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = tuple(_with_room(part, end + ROOM, begin) for part in self._buffers)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., begin:end, :] = new
        self.show(end)
        return self.keys, self.values

    def show(self, end: int) -> None:
        """Keys and values are the first ``end`` columns."""
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)

    def batch_select_indices(self, indices: Any) -> None:
        """Keep these rows, in this order."""
        end = self.get_seq_length()
        self._buffers = tuple(buffer[indices] for buffer in self._buffers)
        self.show(end)

    def drop_columns(self, count: int) -> None:
        """Forget the first ``count`` columns: padding in every row. The space is freed at the next growth."""
        end = self.get_seq_length() - count
        self._buffers = tuple(buffer[..., count:, :] for buffer in self._buffers)
        self.show(end)

    def absorb(self, other: "_Room", width: int) -> None:
        """Add the rows of another layer; both end in column ``width``."""
        pairs = ((self.keys, other.keys), (self.values, other.values))
        self._buffers = tuple(_stacked(mine, theirs, width) for mine, theirs in pairs)
        self.show(width)


def _with_room(part: Any, columns: int, used: int) -> Any:
    """A buffer of ``columns`` columns that begins with the ``used`` ones of ``part``."""
    # Zeros, not empty: a masked column still enters the product, and 0 × NaN is NaN.
    room = part.new_zeros((*part.shape[:-2], columns, part.shape[-1]))
    room[..., :used, :] = part[..., :used, :]
    return room


def _stacked(upper: Any, lower: Any, width: int) -> Any:
    """The rows of both, each ending in column ``width`` of a buffer with room behind it."""
    both = upper.new_zeros((upper.shape[0] + lower.shape[0], upper.shape[1], width + ROOM, upper.shape[3]))
    both[: upper.shape[0], :, width - upper.shape[2] : width] = upper
    both[upper.shape[0] :, :, width - lower.shape[2] : width] = lower
    return both
