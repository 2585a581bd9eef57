"""The language-model instructor: any OpenAI-compatible endpoint, with a cap on what it may cost.

The price of a call is reserved in the ledger before the call is sent, at the most that it can cost: one token for
every byte of the prompt, and the longest reply. So ``max_usd`` holds whatever happens to the call. What the
endpoint refuses costs nothing and is released; a call that broke off may have been billed and stays counted.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlparse

from tqdm.auto import tqdm

from laif_helpers import benchmarks
from laif_helpers.instructors import spending
from laif_helpers.instructors.ledger import Ledger, Reply
from laif_helpers.instructors.spending import MAX_REPLY_TOKENS, Spending, price, prompt_bound
from laif_helpers.lessons import structured
from laif_helpers.models import server as server_model
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Message

OPENAI = "https://api.openai.com/v1"
TEMPERATURE = 0.8
"""As in LLMs-as-Instructors (arXiv 2407.00497)."""
MAX_CONNECTIONS = 64
TIMEOUT_S = 300.0
MAX_REQUEST_S = 1_200.0
"""Wall time for one request with all its attempts; refusals for coming too fast (429) are bounded by it alone."""
FORMAT = "reply_format"
"""Under this name the ledger remembers whether the endpoint takes a JSON schema."""


class Asked(Protocol):
    """What of a request is sent."""

    @property
    def key(self) -> str: ...
    @property
    def benchmark(self) -> str: ...
    @property
    def messages(self) -> list[Message]: ...


@dataclass
class Asking:
    """What all calls of one ``ask`` share."""

    p: StageParameters
    client: Any
    spending: Spending
    connections: server_model.Connections
    paused_until: float = 0.0
    stopped: Exception | None = field(default=None)

    async def pause_over(self) -> None:
        """A ``Retry-After`` holds for everybody: the limit is the account's, not the request's."""
        while (left := self.paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)


def check(p: StageParameters, requests: Sequence[Asked] = ()) -> None:
    """ValueError, in one sentence, for whatever is missing before the first call."""
    url = p.instructor_url or OPENAI
    parts = urlparse(url)
    if not p.instructor_model:
        raise ValueError("instructor llm needs instructor_model, the model's name at the endpoint")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"instructor_url {url!r} is not a base URL; expected http://HOST:PORT/v1")
    if parts.username or parts.password:
        raise ValueError("instructor_url holds a user or password; recipes are written down: use OPENAI_API_KEY")
    if not os.environ.get("OPENAI_API_KEY") and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise ValueError(f"instructor {url} needs a key: set the environment variable OPENAI_API_KEY")
    spending.check(p, max((prompt_bound(call(one, p, p.reply_format != "text")) for one in requests), default=0))


def ask(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    """Ask for every request and write each reply into the ledger as it arrives.

    Runs in an event loop of its own thread, so it works in a notebook. Raises ValueError before the first call
    for what is missing, RuntimeError when the endpoint refuses (key, quota, model), keeps failing, or when
    ``max_usd`` is reached; calls already in flight are then waited for, and their replies kept. Without requests
    nothing is checked: a whole run replays from its ledger with no key and no network.
    """
    if not requests and not ledger.open_batches():
        return
    check(p, requests)
    if ledger.open_batches() or (p.batch and len(requests) > p.probe):
        from laif_helpers.instructors import batch

        server_model.run_in_thread(batch.ask_all(requests, p, ledger))
    else:
        server_model.run_in_thread(_ask_all(requests, p, ledger))


async def _ask_all(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    connections = server_model.Connections(most=MAX_CONNECTIONS)
    with tqdm(total=len(requests), unit="request", desc="instructor") as bar:
        async with server_model.connect(p.instructor_url or OPENAI, TIMEOUT_S) as client:
            asking = Asking(p, client, Spending(ledger, p.max_usd, ledger.spent()), connections)
            waiting = iter(requests)
            if p.reply_format == "auto" and not ledger.noted(FORMAT):
                # One request finds out whether the endpoint takes a schema, before many are refused at once.
                await _work(asking, iter(requests[:1]), bar)
                waiting = iter(requests[1:])
            await asyncio.gather(*(_work(asking, waiting, bar) for _ in range(min(MAX_CONNECTIONS, len(requests)))))
    if asking.stopped:
        raise asking.stopped


async def _work(asking: Asking, waiting: Iterable[Asked], bar: Any) -> None:
    for request in waiting:
        if asking.stopped:
            return
        try:
            await _ask_one(asking, request)
        except Exception as error:  # told to the caller, once the calls in flight are in
            asking.stopped = asking.stopped or error
            return
        bar.update()


async def _ask_one(asking: Asking, request: Asked) -> None:
    p, ledger = asking.p, asking.spending.ledger
    ends, attempt = time.monotonic() + MAX_REQUEST_S, 0
    while not asking.stopped:
        as_json = takes_schema(p, ledger)
        sent = call(request, p, as_json)
        try:
            completion, most = await _send(asking, request, sent)
        except server_model.recoverable() as error:
            if as_json and _refuses_schema(error) and p.reply_format == "auto":
                ledger.note(FORMAT, "text")
                continue
            attempt += not _too_fast(error)
            wait = _wait(asking, error, attempt, ends)
            if wait is None:
                ledger.record(Reply(request.key, "", f"error: {server_model.said(error)}", attempts=0))
                return
            await asyncio.sleep(wait)
            continue
        if not ledger.noted(FORMAT):
            ledger.note(FORMAT, "json" if as_json else "text")
        asking.spending.settle(read(request.key, completion, p, most), most)
        return


async def _send(asking: Asking, request: Asked, sent: dict[str, Any]) -> tuple[Any, float]:
    """One call: (completion, dollars reserved for it). What it costs at most is reserved, and released if refused."""
    import openai

    p, purse = asking.p, asking.spending
    most = price(p, prompt_bound(sent), MAX_REPLY_TOKENS)
    async with asking.connections as sent_at:
        await asking.pause_over()
        await purse.reserve(request.key, sent, most)
        try:
            completion = await server_model.complete(asking.client, sent)
        except BaseException as error:
            refused = isinstance(error, openai.APIStatusError)
            unreached = type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}
            purse.fail(request.key, most, billed=not (refused or unreached))
            if isinstance(error, openai.RateLimitError):
                asking.connections.refused(sent_at)
                asking.paused_until = max(asking.paused_until, time.monotonic() + server_model.retry_after(error))
            raise
        asking.connections.succeeded()
    return completion, most


def _too_fast(error: Any) -> bool:
    return getattr(error, "status_code", None) == 429 and getattr(error, "code", None) != "insufficient_quota"


def _wait(asking: Asking, error: Any, attempt: int, ends: float) -> float | None:
    """Seconds until the next attempt; None where only this prompt is refused. Raises ServerError."""
    url = asking.p.instructor_url or OPENAI
    if time.monotonic() > ends:
        raise server_model.ServerError(
            f"server {url} gave no answer to one request within {MAX_REQUEST_S / 60:g} minutes (last: "
            f"{server_model.said(error)}); finished answers are kept, run again to go on"
        ) from None
    return server_model.wait_or_raise(error, max(attempt, 1), asking.p.instructor_model, url)


def takes_schema(p: StageParameters, ledger: Ledger) -> bool:
    """Whether replies are asked for by JSON schema; ``auto`` says yes until the endpoint has refused."""
    return p.reply_format == "json" or (p.reply_format == "auto" and ledger.noted(FORMAT) != "text")


def _refuses_schema(error: Any) -> bool:
    words = server_model.said(error).lower()
    named = any(word in words for word in ("response_format", "json_schema", "guided", "structured output"))
    return getattr(error, "status_code", None) in {400, 404, 415, 422, 501} and named


def call(request: Asked, p: StageParameters, as_json: bool) -> dict[str, Any]:
    """The body of a chat completion."""
    # OpenAI's newer models refuse the name that every other server knows.
    longest = "max_tokens" if p.instructor_url else "max_completion_tokens"
    settings = {"temperature": TEMPERATURE, "seed": p.seed, longest: MAX_REPLY_TOKENS}
    body = {"model": p.instructor_model, "messages": request.messages, **settings}
    if as_json:
        schema = structured.schema(benchmarks.get(request.benchmark).family)
        wrapped = {"name": "lessons", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": wrapped}
    return body


def read(key: str, completion: Any, p: StageParameters, most: float, share: float = 1.0) -> Reply:
    """A completion as the ledger keeps it; a refusal's words stand in for the text. ``share``: of the full price."""
    found = server_model.read_completion(completion, 0.0)
    refusal = (server_model.first_choice(completion).get("message") or {}).get("refusal")
    text, finish = (found.text or refusal, "error: refusal") if refusal else (found.text, found.finish)
    asked, got = found.prompt_tokens, found.new_tokens
    # An endpoint that does not say what it used is counted at the most it can have been.
    usd = price(p, asked, got) * share if asked else most
    return Reply(key, text, finish, asked, got, 1, usd)
