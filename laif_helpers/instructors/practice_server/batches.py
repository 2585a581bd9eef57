"""Serves the practice server's Batch endpoint: it takes files, and completes a batch after a while."""

import asyncio
import email
import json
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from laif_helpers.instructors.practice_server import faults as practice_faults
from laif_helpers.instructors.practice_server.answers import complete, digest_of, refusal, unwelcome

REFUSED_IN_BATCH = {"rate_limit", "server_error", "hang", "drop", "garbled"}
"""Within a batch these all are a line in the error file."""


@dataclass
class Store:
    """Files and batches by id."""

    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)


def add(app: FastAPI) -> None:
    """Give an application of ``make`` the routes of files and batches."""
    store = app.state.store = Store()

    @app.post("/v1/files")
    async def upload(request: Request) -> Response:
        if turned_away := unwelcome(request, app.state.settings):
            return turned_away
        content = uploaded(request.headers["content-type"], await request.body())
        return JSONResponse(_file(store, content))

    @app.get("/v1/files/{id}/content")
    def download(id: str) -> Response:
        return PlainTextResponse(store.files[id]) if id in store.files else refusal(404, "none", id)

    @app.post("/v1/batches")
    async def create(request: Request) -> Response:
        asked = await request.json()
        if asked.get("input_file_id") not in store.files:
            return refusal(400, "invalid_request_error", "no such input file")
        batch = _batch(f"batch_{len(store.batches):06d}", asked, store)
        store.batches[batch["id"]] = batch
        batch["work"] = asyncio.create_task(_work_off(app, store, batch))
        return JSONResponse(_shown(batch))

    @app.get("/v1/batches/{id}")
    def retrieve(id: str) -> Response:
        known = store.batches.get(id)
        return JSONResponse(_shown(known)) if known else refusal(404, "none", f"no batch {id}")

    @app.get("/v1/batches")
    def listed() -> dict[str, Any]:
        return {"object": "list", "data": [_shown(batch) for batch in store.batches.values()], "has_more": False}


def _file(store: Store, content: bytes) -> dict[str, Any]:
    id = f"file-{len(store.files):06d}"
    store.files[id] = content
    known = {"id": id, "object": "file", "bytes": len(content), "created_at": int(time.time()), "purpose": "batch"}
    return known | {"filename": "requests.jsonl", "status": "processed"}


def _batch(id: str, asked: dict[str, Any], store: Store) -> dict[str, Any]:
    total = len(store.files[asked["input_file_id"]].splitlines())
    kept = {name: asked.get(name) for name in ("input_file_id", "endpoint", "completion_window", "metadata")}
    batch = {"id": id, "object": "batch", "status": "in_progress", "created_at": int(time.time()), "errors": None}
    batch |= {"output_file_id": None, "error_file_id": None}
    return batch | kept | {"request_counts": {"total": total, "completed": 0, "failed": 0}}


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "work"}


async def _work_off(app: FastAPI, store: Store, batch: dict[str, Any]) -> None:
    await asyncio.sleep(app.state.settings.batch_s)
    good: list[str] = []
    bad: list[str] = []
    for line in store.files[batch["input_file_id"]].splitlines():  # of bytes: U+2028 ends no line
        row = json.loads(line)
        status, body = _answer(app, row["body"])
        done = {"custom_id": row["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
        (good if status == 200 else bad).append(json.dumps(done))
        await asyncio.sleep(0)
    for name, lines in (("output_file_id", good), ("error_file_id", bad)):
        batch[name] = _file(store, "\n".join(lines).encode())["id"] if lines else None
    batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
    batch["status"] = "completed"


def _answer(app: FastAPI, body: dict[str, Any]) -> tuple[int, Any]:
    settings, counts = app.state.settings, app.state.counts
    digest = digest_of(body)
    fault = practice_faults.draw(settings.faults, settings.seed, digest, counts.attempts[digest])
    counts.attempts[digest] += 1
    counts.faults.update([fault] if fault else [])
    if fault in REFUSED_IN_BATCH:
        return 500, {"error": {"message": "The server had an error", "code": "server_error"}}
    reply = complete(body, digest, fault, settings, counts)
    return reply.status_code, json.loads(bytes(reply.body))


def uploaded(content_type: str, body: bytes) -> bytes:
    """The file of a multipart form, read by the standard library."""
    form = email.message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    files = [part for part in form.walk() if part.get_filename()]
    payload = files[0].get_payload(decode=True) if files else b""
    return payload if isinstance(payload, bytes) else b""
