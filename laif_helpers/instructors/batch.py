"""Sends requests to OpenAI's Batch endpoint: one file of requests, half the price, replies within a day.

The ledger knows a batch before the endpoint does, by a token that travels as the batch's metadata: a run that is
killed at any point finds its batch again, and sends nothing twice.
"""

import asyncio
import functools
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm.auto import tqdm

from laif_helpers.instructors import chat, results
from laif_helpers.instructors.chat import Asked, url_of
from laif_helpers.instructors.ledger import Ledger
from laif_helpers.instructors.spending import BATCH_SHARE, no_room, price, prompt_bound, reply_bound
from laif_helpers.models import connecting, protocol
from laif_helpers.recipe import StageParameters

POLL_S = 20.0
MAX_REQUESTS = 20_000
"""In one batch; the endpoint takes 50,000 and 200 MB."""
WINDOW = "24h"
ENDED = re.compile(r"(?i)complete|fail|expired|cancell?ed|succe|^ended|error|timed?_?out|reject|done|finished")
"""Of a batch's status, as OpenAI, its like (JOB_STATE_SUCCEEDED, TIMEOUT_EXCEEDED) and gateways (complete) write it."""
TOKEN = "laif_batch"
NONE_HERE = frozenset({404, 405, 501})
"""An endpoint, or a gateway before it, that knows no batches, or not this one."""


@dataclass
class Batching:
    """What the batches of one ``ask_all`` share. ``refused``: keys of requests that the endpoint does not take."""

    client: Any
    p: StageParameters
    ledger: Ledger
    refused: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Sent:
    """One batch: the ledger's token, the endpoint's id ("" if it is not known), dollars reserved by key."""

    token: str
    id: str
    reserved: dict[str, float]


async def ask_all(requests: Sequence[Asked], p: StageParameters, ledger: Ledger) -> None:
    """Collect the batches that are open, then send what is missing, in as many batches as ``max_usd`` needs.

    Raises ServerError if the endpoint refuses or a whole batch brings no reply, RuntimeError at ``max_usd``.
    """
    async with connecting.connect(url_of(p), "instructor") as client:
        to = Batching(client, p, ledger)
        for batch in ledger.open_batches():
            await _resume(to, Sent(*batch))
        while left := _missing(requests, to):
            chosen = _affordable(left, to)
            sent = Sent(uuid.uuid4().hex, "", {key: usd for key, (_, usd) in chosen.items()})
            ledger.begin_batch(sent.token, {key: (json.dumps(body), usd) for key, (body, usd) in chosen.items()})
            sent = await _submit(to, sent, {key: body for key, (body, _) in chosen.items()})
            before = len(ledger.replies(sent.reserved))
            problem = await _collect(to, sent)
            if len(ledger.replies(sent.reserved)) == before:
                raise protocol.ServerError(
                    f"batch {sent.id} of {url_of(p)} brought no reply ({problem}); nothing of it was paid. If it does "
                    "not take a parameter: request_options"
                )
        if to.refused:
            tqdm.write(f"instructor {url_of(p)} refused {len(to.refused)} of {len(requests)} requests")


def _missing(requests: Sequence[Asked], to: Batching) -> list[Asked]:
    known = to.ledger.replies(request.key for request in requests).keys() | to.refused
    return [request for request in requests if request.key not in known]


def _affordable(requests: Sequence[Asked], to: Batching) -> dict[str, tuple[dict[str, Any], float]]:
    """As many requests as the cap has room for at the most they can cost: key -> (body, dollars)."""
    p, form = to.p, chat.known_form(to.p, to.ledger)
    room, chosen = p.max_usd - to.ledger.spent(), {}
    # Nobody is there to try again with: without an endpoint's word for it, a batch asks for plain text.
    as_json = p.reply_format == "json" or (form.proven and chat.takes_schema(p, form))
    for request in requests[:MAX_REQUESTS]:
        body = form.body(chat.call(request, p, as_json, form.longest or chat.MAX_REPLY_TOKENS))
        most = price(p, prompt_bound(body), reply_bound(body)) * BATCH_SHARE
        if most > room and most:
            break
        room -= most
        chosen[request.key] = (body, most)
    if not chosen:
        raise RuntimeError(no_room(p.max_usd, to.ledger.spent(), most))
    return chosen


async def _submit(to: Batching, sent: Sent, bodies: dict[str, Any]) -> Sent:
    import openai

    lines = [
        json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body})
        for key, body in bodies.items()
    ]
    ordered = False
    try:
        file = await to.client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
        ordered = True  # a file alone costs nothing, whatever became of it
        to.ledger.note(_file_of(sent), file.id)
        created = await to.client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window=WINDOW,
            metadata={TOKEN: sent.token},
        )
    except openai.APIError as error:
        status = getattr(error, "status_code", 500)
        refused = status < 500 and status not in connecting.RAN_OUT
        if refused or not ordered or status in NONE_HERE:
            _done(to, sent, 0)
        if refused and not protocol.too_fast(error) and status not in NONE_HERE:
            protocol.wait_or_raise(error, 1, to.p.instructor_model, url_of(to.p))
        raise protocol.ServerError(
            f"server {url_of(to.p)} did not take the batch ({protocol.error_text(error)}); run again to go on, or set "
            "batch: false if it knows no batches"
        ) from None
    if not (id := created.id or (getattr(created, "job", None) or {}).get("id")):  # Together's
        raise protocol.ServerError(f"server {url_of(to.p)} names no id of its batch; run again to look for it")
    return _known(to, sent, id)


