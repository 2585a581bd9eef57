"""Shows for 09: how often the target answers right, question by question, and what became of its answers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd

from laif_helpers import lessons
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson
from laif_helpers.self_training import Attempt, drawn


def by_question(attempts: Sequence[Attempt]) -> pd.DataFrame:
    """Questions by benchmark, by whether the greedy answer was right, and by how many of the samples are right."""
    right: dict[tuple[str, str, str], int] = defaultdict(int)
    for attempt in attempts:
        greedy = "failed greedily" if attempt.failed else "passed greedily"
        right[attempt.example.benchmark, greedy, attempt.example.id] += attempt.correct
    rows = [(benchmark, greedy, f"{n} right") for (benchmark, greedy, _), n in right.items()]
    table = pd.DataFrame(rows, columns=["benchmark", "greedy", "samples"])
    return pd.crosstab([table["benchmark"], table["greedy"]], table["samples"]).reset_index()


def examples(found: Sequence[Lesson], n: int = 4) -> pd.DataFrame:
    """A few answers of each fate, each to another question."""
    rows = [(lesson.status, lesson.reason, lesson.question, lesson.response) for lesson in found]
    table = pd.DataFrame(rows, columns=["status", "reason", "question", "the target's answer"])
    apart = table.drop_duplicates(["status", "question"])
    return apart.groupby("status").head(n).sort_values("status", kind="stable").reset_index(drop=True)


def ended(p: StageParameters, attempts: Sequence[Attempt], found: Sequence[Lesson]) -> str:
    """Why this arm has nothing left to learn from; "" if it has."""
    if any(lesson.status == "kept" for lesson in found):
        return ""
    names = ", ".join(p.in_domain)
    if not attempts:
        return f"no question to ask: the target fails none of {names} {p.error_split} that may be trained on"
    right = sum(attempt.correct for attempt in attempts)
    return f"none of {len(attempts)} sampled answers to {names} {p.error_split} can be learned from ({right} are right)"


def observation(p: StageParameters, attempts: Sequence[Attempt], found: Sequence[Lesson]) -> str:
    """The answer to the notebook's question in three sentences."""
    if reason := ended(p, attempts, found):
        return f"The arm ends here: {reason}."
    shares = []
    for failed, what in ((True, "failed"), (False, "passed")):
        of = [attempt for attempt in attempts if attempt.failed == failed]
        if of:
            right = sum(attempt.correct for attempt in of)
            shares.append(f"{right:,} of {len(of):,} on questions it {what} greedily")
    kept = [lesson for lesson in found if lesson.status == "kept"]
    needed = lessons.shares(p.budget, p.replay_fraction)[0] * len(p.in_domain)
    return (
        f"Right samples: {', '.join(shares)}. **{len(kept):,} of the {needed:,} that the budget takes are kept**, "
        f"on {len({lesson.source_ids[0] for lesson in kept}):,} questions; "
        + ("right and wrong ones alike." if p.strategy == "self" else "each was graded right.")
    )


def metrics(p: StageParameters, attempts: Sequence[Attempt], found: Sequence[Lesson]) -> dict[str, Any]:
    """What 09 records: the draw, the funnel, and what the samples cost."""
    reason = ended(p, attempts, found)
    return {
        **{"arm": p.arm, "iteration": p.iteration, **drawn(p)},
        **{"statuses": dict(Counter(lesson.status for lesson in found))},
        **{"right": sum(attempt.correct for attempt in attempts), "samples": len(attempts)},
        **{"generated_tokens": sum(attempt.done.new_tokens for attempt in attempts)},
        **{"seconds": round(sum(attempt.done.seconds for attempt in attempts), 2)},
        **({"ended": reason} if reason else {}),
    }
