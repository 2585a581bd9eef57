"""Reads the result files of a batch; makers differ in where the completion lies in a line, and some write no status."""

import contextlib
import json
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from laif_helpers.models import replies
from laif_helpers.models.form import REFUSED

_BETWEEN = re.compile(r"(?:[\s,\[\]]|data:)*")
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class Line:
    """A result: a completion, or a problem in the endpoint's words, or neither if nobody can read it."""

    key: str
    completion: Any
    problem: str = ""
    refused: bool = False


def files(batch: Any) -> list[str]:
    """The ids of a batch's result files; a maker gives a list of them."""
    named = (batch.output_file_id, batch.error_file_id)
    return [file for each in named for file in (each if isinstance(each, list) else [each]) if file]


def documents(text: str) -> list[Any]:
    """The JSON documents of a result file: one a line, which a line feed alone ends, or over several lines, or all in a
    list. What is no JSON comes as its line's text."""
    at, found = 0, list[Any]()
    while (at := _BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            value, at = _JSON.raw_decode(text, at)
            found.append(_opened(value))
        except (ValueError, RecursionError):
            begin, at = at, (text.find("\n", at) + 1) or len(text)
            found.append(text[begin:at].rstrip("\n"))
    return found


def _opened(value: Any) -> Any:
    """A value that a maker has written as a string of JSON."""
    with contextlib.suppress(ValueError, RecursionError):
        return _JSON.decode(value) if isinstance(value, str) and value.lstrip()[:1] == "{" else value
    return value


def line(row: Any, keys: Container[str]) -> Line | None:
    """What a result file says about one request of ours, wherever its maker puts it; None if it is about none."""
    values = row.values() if isinstance(row, dict) else ()
    if not (key := next((value for value in values if isinstance(value, str) and value in keys), "")):
        return None
    response = _opened(row.get("response"))
    response = response if isinstance(response, dict) else {}
    status, body = str(response.get("status_code") or 200), response.get("body")
    completion = _within(row, lambda node: node if replies.first_choice(node) else None)
    if completion and status.startswith("2"):
        return Line(key, completion)
    error = _within(row, lambda node: node.get("error")) or (body if isinstance(body, str) else "")
    words = str((error.get("message") if isinstance(error, dict) else error) or "")
    return Line(key, None, words[:200] or status * (not status.startswith("2")), status in map(str, REFUSED))


def _within(node: Any, wanted: Callable[[dict[str, Any]], Any], depth: int = 5) -> Any:
    """The first that is ``wanted`` in an object or in those that it holds; None if there is none."""
    node = _opened(node)
    if not isinstance(node, dict) or not depth:
        return None
    return wanted(node) or next(filter(None, (_within(part, wanted, depth - 1) for part in node.values())), None)