def _file_of(sent: Sent) -> str:
    """Under which name the ledger keeps the file of a batch's requests: some makers lose the metadata."""
    return f"file of batch {sent.token}"


def _known(to: Batching, sent: Sent, id: str) -> Sent:
    """The batch with the endpoint's id, which the ledger keeps."""
    to.ledger.batch_sent(sent.token, id)
    return replace(sent, id=str(id))


async def _resume(to: Batching, sent: Sent) -> None:
    """Go on with a batch of an earlier run; if that run was killed before it heard an id, look for the token."""
    if not sent.id:
        if not (page := await _patiently(to, functools.partial(to.client.batches.list, limit=100))):
            raise _lost(to, sent, "lists no batches, so one that may have been made cannot be found")
        file = to.ledger.noted(_file_of(sent))
        async for found in page:
            if (found.metadata or {}).get(TOKEN) == sent.token or (file and found.input_file_id == file):
                sent = _known(to, sent, found.id)
                break
    if sent.id:
        await _collect(to, sent)
    else:
        _done(to, sent, 0)  # the endpoint never had it


def _done(to: Batching, sent: Sent, attempts: int, unread: Iterable[str] = ()) -> None:
    """Close a batch; what was reserved for requests without a reply goes back, but for replies that nobody can read."""
    known = {*to.ledger.replies(sent.reserved), *unread}
    for key, usd in sent.reserved.items():
        if key not in known:
            to.ledger.release(key, usd, attempts)
    to.ledger.end_batch(sent.token)


async def _collect(to: Batching, sent: Sent) -> str:
    """Wait for a batch and write down its replies; returns why some are missing. What failed was not paid for."""
    for _ in range(protocol.MAX_ATTEMPTS):
        batch = await _wait_for(to, sent)
        documents = [each for file in results.files(batch) for each in await _documents(to, file)]
        lines = [line for each in documents if (line := results.line(each, sent.reserved))]
        heard = {line.key for line in lines if line.completion or line.problem}
        if not (late := len(heard) < _completed(batch) or (lines and not heard)):
            break
        await asyncio.sleep(POLL_S)  # the files of a batch that has ended may come later, or piece by piece
    said = [f"a line of the result file is no JSON object: {each[:100]!r}" for each in documents if type(each) is str]
    problems = [error.message for error in getattr(batch.errors, "data", None) or []] + said + _record(lines, sent, to)
    if late and not heard and to.p.batch:
        raise protocol.ServerError(
            f"server {url_of(to.p)} gives no result of batch {sent.id} that can be read ({str(documents)[:200]}): it "
            f"stays open, and its {len(sent.reserved)} requests counted; run again to look once more, or set batch: "
            "false to give it up and ask, and pay, again"
        )
    if late:
        raise _lost(to, sent, f"gives only {len(heard)} lines of the {_completed(batch)} results of batch {sent.id}")
    _done(to, sent, 1, {line.key for line in lines} - heard)
    return str(problems[0]) if problems else f"its status is {batch.status}"


def _completed(batch: Any) -> int:
    return (batch.request_counts and batch.request_counts.completed) or 0


async def _documents(to: Batching, file: str) -> list[Any]:
    """What a result file holds; nothing if it is not there."""
    found = await _patiently(to, functools.partial(to.client.files.content, file))
    return results.documents(found.content.decode("utf-8-sig", "replace")) if found else []


def _lost(to: Batching, sent: Sent, what: str) -> protocol.ServerError:
    """The error for replies that may have been paid for, so that what was reserved for them stays counted."""
    left = len(sent.reserved) - len(to.ledger.replies(sent.reserved))
    to.ledger.end_batch(sent.token)
    return protocol.ServerError(
        f"server {url_of(to.p)} {what}: {left} requests stay counted as spent, and the next run asks them again"
    )


async def _patiently(to: Batching, call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a call that costs nothing, tried again as often as any request; None for what the endpoint does
    not know. Raises ServerError."""
    import openai

    failures = 0
    while True:
        try:
            return await call()
        except openai.APIError as error:
            if getattr(error, "status_code", None) in NONE_HERE:
                return None
            failures += not protocol.too_fast(error)
            wait = protocol.wait_or_raise(error, max(failures, 1), to.p.instructor_model, url_of(to.p))
            await asyncio.sleep(wait or POLL_S)


async def _wait_for(to: Batching, sent: Sent) -> Any:
    with tqdm(total=len(sent.reserved), unit="request", desc=f"batch {sent.id[:16]}") as bar:
        while True:
            if not (batch := await _patiently(to, functools.partial(to.client.batches.retrieve, sent.id))):
                raise _lost(to, sent, f"knows no batch {sent.id} any more")
            bar.update(_completed(batch) - bar.n)
            if ENDED.search(str(batch.status)):
                return batch
            await asyncio.sleep(POLL_S)


def _record(lines: list[results.Line], sent: Sent, to: Batching) -> list[str]:
    """Write down the replies of result files; returns what the others say is wrong."""
    known = set(to.ledger.replies(sent.reserved))
    for line in lines:
        if line.completion and line.key not in known:
            most = sent.reserved[line.key]
            to.ledger.record(chat.read(line.key, line.completion, to.p, most, BATCH_SHARE), most)
            known.add(line.key)
    left = [line for line in lines if line.key not in known]
    to.refused |= {line.key for line in left if line.refused}
    return [line.problem for line in left if line.problem]
