"""Speaks OpenAI's protocol: makes one call, reads the answer, and decides how to react to an error.

No decision here depends on the words of a server: they are shown, once, to the person who has to repair the cause.
"""

import contextlib
import json
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
from laif_helpers.models import replies
from laif_helpers.models.replies import ErrorBody

MAX_ATTEMPTS = 6
"""Attempts a request, with waits of about 0.5, 1, 2, 4 and 8 s between them: a server may restart in that time."""
OF_ONE_PROMPT, PROMPT_ATTEMPTS = frozenset({400, 413, 422}), 3
"""Refusals that may concern one prompt alone, and how often that prompt is sent before its refusal stops everything."""
MOVED = frozenset({301, 302, 303})
MAX_WAIT_S = 60.0
SECRET = 5
"""Characters of a key that hides nothing ("none", "EMPTY"), as servers that want no real one are given."""
EMPTY = {"insufficient_quota", "billing_not_active", "exceeded_current_quota_error", "insufficient_balance"}
MAX_REQUEST_S = 1_200.0
"""Wall time for one request with all its attempts; refusals for coming too fast (429) are bounded by it alone."""


class ServerError(RuntimeError):
    """A server that refuses or keeps failing; the message is one sentence."""


async def complete(client: Any, body: dict[str, Any], timeout_s: float) -> Any:
    """A chat completion as the server's own JSON. Raises one of ``recoverable()`` if none comes."""
    # The client's typed call spends more time on its types than on the request (bench/server.py). Its text has a
    # replacement character for what is no UTF-8, such as a letter in whose middle an answer was cut.
    text = str(await client.post("/chat/completions", body=body, cast_to=str, options={"timeout": timeout_s}))
    return replies.read_body(text)


def recoverable() -> tuple[type[Exception], ...]:
    """What may be mended by trying again: the endpoint's errors, and a reply whose body is no chat completion."""
    import openai

    return (openai.APIError, ErrorBody, json.JSONDecodeError, RecursionError)


def unreadable(error: Any) -> bool:
    """Whether a reply came that cannot be used, and may be billed all the same."""
    return bool(getattr(error, "begun", False) or getattr(error, "doc", ""))


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
        with contextlib.suppress(ValueError, OverflowError):  # a year that no clock knows
            return max(0.0, mktime_tz(date) - time.time()) if (date := parsedate_tz(asked)) else 0.0
    return 0.0


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
    return replies.plain_text(words[:200])


def _secrets() -> Iterator[str]:
    """What is sent and not to be shown: the keys, and the last words of the client's further headers."""
    headers = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    said = [line.partition(":")[2] for line in headers if re.match(r"[^:]*(?:auth|key|token|secret)", line, re.I)]
    for value in (*(os.environ.get(name, "") for name in machine.KEYS.values()), *said):
        yield from (word for word in value.split()[-1:] if len(word) > SECRET)
