"""Speaks OpenAI's protocol: makes one call, reads the answer, and decides how to react to an error.

No decision here depends on the words of a server: they are shown, once, to the person who has to repair the cause.
"""

import json
import math
import os
import random
import re
import ssl
import time
from collections.abc import Iterator
from email.utils import mktime_tz, parsedate_tz
from typing import Any
from urllib.parse import urlparse

from laif_helpers import machine
from laif_helpers.records import Completion

MAX_ATTEMPTS = 6
"""Attempts a request, with waits of about 0.5, 1, 2, 4 and 8 s between them: a server may restart in that time."""
OF_ONE_PROMPT, PROMPT_ATTEMPTS = frozenset({400, 413, 422}), 3
"""Refusals that may concern one prompt alone, and how often that prompt is sent before its refusal stops everything."""
MOVED = frozenset({301, 302, 303})
MAX_WAIT_S = 60.0
EMPTY = {"insufficient_quota", "billing_not_active", "exceeded_current_quota_error", "insufficient_balance"}
MAX_REQUEST_S = 1_200.0
"""Wall time for one request with all its attempts; refusals for coming too fast (429) are bounded by it alone."""
FINISHES = dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed"), "stop")
FINISHES |= dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens"), "length")
"""Finish reasons of OpenAI and of other makes, and what they mean here."""
_ENDS = ("finish_reason", "native_finish_reason", "stop_reason", "done_reason")
"""Where a choice says why it ended: the first that says anything."""
FILTERED = re.compile(
    r"(?i)error|abort|cancel|block|filter|prohibit|recitation|refus|guard|moderat|policy|safety|sensitive|spii|toxic|resource|timeout"
    r"|exception|fail|interrupt|disconnect|preempt|unavailable|malform|unexpected|too_many|^(?:other|language)$"
)
"""Finish reasons of this kind: what came is not what the model would have answered."""
_CUT = re.compile(r"limit|max_|length|truncat|incomplete|context", re.IGNORECASE)
_THOUGHT = re.compile("reason|think|thought")
_LONE = re.compile("[\ud800-\udfff]")


class ServerError(RuntimeError):
    """A server that refuses or keeps failing; the message is one sentence."""


class ErrorBody(Exception):
    """What a server sends under status 200 in place of a chat completion, with the fields of the client's errors.
    ``begun``: an answer was being written, so it may have been billed."""

    def __init__(self, error: Any, begun: bool = False):
        fields = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(str(fields.get("message") or fields))
        self.body, self.code, self.param, self.begun = fields, fields.get("code"), fields.get("param"), begun
        numbers = [str(value) for value in (fields.get("status"), self.code) if str(value).isdigit()]
        hurried = re.search("rate_?limit|too_many", f"{self.code} {fields.get('type')}", re.IGNORECASE)
        self.status_code = int(numbers[0]) if numbers else 429 if hurried else None


async def complete(client: Any, body: dict[str, Any], timeout_s: float) -> Any:
    """A chat completion as the server's own JSON. Raises one of ``recoverable()`` if none comes."""
    # The client's typed call spends more time on its types than on the request (bench/server.py). Its text has a
    # replacement character for what is no UTF-8, such as a letter in whose middle an answer was cut.
    text = str(await client.post("/chat/completions", body=body, cast_to=str, options={"timeout": timeout_s}))
    stream = False
    try:
        text = re.sub(r"\A[\ufeff\s]*(?::[^\n]*\s+)*", "", text).strip()  # lines with a colon: a router's signs of life
        text = re.sub(r"^error: *(\{.*\})\r?$", r'data: {"error": \1}', text, flags=re.MULTILINE)  # llama.cpp's
        stream = bool(re.match(r"(?:event|data|id|retry):", text))
        reply: Any = streamed(text) if stream else json.loads(text)
    except json.JSONDecodeError:
        if stream or text[:1] in ("", "{", "["):
            raise
        reply = text
    choice = first_choice(reply)
    error = choice.get("error") or (reply.get("error") if isinstance(reply, dict) else None)
    if error and not plain_text((choice.get("message") or {}).get("content")):
        raise ErrorBody(error)  # also a router's, beside an empty choice: the server behind it failed
    if not choice:
        raise ErrorBody(reply or "an empty reply", isinstance(reply, dict) and bool(reply.get("usage")))
    return reply


def streamed(text: str) -> dict[str, Any]:
    """The chunks of a server that only streams as one completion. Raises ErrorBody for a stream that broke off."""
    lines = [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]
    chunks = [chunk for line in lines if line not in ("", "[DONE]") and isinstance(chunk := json.loads(line), dict)]
    choices = [first for chunk in chunks if (first := first_choice(chunk)) and not first.get("index")]
    ends = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    if not (ends or "[DONE]" in lines) or any(chunk.get("error") for chunk in chunks):
        error = next((chunk["error"] for chunk in chunks if chunk.get("error")), "a stream that broke off")
        raise ErrorBody(error, begun=bool(choices))
    part = "delta" if any(choice.get("delta") for choice in choices) else "message"
    deltas = [choice.get(part) or {"content": choice.get("text")} for choice in choices]
    names = {"content", "refusal"}.union(name for delta in deltas for name in delta if _THOUGHT.match(name))
    message = {name: "".join(plain_text(delta.get(name)) for delta in deltas) for name in names}
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    return {"choices": [{"message": message, "finish_reason": (ends or [None])[-1]}], "usage": usage}


