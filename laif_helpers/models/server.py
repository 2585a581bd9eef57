"""Asks a model behind any OpenAI-compatible server: many requests at once, with a bounded number of retries."""

import asyncio
import difflib
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urljoin

from tqdm.auto import tqdm

from laif_helpers.key_types import TEMPLATE_KEY, RequestChange
from laif_helpers.models import connecting, protocol, replies
from laif_helpers.models.connecting import CONNECT_S, check_reached, connect, loaded
from laif_helpers.models.form import LENGTHS, Form
from laif_helpers.models.protocol import MAX_ATTEMPTS, ServerError
from laif_helpers.models.sampling import Sampling
from laif_helpers.records import Completion, Message

__all__ = ["MAX_ATTEMPTS", "Connections", "ServerError", "ask", "check_reached", "connect", "run_in_thread"]

APART_S = 0.003
"""Pause between the first requests. Without it the server prepares all of them at once and answers all of them late."""
MAX_CONNECTIONS = 64
FIRST_PAUSE_S = 0.5
"""After a 429 that does not say how long to wait; doubled by each that follows, up to ``MAX_WAIT_S``."""
SHORT = [{"role": "user", "content": "Hello"}]
"""Asked if a prompt fails and no other was answered meanwhile: is it the prompt or the server?"""

NO_END = "names neither finish reasons nor numbers of tokens, so an answer that is cut counts as ended, also as right"

TEMPLATE = 128
"""Tokens that a chat template may add: marks, and a system message of its own."""
LEAST_ROOM = 0.25
"""Share of a context that an answer is asked for at least, if the prompt's length is not known well enough."""


