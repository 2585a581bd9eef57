"""Reads what a server has answered: one JSON document or a stream, the first choice, its text and its tokens."""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from laif_helpers.records import Completion

FINISHES = dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed"), "stop")
FINISHES |= dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens"), "length")
"""Finish reasons of OpenAI and of other makes, and what they mean here."""
_ENDS = ("finish_reason", "native_finish_reason", "stop_reason", "done_reason")
"""Where a choice says why it ended: the first that says anything."""
FILTERED = re.compile(
    r"(?i)error|abort|cancel|block|filter|prohibit|recitation|refus|guard|moderat|policy|safety|sensitive|spii|toxic|resource|timeout"
    r"|exception|fail|interrupt|disconnect|preempt|unavailable|malform|unexpected|too_many|overload|shut_?down|kill|evict"
    r"|deadline|quota|expire|^(?:other|language)$"
)
"""Finish reasons of this kind: what came is not what the model would have answered."""
_CUT = re.compile(r"limit|max_|length|truncat|incomplete|context|repet|loop", re.IGNORECASE)
_THOUGHT = re.compile("reason|think|thought")
_LONE = re.compile("[\ud800-\udfff]")
_JSON = json.JSONDecoder(strict=False)  # some servers leave line feeds in a text as they are
_DONE = "[DONE]"


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


def read_body(text: str) -> Any:
    """The completion that a body holds, whatever its dialect. Raises ErrorBody; JSONDecodeError for a damaged one."""
    text = re.sub(r"\A[\ufeff\s]*(?::[^\n]*\s+)*", "", text).strip()  # lines with a colon: a router's signs of life
    text = re.sub(r"^error: *(\{.*\})\r?$", r'data: {"error": \1}', text, flags=re.MULTILINE)  # llama.cpp's
    if re.match(r"(?:event|data|id|retry):", text):
        reply: Any = streamed(text)
    elif text[:1] in ("", "{", "[", '"'):
        reply, end = _JSON.raw_decode(text)
        if text[end:].strip().removeprefix("data:").strip() not in ("", _DONE):
            raise json.JSONDecodeError("more than one document", text, end)
    else:
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
    chunks = list(_events(text))
    choices = [first for chunk in chunks if (first := first_choice(chunk)) and not first.get("index")]
    ends = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    errors = [chunk["error"] for chunk in chunks if chunk.get("error")]
    if errors or not (ends or any(_DONE in chunk for chunk in chunks)):
        raise ErrorBody(errors[0] if errors else "a stream that broke off", begun=bool(choices))
    part = "delta" if any(choice.get("delta") for choice in choices) else "message"
    deltas = [choice.get(part) or {"content": choice.get("text")} for choice in choices]
    names = {"content", "refusal"}.union(name for delta in deltas for name in delta if _THOUGHT.match(name))
    message: dict[str, Any] = {name: "".join(plain_text(delta.get(name)) for delta in deltas) for name in names}
    message["tool_calls"] = [{"function": {"arguments": "".join(map(call_text, deltas))}}]
    usage = next((found for chunk in reversed(chunks) if (found := _usage(chunk))), None)
    return {"choices": [{"message": message, "finish_reason": (ends or [None])[-1]}], "usage": usage}


def _events(text: str) -> Iterator[dict[str, Any]]:
    """A stream's JSON objects, the mark of its end as one of them, and an event of errors under ``error``. What is no
    JSON object is a sign of life. Raises JSONDecodeError for an object that does not end."""
    data, name = "", ""
    for line in [*re.split(r"\r\n?|\n", text), ""]:
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data = f"{data}\n{value}".strip()
            if data == _DONE:
                yield {_DONE: True}
            data = data if data.startswith("{") else ""
            with contextlib.suppress(json.JSONDecodeError):  # an object may go on in the next line
                found = _JSON.decode(data)
                failed = name == "error" or "error" in (found.get("object"), found.get("type"))
                yield {"error": found} | found if failed else found
                data = ""
        elif not line.strip():
            name = ""
            if data:
                _JSON.decode(data)


def read_completion(reply: Any, seconds: float, longest: float = math.inf) -> Completion:
    """The first choice of a chat completion's JSON, with its token counts (0 if the server gives none).

    ``longest``: tokens that were asked for at most. A text of so many is cut if its server does not say why it ended.
    """
    if not (choice := first_choice(reply)):
        return Completion("", 0, 0, "error: the server answered without choices")
    finish, usage = next(filter(None, map(choice.get, _ENDS)), None), _usage(reply)
    while isinstance(finish, list | dict):  # ["stop"], {"type": "stop"}
        finish = next(iter(finish.values() if isinstance(finish, dict) else finish), None)
    finish = str(finish or "").casefold()
    message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    text = plain_text(message.get("content"))
    asked = _count(usage, "prompt_tokens") or _count(usage, "input_tokens")
    got = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
    # Some servers leave tokens of a thought out of the answer's, and bill them all the same.
    thought = max(_count(part, "reasoning_tokens") for part in (usage, *usage.values()))
    got = max(got, _count(usage, "total_tokens") - asked, got + thought if thought > got else 0) if asked else got
    ended = FINISHES.get(finish, f"error: {finish}")
    if finish not in FINISHES and (text or not finish) and not FILTERED.search(finish):
        # no reason, or one not named yet; the text is there
        ended = "length" if _CUT.search(finish) or got >= longest else "stop"
    return Completion(text, asked, got, ended, round(seconds, 3))


def names_no_end(reply: Any) -> bool:
    """Whether nothing in a reply tells if it was cut: no reason, no number of tokens."""
    choice, found = first_choice(reply), read_completion(reply, 0.0)
    return bool(found.text) and not any(map(choice.get, _ENDS)) and not found.new_tokens


def _usage(reply: dict[str, Any]) -> dict[str, Any]:
    """What a reply, or a chunk of one, says that it used; Kimi's says it in the choice."""
    found = reply.get("usage") or first_choice(reply).get("usage")
    return found if isinstance(found, dict) else {}


def dollars(reply: Any) -> float:
    """What an endpoint says that a reply cost, as OpenRouter and Perplexity do; 0.0 if it says nothing."""
    told = _usage(reply).get("cost")
    try:
        found = float((told.get("total_cost") if isinstance(told, dict) else told) or 0)
    except (TypeError, ValueError):
        return 0.0
    return found if 0 <= found < math.inf else 0.0


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
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    first: dict[str, Any] = next((call for call in calls if not call.get("index")), {})
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
