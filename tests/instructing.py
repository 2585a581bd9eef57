"""What the tests of requests, instructors and ledger share: parameters, and answers as stage 1 leaves them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from laif_helpers import benchmarks, recipe
from laif_helpers.records import Response, write_jsonl

PRACTICE = benchmarks.get("practice")
TRAIN = PRACTICE.load("train")[:60]


def parameters(arm: str = "le", **more: Any) -> recipe.StageParameters:
    values = {"run": "r", "arm": arm, "iteration": 1, "budget": 40, "replay_fraction": 0.5}
    return recipe.build(recipe.StageParameters, values | more)


def answer_items(p: recipe.StageParameters, wrong: int = 12, text: str = "I do not know.\n#### 0") -> None:
    """Response files of the previous iteration: the first ``wrong`` items wrong, the others right."""
    rows = []
    for at, example in enumerate(TRAIN):
        answer = text if at < wrong else str(PRACTICE.gold_response(example))
        grade = PRACTICE.grade(example, answer)
        rows.append(
            Response(
                example.id, "practice", "train", PRACTICE.messages(example), example.gold, answer, grade.extracted,
                at >= wrong, grade.readable, grade.reason, 10, 10, "m",
            )
        )  # fmt: skip
    write_jsonl(p.previous.responses("practice", "train"), rows)


# -- endpoints

GOOD = (
    "Diagnosis: It guesses.\n\nSample 1:\nQuestion: Ann has {n} pots and buys 2. How many has she?\n"
    "Answer: {n} + 2 = {m} pots.\n#### {m}"
)
Behaviour = Callable[[int, dict[str, Any]], tuple[int, dict[str, Any]] | None]


def completion(text: str | None, asked: int = 100, got: int = 50, finish: str = "stop") -> dict[str, Any]:
    usage = {"prompt_tokens": asked, "completion_tokens": got, "total_tokens": asked + got}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def good(call: int) -> tuple[int, dict[str, Any]]:
    return 200, completion(GOOD.format(n=call + 1000, m=call + 1002))


@contextmanager
def endpoint(
    behaviour: Behaviour, headers: dict[str, str] | None = None, listed: int = 501
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A tiny OpenAI-compatible server; ``behaviour(call, body)`` gives status and body, None drops the connection.
    ``listed``: the status of its list of models."""
    calls: list[dict[str, Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                calls.append(body)
                number = len(calls)
            answer = behaviour(number, body)
            if answer is None:
                self.connection.close()
                return
            data = answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("content-type", "application/json")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.send_error(listed)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", calls
    finally:
        server.shutdown()
        server.server_close()


def llm_parameters(url: str, **more: Any) -> recipe.StageParameters:
    values: dict[str, Any] = {"instructor": "llm", "instructor_model": "m", "instructor_url": url, "max_usd": 5.0}
    values |= {"prices": {"m": {"input": 1, "output": 10}}}
    return parameters(**(values | more))


@contextmanager
def practice_server(**settings: Any) -> Iterator[tuple[str, Any]]:
    """The practice instructor's server in a thread: base URL, and the application with its counts."""
    pytest.importorskip("fastapi", reason="needs the extra serve")
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    from bench import practice_server
    from bench.practice_server import answers as practice_answers

    app = practice_server.make(practice_answers.Behaviour(**settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1", app
    finally:
        server.should_exit = True
        thread.join(10)


def practice_parameters(url: str, arm: str = "le", **more: Any) -> recipe.StageParameters:
    """Parameters that ask a practice server."""
    values: dict[str, Any] = {"instructor": "llm", "instructor_model": "practice", "instructor_url": url, "max_usd": 50}
    return parameters(arm, **(values | {"prices": {"practice": {"input": 1, "output": 4}}} | more))
