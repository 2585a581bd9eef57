"""Holds the tokens of a training set equal over the arms (``match: tokens``), instead of its items.

The allowance of a benchmark is what ``budget`` of its worked items take, questions included, in the target's tokens.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.lessons import worked
from laif_helpers.recipe import StageParameters
from laif_helpers.records import ROLLOUT, Example

Row = dict[str, Any]
MEASURED = 200
"""Worked items whose mean length stands for all."""
FILLED = 0.95
"""Share of its allowance from which a benchmark counts as full: rows are whole."""
CANDIDATES = 4
"""Times the budget: rows to choose from if an arm's rows are short."""


def fit(p: StageParameters, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The first rows of each benchmark that its allowance takes, lessons and replay in their shares, and a sentence for
    each benchmark whose rows do not fill it.

    Rollouts come again until it is used up. Raises ValueError for such a sentence if the recipe is ``strict``.
    """
    from transformers import AutoTokenizer

    tokenizer, found, short = AutoTokenizer.from_pretrained(p.base_model), list[Row](), []
    for name in p.in_domain:
        allowed = p.budget * _typical(tokenizer, name, joined.learnable(p, name), p.draw)
        here = [row for row in rows if row["benchmark"] == name]
        taken = list[Row]()
        for share, source in _parts(p, here):
            taken += _until(source, tokenizer, share * allowed)
        used = sum(size(tokenizer, row) for row in taken)
        if used < FILLED * allowed:
            short.append(f"{name}: {used:,} tokens of the {allowed:,.0f} that budget {p.budget} asks for")
        found += taken
    if p.strict and short:
        raise ValueError("; ".join(short) + "; lower budget, or set strict: false to train on what there is")
    random.Random(f"{p.draw}-mix").shuffle(found)
    return found, short


def _parts(p: StageParameters, rows: list[Row]) -> list[tuple[float, Iterable[Row]]]:
    """Shares of the allowance and the rows that fill them: rollouts, or what is taught and what is replayed."""
    if any(row["source"] == ROLLOUT for row in rows):
        return [(1.0, itertools.cycle(rows))]
    taught = [row for row in rows if row["source"] != "replay"]
    return [(1 - p.replay_fraction, taught), (p.replay_fraction, [row for row in rows if row["source"] == "replay"])]


def _typical(tokenizer: Any, name: str, items: Sequence[Example], seed: int) -> float:
    bench = benchmarks.get(name)
    drawn = random.Random(f"{seed}-{name}-length").sample(list(items), min(MEASURED, len(items)))
    answers = [{"role": "assistant", "content": worked(bench, item)} for item in drawn]
    rows = [{"messages": [*bench.messages(item), answer]} for item, answer in zip(drawn, answers, strict=True)]
    return sum(size(tokenizer, row) for row in rows) / max(1, len(rows))


def size(tokenizer: Any, row: Row) -> int:
    """Tokens of a training row as the template writes it; of a rollout, those of its question and expected answer."""
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + int(row.get("answer_tokens", 0))


def _until(rows: Iterable[Row], tokenizer: Any, allowed: float) -> list[Row]:
    """Rows from the first on, as long as at least half of the next one fits."""
    found, used = list[Row](), 0.0
    for row in rows:
        tokens = size(tokenizer, row)
        if used + tokens / 2 > allowed:
            break
        found.append(row)
        used += tokens
    return found
