"""Runs the decode loop: greedy or sampled answers to many prompts, in a batch that never runs half empty.

Plain ``generate`` keeps a finished row in the batch until the longest one ends. Here finished rows leave, new
prompts take their place (rows are aligned on the right, so that rows of different age share one step), a beginning that
prompts share is read once, and the key-value cache has room to grow, so that a token costs one written column instead
of a copy of all of it.
"""

import gc
import inspect
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laif_helpers.models.decoding import captured, generated, prefixes
from laif_helpers.models.decoding.families import own_loop, same_angles_until
from laif_helpers.models.decoding.kv_cache import cache_name, new_cache
from laif_helpers.models.decoding.rows import Answer, Prompt, seeds

__all__ = ["Answer", "Prompt", "context_length", "context_of", "decode", "out_of_memory", "own_loop", "seeds"]

REFILL_SHARE = 0.25
"""Finished rows leave when they are this share of the batch: sooner copies the cache too often, later wastes steps."""
JOIN_SHARE = 0.75
"""Waiting prompts join when this share of the rows is free. On CPU cores a step costs what its rows cost, so a smaller
batch loses nothing, while newcomers among old rows lengthen the padding that everyone's attention passes over."""
CUDA_MEMORY_ALLOCATION = 2
"""CUDA's number for memory that it cannot give; torch has an error of its own only where its allocator asks."""
GPU_STRIDE = 8
"""Tokens decoded between two looks at which rows are done: each look makes the CPU wait for the GPU."""


def decode(
    model: Any, prompts: list[Prompt], stop_ids: list[int], *, batch_size: int, temperature: float = 0.0
) -> Iterator[list[Answer]]:
    """Yield answers as rows finish, every prompt exactly once; longest prompts first, those that begin alike together.

    The model's own generation settings (repetition penalty, top-p, …) are not applied: temperature 0 is the
    plain argmax, above it the plain softmax. A model that the loop is not proven for is decoded by plain ``generate``,
    as are rows that may change the angles of those beside them.
    When memory runs out, the rows not yet finished start again at half the batch size. Raises MemoryError when even
    one row does not fit.
    """
    longest = same_angles_until(model) if own_loop(model) else 0
    plain = [prompt for prompt in prompts if len(prompt.ids) + prompt.limit > longest]
    yield from _decode_plainly(model, plain, stop_ids, batch_size, temperature)
    prompts = [prompt for prompt in prompts if len(prompt.ids) + prompt.limit <= longest]
    alike = prefixes.groups(prompts)
    queue = deque(replace(prompt, group=number) for number, group in enumerate(alike) for prompt in group)
    settings = _Settings(max((p.limit for p in prompts), default=0), tuple(stop_ids), temperature)
    batch: _Batch | None = None
    while queue or batch:
        answers, failure = [], ""
        try:
            batch = _fill(model, batch, queue, batch_size, settings)
            batch.advance()
            answers = batch.take_finished()
        except RuntimeError as error:
            failure = out_of_memory(error)
        if failure:  # outside the handler: its traceback would keep the tensors alive
            queue.extendleft(reversed(batch.unfinished() if batch else []))
            batch, batch_size = None, _half(batch_size, failure)
            _free()
        elif batch and not batch.prompts:
            batch = None
        if answers:
            yield answers


def _decode_plainly(
    model: Any, prompts: list[Prompt], stop_ids: list[int], size: int, temperature: float
) -> Iterator[list[Answer]]:
    waiting = deque(generated.batches(model, prompts, size))
    while waiting:
        answers, failure = [], ""
        try:
            answers = generated.decode(model, waiting[0], stop_ids, temperature)
        except RuntimeError as error:
            failure = out_of_memory(error)
        batch = waiting.popleft()
        if failure:
            half = _half(len(batch), failure)
            waiting.extendleft([batch[half:], batch[:half]])
            _free()
        else:
            yield answers


@dataclass(frozen=True)
class _Settings:
    room: int
    """Most new tokens of any row."""
    stop_ids: tuple[int, ...]
    temperature: float


def _fill(model: Any, batch: "_Batch | None", queue: deque[Prompt], size: int, settings: _Settings) -> "_Batch":
    """The running batch, with waiting prompts taken in once enough rows are free."""
    free = size - len(batch.prompts) if batch else size
    share = JOIN_SHARE if model.device.type == "cpu" else REFILL_SHARE
    if batch and (not queue or not batch.growable or free < max(1, size * share)):
        return batch
    first = queue[0].group
    joining = list(itertools.takewhile(lambda prompt: prompt.group == first, itertools.islice(queue, free)))
    added = _Batch(model, joining, settings)
    if batch:
        batch.absorb(added)
    for _ in joining:
        queue.popleft()
    return batch or added


