"""Asks a language model as the instructor, at any OpenAI-compatible endpoint, under a cap on the cost.

The price of a call is reserved in the ledger before the call is sent, at the most that it can cost: one token for
every byte of the prompt, and the longest reply. So ``max_usd`` holds whatever happens to the call. What the
endpoint refuses costs nothing and is released; a call that broke off, or that a proxy on the way gave up, may have
been billed and stays counted.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from laif_helpers.instructors import chat, spending
from laif_helpers.instructors.chat import Asked, url_of
from laif_helpers.instructors.ledger import Ledger
from laif_helpers.instructors.spending import MAX_REPLY_TOKENS, Spending, price, prompt_bound, reply_bound
from laif_helpers.models import connecting, protocol
from laif_helpers.models import server as server_model
from laif_helpers.models.form import REFUSED, Form
from laif_helpers.recipe import StageParameters

LEAST_REPLY_TOKENS = 256
"""A reply is asked for in half the length, and half again down to this, if the endpoint refuses the longer one."""
PERHAPS_THE_SCHEMA = frozenset({404, 500, 502, 503})
"""OpenRouter knows no endpoint (404) for a schema, and llama.cpp's grammar fails by 500."""


class Shape(NamedTuple):
    """A reply by schema or not, its most tokens, and whether a system message goes into the user's."""

    as_json: bool
    longest: int
    merged: bool


@dataclass
class Asking:
    """What all calls of one ``ask`` share."""

    p: StageParameters
    client: Any
    spending: Spending
    connections: server_model.Connections
    form: Form
    stopped: Exception | None = field(default=None)
    refused: dict[str, str] = field(default_factory=dict)
    broken_off_shown: bool = False


def check(p: StageParameters, requests: Sequence[Asked] = ()) -> None:
    """ValueError, in one sentence, for whatever is missing before the first call."""
    if not p.instructor_model:
        raise ValueError("instructor llm needs instructor_model, the model's name at the endpoint")
    connecting.check_address("instructor_url", url_of(p))
    form = Form(p.request_options.instructor)
    calls = [form.body(chat.call(item, p, p.reply_format != "text")) for item in requests]
    spending.check(p, max(calls, key=prompt_bound, default=None))


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

        server_model.run_in_thread(lambda: batch.ask_all(requests, p, ledger))
    else:
        server_model.run_in_thread(lambda: _ask_all(requests, p, ledger))


