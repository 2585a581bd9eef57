"""Orders an epoch: batches of like length, or a curriculum from easy to hard."""

import random
from collections.abc import Iterator
from typing import Any

from laif_helpers.train.settings import Row


class LengthGrouped:
    """Order of an epoch: shuffled, then neighbours of like length, so that little is padded.

    Groups are whole optimiser steps over all ranks. The order thus depends on seed, epoch and global batch
    alone: two ranks of 16 see in each step what one process sees with a batch of 32.
    """

    def __init__(self, lengths: list[int], group: int, seed: int) -> None:
        self.lengths, self.group, self.seed, self.epoch = lengths, group, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}/{self.epoch}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        # Sorting within 50 steps' worth keeps chance in what meets in a batch, as HF's own sampler does.
        span = 50 * self.group
        for begin in range(0, len(order), span):
            order[begin : begin + span] = sorted(order[begin : begin + span], key=self.lengths.__getitem__)
        groups = [order[begin : begin + self.group] for begin in range(0, len(order), self.group)]
        whole = groups if len(groups[-1]) == self.group else groups[:-1]
        rest = groups[len(whole) :]
        rng.shuffle(whole)
        yield from (index for group in [*whole, *rest] for index in group)


class EasyToHard:
    """Order of every epoch: by ``difficulty``, easiest first; equals in the order of the seed."""

    def __init__(self, difficulty: list[float], seed: int) -> None:
        order = list(range(len(difficulty)))
        random.Random(seed).shuffle(order)
        self.order = sorted(order, key=difficulty.__getitem__)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)


def follow_epochs(sampler: Any) -> Any:
    """A callback that sets each epoch's number on ``sampler``.

    accelerate sets it too, except if a training of several ranks resumes in the middle of an epoch. To skip the batches
    already seen, accelerate wraps the sampler twice and no longer reaches it; the rest of that epoch would then follow
    the order of epoch 0. Measured with two ranks: without this callback, losses differ by 2e-3 after a resume; with
    it, they are equal to the last digit.
    """
    from transformers import TrainerCallback

    class FollowEpochs(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(int(state.epoch + 1e-6))

    return FollowEpochs()


def difficulty(kind: str, model: Any, samples: list[Row], device: Any) -> list[float]:
    """How hard each sample is for the untrained model: its tokens, or minus its mean response log-probability.

    Under ZeRO-3 the weights are spread before training begins and no rank can read a sample alone: then length
    stands in for confidence, and a line in the log says so.
    """
    if kind == "confidence" and any(hasattr(weight, "ds_id") for weight in model.parameters()):
        print("curriculum: ZeRO-3 has spread the weights, so that length stands in for the target's confidence")
        kind = "length"
    if kind == "length":
        return [float(len(sample["input_ids"])) for sample in samples]
    return [-value for value in confidence(model, samples, device)]


def confidence(model: Any, samples: list[Row], device: Any, batch: int = 16) -> list[float]:
    """Mean natural log-probability of each sample's response tokens under ``model``."""
    import torch

    was_training, found = model.training, [0.0] * len(samples)
    model.to(device).eval()
    order = sorted(range(len(samples)), key=lambda at: len(samples[at]["input_ids"]))
    with torch.no_grad():
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            ids, labels = (_padded([samples[at][key] for at in part], fill) for key, fill in _FILL.items())
            mask = _padded([[1] * len(samples[at]["input_ids"]) for at in part], 0).to(device)
            logits = model(input_ids=ids.to(device), attention_mask=mask).logits[:, :-1]
            wanted = labels[:, 1:].to(device)
            losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
            means = -losses.sum(1) / (wanted != -100).sum(1).clamp(min=1)
            for at, mean in zip(part, means.tolist(), strict=True):
                found[at] = mean
    model.train(was_training)
    return found


_FILL = {"input_ids": 0, "labels": -100}


def _padded(rows: list[list[int]], fill: int) -> Any:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
