"""Quotes what calls will cost, counts what they have cost, and holds them under a cap: reserved before a call, settled
after it."""

import asyncio
import json
import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laif_helpers.instructors.ledger import Ledger, Reply
from laif_helpers.models import protocol, replies
from laif_helpers.models.connecting import RAN_OUT
from laif_helpers.models.form import LENGTHS
from laif_helpers.recipe import Recipe, StageParameters

if TYPE_CHECKING:
    import pandas as pd

Range = tuple[float, float]
MAX_REPLY_TOKENS = 4095
"""As in LLMs-as-Instructors (arXiv 2407.00497)."""
TOKENS_A_MESSAGE = 16
"""More than any chat format adds to a message."""
CHEAPEST = 0.02
"""Dollars per million tokens that all but the smallest models cost for what they write."""
BATCH_SHARE = 0.5
"""OpenAI's Batch endpoint costs half."""
SOON_S, PASSED_ON_S = 1.0, 5.0
"""Seven proxies that reach nobody say so within 0.4 s, but HAProxy tries for 3 s, and so does Caddy if nobody answers.
Later, a proxy lost a request that it passed on; in between, what tells is whether somebody is there now."""


@dataclass
class Spending:
    """What has been spent or reserved, against the cap; the event loop is its only user."""

    ledger: Ledger
    max_usd: float
    usd: float
    open: int = 0

    async def reserve(self, key: str, sent: dict[str, Any], usd: float) -> None:
        """Wait until the cap leaves room for the call; RuntimeError if it never will."""
        while usd and self.usd + usd > self.max_usd:
            if not self.open:
                raise RuntimeError(no_room(self.max_usd, self.usd, usd))
            await asyncio.sleep(0.02)
        self.usd, self.open = self.usd + usd, self.open + 1
        self.ledger.reserve(key, json.dumps(sent, ensure_ascii=False), usd)

    def settle(self, reply: Reply, reserved: float) -> None:
        """A reply has come: its price takes the place of the reservation."""
        self.ledger.record(reply, reserved)
        self.usd, self.open = self.usd - reserved + reply.usd, self.open - 1

    def fail(self, key: str, reserved: float, *, billed: bool) -> None:
        """A call without reply. ``billed``: it may have been, so its reservation stays."""
        released = 0.0 if billed else reserved
        self.ledger.release(key, released, 1)
        self.usd, self.open = self.usd - released, self.open - 1


def perhaps_billed(error: BaseException, seconds: float) -> bool | None:
    """Whether somebody may have answered, and billed, a call that failed after ``seconds``; None if that hangs on
    whether a proxy, whose page came, reaches somebody."""
    import openai

    status = getattr(error, "status_code", None)
    if isinstance(error, replies.ErrorBody) or status in RAN_OUT:
        return status in RAN_OUT or getattr(error, "begun", False)
    if isinstance(error, openai.APIStatusError):  # the endpoint's own refusal, or a page of a proxy before it
        if error.status_code < 500 or seconds <= SOON_S or _is_the_endpoints(error.response.text):
            return False
        return True if seconds > PASSED_ON_S else None
    # The client calls a connection that breaks while the answer is written a failed one too.
    names = [type(link).__name__ for link in protocol.chain(error)]
    unsent = ("ConnectionTimeoutError", "gaierror")
    return not any(name.startswith("ClientConnector") or name in unsent for name in names)


def _is_the_endpoints(text: str) -> bool:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return False
    body = body[0] if isinstance(body, list) and body else body  # Gemini's
    return isinstance(body, dict) and not {"error", "detail", "object"}.isdisjoint(body)


def no_room(cap: float, spent: float, most: float) -> str:
    """The sentence for a cap that is reached."""
    return (
        f"max_usd {cap:g} leaves no room for another call: {spent:.4f} dollars are spent or reserved, the next call "
        f"may cost {most:.4f}; replies so far are kept, raise max_usd and run again"
    )


def check(p: Recipe, longest: dict[str, Any] | None) -> None:
    """ValueError if a price is missing, or if the cap does not allow for one call; ``longest`` is the longest call."""
    if p.instructor_model not in p.prices:
        raise ValueError(
            f"the price of {p.instructor_model!r} is missing, without which max_usd cannot be kept: set prices: "
            f"{{{p.instructor_model}: {{input: …, output: …}}}} in dollars per million tokens (0 and 0 for a server "
            "of your own)"
        )
    reply = reply_bound(longest) if longest else MAX_REPLY_TOKENS
    most = price(p, prompt_bound(longest) if longest else 0, reply)
    if most and not p.max_usd:
        raise ValueError(
            "max_usd is 0, so nothing may be sent: set max_usd to the dollars that this arm's iteration may cost, "
            "or quote_only: true to see the quote alone"
        )
    if reply == math.inf and most:
        raise ValueError(
            "request_options leaves out max_tokens, which alone bounds what a reply costs; rename it or set another "
            "number with add"
        )
    if longest and most > p.max_usd:
        raise ValueError(
            f"max_usd {p.max_usd:g} is smaller than one request, which may cost {most:.4f} dollars (the longest "
            f"prompt, and a reply of {reply:.0f} tokens); raise max_usd"
        )


