"""Repeats a decode step as one CUDA graph, so that a GPU does not wait for the processor that starts its kernels.

A step of a small model has hundreds of kernels, which take a GPU less time than their start takes the processor. A
graph starts them all at once, but needs every tensor in one place and of one size: the step attends over all columns of
the cache's buffers behind a mask, and counts its own column on the device. Rows that leave or join, and buffers that
are full, need a new graph.
"""

from typing import Any

from laif_helpers.models.decoding.families import CAPTURED, ropes_of, type_of
from laif_helpers.models.decoding.kv_cache import cache_name


def serves(model: Any, growable: bool) -> bool:
    """Whether this model's steps are captured: on one of NVIDIA's GPUs, a proven family, one whole cache a layer."""
    import torch

    nvidia = model.device.type == "cuda" and torch.version.cuda is not None
    asks = any(rope.get("rope_type") == "dynamic" for rope in ropes_of(model))  # the processor, how long a row is
    return growable and nvidia and type_of(model) in CAPTURED and not asks


class Step:
    """One step of a batch, as often as there is room: it changes the batch's tensors in place."""

    def __init__(self, batch: Any, steps: int):
        import torch

        self.batch, self.graph = batch, None
        for layer in batch.cache.layers:
            layer.reserve(steps)
        self.columns = torch.arange(batch.cache.layers[0].capacity, device=batch.pad.device)
        self.at = torch.tensor([batch.width], device=batch.pad.device)
        self.lowest = torch.finfo(batch.model.dtype).min

    def room(self) -> int:
        """Steps that still fit into the buffers."""
        return len(self.columns) - int(self.batch.width)

    def advance(self, steps: int) -> None:
        """Decode ``steps`` tokens of every row.

        The first step starts its kernels one by one, which loads what a capture cannot load; then a step is captured,
        which computes nothing, and the others repeat it.
        """
        import torch

        layers = self.batch.cache.layers
        with torch.inference_mode():
            for layer in layers:
                layer.write_at(self.at)
            for _ in range(steps):
                if self.graph is not None:
                    self.graph.replay()
                else:
                    self._step()
                    self.graph = self._captured()
        self.batch.width += steps
        for layer in layers:
            layer.write_at(None)
            layer.show(self.batch.width)

    def _captured(self) -> Any:
        import torch

        if self.at.device.type != "cuda":
            return None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step()
        return graph

    def _step(self) -> None:
        import torch

        batch = self.batch
        seen = (self.columns >= batch.pad[:, None]) & (self.columns <= self.at)
        mask = torch.where(seen, 0.0, self.lowest).to(batch.model.dtype)[:, None, None]
        positions = (self.at - batch.pad).clamp(min=0, max=batch.context - 1)[:, None]
        logits = batch.model(
            input_ids=batch.token[:, None],
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{cache_name(batch.model): batch.cache},
            **batch.last_only,
        ).logits[:, -1]
        batch.token.copy_(batch.choose(logits))
        batch.record()
        self.at += 1
