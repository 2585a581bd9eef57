"""Serves the practice server's Batch endpoint: it takes files, and completes a batch after a while."""

import asyncio
import email
import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from bench.practice_server.answers import Service, refusal

REFUSED_IN_BATCH = {"rate_limit", "server_error", "hang", "drop", "garbled"}
"""Within a batch these all are a line in the error file."""
_ERROR = {"error": {"message": "The server had an error", "code": "server_error"}}


@dataclass
class Store:
    """Files and batches by id, and the tasks that work the batches off."""

    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def keep(self, content: bytes) -> dict[str, Any]:
        """A new file, as the endpoint describes it."""
        id = f"file-{len(self.files):06d}"
        self.files[id] = content
        return {"id": id, "object": "file", "bytes": len(content), "purpose": "batch", "filename": "requests.jsonl"}

    def begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A new batch, as the endpoint describes it."""
        total = len(self.files[asked["input_file_id"]].splitlines())
        batch: dict[str, Any] = {
            "id": f"batch_{len(self.batches):06d}",
            "object": "batch",
            "status": "in_progress",
            "errors": None,
        }
        batch |= {name: asked.get(name) for name in ("input_file_id", "endpoint", "completion_window", "metadata")}
        batch |= {"output_file_id": None, "error_file_id": None}
        batch["request_counts"] = {"total": total, "completed": 0, "failed": 0}
        return self.batches.setdefault(batch["id"], batch)


def add(app: FastAPI, service: Service) -> None:
    """Give an application the routes of files and batches."""
    store = app.state.store = Store()

    @app.post("/v1/files")
    async def upload(request: Request) -> Response:
        if turned_away := service.unwelcome(request):
            return turned_away
        return JSONResponse(store.keep(uploaded(request.headers["content-type"], await request.body())))

    @app.get("/v1/files/{id}/content")
    def download(id: str) -> Response:
        return PlainTextResponse(store.files[id]) if id in store.files else refusal(404, "none", id)

    @app.post("/v1/batches")
    async def create(request: Request) -> Response:
        asked = await request.json()
        if asked.get("input_file_id") not in store.files:
            return refusal(400, "invalid_request_error", "no such input file")
        batch = store.begin(asked)
        store.tasks.append(asyncio.create_task(work_off(service, store, batch)))
        return JSONResponse(batch)

    @app.get("/v1/batches/{id}")
    def retrieve(id: str) -> Response:
        known = store.batches.get(id)
        return JSONResponse(known) if known else refusal(404, "none", f"no batch {id}")

    @app.get("/v1/batches")
    def listed() -> dict[str, Any]:
        return {"object": "list", "data": list(store.batches.values()), "has_more": False}


async def work_off(service: Service, store: Store, batch: dict[str, Any]) -> None:
    """Answer every request of a batch; answers and errors become a file each."""
    await asyncio.sleep(service.settings.batch_s)
    good: list[str] = []
    bad: list[str] = []
    for line in store.files[batch["input_file_id"]].splitlines():  # of bytes: U+2028 ends no line
        row = json.loads(line)
        status, body = _answer(service, row["body"])
        done = {"custom_id": row["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
        (good if status == 200 else bad).append(json.dumps(done))
        await asyncio.sleep(0)
    for name, lines in (("output_file_id", good), ("error_file_id", bad)):
        batch[name] = store.keep("\n".join(lines).encode())["id"] if lines else None
    batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
    batch["status"] = "completed"


def _answer(service: Service, body: dict[str, Any]) -> tuple[int, Any]:
    fault = service.met(body)
    if fault in REFUSED_IN_BATCH:
        return 500, _ERROR
    reply = service.complete(body, fault)
    return reply.status_code, json.loads(bytes(reply.body))


def uploaded(content_type: str, body: bytes) -> bytes:
    """The file of a multipart form, read by the standard library."""
    form = email.message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    files = [part for part in form.walk() if part.get_filename()]
    payload = files[0].get_payload(decode=True) if files else b""
    return payload if isinstance(payload, bytes) else b""
