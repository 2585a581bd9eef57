"""A model behind any OpenAI-compatible server: as many requests at once as it bears, bounded retries."""

import asyncio
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlparse

from laif_helpers.records import Completion, Message

START_CONNECTIONS = 16
APART_S = 0.003
"""Between the first requests: those that start together are answered and prepared together, and all leave late."""
MAX_CONNECTIONS = 64
MAX_ATTEMPTS = 6
"""Attempts a request, with waits of about 0.5, 1, 2, 4 and 8 s between them: a restart is survived, an outage told."""
REQUEST_TIMEOUT_S = 300.0
MAX_WAIT_S = 60.0


class ServerError(RuntimeError):
    """A server that refuses or keeps failing, told in one sentence."""


class Connections:
    """How many requests may be open at once: trebled a round until the first 429, then halved and grown by one a round.

    ``peak`` is the highest number reached; ``halvings`` counts the 429 rounds.
    """

    def __init__(self, start: int = START_CONNECTIONS, most: int = MAX_CONNECTIONS):
        self.limit, self.most, self.open, self.peak, self.halvings = float(start), most, 0, 0, 0
        self._slow_start, self._last_halved = True, 0.0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> float:
        """Wait for a free place; returns the time of entry."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open < int(self.limit))
            self.open += 1
            self.peak = max(self.peak, self.open)
        return time.monotonic()

    async def __aexit__(self, *_: Any) -> None:
        async with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def succeeded(self) -> None:
        # Two a success at first: two rounds from 16 to 64, so that a short run is not spent on finding the limit.
        self.limit = min(self.most, self.limit + (2 if self._slow_start else 1 / self.limit))

    def refused(self, sent_at: float) -> None:
        """A 429. Requests sent before the last halving say nothing about the new limit."""
        self._slow_start = False
        if sent_at >= self._last_halved:
            self.limit, self._last_halved = max(1.0, self.limit / 2), time.monotonic()
            self.halvings += 1


def ask(
    model: str,
    conversations: list[list[Message]],
    *,
    url: str,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_done: Callable[[int, Completion], None],
    timeout_s: float = REQUEST_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Ask a server for every conversation and call ``on_done(index, completion)`` as each answer arrives.

    The key is ``OPENAI_API_KEY``'s; servers of this machine need none. Works inside a running event loop
    (Jupyter's), since it runs one of its own in a thread. Raises ServerError on a refusal (401, 404, …) or when
    a request failed ``MAX_ATTEMPTS`` times; answers that arrived before have been handed to ``on_done``.
    """
    _check(model, url)
    options = {"max_tokens": max_new_tokens, "temperature": temperature}
    asked = list(zip(conversations, _seeds(conversations, seed), strict=True))
    run_in_thread(_ask_all(model, asked, url, options, on_done, timeout_s, max_connections))


def _seeds(conversations: list[list[Message]], seed: int) -> list[int]:
    """``seed``, and the numbers after it for the further samples of a prompt: one seed would give one text again."""
    turns: Counter[str] = Counter()
    found = []
    for conversation in conversations:
        key = json.dumps(conversation)
        found.append(seed + turns[key])
        turns[key] += 1
    return found


def _check(model: str, url: str) -> None:
    if not model:
        raise ValueError("target 'server:' names no model; write server:<model as the server calls it>")
    if urlparse(url).scheme not in {"http", "https"} or not urlparse(url).hostname:
        raise ValueError(f"target_url {url!r} is not a server's base URL; expected http://HOST:PORT/v1")
    if not os.environ.get("OPENAI_API_KEY") and not _is_local(url):
        raise ValueError(f"server {url} needs a key: set the environment variable OPENAI_API_KEY")


def _is_local(url: str) -> bool:
    return urlparse(url).hostname in {"127.0.0.1", "localhost", "::1"}


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


async def _ask_all(
    model: str,
    asked: list[tuple[list[Message], int]],
    url: str,
    options: dict[str, Any],
    on_done: Callable[[int, Completion], None],
    timeout_s: float,
    max_connections: int,
) -> None:
    # A server of answers is asked by as many as it may be at once: vLLM queues them, and a 429 halves them soon enough.
    connections = Connections(most=max_connections, start=max_connections)
    waiting = iter(enumerate(asked))
    failed: list[Exception] = []

    async with connect(url, timeout_s) as client:

        async def worker(place: int) -> None:
            await asyncio.sleep(place * APART_S)
            # After a failure nothing new is asked, but answers that are on their way (and paid for) are kept.
            while not failed and (following := next(waiting, None)):
                index, (turns, seed) = following
                try:
                    on_done(index, await _ask_one(client, model, turns, options | {"seed": seed}, connections, url))
                except Exception as error:
                    failed.append(error)

        # A pool of workers, not a task an item: 100,000 waiting tasks are memory for nothing.
        workers = [asyncio.create_task(worker(place)) for place in range(min(max_connections, len(asked)))]
        try:
            await asyncio.gather(*workers)
            if failed:
                raise failed[0]
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