def recoverable() -> tuple[type[Exception], ...]:
    """What may be mended by trying again: the endpoint's errors, and a reply whose body is no chat completion."""
    import openai

    return (openai.APIError, ErrorBody, json.JSONDecodeError, RecursionError)


def too_fast(error: Any) -> bool:
    """Whether a refusal is for coming too fast, and not for an empty account."""
    return getattr(error, "status_code", None) == 429 and not _account_is_empty(error)


def _account_is_empty(error: Any) -> bool:
    body = getattr(error, "body", None)
    return bool(EMPTY & {str(getattr(error, "code", None)), str(body.get("type") if isinstance(body, dict) else "")})


def give_up_after(ends: float, error: Any, url: str) -> None:
    """Raises ServerError once the time for one request (``MAX_REQUEST_S``) is over."""
    if time.monotonic() > ends:
        raise ServerError(
            f"server {url} gave no answer to one request within {MAX_REQUEST_S / 60:g} minutes "
            f"(last: {error_text(error)}); finished answers are kept, run again to go on"
        ) from None


def read_completion(reply: Any, seconds: float, longest: float = math.inf) -> Completion:
    """The first choice of a chat completion's JSON, with its token counts (0 if the server gives none).

    ``longest``: tokens that were asked for at most. A text of so many is cut if its server does not say why it ended.
    """
    if not (choice := first_choice(reply)):
        return Completion("", 0, 0, "error: the server answered without choices")
    finish, usage = next(filter(None, map(choice.get, _ENDS)), None), reply.get("usage") or {}
    while isinstance(finish, list | dict):  # ["stop"], {"type": "stop"}
        finish = next(iter(finish.values() if isinstance(finish, dict) else finish), None)
    finish = str(finish or "").casefold()
    message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    text = plain_text(message.get("content"))
    asked = _count(usage, "prompt_tokens") or _count(usage, "input_tokens")
    got = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
    # Some servers leave tokens of a thought out of the answer's, and bill them all the same.
    got = max(got, _count(usage, "total_tokens") - asked) if asked else got
    ended = FINISHES.get(finish, f"error: {finish}")
    if finish not in FINISHES and (text or not finish) and not FILTERED.search(finish):
        # no reason, or one not named yet; the text is there
        ended = "length" if _CUT.search(finish) or got >= longest else "stop"
    return Completion(text, asked, got, ended, round(seconds, 3))


def names_no_end(reply: Any) -> bool:
    """Whether nothing in a reply tells if it was cut: no reason, no number of tokens."""
    choice, found = first_choice(reply), read_completion(reply, 0.0)
    return bool(found.text) and not any(map(choice.get, _ENDS)) and not found.new_tokens


def _count(usage: Any, name: str) -> int:
    """A number of tokens, also if a server writes it as a string; 0 if it is none."""
    try:
        found = int(float(usage.get(name) or 0))
        return found if 0 <= found < 2**31 else 0
    except (AttributeError, TypeError, ValueError, OverflowError):
        return 0


def thoughts(message: dict[str, Any]) -> list[Any]:
    """What a model thought first, under whichever names a server has for it."""
    return [value for name, value in message.items() if value and _THOUGHT.match(name)]


def call_text(message: dict[str, Any]) -> str:
    """What a model hands to a tool, a router's way to ask for JSON; "" if it calls none."""
    calls = message.get("tool_calls")
    first = calls[0] if isinstance(calls, list) and calls and isinstance(calls[0], dict) else {}
    called = first.get("function") or message.get("function_call")
    return plain_text(called.get("arguments")) if isinstance(called, dict) else ""


def plain_text(content: Any) -> str:
    """A message's text; of parts, as reasoning models of some servers answer, those of text. Half a surrogate pair,
    which no file can hold, becomes the replacement character."""
    if isinstance(content, dict):
        inner = [content[name] for name in ("text", "value", "parts") if name in content]
        content = inner[0] if inner else json.dumps(content, ensure_ascii=False)
    if isinstance(content, list):
        parts = [{"text": part} if isinstance(part, str) else part for part in content if isinstance(part, str | dict)]
        texts = (part.get("text") for part in parts if part.get("type", "text") in {"text", "output_text"})
        content = "".join(map(plain_text, texts))
    return _LONE.sub("\ufffd", str(content or (0 if content == 0 and content is not False else "")))