def doubtful(p: Recipe) -> str:
    """A sentence if a price looks like one for 1,000 tokens, under which the cap would hold a thousandth."""
    listed = p.prices.get(p.instructor_model)
    dearer = max(listed.input, listed.output) if listed and p.instructor == "llm" else 0.0
    if not 0 < dearer < CHEAPEST:
        return ""
    return (
        f"prices are dollars per million tokens: {dearer:g} for {p.instructor_model!r} is less than most models cost; "
        f"if it is meant for 1,000 tokens, write {1000 * dearer:g}"
    )


def prompt_bound(sent: dict[str, Any]) -> int:
    """Tokens that a call's prompt cannot exceed, its schema included: a token stands for at least one byte."""
    messages = sent["messages"]
    schema = json.dumps(sent["response_format"]) if "response_format" in sent else ""
    return len(schema) + sum(len(message["content"].encode()) + TOKENS_A_MESSAGE for message in messages)


def reply_bound(sent: dict[str, Any]) -> float:
    """Tokens that a call's reply cannot exceed; infinite if the call does not say."""
    lengths = [int(sent[name]) for name in LENGTHS if name in sent]
    return max(lengths) * int(sent.get("n") or 1) if lengths else math.inf


def price(p: Recipe, prompt_tokens: float, new_tokens: float) -> float:
    """Dollars by the recipe's price table; 0 for a model that it lacks, which ``check`` refuses."""
    if not (listed := p.prices.get(p.instructor_model)):
        return 0.0
    return (prompt_tokens * listed.input + (new_tokens * listed.output if listed.output else 0.0)) / 1e6


# -- quotes


@dataclass(frozen=True)
class Quote:
    """Tokens and dollars, low to high. ``usd`` is None if the recipe names no price; ``method`` says how."""

    instructor: str
    requests: int
    lessons: int
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    notes: tuple[str, ...]
    method: str

    @property
    def table(self) -> "pd.DataFrame":
        """One row per quantity: low, high."""
        import pandas as pd

        rows = {
            "requests": (self.requests, self.requests),
            **({"lessons asked for": (self.lessons, self.lessons)} if self.lessons else {}),
            "input tokens": self.input_tokens,
            "output tokens": self.output_tokens,
        }
        values = {name: [f"{value:,.0f}" for value in pair] for name, pair in rows.items()}
        values["US dollars"] = [f"{value:,.2f}" for value in self.usd] if self.usd else ["no price given"] * 2
        return pd.DataFrame.from_dict(values, orient="index", columns=["low", "high"]).rename_axis(self.instructor)

    @property
    def observation(self) -> str:
        """The quote in words, a sentence a line, in lines that JupyterLab need not cut within a word."""
        cost = f"{self.usd[0]:,.2f} to {self.usd[1]:,.2f} dollars" if self.usd else "no price given, so tokens only"
        low, high = (sum(pair) for pair in zip(self.input_tokens, self.output_tokens, strict=True))
        tokens = f"{low:,.0f} to {high:,.0f}"
        wording = f"{self.requests:,} requests to {self.instructor}: {tokens} tokens, {cost}."
        return "\n".join(textwrap.fill(line, 100) for line in (wording, *self.notes, f"Method: {self.method}."))


def dollars(p: StageParameters, inputs: Range, outputs: Range) -> Range | None:
    """What tokens cost at ``p.prices``, low and high; None if they do not name ``p.instructor_model``."""
    if p.instructor_model not in p.prices:
        return None
    share = BATCH_SHARE if p.batch else 1.0
    low, high = (share * price(p, *pair) for pair in zip(inputs, outputs, strict=True))
    return low, high


def notes(p: StageParameters, requests: int, usd: Range | None) -> list[str]:
    """What a reader of a quote has to know: whether anything is sent, its price, the cap."""
    found = []
    if p.quote_only and requests:
        found.append("Nothing is sent (quote_only).")
    if not usd and p.instructor == "llm":
        found.append("Set prices: {MODEL: {input: …, output: …}} for a price.")
    if p.instructor != "llm" and not p.quote_only:
        found.append(
            f"The {p.instructor} instructor costs nothing; this is what a language model would read and write."
        )
    if doubt := doubtful(p):
        found.append(f"{doubt[0].upper()}{doubt[1:]}.")
    if usd and p.max_usd and usd[1] > p.max_usd:
        found.append(f"max_usd {p.max_usd:g} may stop it before the end.")
    return found
