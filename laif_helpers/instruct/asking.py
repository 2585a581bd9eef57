"""Sends the requests: first a probe, then the rest, both through the ledger."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from laif_helpers import instructors, lessons
from laif_helpers.instruct.learning import lessons_of
from laif_helpers.instruct.planning import Plan, open_ledger
from laif_helpers.instruct.requests import Request
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Reply
from laif_helpers.recipe import StageParameters

EXCERPT = 400
"""Characters of a reply that are shown if no lesson of the probe holds."""


def probe(plan: Plan, p: StageParameters) -> dict[str, Reply]:
    """The replies to the plan's first ``p.probe`` requests, really sent: what the rest is quoted from.

    They count against ``max_usd`` and stay in the ledger. {} if an instructor is free, or nothing may be sent.
    """
    if not instructors.INSTRUCTORS[p.instructor].paid:
        return {}
    return _answers(replace(plan, requests=plan.requests[: p.probe]), p)


def ask(plan: Plan, p: StageParameters) -> dict[str, Reply]:
    """The replies, by request key: those in the ledger as they are, the missing ones asked for.

    ``quote_only`` or no requests: {} and nothing is sent. Raises what the instructor raises; replies that
    arrived before stay in the ledger, and a second call asks only for the rest. Raises RuntimeError, before the rest is
    paid for, if none of the probe's lessons holds.
    """
    probed = probe(plan, p)
    if probed and len(plan.requests) > p.probe:
        with open_ledger(plan, p) as replies:
            known = replies.replies(request.key for request in plan.requests)
        if len(known) < len(plan.requests) and (reason := useless(plan.requests, probed, p)):
            raise RuntimeError(reason)
    return _answers(plan, p)


def useless(requests: Sequence[Request], probed: Mapping[str, Reply], p: StageParameters) -> str:
    """Why the probe's replies hold no lesson at all that is right; "" if they hold one."""
    results = lessons.verify(lessons_of(requests, probed, p), workers=p.workers)
    if any(lesson.status == "kept" for lesson in results):
        return ""
    first = results[0]
    raw = " ".join(probed[first.request_key].text.split())[:EXCERPT]
    return (
        f"none of the {len(results)} lessons in the {len(probed)} replies of the probe holds, so no more is bought. "
        f"The first: {first.status}, {first.reason}. Its reply begins: {raw!r}. Look at the instructor's model, the "
        "prompts and reply_format; probe: 0 asks for all without this check"
    )


def _answers(plan: Plan, p: StageParameters) -> dict[str, Reply]:
    if p.quote_only or not plan.requests:
        return {}
    if instructors.INSTRUCTORS[p.instructor].paid:
        lessons.test_questions(p)  # a test split that is not at hand must be known before anything is paid for
    with open_ledger(plan, p) as replies:
        begin = time.perf_counter()
        try:
            return replies.answered(plan.requests, lambda missing: instructors.ask(missing, p, replies))
        finally:
            waited = float(replies.noted(ledger.SECONDS) or 0) + time.perf_counter() - begin
            replies.note(ledger.SECONDS, f"{waited:.3f}")
