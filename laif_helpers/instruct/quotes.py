"""Estimates what an instructor will cost: from characters before anything is sent, then from a small probe."""

import math
import statistics
from collections.abc import Mapping, Sequence

from laif_helpers import lessons
from laif_helpers.answers.pools import Study
from laif_helpers.instruct.planning import Plan
from laif_helpers.instruct.requests import Request
from laif_helpers.instructors import spending
from laif_helpers.instructors.ledger import Reply
from laif_helpers.instructors.spending import Quote, Range, dollars, notes
from laif_helpers.lessons import CHARS_PER_TOKEN_RANGE, LEAST_ANSWER, families
from laif_helpers.recipe import StageParameters

WORDIER = (0.8, 1.6)
"""An instructor's samples are about as long as the benchmark's own items and answers; models write more than people."""
OVERHEAD = 60
"""Characters of labels per sample, and of the diagnosis per reply, both generously."""
METHOD = (
    "tokens = characters / 5 (low) to / 3 (high); a reply = diagnosis + n samples, each as long as this benchmark's "
    "own question and gold answer on average, × 0.8 to 1.6"
)
MEASURED = (
    "measured on a probe of {n} requests, which is part of these figures; low and high: 95 % prediction interval "
    "(Student's t, at least ± 10 %) of what the other {rest} will read and write"
)
UNTESTED, LEAST_SPREAD = 0.5, 0.1
"""With a single reply nothing is known of the spread: ± 50 %. A few that are alike by chance still mean ± 10 %."""


def quote(plan: Plan, p: StageParameters, probed: Mapping[str, Reply] | None = None) -> Quote:
    """Tokens and dollars for all requests of a plan, whatever instructor the recipe names. Nothing is sent.

    ``probed``: replies that are there already (``instruct.probe``). They are counted as they are, and the rest is
    quoted from them; without any, from characters (``METHOD``).
    """
    known = probed or {}
    bought = [known[item.key] for item in plan.requests if item.key in known and known[item.key].prompt_tokens]
    rest = [item for item in plan.requests if item.key not in known]
    asking = _measured(plan, p, rest, bought) if bought else _estimated(plan, p)
    inputs, outputs = (
        (low + more[0], high + more[1]) for (low, high), more in zip(asking, _again(plan, p), strict=True)
    )
    paid, (asked, got) = sum(reply.usd for reply in bought), _sum(bought)
    usd = dollars(p, (inputs[0] - asked, inputs[1] - asked), (outputs[0] - got, outputs[1] - got))
    usd = (paid + usd[0], paid + usd[1]) if usd else None
    cut = outputs[1] >= spending.MAX_REPLY_TOKENS * len(plan.requests) > 0
    method = MEASURED.format(n=len(bought), rest=len(rest)) if bought else METHOD
    name = p.instructor_model or p.instructor
    return Quote(name, len(plan.requests), plan.requested, inputs, outputs, usd, _notes(plan, p, usd, cut), method)


def _estimated(plan: Plan, p: StageParameters) -> tuple[Range, Range]:
    """Input and output tokens from characters."""
    asked = sum(len(turn["content"]) for request in plan.requests for turn in request.messages)
    size = {name: _sample_size(study) for name, study in plan.studies.items()}
    answered = sum(OVERHEAD * 4 + request.n * size[request.benchmark] for request in plan.requests)
    extra = spending.TOKENS_A_MESSAGE * 2 * len(plan.requests)
    inputs = (asked / CHARS_PER_TOKEN_RANGE[0], asked / CHARS_PER_TOKEN_RANGE[1] + extra)
    longest = float(spending.MAX_REPLY_TOKENS * len(plan.requests))
    low, high = (answered * more / chars for more, chars in zip(WORDIER, CHARS_PER_TOKEN_RANGE, strict=True))
    return inputs, (min(low, longest), min(high, longest))


def _measured(plan: Plan, p: StageParameters, rest: Sequence[Request], bought: Sequence[Reply]) -> tuple[Range, Range]:
    """Input and output tokens of the probe's replies and, by their like, of the rest."""
    (asked, got), most = _sum(bought), float(spending.MAX_REPLY_TOKENS * len(rest))
    by_key = {request.key: request for request in plan.requests}
    sizes = [sum(len(turn["content"]) for turn in by_key[reply.key].messages) for reply in bought]
    ratios = [reply.prompt_tokens / size for reply, size in zip(bought, sizes, strict=True)]
    characters = sum(len(turn["content"]) for request in rest for turn in request.messages)
    reads = (min(ratios) * characters, max(ratios) * characters)
    low, high = _sum_interval([float(reply.new_tokens) for reply in bought], len(rest))
    return (asked + reads[0], asked + reads[1]), (got + min(low, most), got + min(high, most))


def _again(plan: Plan, p: StageParameters) -> tuple[Range, Range]:
    """What the answers that must confirm choice lessons (``agreement``) read and write: at most, all lessons pass
    the other checks; at least, half of them."""
    answers, asked = 0.0, 0.0
    for item in plan.requests:
        study = plan.studies[item.benchmark]
        if p.agreement and families.get(study.bench.family).by_letter:
            answers += p.agreement * item.n
            asked += p.agreement * item.n * _sample_size(study)
    low, high = CHARS_PER_TOKEN_RANGE
    return (asked / low / 2, asked / high), (answers * LEAST_ANSWER / low / 2, answers * LEAST_ANSWER / high * 2)


def _sum(replies: Sequence[Reply]) -> tuple[int, int]:
    return sum(reply.prompt_tokens for reply in replies), sum(reply.new_tokens for reply in replies)


def _sum_interval(seen: Sequence[float], n: int) -> Range:
    """95 % prediction interval of the sum of n more draws like those seen."""
    mean = statistics.fmean(seen)
    if len(seen) < 2:
        return mean * n * (1 - UNTESTED), mean * n * (1 + UNTESTED)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(seen) - 1)) * statistics.stdev(seen) * math.sqrt(n * n / len(seen) + n)
    half = max(half, LEAST_SPREAD * mean * n)
    return max(mean * n - half, 0.0), mean * n + half


def _notes(plan: Plan, p: StageParameters, usd: Range | None, cut: bool) -> tuple[str, ...]:
    found = notes(p, len(plan.requests), usd)
    if p.agreement:
        found.append(f"Included: {p.agreement} more answers to each choice lesson that passes the other checks.")
    if cut:
        found.append(
            f"Replies end at {spending.MAX_REPLY_TOKENS} tokens: {plan.requests[0].n} lessons a request may not fit."
        )
    return tuple(found)


def _sample_size(study: Study) -> float:
    """Characters of one sample: the mean over the benchmark's own questions and gold answers."""
    question, answer = lessons.typical_size(study.bench, [item.example for item in (*study.wrong, *study.right)])
    return question + answer + OVERHEAD * bool(question)
