"""Chooses the faults of the practice server, the same ones in each run.

Which fault a request meets is drawn from the seed, the request and how often it came, so the draw depends neither on
the order of requests nor on the clock.
"""

import random
import re
from collections.abc import Mapping

REFUSED = {
    "rate_limit": (429, "rate_limit_exceeded", "Rate limit reached, slow down"),
    "server_error": (500, "server_error", "The server had an error while processing your request"),
    "insufficient_quota": (429, "insufficient_quota", "You exceeded your current quota, check your plan and billing"),
    "unauthorized": (401, "invalid_api_key", "Incorrect API key provided: {key}"),
}
"""Refusals: status, code, message. Nothing is answered, so nothing is counted as paid."""
BROKEN = ("hang", "drop", "garbled")
"""No usable answer: none for an hour, a connection closed in the middle, a body that is half a JSON document."""
BAD = ("truncated", "malformed", "refusal", "wrong")
"""Answers, and paid for: cut in the middle, out of format, none, with wrong final numbers."""
KINDS = (*REFUSED, *BROKEN, *BAD)


def rates(text: str) -> dict[str, float]:
    """``rate_limit=0.02,drop=0.01`` as a mapping. Raises ValueError for an unknown fault or a bad rate."""
    found = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, _, rate = word.partition("=")
        try:
            found[name] = float(rate)
        except ValueError:
            raise ValueError(f"fault {word!r}: write NAME=RATE, for instance rate_limit=0.02") from None
        if name not in KINDS:
            raise ValueError(f"unknown fault {name!r}; known: {', '.join(KINDS)}")
    if any(rate < 0 for rate in found.values()) or sum(found.values()) > 1:
        raise ValueError(f"fault rates must be 0 or more and add up to at most 1: {text!r}")
    return found


def draw(chances: Mapping[str, float], seed: int, digest: str, attempt: int) -> str:
    """The fault that this attempt of a request meets; "" for none."""
    point = random.Random(f"{seed}-{digest}-{attempt}").random()
    for name, rate in chances.items():
        if point < rate:
            return name
        point -= rate
    return ""


def spoil(text: str, fault: str) -> tuple[str, str]:
    """A good reply made bad: (text, finish reason). A refusal's text is the refusal."""
    if fault == "truncated":
        return text[: len(text) // 2], "length"
    if fault == "malformed":
        return "Sure! Here is what I came up with.\n\n" + re.sub(r"\w+:|[\"{}\[\]#]", "", text), "stop"
    if fault == "refusal":
        return "I'm sorry, but I can't help with that.", "stop"
    if fault == "wrong":
        return re.sub(r"(####\s*|\"final\":\s*\")(\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", text), "stop"
    return text, "stop"