class Connections:
    """How many requests may be open at once: halved by a round of 429s, then grown by one a round of answers.

    A 429 also holds all requests back, because the limit is the account's: for as long as ``Retry-After`` says, else
    twice as long as the time before. A round of time-outs halves them too, as where one answer is written after the
    other, and doubles the ``patience`` with which each is waited for.
    """

    def __init__(self, url: str, who: str = "server", most: int = MAX_CONNECTIONS):
        self.url, self.name, self.most = url, f"{who} {url}", most
        self.limit, self.open, self.answered = float(most), 0, 0
        self.good_until = -math.inf  # when the latest of the requests was sent that were answered
        self._pause, self._paused_until, self._last_halved = 0.0, 0.0, 0.0
        self.patience, self._answered_at = connecting.REQUEST_TIMEOUT_S, -math.inf
        self.down, self.trying = False, asyncio.Lock()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> float:
        """Wait for a free place; returns the time of entry."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open < int(self.limit))
            self.open += 1
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)
        return time.monotonic()

    async def __aexit__(self, *_: Any) -> None:
        async with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def succeeded(self, sent_at: float) -> None:
        self.answered, self.good_until, self.down = self.answered + 1, max(self.good_until, sent_at), False
        self._answered_at = time.monotonic()
        self.limit, self._pause = min(self.most, self.limit + 1 / self.limit), 0.0

    def refused(self, sent_at: float, error: Any) -> None:
        """A 429. Requests sent before the last halving say nothing about the new limit."""
        now, asked = time.monotonic(), min(protocol.retry_after(error), protocol.MAX_WAIT_S)
        if not self._last_halved:
            tqdm.write(f"{self.name} takes no more requests for now (429: {protocol.error_text(error)}); waiting")
        if self._halve(sent_at):
            # Spread out, so that several runs on one account do not come back together; timing needs no seed.
            self._pause = min(protocol.MAX_WAIT_S, max(2 * self._pause, FIRST_PAUSE_S))
            asked = asked or self._pause * random.uniform(1.0, 1.2)
        self._paused_until = max(self._paused_until, now + asked)

    def spares(self, error: Any, sent_at: float) -> bool:
        """Take a time-out into account; whether it says nothing about its request, since others were answered."""
        if not connecting.late(error):
            return False
        if self._halve(sent_at):
            self.patience = min(2 * self.patience, protocol.MAX_REQUEST_S)
            fewer = f"{int(self.limit)} at once, and waiting {self.patience:g} s for each"
            tqdm.write(f"{self.name} answers too late ({protocol.error_text(error)}); asking {fewer}")
        return self._answered_at > sent_at

    def _halve(self, sent_at: float) -> bool:
        """False if the request was sent before the last halving: it says nothing about the new limit."""
        if sent_at < self._last_halved:
            return False
        self.limit, self._last_halved = max(1.0, min(self.limit, self.open + 1) / 2), time.monotonic()
        return True


def ask(
    model: str,
    url: str,
    change: RequestChange,
    conversations: list[list[Message]],
    how: Sampling,
    on_done: Callable[[int, Completion], None],
) -> None:
    """Ask a server for every conversation and call ``on_done(index, completion)`` as each answer arrives.

    The key is ``machine.api_key``'s; servers of this machine need none. Works inside a running event loop
    (Jupyter's), since it runs one of its own in a thread. Raises ServerError on a refusal (401, 404, …) or when
    a request failed ``MAX_ATTEMPTS`` times, if the server answers no other prompt either (one that it breaks on alone
    is unanswered); answers that arrived before have been handed to ``on_done``.
    ``change``: what the recipe adds, renames or leaves out (``request_options.target``).
    """
    if not model:
        raise ValueError("target 'server:' names no model; write server:<model as the server calls it>")
    check_reached(url)
    asked = list(zip(conversations, how.numbers, strict=True))
    run_in_thread(lambda: _ask_all(model, url, asked, how, Form(change), on_done))


def run_in_thread(work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine in a loop of its own; an interrupt in the caller cancels it before it is raised further."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal:
        portal.call(work)


async def _ask_all(
    model: str,
    url: str,
    asked: list[tuple[list[Message], int]],
    how: Sampling,
    form: Form,
    on_done: Callable[[int, Completion], None],
) -> None:
    # A server of answers is asked by as many as it may be at once: vLLM queues them, and a 429 halves them soon enough.
    connections = Connections(url)
    waiting = iter(enumerate(asked))
    failed: list[Exception] = []
    lengths: list[tuple[int, int]] = []

    async with connect(url, "target") as client:
        await loaded(client, url)
        context = await context_of(client, model)

        async def worker(place: int) -> None:
            await asyncio.sleep(place * APART_S)
            # After a failure nothing new is asked, but answers that are on their way (and paid for) are kept.
            while not failed and (following := next(waiting, None)):
                index, (turns, number) = following
                try:
                    # one seed would give one text again
                    drawn = {"temperature": how.temperature, "seed": how.seed + number}
                    room = room_for(context, turns, how.max_new_tokens[index])
                    body = {"model": model, "messages": turns, "max_tokens": room} | drawn
                    on_done(index, answer := await _ask_one(client, body, form, connections))
                    lengths.append((sum(len(turn["content"].encode()) for turn in turns), answer.prompt_tokens))
                except Exception as error:
                    failed.append(error)

        # A pool of workers, not a task an item: 100,000 waiting tasks are memory for nothing.
        await asyncio.gather(*map(worker, range(min(MAX_CONNECTIONS, len(asked)))))
    if cut := connecting.dropped(lengths):
        tqdm.write(f"{connections.name} {cut}")
    if failed:
        raise failed[0]


async def _ask_one(client: Any, body: dict[str, Any], form: Form, connections: Connections) -> Completion:
    attempt, ends = 0, time.monotonic() + protocol.MAX_REQUEST_S
    while True:
        sent = form.body(body)
        async with connections as sent_at:
            try:
                reply = await protocol.complete(client, sent, connections.patience)
                connections.succeeded(sent_at)
                if not form.proven and replies.names_no_end(reply):
                    tqdm.write(f"{connections.name} {NO_END}")
                form.proven = True
                return answer_of(reply, time.monotonic() - sent_at, sent)
            except protocol.recoverable() as error:
                if form.learn(error, sent, connections.name):
                    continue
                failure = error
        spared = protocol.too_fast(failure) or connections.spares(failure, sent_at)
        attempt += not spared
        others = partial(_answers_others, client, body, form, connections)
        unanswered = Completion("", 0, 0, f"error: {protocol.error_text(failure)}")
        if getattr(failure, "status_code", None) in protocol.OF_ONE_PROMPT and await others(sent_at):
            return unanswered
        try:
            if protocol.too_fast(failure):
                connections.refused(sent_at, failure)
            if protocol.too_fast(failure) or (connecting.late(failure) and not spared):
                protocol.give_up_after(ends, failure, connections.url)
            if spared:
                continue
            pause = protocol.wait_or_raise(failure, attempt, body["model"], connections.url)
        except ServerError:
            if await others(math.inf):
                return unanswered
            raise
        await asyncio.sleep(pause)


def answer_of(reply: Any, seconds: float, sent: dict[str, Any]) -> Completion:
    """A completion: a refusal, a thought or a tool's call with nothing after it, or no text at all (which is not a text
    without letters) is no answer to grade. A model that was ``sent`` word not to think has answered all the same, if a
    server takes what it says for a thought."""
    longest = next((sent[name] for name in LENGTHS if name in sent), math.inf)
    found, first = replies.read_completion(reply, seconds, longest), replies.first_choice(reply)
    message = first.get("message") or {}
    if not found.text and (refusal := replies.plain_text(message.get("refusal"))):
        return replace(found, finish=f"error: the model refused: {refusal[:200]}")
    content, thoughts = message.get("content", first.get("text")), replies.thoughts(message)
    blank = isinstance(content, str) and not content.strip()
    came = "a thought" if thoughts or (content and not blank) else ""
    came = came or "the call of a tool" * bool(replies.call_text(message))
    if found.finish != "stop" or (blank and not came) or (found.text and not blank):
        return found
    asked = sent | (sent.get(TEMPLATE_KEY) or {})
    if thoughts and False in (asked.get("enable_thinking"), asked.get("thinking")):
        return replace(found, text=replies.plain_text(thoughts[0]))
    return replace(found, finish=f"error: {came} came and no answer" if came else "error: no text came")


async def _answers_others(
    client: Any, body: dict[str, Any], form: Form, connections: Connections, sent_at: float
) -> bool:
    """Whether the server answers a prompt that was sent after ``sent_at``, if need be a short one: it has neither gone
    down nor changed its mind about all of them then."""
    if body["messages"] == SHORT:
        return False
    async with connections.trying:
        if connections.good_until > sent_at:
            return True
        if not connections.down:
            try:
                await _ask_one(client, body | {"messages": SHORT}, form, connections)
                return True
            except ServerError:
                connections.down = True
        return False


# -- before many requests: how long is its context


async def context_of(client: Any, model: str) -> int:
    """Tokens that prompt and answer may have together, if the server reports it (vLLM, SGLang, llama.cpp); 0 if not."""
    # llama.cpp reports its own settings at the server's root, beside /v1.
    for address in ("/models", urljoin(str(client.base_url), "/props")):
        try:
            found = _context_in(await client.get(address, cast_to=object, options={"timeout": CONNECT_S}), model)
        except Exception:  # a server need not know these addresses, and may answer them as it likes
            continue
        if found:
            return found
    return 0


def _context_in(reply: dict[str, Any], model: str) -> int:
    rows = [row for row in reply.get("data") or [] if isinstance(row, dict)]
    names = [str(row["id"]) for row in rows if row.get("id")]
    if names and model.partition(":")[0] not in {name.partition(":")[0] for name in names}:  # llama3 is llama3:latest
        near = ", ".join(difflib.get_close_matches(model, names, n=4, cutoff=0))
        tqdm.write(f"the server lists no model {model!r}, but {near}; if it answers, look which one does")
    row = next((row for row in rows if row.get("id") == model), rows[0] if len(rows) == 1 else {})
    own = row.get("meta") or reply.get("default_generation_settings") or {}
    found = row.get("max_model_len") or own.get("n_ctx") or row.get("context_length")
    return found if type(found) is int and found > 0 else 0


def room_for(context: int, turns: list[Message], asked: int) -> int:
    """How many tokens to ask for: ``asked``, or less if prompt and answer might not fit ``context`` (0: unknown).

    A token has at least one byte, so a prompt's bytes bound its tokens. If that bound leaves no room, the answer gets a
    share of the context.
    """
    if not context:
        return asked
    most = TEMPLATE + sum(len(turn["content"].encode()) for turn in turns)
    return max(1, min(asked, max(context - most, int(LEAST_ROOM * context))))
