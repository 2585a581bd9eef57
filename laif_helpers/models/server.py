"""Asks a model behind any OpenAI-compatible server: many requests at once, with a bounded number of retries."""

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlparse

from tqdm.auto import tqdm

from laif_helpers import machine
from laif_helpers.key_types import RequestChange
from laif_helpers.models import protocol, reach
from laif_helpers.models.form import Form
from laif_helpers.models.protocol import MAX_ATTEMPTS, ServerError, connect, is_local
from laif_helpers.models.sampling import Sampling, sample_numbers
from laif_helpers.records import Completion, Message

__all__ = ["MAX_ATTEMPTS", "Connections", "ServerError", "ask", "connect", "run_in_thread"]

START_CONNECTIONS = 16
APART_S = 0.003
"""Pause between the first requests. Without it the server prepares all of them at once and answers all of them late."""
MAX_CONNECTIONS = 64
REQUEST_TIMEOUT_S = 300.0
FIRST_PAUSE_S = 0.5
"""After a 429 that does not say how long to wait; doubled by each that follows, up to ``MAX_WAIT_S``."""
SHORT = [{"role": "user", "content": "Hello"}]
"""Asked if a prompt fails and no other was answered meanwhile: is it the prompt or the server?"""


class Connections:
    """How many requests may be open at once: trebled a round until the first 429, then halved and grown by one a round.

    A 429 also holds all requests back, because the limit is the account's: for as long as ``Retry-After`` says, else
    twice as long as the time before. ``peak`` is the highest number reached; ``halvings`` counts the 429 rounds.
    """

    def __init__(self, start: int = START_CONNECTIONS, most: int = MAX_CONNECTIONS, name: str = "the server"):
        self.limit, self.most, self.open, self.peak, self.halvings = float(start), most, 0, 0, 0
        self.name, self._pause, self._paused_until = name, 0.0, 0.0
        self._slow_start, self._last_halved = True, 0.0
        self.answered, self.down, self.trying = 0, False, asyncio.Lock()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> float:
        """Wait for a free place; returns the time of entry."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open < int(self.limit))
            self.open += 1
            self.peak = max(self.peak, self.open)
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)
        return time.monotonic()

    async def __aexit__(self, *_: Any) -> None:
        async with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def succeeded(self) -> None:
        self.answered += 1
        # Two a success at first: two rounds from 16 to 64, so that a short run is not spent on finding the limit.
        self.limit = min(self.most, self.limit + (2 if self._slow_start else 1 / self.limit))
        self._pause = 0.0

    def refused(self, sent_at: float, error: Any = None) -> None:
        """A 429. Requests sent before the last halving say nothing about the new limit."""
        now, asked = time.monotonic(), min(protocol.retry_after(error), protocol.MAX_WAIT_S)
        if not self.halvings and error is not None:
            tqdm.write(f"{self.name} takes no more requests for now (429: {protocol.error_text(error)}); waiting")
        if sent_at >= self._last_halved:
            self._slow_start, self.limit, self._last_halved = False, max(1.0, self.limit / 2), now
            self.halvings += 1
            # Spread out, so that several runs on one account do not come back together; timing needs no seed.
            self._pause = min(protocol.MAX_WAIT_S, max(2 * self._pause, FIRST_PAUSE_S))
            asked = asked or self._pause * random.uniform(1.0, 1.2)
        self._paused_until = max(self._paused_until, now + asked)


def ask(
    model: str,
    url: str,
    change: RequestChange,
    conversations: list[list[Message]],
    how: Sampling,
    on_done: Callable[[int, Completion], None],
) -> None:
    """Ask a server for every conversation and call ``on_done(index, completion)`` as each answer arrives.

    The key is ``OPENAI_API_KEY``'s; servers of this machine need none. Works inside a running event loop
    (Jupyter's), since it runs one of its own in a thread. Raises ServerError on a refusal (401, 404, …) or when
    a request failed ``MAX_ATTEMPTS`` times, if the server answers no other prompt either (one that it breaks on alone
    is unanswered); answers that arrived before have been handed to ``on_done``.
    ``change``: what the recipe adds, renames or leaves out (``request_options.target``).
    """
    _check(model, url)
    reach.check(url)
    numbers = sample_numbers(conversations) if how.numbers is None else how.numbers
    asked = list(zip(conversations, numbers, strict=True))
    run_in_thread(_ask_all(Address(model, url), asked, how, Form(change), on_done))


def _check(model: str, url: str) -> None:
    if not model:
        raise ValueError("target 'server:' names no model; write server:<model as the server calls it>")
    if urlparse(url).scheme not in {"http", "https"} or not urlparse(url).hostname:
        raise ValueError(f"target_url {url!r} is not a server's base URL; expected http://HOST:PORT/v1")
    if not machine.secret("OPENAI_API_KEY") and not is_local(url):
        raise ValueError(f"server {url} needs a key: set the environment variable OPENAI_API_KEY")


def run_in_thread(work: Any) -> None:
    """Run a coroutine in a loop of its own; an interrupt in the caller cancels it before it is raised further."""
    done: Future[None] = Future()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def main() -> None:
        try:
            done.set_result(loop.run_until_complete(task))
        except asyncio.CancelledError:
            done.cancel()
        except BaseException as error:  # carried to the caller, who raises it
            done.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=main, name="ask-server", daemon=True)
    thread.start()
    try:
        done.result()
    finally:
        if thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(timeout=10)


@dataclass(frozen=True)
class Address:
    """The model and the server that has it."""

    model: str
    url: str


async def _ask_all(
    to: Address,
    asked: list[tuple[list[Message], int]],
    how: Sampling,
    form: Form,
    on_done: Callable[[int, Completion], None],
) -> None:
    # A server of answers is asked by as many as it may be at once: vLLM queues them, and a 429 halves them soon enough.
    connections = Connections(start=MAX_CONNECTIONS, name=f"server {to.url}")
    waiting = iter(enumerate(asked))
    failed: list[Exception] = []

    async with connect(to.url, REQUEST_TIMEOUT_S) as client:
        context = await reach.context(client, to.model)

        async def worker(place: int) -> None:
            await asyncio.sleep(place * APART_S)
            # After a failure nothing new is asked, but answers that are on their way (and paid for) are kept.
            while not failed and (following := next(waiting, None)):
                index, (turns, number) = following
                try:
                    # one seed would give one text again
                    drawn = {"temperature": how.temperature, "seed": how.seed + number}
                    room = reach.room(context, turns, how.max_new_tokens)
                    body = {"model": to.model, "messages": turns, "max_tokens": room} | drawn
                    on_done(index, await _ask_one(client, body, form, connections, to))
                except Exception as error:
                    failed.append(error)

        # A pool of workers, not a task an item: 100,000 waiting tasks are memory for nothing.
        async with asyncio.TaskGroup() as workers:
            for place in range(min(MAX_CONNECTIONS, len(asked))):
                workers.create_task(worker(place))
    if failed:
        raise failed[0]


async def _ask_one(client: Any, body: dict[str, Any], form: Form, connections: Connections, to: Address) -> Completion:
    attempt, ends, answered = 0, time.monotonic() + protocol.MAX_REQUEST_S, math.inf
    while True:
        sent = form.body(body)
        async with connections as sent_at:
            try:
                reply = await protocol.complete(client, sent)
                connections.succeeded()
                form.proven = True
                return protocol.target_answer(reply, time.monotonic() - sent_at)
            except protocol.recoverable() as error:
                if form.learn(error, sent):
                    continue
                if protocol.too_fast(error):
                    connections.refused(sent_at, error)
                    protocol.give_up_after(ends, error, to.url)
                    continue
                failure = error
        attempt += 1
        others = partial(_answers_others, client, body, form, connections, to)
        unanswered = Completion("", 0, 0, f"error: {protocol.error_text(failure)}")
        if getattr(failure, "status_code", None) in protocol.OF_ONE_PROMPT and await others(0):
            return unanswered
        try:
            pause = protocol.wait_or_raise(failure, attempt, to.model, to.url)
        except ServerError:
            if await others(answered):
                return unanswered
            raise
        answered = connections.answered
        await asyncio.sleep(pause)


async def _answers_others(
    client: Any, body: dict[str, Any], form: Form, connections: Connections, to: Address, since: float
) -> bool:
    """Whether the server has answered more than ``since`` prompts, or answers a short one now: it is not down then."""
    if body["messages"] == SHORT:
        return False
    async with connections.trying:
        if connections.answered > since:
            return True
        if not connections.down:
            try:
                await _ask_one(client, body | {"messages": SHORT}, form, connections, to)
                return True
            except ServerError:
                connections.down = True
        return False
