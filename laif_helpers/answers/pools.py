"""Sorts training items by what the target made of them: those it failed, and those it passed."""

from dataclasses import dataclass

from laif_helpers.answers import joined
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example


@dataclass(frozen=True)
class Pool:
    """One benchmark's items that are not held out, and the answer tokens that each took in the iteration before."""

    failed: list[Example]
    passed: list[Example]
    tokens: dict[str, int]

    @property
    def everything(self) -> list[Example]:
        return [*self.failed, *self.passed]


def read(p: StageParameters) -> dict[str, Pool]:
    """Items of the error split by benchmark, as the target's first answer to each in the iteration before was graded.

    An item on whose answer the two graders differ is neither failed nor passed. Raises FileNotFoundError if that
    iteration was not evaluated.
    """
    return {name: _of(p, name) for name in p.in_domain}


def _of(p: StageParameters, name: str) -> Pool:
    pool = Pool([], [], {})
    for example, answer in joined.pairs(p, p.previous, name, p.error_split):
        if answer.sample or joined.held_out(p, name, example.id):
            continue
        pool.tokens[example.id] = answer.new_tokens
        if answer.correct or answer.is_error:
            (pool.passed if answer.correct else pool.failed).append(example)
    return pool