class _Batch:
    """Rows that are decoded together. Right-aligned: every row's newest token is in the last column."""

    def __init__(self, model: Any, prompts: list[Prompt], settings: _Settings):
        import torch

        self.model, self.prompts, self.settings = model, prompts, settings
        self.handed_out = set[int]()
        self.context = context_length(model)
        # the logits of the other positions would fill memory for nothing
        can_skip = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.last_only = {"logits_to_keep": 1} if can_skip else {}
        self.cache, self.growable = new_cache(model)
        self.cache_name = cache_name(model)
        self.width = max(len(prompt.ids) for prompt in prompts)
        ids = torch.zeros((len(prompts), self.width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, self.width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        whole = {"dtype": torch.long, "device": model.device}
        self.pad = torch.tensor([self.width - len(prompt.ids) for prompt in prompts], **whole)
        self.limit = torch.tensor([prompt.limit for prompt in prompts], **whole)
        self.stop = torch.tensor(settings.stop_ids, **whole)
        # One spare column: a finished row that has not left yet writes its further tokens there.
        self.out = torch.zeros((len(prompts), settings.room + 1), **whole)
        self.count = torch.zeros(len(prompts), **whole)
        self.done = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)
        self.noise = self._noise()
        self.step: captured.Step | None = None
        ids = ids.to(model.device)
        once = prefixes.read(model, self.cache, prompts, self.pad, **self.last_only) if self.growable else 0
        self.token = ids[:, -1]
        self._next(ids[:, once:])

    def _noise(self) -> Any:
        """(rows, room + 1) uniform numbers: a token is drawn by inverting the cumulative distribution."""
        import torch

        if self.settings.temperature <= 0:
            return torch.zeros((len(self.prompts), 1), device=self.model.device)
        drawn = [np.random.default_rng(prompt.seed).random(self.settings.room + 1) for prompt in self.prompts]
        return torch.tensor(np.stack(drawn), dtype=torch.float32, device=self.model.device)

    def advance(self) -> None:
        """Decode the next token of every row (a few of them on a GPU)."""
        if captured.serves(self.model, self.growable):
            if self.step is None or self.step.room() < GPU_STRIDE:
                self.step = captured.Step(self, GPU_STRIDE)
            self.step.advance(GPU_STRIDE)
            return
        for _ in range(1 if self.model.device.type == "cpu" else GPU_STRIDE):
            self.width += 1
            self._next(self.token[:, None])

    def _next(self, ids: Any) -> None:
        """(rows, columns) newest token ids; the next token of each row is chosen and recorded."""
        import torch

        columns = torch.arange(self.width, device=ids.device)
        mask = columns >= self.pad[:, None]
        positions = (columns[-ids.shape[1] :] - self.pad[:, None]).clamp(min=0, max=self.context - 1)
        with torch.inference_mode():
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
                **{self.cache_name: self.cache},
                **self.last_only,
            )
            self.token = self.choose(output.logits[:, -1])
            self.record()

    def choose(self, logits: Any) -> Any:
        """(rows, vocabulary) -> (rows,) token ids."""
        if self.settings.temperature <= 0:
            return logits.argmax(-1)
        return generated.draw(logits, self.noise.gather(1, self.count[:, None]), self.settings.temperature)

    def record(self) -> None:
        """Note the newest token of each row, in place."""
        import torch

        token = self.token[:, None]
        self.out.scatter_(1, torch.where(self.done, self.settings.room, self.count)[:, None], token)
        self.count += ~self.done
        self.done |= (token == self.stop).any(-1) | (self.count >= self.limit)

    def take_finished(self) -> list[Answer]:
        """Answers of the rows that have finished since the last call.

        Finished rows leave the batch once they are enough to pay for moving the others.
        """
        import torch

        finished = self.done.nonzero()[:, 0].tolist()
        fresh = [row for row in finished if self.prompts[row].index not in self.handed_out]
        if not fresh:
            return []
        count, tokens = self.count[fresh], self.out[fresh]
        stopped = torch.isin(tokens.gather(1, count[:, None] - 1)[:, 0], self.stop)
        answers = [
            Answer(self.prompts[row].index, ids[: n - end], n, bool(end))
            for row, ids, n, end in zip(fresh, tokens.tolist(), count.tolist(), stopped.tolist(), strict=True)
        ]
        if len(finished) >= REFILL_SHARE * len(self.prompts):
            self._keep((~self.done).nonzero()[:, 0].tolist())
        self.handed_out.update(answer.index for answer in answers)
        return answers

    def unfinished(self) -> list[Prompt]:
        """The prompts whose answers nobody has yet."""
        return [prompt for prompt in self.prompts if prompt.index not in self.handed_out]

    def _keep(self, staying: list[int]) -> None:
        import torch

        self.step = None
        if staying:
            rows = torch.tensor(staying, device=self.pad.device)
            unused = int(self.pad[rows].min()) if self.growable else 0
            self.cache.batch_select_indices(rows)
            if unused:
                for layer in self.cache.layers:
                    layer.drop_columns(unused)
            for name in ("pad", "limit", "out", "count", "done", "noise", "token"):
                setattr(self, name, getattr(self, name)[rows])
            self.pad -= unused
            self.width -= unused
        # Last: if memory ran out above, these are the rows that start again.
        self.prompts = [self.prompts[row] for row in staying]

    def absorb(self, other: "_Batch") -> None:
        """Take in the rows of a batch that has just read its prompts (and so has one new token a row)."""
        import torch

        self.step = None
        width = max(self.width, other.width)
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            ours.absorb(theirs, width)
        self.pad += width - self.width
        other.pad += width - other.width
        self.width = width
        for name in ("pad", "limit", "out", "count", "done", "noise", "token"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        self.prompts = self.prompts + other.prompts


def context_length(model: Any) -> int:
    """Most positions the model knows: the prompt and what follows it."""
    return context_of(model.config)


def context_of(config: Any) -> int:
    """``context_length`` by a config alone."""
    config = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    return next((int(value) for name in names if (value := getattr(config, name, None)) and value > 0), 1 << 30)


def out_of_memory(error: RuntimeError) -> str:
    """The words of an error for which a smaller batch is tried; any other is raised again."""
    import torch

    full = isinstance(error, torch.OutOfMemoryError) or getattr(error, "error_code", 0) == CUDA_MEMORY_ALLOCATION
    if full or "allocate memory" in str(error):  # a processor's allocator has no error of its own
        return str(error)
    raise error


def _half(size: int, failure: str) -> int:
    if size == 1:
        raise MemoryError(f"one prompt alone does not fit into memory: {failure.splitlines()[0]}")
    return size // 2


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
