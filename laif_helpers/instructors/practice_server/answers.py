"""Answers requests for the practice server, and counts them."""

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from laif_helpers import lessons
from laif_helpers.instructors import scripted
from laif_helpers.instructors.practice_server import faults as practice_faults

MODEL = "practice"
RETRY_AFTER_S = 1.0


@dataclass
class Settings:
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


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return JSONResponse(body, status, headers)


def key_of(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def unwelcome(request: Request, settings: Settings) -> Response | None:
    """The refusal of a request with another key than the one that is let in; it repeats the key, as OpenAI does."""
    key = key_of(request)
    wrong = settings.key and key != settings.key
    return refusal(401, "invalid_api_key", f"Incorrect API key provided: {key}") if wrong else None


def digest_of(body: dict[str, Any]) -> str:
    """What makes two calls the same request."""
    values = {name: body.get(name) for name in ("model", "messages", "seed", "temperature")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def complete(body: dict[str, Any], digest: str, fault: str, settings: Settings, counts: Counts) -> Response:
    """The answer to one chat completion, spoilt as the fault says; counted as paid if there is one."""
    if body.get("model") != MODEL:
        return refusal(404, "model_not_found", f"The model `{body.get('model')}` does not exist; it is {MODEL!r}")
    if "response_format" in body and not settings.schema:
        return refusal(400, "invalid_request_error", "Unsupported parameter: 'response_format' json_schema")
    try:
        text = scripted.answer(body["messages"], seed=int(body.get("seed") or 0))
    except (ValueError, KeyError, TypeError) as error:
        return refusal(400, "invalid_request_error", f"The practice instructor cannot read this request: {error}")
    counts.answered[digest] += 1
    if "response_format" in body:
        text = as_json(text)
    text, finish = practice_faults.spoil(text, fault)
    reply = completion(body, digest, text, finish, refused=fault == "refusal")
    if fault == "garbled":
        return Response(json.dumps(reply)[: len(text) // 2], media_type="application/json")
    return JSONResponse(reply)


def completion(body: dict[str, Any], digest: str, text: str, finish: str, *, refused: bool) -> dict[str, Any]:
    """An OpenAI chat completion, with its usage."""
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    asked = sum(len(turn["content"]) for turn in body["messages"]) // lessons.CHARS_PER_TOKEN + 1
    got = len(text) // lessons.CHARS_PER_TOKEN + 1
    return {
        "id": f"chatcmpl-{digest[:24]}",
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
