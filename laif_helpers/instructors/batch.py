"""OpenAI's Batch endpoint: a file of requests, half the price, replies within a day.

The ledger knows a batch before the endpoint does, by a token that travels as the batch's metadata: a run that is
killed at any point finds its batch again, and sends nothing twice.
"""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from laif_helpers.instructors import llm
from laif_helpers.instructors.ledger import Ledger, Reply
from laif_helpers.instructors.spending import BATCH_SHARE, MAX_REPLY_TOKENS, no_room, price, prompt_bound
from laif_helpers.models import server as server_model
from laif_helpers.recipe import StageParameters

POLL_S = 20.0
MAX_REQUESTS = 20_000
"""In one batch; the endpoint takes 50,000 and 200 MB."""
WINDOW = "24h"
ENDED = {"completed", "failed", "expired", "cancelled"}
TOKEN = "laif_batch"


async def ask_all(requests: Sequence[llm.Asked], p: StageParameters, ledger: Ledger) -> None:
    """Collect the batches that are open, then send what is missing, in as many batches as ``max_usd`` needs.

    Raises ServerError where the endpoint refuses or a whole batch brings no reply, RuntimeError at ``max_usd``.
    """
    async with server_model.connect(p.instructor_url or llm.OPENAI, llm.TIMEOUT_S) as client:
        for token, id, reserved in ledger.open_batches():
            await _resume(client, token, id, reserved, p, ledger)
        while left := _missing(requests, ledger):
            sent = _affordable(left, p, ledger)
            token = uuid.uuid4().hex
            ledger.begin_batch(token, {key: (json.dumps(body), usd) for key, (body, usd) in sent.items()})
            id = await _submit(client, token, {key: body for key, (body, _) in sent.items()}, p, ledger)
            before = len(left)
            problem = await _collect(client, token, id, {key: usd for key, (_, usd) in sent.items()}, p, ledger)
            if len(_missing(requests, ledger)) == before:
                raise server_model.ServerError(f"batch {id} brought no reply ({problem}); nothing of it was paid")


def _missing(requests: Sequence[llm.Asked], ledger: Ledger) -> list[llm.Asked]:
    there = ledger.replies(request.key for request in requests)
    return [request for request in requests if request.key not in there]


def _affordable(
    requests: Sequence[llm.Asked], p: StageParameters, ledger: Ledger
) -> dict[str, tuple[dict[str, Any], float]]:
    """As many requests as the cap has room for at the most they can cost: key -> (body, dollars)."""
    room, chosen = p.max_usd - ledger.spent(), {}
    # Nobody is there to try again with: without an endpoint's word for it, a batch asks for plain text.
    as_json = p.reply_format == "json" or ledger.noted(llm.FORMAT) == "json"
    for request in requests[:MAX_REQUESTS]:
        body = llm.call(request, p, as_json)
        most = price(p, prompt_bound(body), MAX_REPLY_TOKENS) * BATCH_SHARE
        if most > room and most:
            break
        room -= most
        chosen[request.key] = (body, most)
    if not chosen:
        raise RuntimeError(no_room(p.max_usd, ledger.spent(), most))
    return chosen


async def _submit(client: Any, token: str, bodies: dict[str, Any], p: StageParameters, ledger: Ledger) -> str:
    import openai

    lines = [
        json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body})
        for key, body in bodies.items()
    ]
    try:
        file = await client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
        made = await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window=WINDOW,
            metadata={TOKEN: token},
        )
    except openai.APIError as error:
        url = p.instructor_url or llm.OPENAI
        if isinstance(error, openai.APIStatusError) and error.status_code < 500:
            _give_up(token, ledger)
            if error.status_code != 429 or error.code == "insufficient_quota":
                server_model.wait_or_raise(error, 1, p.instructor_model, url)
        raise server_model.ServerError(
            f"server {url} did not take the batch ({server_model.said(error)}); run again to go on"
        ) from None
    ledger.batch_sent(token, made.id)
    return str(made.id)


async def _resume(
    client: Any, token: str, id: str, reserved: dict[str, float], p: StageParameters, ledger: Ledger
) -> None:
    """Go on with a batch of an earlier run; where that run was killed before it heard an id, look for the token."""
    if not id:
        async for known in client.batches.list(limit=100):
            if (known.metadata or {}).get(TOKEN) == token:
                id = known.id
                ledger.batch_sent(token, id)
                break
    if not id:
        _give_up(token, ledger)
        return
    await _collect(client, token, id, reserved, p, ledger)


def _give_up(token: str, ledger: Ledger) -> None:
    """The endpoint never had the batch: its reservations go back."""
    for known, _, reserved in ledger.open_batches():
        if known == token:
            for key, usd in reserved.items():
                ledger.release(key, usd, 0)
    ledger.end_batch(token)


async def _collect(
    client: Any, token: str, id: str, reserved: dict[str, float], p: StageParameters, ledger: Ledger
) -> str:
    """Wait for a batch and write down its replies; returns why some are missing. What failed was not paid for."""
    batch = await _wait_for(client, id, len(reserved), p)
    problems = [error.message for error in (batch.errors.data if batch.errors else None) or []]
    there = ledger.replies(reserved)
    for file in (batch.output_file_id, batch.error_file_id):
        if file:
            content = (await client.files.content(file)).text
            problems += _record(content, {k: v for k, v in reserved.items() if k not in there}, p, ledger)
    there = ledger.replies(reserved)
    for key, usd in reserved.items():
        if key not in there:
            ledger.release(key, usd, 1)
    ledger.end_batch(token)
    return str(problems[0]) if problems else f"its status is {batch.status}"


async def _wait_for(client: Any, id: str, n: int, p: StageParameters) -> Any:
    import openai

    failures = 0
    with tqdm(total=n, unit="request", desc=f"batch {id[:16]}") as bar:
        while True:
            try:
                batch, failures = await client.batches.retrieve(id), 0
            except openai.APIError as error:
                failures += 1
                url = p.instructor_url or llm.OPENAI
                await asyncio.sleep(server_model.wait_or_raise(error, failures, p.instructor_model, url) or POLL_S)
                continue
            bar.update((batch.request_counts.completed if batch.request_counts else 0) - bar.n)
            if batch.status in ENDED:
                return batch
            await asyncio.sleep(POLL_S)


def _record(content: str, reserved: dict[str, float], p: StageParameters, ledger: Ledger) -> list[str]:
    """Write down the replies of a result file; returns what the others say is wrong."""
    problems = []
    for line in filter(str.strip, content.splitlines()):
        row = json.loads(line)
        key, response = row.get("custom_id"), row.get("response") or {}
        if key not in reserved:
            continue
        if response.get("status_code") == 200:
            ledger.record(llm.read(key, response.get("body"), p, reserved[key], BATCH_SHARE), reserved[key])
            continue
        error = (response.get("body") or {}).get("error") or row.get("error") or {}
        problems.append(str(error.get("message") or response.get("status_code")))
        if response.get("status_code") == 400 and "context" in problems[-1].lower():
            ledger.record(Reply(key, "", f"error: {problems[-1][:200]}", attempts=1), reserved[key])
    return problems
