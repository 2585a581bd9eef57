"""Orders an epoch: batches of like length."""

import random
from collections.abc import Iterator
from typing import Any


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


def follow_epochs(sampler: LengthGrouped) -> Any:
    """A callback that sets each epoch's number on ``sampler``.

    accelerate sets it too, except if a training of several ranks resumes in the middle of an epoch. To skip the batches
    already seen, accelerate wraps the sampler twice and no longer reaches it; the rest of that epoch would then follow
    the order of epoch 0. Measured with two ranks: without this callback, losses differ by 2e-3 after a resume; with
    it, they are equal to the last digit.
    """
    from transformers import TrainerCallback

    class FollowEpochs(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            sampler.set_epoch(int(state.epoch + 1e-6))

    return FollowEpochs()
