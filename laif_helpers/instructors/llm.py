"""The language-model instructor: any OpenAI-compatible endpoint, with a cap on what it may cost.

The price of a call is reserved in the ledger before the call is sent, at the most that it can cost: one token for
every byte of the prompt, and the longest reply. So ``max_usd`` holds whatever happens to the call. What the
endpoint refuses costs nothing and is released; a call that broke off may have been billed and stays counted.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlparse

from tqdm.auto import tqdm

from laif_helpers.ledger import Ledger, Reply
from laif_helpers.models import server as server_model
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Message

OPENAI = "https://api.openai.com/v1"
TEMPERATURE = 0.8
MAX_REPLY_TOKENS = 4095
"""Both as in LLMs-as-Instructors (arXiv 2407.00497)."""
MAX_CONNECTIONS = 16
TIMEOUT_S = 300.0
TOKENS_A_MESSAGE = 16
"""More than any chat format adds to a message."""


class Asked(Protocol):
    """What of a request is sent."""

    @property
    def key(self) -> str: ...
    @property
    def messages(self) -> list[Message]: ...


@dataclass
class Spending:
    """What has been spent or reserved, against the cap; the event loop is its only user."""

    ledger: Ledger
    max_usd: float
    usd: float
    open: int = 0
    stopped: Exception | None = None

    async def reserve(self, request: Asked, usd: float) -> None:
        """Wait until the cap leaves room for the call; RuntimeError where it never will."""
        while self.usd + usd > self.max_usd:
            if not self.open:
                raise RuntimeError(
                    f"max_usd {self.max_usd:g} leaves no room for another call: {self.usd:.4f} dollars are spent or "
                    f"reserved, the next call may cost {usd:.4f}; replies so far are kept, raise max_usd and run again"
                )
            await asyncio.sleep(0.02)
        self.usd, self.open = self.usd + usd, self.open + 1
        self.ledger.reserve(request.key, json.dumps(request.messages, ensure_ascii=False), usd)

    def settle(self, reply: Reply, reserved: float) -> None:
        self.ledger.record(reply, reserved)
        self.usd, self.open = self.usd - reserved + reply.usd, self.open - 1

    def fail(self, request: Asked, reserved: float, *, billed: bool) -> None:
        """A call without reply. ``billed``: it may have been, so its reservation stays."""
        released = 0.0 if billed else reserved
        self.ledger.release(request.key, released, 1)
        self.usd, self.open = self.usd - released, self.open - 1


def check(p: StageParameters) -> None:
    """ValueError, in one sentence, for whatever is missing before the first call."""
    url = p.instructor_url or OPENAI
    if not p.instructor_model:
        raise ValueError("instructor llm needs instructor_model, the model's name at the endpoint")
    if urlparse(url).scheme not in {"http", "https"} or not urlparse(url).hostname:
        raise ValueError(f"instructor_url {url!r} is not a base URL; expected http://HOST:PORT/v1")
    if not p.max_usd:
        raise ValueError(
            "max_usd is 0, so nothing may be sent: set max_usd to the dollars that this arm's iteration may cost "
            "(any amount for a server of your own), or quote_only: true to see the quote alone"
        )
    local = urlparse(url).hostname in {"127.0.0.1", "localhost", "::1"}
    if not os.environ.get("OPENAI_API_KEY") and not local:
        raise ValueError(f"instructor {url} needs a key: set the environment variable OPENAI_API_KEY")
    if not (p.usd_per_million_input and p.usd_per_million_output) and not local:
        raise ValueError(
            f"the price of {p.instructor_model!r} is missing: set usd_per_million_input and usd_per_million_output, "
            "without which max_usd cannot be kept (for a free server, a tiny price such as 1e-9)"
        )


def ask(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    """Ask for every request and write each reply into the ledger as it arrives.

    Runs in an event loop of its own thread, so it works in a notebook. Raises ValueError before the first call
    for what is missing, RuntimeError when the endpoint refuses (key, quota, model), keeps failing, or when
    ``max_usd`` is reached; calls already in flight are then waited for, and their replies kept.
    """
    check(p)
    if requests:
        server_model.run_in_thread(_ask_all(requests, p, ledger))


async def _ask_all(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    url = p.instructor_url or OPENAI
    connections = server_model.Connections(most=MAX_CONNECTIONS)
    spending = Spending(ledger, p.max_usd, ledger.spent())
    waiting = iter(requests)
    with tqdm(total=len(requests), unit="request", desc="instructor") as bar:
        async with server_model.connect(url, TIMEOUT_S) as client:

            async def worker() -> None:
                for request in waiting:
                    try:
                        await _ask_one(client, request, p, connections, spending)
                    except Exception as error:  # told to the caller below, once the calls in flight are in
                        spending.stopped = spending.stopped or error
                    if spending.stopped:
                        return
                    bar.update()

            await asyncio.gather(*(worker() for _ in range(min(MAX_CONNECTIONS, len(requests)))))
    if spending.stopped:
        raise spending.stopped


async def _ask_one(
    client: Any, request: Asked, p: StageParameters, connections: server_model.Connections, spending: Spending
) -> None:
    import openai

    most = price(p, prompt_bound(request.messages), MAX_REPLY_TOKENS)
    for attempt in range(1, server_model.MAX_ATTEMPTS + 1):
        if spending.stopped:
            return
        await spending.reserve(request, most)
        try:
            async with connections as sent_at:
                try:
                    completion = await client.chat.completions.create(**_call(request, p))
                    connections.succeeded()
                except openai.RateLimitError:
                    connections.refused(sent_at)
                    raise
        except openai.APIError as error:
            unreached = type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}
            spending.fail(request, most, billed=not isinstance(error, openai.APIStatusError) and not unreached)
            url = p.instructor_url or OPENAI
            wait = server_model.wait_or_raise(error, attempt, p.instructor_model, url)
            if wait is None:
                refused = Reply(request.key, "", f"error: {server_model.said(error)}", attempts=0)
                spending.ledger.record(refused)
                return
            await asyncio.sleep(wait)
            continue
        except BaseException:
            spending.fail(request, most, billed=True)
            raise
        spending.settle(_reply(request.key, completion, p, most), most)
        return


def _call(request: Asked, p: StageParameters) -> dict[str, Any]:
    # OpenAI's newer models refuse the name that every other server knows.
    longest = "max_tokens" if p.instructor_url else "max_completion_tokens"
    settings = {"temperature": TEMPERATURE, "seed": p.seed, longest: MAX_REPLY_TOKENS}
    return {"model": p.instructor_model, "messages": request.messages, **settings}


def _reply(key: str, completion: Any, p: StageParameters, most: float) -> Reply:
    read = server_model.read_completion(completion, 0.0)
    asked, got = read.prompt_tokens, read.new_tokens
    # An endpoint that does not say what it used is counted at the most it can have been.
    usd = price(p, asked, got) if asked else most
    return Reply(key, read.text, read.finish, asked, got, 1, usd)


def prompt_bound(messages: list[Message]) -> int:
    """Tokens that a prompt cannot exceed: a token stands for at least one byte."""
    return sum(len(message["content"].encode()) + TOKENS_A_MESSAGE for message in messages)


def price(p: StageParameters, prompt_tokens: float, new_tokens: float) -> float:
    """Dollars, from the recipe's prices."""
    return (prompt_tokens * p.usd_per_million_input + new_tokens * p.usd_per_million_output) / 1e6