async def _ask_all(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    connections = server_model.Connections(url_of(p), "instructor")
    form = chat.known_form(p, ledger)
    with tqdm(total=len(requests), unit="request", desc="instructor") as bar:
        async with connecting.connect(url_of(p), "instructor") as client:
            await connecting.loaded(client, url_of(p))
            asking = Asking(p, client, Spending(ledger, p.max_usd, ledger.spent()), connections, form)
            waiting = iter(requests)
            if not form.proven:
                # One request finds out which form the endpoint takes, before many are refused at once.
                await _work(asking, iter(requests[:1]), bar)
                waiting = iter(requests[1:])
            workers = min(connections.most, len(requests))
            await asyncio.gather(*(_work(asking, waiting, bar) for _ in range(workers)))
    sizes = {request.key: sum(len(turn["content"].encode()) for turn in request.messages) for request in requests}
    if cut := connecting.dropped([(sizes[key], reply.prompt_tokens) for key, reply in ledger.replies(sizes).items()]):
        tqdm.write(f"instructor {url_of(p)} {cut}")
    if asking.stopped:
        raise asking.stopped
    if asking.refused:
        words = next(iter(asking.refused.values()))
        tqdm.write(f"instructor {url_of(p)} refused {len(asking.refused)} of {len(requests)} requests ({words})")


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
    """Ask until the reply is in the ledger, or until the endpoint has refused this request in every form."""
    p, form = asking.p, asking.form
    ends, attempt, shapes = time.monotonic() + protocol.MAX_REQUEST_S, 0, _shapes(p, form)
    shape = next(shapes)
    while not asking.stopped:
        call = chat.call(request, p, shape.as_json and chat.takes_schema(p, form), shape.longest)
        sent = replace(form, merged=shape.merged).body(call)
        try:
            async with asking.connections as sent_at:
                completion, most = await _send(asking, request, sent, sent_at)
        except protocol.recoverable() as error:
            if _learned(p, form, error, sent):
                continue
            if (status := getattr(error, "status_code", None)) in REFUSED:
                following = next(shapes, None)
                if following is None:
                    return _refuse(asking, request, error)
                shape = following
                continue
            if asking.connections.spares(error, sent_at):
                continue
            try:
                pause = _wait(asking, error, attempt := attempt + 1, ends)
            except protocol.ServerError:
                if _may_be_the_shape(asking, shape, status):
                    shape, attempt = next(s for s in shapes if s.merged or s.as_json < shape.as_json), 0
                    continue
                if not _breaks_on_few(asking, error):
                    raise
                return _refuse(asking, request, error)
            await asyncio.sleep(pause)
            continue
        reply = chat.read(request.key, completion, p, most, longest=reply_bound(sent))
        asking.spending.settle(reply, most)
        if not form.proven:
            form.longest, form.merged = shape.longest % MAX_REPLY_TOKENS, shape.merged
            form.left_out |= {chat.SCHEMA} if p.reply_format == "auto" and not shape.as_json else set()
        chat.keep_form(form, p, asking.spending.ledger)
        return


def _shapes(p: StageParameters, form: Form) -> Iterator[Shape]:
    """What to try one after the other, while each is refused with no parameter named."""
    as_json = chat.takes_schema(p, form)
    for merged in [form.merged] if form.proven else [False, True]:
        longest = form.longest or MAX_REPLY_TOKENS
        while longest >= LEAST_REPLY_TOKENS:
            yield Shape(as_json, longest, merged)
            if as_json and p.reply_format == "auto" and not form.proven:
                yield Shape(False, longest, merged)
            longest //= 2


def _may_be_the_shape(asking: Asking, shape: Shape, status: int | None) -> bool:
    """Whether another shape may help against an error that no wait has mended and that names nothing."""
    by_schema = shape.as_json and asking.p.reply_format == "auto" and status in PERHAPS_THE_SCHEMA
    return not asking.form.proven and (by_schema or (status == 500 and not shape.merged))  # a template's error is a 500


def _learned(p: StageParameters, form: Form, error: Any, sent: dict[str, Any]) -> bool:
    """Whether the refusal named a parameter that the next attempt leaves out or renames."""
    known = set(form.left_out)
    learned = form.learn(error, sent, f"instructor {url_of(p)}")
    if p.reply_format == "json" and chat.SCHEMA in form.left_out - known:
        form.left_out.discard(chat.SCHEMA)  # the recipe insists on it
        return False
    return learned


def _breaks_on_few(asking: Asking, error: Any) -> bool:
    """Whether an endpoint that took requests of this form still answers, with an error of its own to a few of them."""
    few = len(asking.refused) < max(3, asking.connections.answered)
    status = getattr(error, "status_code", None) or 0  # 403: a router flags what some prompts hold
    own = status >= 400 and status not in {401, 402, 429}
    return (own or protocol.unreadable(error)) and asking.form.proven and few


def _refuse(asking: Asking, request: Asked, error: Any) -> None:
    """Leave one request unanswered if others were taken. Raises ServerError if none was: it is not this prompt."""
    words = protocol.error_text(error)
    if not asking.form.proven:
        raise protocol.ServerError(
            f"instructor {url_of(asking.p)} refuses the request ({error.status_code}: {words}); request_options: "
            "{instructor: …} can add a parameter, rename it or leave it out, reply_format: text asks for no schema"
            f"{protocol.keyless()}"
        ) from None
    asking.refused[request.key] = words


async def _send(asking: Asking, request: Asked, sent: dict[str, Any], sent_at: float) -> tuple[Any, float]:
    """One call: (completion, dollars reserved for it). What it costs at most is reserved, and released if refused."""
    p, purse = asking.p, asking.spending
    most = price(p, prompt_bound(sent), reply_bound(sent))
    await purse.reserve(request.key, sent, most)
    began = time.monotonic()
    try:
        completion = await protocol.complete(asking.client, sent, asking.connections.patience)
    except BaseException as error:
        billed = spending.perhaps_billed(error, time.monotonic() - began)
        if billed is None:
            billed = await connecting.somebody(asking.client)
        purse.fail(request.key, most, billed=billed)
        if billed and not asking.broken_off_shown:
            asking.broken_off_shown = True
            words = f"a call broke off ({protocol.error_text(error)}); it may have been billed and stays counted"
            tqdm.write(f"instructor {url_of(p)}: {words}")
        if protocol.too_fast(error):
            asking.connections.refused(sent_at, error)
        raise
    asking.connections.succeeded(sent_at)
    return completion, most


def _wait(asking: Asking, error: Any, attempt: int, ends: float) -> float:
    """Seconds until the next attempt. Raises ServerError."""
    protocol.give_up_after(ends, error, url_of(asking.p))
    if protocol.too_fast(error):
        return 0.0  # the connections hold everybody back
    return protocol.wait_or_raise(error, attempt, asking.p.instructor_model, url_of(asking.p))