def connect(url: str, timeout_s: float) -> Any:
    """An ``openai.AsyncOpenAI`` client of that server; the key comes from ``OPENAI_API_KEY`` alone."""
    import openai

    # A proxy from the environment is for the outside: it must not be asked for a server of this machine.
    http = openai.DefaultAioHttpClient(timeout=timeout_s, trust_env=not _is_local(url))
    # Retries are ours alone: two layers of them multiply.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout_s, http_client=http)


async def complete(client: Any, body: dict[str, Any]) -> Any:
    """A chat completion as the server's own JSON. Raises one of ``recoverable()`` where none comes."""
    # The client's typed call spends more time on its types than on the request (bench/server.py).
    reply = await client.post("/chat/completions", body=body, cast_to=object)
    if not isinstance(reply, dict) or "choices" not in reply:
        raise json.JSONDecodeError("no chat completion", str(reply)[:200], 0)
    return reply


def recoverable() -> tuple[type[Exception], ...]:
    """What may be mended by trying again: the endpoint's errors, and a reply whose body is no chat completion."""
    import openai

    return (openai.APIError, json.JSONDecodeError)


async def _ask_one(
    client: Any, model: str, turns: list[Message], options: dict[str, Any], connections: Connections, url: str
) -> Completion:
    import openai

    for attempt in range(1, MAX_ATTEMPTS + 1):
        async with connections as sent_at:
            try:
                reply = await complete(client, {"model": model, "messages": turns} | options)
                connections.succeeded()
                return read_completion(reply, time.monotonic() - sent_at)
            except recoverable() as error:
                wait = wait_or_raise(error, attempt, model, url)
                if isinstance(error, openai.RateLimitError):
                    connections.refused(sent_at)
                if wait is None:
                    return Completion("", 0, 0, f"error: {said(error)}")
        await asyncio.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def read_completion(reply: Any, seconds: float) -> Completion:
    """The first choice of a chat completion's JSON, with its token counts (0 where the server gives none)."""
    choice = first_choice(reply)
    if not choice:
        return Completion("", 0, 0, "error: the server answered without choices")
    finish, usage = choice.get("finish_reason"), reply.get("usage") or {}
    finish = finish if finish in {"stop", "length"} else f"error: {finish}"
    text = (choice.get("message") or {}).get("content") or ""
    if isinstance(text, list):  # parts, as reasoning models of some servers answer
        text = "".join(part.get("text") or "" for part in text if part.get("type") == "text")
    asked, got = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return Completion(text, asked, got, finish, round(seconds, 3))


def first_choice(reply: Any) -> dict[str, Any]:
    """``choices[0]`` of a reply's JSON; empty where a server's reply has none, or is no such object."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def wait_or_raise(error: Any, attempt: int, model: str, url: str) -> float | None:
    """Seconds to wait before the next attempt; None where only this prompt is refused. Raises ServerError."""
    status = getattr(error, "status_code", None)
    words = said(error)
    if status == 400 and any(word in words.lower() for word in ("context", "too long", "maximum length")):
        return None
    if status in {401, 403}:
        raise ServerError(f"server {url} refuses the key ({status}): set OPENAI_API_KEY to a valid one") from None
    if status == 404:
        raise ServerError(f"server {url} knows no model {model!r} or no such address (404: {words})") from None
    quota = getattr(error, "code", None) == "insufficient_quota"
    if quota or (status is not None and 400 <= status < 500 and status not in {408, 409, 429}):
        raise ServerError(f"server {url} refuses the request ({status}: {words})") from None
    if attempt == MAX_ATTEMPTS:
        raise ServerError(
            f"server {url} failed {attempt} times on one request (last: {status or type(error).__name__}: {words}); "
            "finished answers are kept, run again to go on"
        ) from None
    return _wait(error, attempt)


def _wait(error: Any, attempt: int) -> float:
    # Spread out, so that requests refused together do not come back together; timing needs no seed.
    return min(MAX_WAIT_S, max(retry_after(error), 0.5 * 2 ** (attempt - 1)) * random.uniform(1.0, 1.2))


def retry_after(error: Any) -> float:
    """Seconds that a refusal's ``Retry-After`` asks to wait; 0 where it says nothing (or a date)."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return 0.0


def said(error: Any) -> str:
    """What the server said, short: its error message without the client's decoration, and without the key."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    key = os.environ.get("OPENAI_API_KEY") or "\0"
    return " ".join(str(message or error).split()).replace(key, "[key]")[:200]
