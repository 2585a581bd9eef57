"""Answers requests for the practice server, and counts them."""

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bench.practice_server import faults
from laif_helpers import lessons
from laif_helpers.graders import steps
from laif_helpers.instructors import scripted
from laif_helpers.records import Message, digest
from laif_helpers.tripost import improve

MODEL = "practice"
RETRY_AFTER_S = 1.0


@dataclass
class Behaviour:
    """``key``: the only API key that is let in ("" lets everybody in); ``schema``: whether JSON schemas are known."""

    faults: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    key: str = ""
    schema: bool = True
    delay_s: float = 0.0
    batch_s: float = 0.0
    retry_after_s: float = RETRY_AFTER_S


@dataclass
class Counts:
    """What the server saw: attempts and paid answers by request, faults by kind."""

    attempts: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        """For ``/stats``: calls, different requests, paid answers, and how many of them were paid again."""
        paid = sum(self.answered.values())
        found = {"calls": sum(self.attempts.values()), "requests": len(self.attempts), "answered": paid}
        return found | {"answered_again": paid - len(self.answered), "faults": dict(self.faults)}


class Dropped(Response):
    """A response that begins and never ends: the server closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return JSONResponse(body, status, headers)


class Service:
    """Answers requests one by one and counts them."""

    def __init__(self, settings: Behaviour) -> None:
        self.settings, self.counts = settings, Counts()

    def unwelcome(self, request: Request) -> Response | None:
        """The refusal of a request with another key than the one that is let in."""
        return self.refused("unauthorized", request) if self.settings.key not in ("", _key(request)) else None

    def met(self, body: dict[str, Any]) -> str:
        """The fault that this attempt of a request meets, "" for none; both are counted."""
        digest = digest_of(body)
        fault = faults.draw(self.settings.faults, self.settings.seed, digest, self.counts.attempts[digest])
        self.counts.attempts[digest] += 1
        self.counts.faults.update([fault] if fault else [])
        return fault

    def refused(self, fault: str, request: Request) -> Response:
        """The refusal that a fault is; it repeats the key, as OpenAI's does."""
        status, code, message = faults.REFUSED[fault]
        wait = {"retry-after": f"{self.settings.retry_after_s:g}"} if fault == "rate_limit" else {}
        return refusal(status, code, message.format(key=_key(request)), wait)

    def complete(self, body: dict[str, Any], fault: str) -> Response:
        """The answer to one chat completion, spoilt as the fault says; counted as paid if there is one."""
        if body.get("model") != MODEL:
            return refusal(404, "model_not_found", f"The model `{body.get('model')}` does not exist; it is {MODEL!r}")
        if "response_format" in body and not self.settings.schema:
            return refusal(400, "invalid_request_error", "Unsupported parameter: 'response_format' json_schema")
        try:
            text = improved(body["messages"]) or scripted.answer(body["messages"], seed=int(body.get("seed") or 0))
        except (ValueError, KeyError, TypeError) as error:
            sentence = f"The practice instructor cannot read this request: {error}"
            return refusal(400, "invalid_request_error", sentence)
        self.counts.answered[digest_of(body)] += 1
        text, finish = faults.spoil(as_json(text) if "response_format" in body else text, fault)
        reply = completion(body, text, finish, refused=fault == "refusal")
        if fault == "garbled":
            return Response(json.dumps(reply)[: len(text) // 2], media_type="application/json")
        return JSONResponse(reply)


def improved(messages: list[Message]) -> str:
    """A wrong step by step answer written anew, as the scripted improver does it; "" if something else is asked for.

    Raises ValueError if no task of steps knows the question.
    """
    if messages[0]["content"] != improve.INSTRUCTION:
        return ""
    question, attempt = re.split(r"(?:^|\n\n)(?:user|assistant): ", messages[-1]["content"])[1:3]
    for module in map(steps.task, steps.TASKS):
        try:
            module.read(question)
        except ValueError:
            continue
        return steps.repair(module, question, attempt, module.check(question, attempt))
    raise ValueError(f"no task of steps knows the question {question[:60]!r}")


def _key(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def digest_of(body: dict[str, Any]) -> str:
    """What makes two calls the same request."""
    return digest({name: body.get(name) for name in ("model", "messages", "seed", "temperature")})


def completion(body: dict[str, Any], text: str, finish: str, *, refused: bool) -> dict[str, Any]:
    """An OpenAI chat completion, with its usage."""
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    asked = sum(len(turn["content"]) for turn in body["messages"]) // lessons.CHARS_PER_TOKEN + 1
    got = len(text) // lessons.CHARS_PER_TOKEN + 1
    return {
        "id": f"chatcmpl-{digest_of(body)[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": asked, "completion_tokens": got, "total_tokens": asked + got},
    }


def as_json(text: str) -> str:
    """The scripted reply in the form of the math schema (``lessons.structured``)."""
    samples = []
    for question, response in lessons.parse(text, "math"):
        answer, _, final = response.rpartition("#### ")
        samples.append({"question": question, "answer": answer.strip(), "final": final})
    return json.dumps({"diagnosis": lessons.diagnosis(text), "samples": samples})