def first_choice(reply: Any) -> dict[str, Any]:
    """``choices[0]`` of a reply's JSON; empty if a server's reply has none, or is no such object."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return {}
    message = first.get("message")
    return first | {"message": message if isinstance(message, dict) or not message else {"content": message}}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on to the root."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def wait_or_raise(error: Any, attempt: int, model: str, url: str) -> float:
    """Seconds to wait before the next attempt. Raises ServerError.

    A prompt that is refused may be too long by itself, which shows when another is answered meanwhile.
    """
    status, words, who = getattr(error, "status_code", None), error_text(error), f"server {url}"
    hint = "" if "/v1" in urlparse(url).path else "; most servers want …/v1 at the end of the URL"
    if status in OF_ONE_PROMPT and attempt < PROMPT_ATTEMPTS:
        return _wait(error, attempt)
    if status in MOVED:
        place = error.response.headers.get("x-moved-to")
        raise ServerError(f"{who} sends requests on to {place} ({status}); write the address that answers") from None
    if isinstance(_root(error), ssl.SSLCertVerificationError):
        raise untrusted(who, words) from None
    if status == 401 and "basic" in error.response.headers.get("www-authenticate", "").lower():
        mend = "set OPENAI_CUSTOM_HEADERS to 'Authorization: Basic …', where … is user:password in base64"
        raise ServerError(f"{who} wants a user and a password (401, basic authentication): {mend}") from None
    if status in {401, 403}:
        why = f": {words}" if status == 403 else ""  # a 401 may repeat a part of the key
        raise ServerError(f"{who} refuses the key ({status}{why}): set OPENAI_API_KEY to a valid one") from None
    if status in {404, 405, 410}:
        raise ServerError(f"{who} knows no model {model!r} or no such address ({status}: {words}){hint}") from None
    refused = status is not None and 400 <= status < 500 and status not in {408, 409, 425, 429, 498, 499}
    if refused or _account_is_empty(error):
        mend = "request_options can add a parameter, rename it or leave it out, and max_new_tokens bounds an answer"
        mend = "the account wants credit" if status in {402, 429} or _account_is_empty(error) else mend + keyless()
        raise ServerError(f"{who} refuses the request ({status}: {words}); {mend}") from None
    if attempt >= MAX_ATTEMPTS:
        raise ServerError(
            f"{who} failed {attempt} times on one request (last: {status or type(_root(error)).__name__}: {words}); "
            f"finished answers are kept, run again to go on{hint}"
        ) from None
    return _wait(error, attempt)


def untrusted(who: str, why: str) -> ServerError:
    """The error for a certificate that nobody vouches for."""
    return ServerError(f"{who} is not trusted ({why}); set SSL_CERT_FILE to its issuer's certificate")


def keyless() -> str:
    """Ends a refusal's sentence if no key was sent: LiteLLM without a database refuses that by 400."""
    return "" if any(map(machine.secret, machine.KEYS.values())) else "; OPENAI_API_KEY is not set, if it wants a key"


def _wait(error: Any, attempt: int) -> float:  # not in step with others
    first = 4.0 if getattr(error, "status_code", None) in {503, 529} else 0.5  # a busy service needs a minute or two
    return min(MAX_WAIT_S, max(retry_after(error), first * 2 ** (attempt - 1)) * random.uniform(1.0, 1.2))


def retry_after(error: Any) -> float:
    """Seconds that a refusal's ``Retry-After``, a number or a date, asks to wait; 0 if it says nothing."""
    asked = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        return max(0.0, mktime_tz(date) - time.time()) if (date := parsedate_tz(asked)) else 0.0


def _root(error: Any) -> BaseException:
    """The error itself; of a connection that broke, which the client calls a time-out, what broke it."""
    *_, root = chain(error)
    told = isinstance(error, json.JSONDecodeError) or getattr(error, "status_code", None) is not None
    return error if told or isinstance(root, TimeoutError) else root


def error_text(error: Any) -> str:
    """The server's error message, without the client's decoration and without the key, at most 200 characters."""
    body = getattr(error, "body", None)
    while isinstance(body, list) and body:  # Gemini's
        body = body[0].get("error", body[0]) if isinstance(body[0], dict) else body[0]
    message = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
    if isinstance(body, dict) and isinstance(more := body.get("metadata"), dict) and more.get("raw"):
        message = f"{message}: {more['raw']}"  # OpenRouter's own message names no cause
    if isinstance(error, json.JSONDecodeError):
        message = f"the reply is no JSON: {error.doc[:100]!r}"
    page = re.search(r"(?is)<title[^>]*>(.*?)</title>", str(message))
    message = page[1] if page else message
    words = " ".join(str(message or _root(error)).split())
    for key in _secrets():
        words = words.replace(key, "[key]")
    return _LONE.sub("\ufffd", words[:200])


def _secrets() -> Iterator[str]:
    """What is sent and not to be shown: the keys, and the last words of the client's further headers."""
    headers = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    said = [line.partition(":")[2] for line in headers if re.match(r"[^:]*(?:auth|key|token|secret)", line, re.I)]
    for value in (*(os.environ.get(name, "") for name in machine.KEYS.values()), *said):
        yield from value.split()[-1:]
