"""Serves the scripted instructor over OpenAI's protocol on a real socket, with faults on demand.

    python -m bench.practice_server --port 8001 --faults rate_limit=0.02,drop=0.01

Then, in a recipe: ``instructor: llm``, ``instructor_model: practice``, ``instructor_url: http://127.0.0.1:8001/v1``,
``prices: {practice: {input: 1, output: 4}}``, ``max_usd: 1``. It answers about the practice world, and as TriPosT's
improver of wrong answers, counts what a paid endpoint would charge for (``/stats``), and knows JSON-schema replies and
the Batch endpoint. Needs the extra ``serve`` (fastapi, uvicorn).
"""

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from bench.practice_server import batches, faults
from bench.practice_server.answers import MODEL, Behaviour, Dropped, Service

HANG_S = 3600.0


def make(settings: Behaviour) -> FastAPI:
    """The application; its counts are at ``app.state.counts``."""
    app = FastAPI(title="practice instructor", docs_url=None, redoc_url=None, openapi_url=None)
    service = Service(settings)
    app.state.counts = service.counts

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "laif"}]}

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        return service.counts.summary()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        if turned_away := service.unwelcome(request):
            return turned_away
        body = await request.json()
        fault = service.met(body)
        await asyncio.sleep(HANG_S if fault == "hang" else settings.delay_s)
        if fault == "drop":
            return Dropped()
        if fault in faults.REFUSED:
            return service.refused(fault, request)
        return service.complete(body, fault)

    batches.add(app, service)
    return app


def serve(app: FastAPI, port: int) -> None:
    """Serve on 127.0.0.1 and print the base URL; blocks."""
    import socket

    import uvicorn

    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        # A dropped connection is what was asked for, not an error to be logged.
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])
