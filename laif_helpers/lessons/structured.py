"""Reads replies by JSON schema, one pydantic model per family; falls back on the papers' text formats.

A reply that was cut is read as far as it goes; each sample is checked on its own, so that a bad one costs itself.
"""

import functools
import json
import re
from typing import Any

import pydantic_core
from pydantic import ConfigDict, ValidationError, create_model

from laif_helpers.graders import turns
from laif_helpers.lessons import families
from laif_helpers.lessons import text as plain

_OPENS = re.compile(r'\{\s*"(?:diagnosis|samples)"\s*:')
_DECODER = json.JSONDecoder(strict=False)  # a line break inside a string is no reason to lose what was paid for


@functools.cache
def schema(family: str) -> dict[str, Any]:
    """The JSON schema of a whole reply: ``diagnosis``, then ``samples``. Raises ValueError for an unknown family."""
    listed: Any = list.__class_getitem__(families.get(family).sample)
    fields: dict[str, Any] = {"diagnosis": (str, ...), "samples": (listed, ...)}
    return _bare(create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields).model_json_schema())


def _bare(node: Any) -> Any:
    """Without what strict endpoints do not know (lengths), and without titles, which are paid for and say nothing."""
    if isinstance(node, list):
        return [_bare(part) for part in node]
    if not isinstance(node, dict):
        return node
    # Under these two, keys are names of fields and models, not words of the schema language.
    named = {
        key: {name: _bare(part) for name, part in node[key].items()} for key in node.keys() & {"properties", "$defs"}
    }
    rest = node.keys() - named.keys() - {"minLength", "title"} - ({"description"} if "properties" in node else set())
    return named | {key: _bare(node[key]) for key in sorted(rest)}


def diagnosis(text: str) -> str:
    """What the instructor says is wrong, from either format; "" if it says nothing."""
    text = turns.end_of_turn(text)
    reply = _object(text)
    return plain.diagnosis(text) if reply is None else " ".join(str(reply.get("diagnosis") or "").split())


def samples(text: str, family: str) -> list[tuple[str, str, str]]:
    """Every sample that a reply begins, from either format: ``(question, response, problem)`` as ``text.samples``.

    A thought before the reply holds drafts, so nothing of it is read.
    """
    text = turns.end_of_turn(text)
    reply = _object(text)
    if reply is None:
        return plain.samples(text, families.get(family))
    found = reply.get("samples")
    return [_sample(item, families.get(family)) for item in found] if isinstance(found, list) else []


def parse(text: str, family: str) -> list[plain.Sample]:
    """Samples of one reply, ``(question, response)``, in order; what cannot be read is left out."""
    return [(question, response) for question, response, problem in samples(text, family) if not problem]


def _object(text: str) -> dict[str, Any] | None:
    """The last JSON object of the text that is a reply, whole or cut, in prose or a fence; None if there is none."""
    found = None
    end = 0
    for match in _OPENS.finditer(text):
        if match.start() < end:
            continue  # a part of the object before it
        try:
            read, end = _DECODER.raw_decode(text, match.start())
        except ValueError:
            read, end = _cut(text[match.start() :]), len(text)
        if isinstance(read, dict) and read.keys() & {"diagnosis", "samples"}:
            found = read
    return found


def _cut(text: str) -> Any:
    """A JSON object as far as it goes; None if it is none."""
    try:
        return pydantic_core.from_json(text, allow_partial=True)
    except (ValueError, RecursionError):
        return None


def _sample(item: Any, family: families.Family) -> tuple[str, str, str]:
    """One sample in the form that plain text ends in too; fields that were not asked for are ignored."""
    fields = family.sample.model_fields
    known = {key: value for key, value in item.items() if key in fields} if isinstance(item, dict) else item
    try:
        sample: Any = family.sample.model_validate(known)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "sample"
        raw = item if isinstance(item, dict) else {"question": item}
        question, rest = str(raw.get("question", "")), {k: v for k, v in raw.items() if k != "question"}
        return question, str(rest) if rest else "", f"{where}: {problem['msg'].lower()}"
    asked, answered = family.lines(sample)
    read = family.read(asked, answered)
    return (*read, "") if read else (sample.question, "\n".join(answered), family.needed)
