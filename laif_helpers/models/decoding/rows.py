"""Defines the rows of decoding: a prompt's tokens, an answer's tokens, and the seeds of sampling."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prompt:
    """One prompt to continue: its place in the input, its tokens, how many new ones it may get, and a seed.

    ``group``: prompts with one number begin alike.
    """

    index: int
    ids: list[int]
    limit: int
    seed: tuple[int, ...] = ()
    group: int = 0


@dataclass(frozen=True)
class Answer:
    """Tokens that followed a prompt, the stop token left out. ``generated`` counts it; ``stopped``: there was one."""

    index: int
    ids: list[int]
    generated: int
    stopped: bool


def seeds(prompts: list[list[int]], seed: int, numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """A seed for each prompt from its own tokens and from which sample of it this is.

    So a sampled answer depends neither on the batch it was in nor on what was asked beside it.
    """
    contents = (zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes()) for ids in prompts)
    return [(seed, content, number) for content, number in zip(contents, numbers, strict=True)]
