"""Reads replies by JSON schema, one pydantic model per family; falls back on the papers' text formats.

A reply that was cut is read as far as it goes; each sample is checked on its own, so that a bad one costs itself.
"""

import contextlib
import functools
import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pydantic_core
from pydantic import ConfigDict, ValidationError, create_model

from laif_helpers.encodings import whole
from laif_helpers.graders import turns
from laif_helpers.key_types import NO_YAML, read_yaml
from laif_helpers.lessons import families, forms, names
from laif_helpers.lessons import text as plain

_OPENS = re.compile(r"""\{\s*["'“]|\[\s*[{"]|"\{""")
_LISTED = ("samples", "lessons", "problems", "examples", "questions")
_NUMBERED = re.compile(r"(?:(?:sample|lesson|problem|example|question)[ _-]?)?\d+|sample|lesson")
_TAG = re.compile(
    r"<(/?)(samples?|lessons?|options|choices|diagnosis|question|problem|answer|solution|reasoning|explanation|final(?:_\w+)?)\b[^<>]*>"
    r"|<!\[CDATA\[|\]\]>",
    re.I,
)
_YAML = re.compile(
    r"```ya?ml\s*\n(.*?)```|^((?:(?:diagnosis|samples):|- question:(?=.*^ +final:)).*)", re.DOTALL | re.MULTILINE
)


def _all_given(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is given twice, all samples; of two texts that differ neither, because either may be meant."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        before = found.get(key, value)
        if before == value:
            found[key] = value
        elif isinstance(before, list | dict) and isinstance(value, list | dict):
            found[key] = _flat([before, value])
        else:
            found[key] = {"given twice": [before, value]}
    return found


def _flat(values: list[Any]) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, list) else [value])]


# a line break inside a string is no reason to lose what was paid for
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_all_given)


@functools.cache
def schema(family: str) -> dict[str, Any]:
    """The JSON schema of a whole reply: ``diagnosis``, then ``samples``. Raises ValueError for an unknown family."""
    listed: Any = list.__class_getitem__(families.get(family).sample)
    fields: dict[str, Any] = {"diagnosis": (str, ...), "samples": (listed, ...)}
    return _bare(create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields).model_json_schema())


def _bare(node: Any) -> Any:
    """Without what strict endpoints do not know (lengths), and without titles, which are paid for and say nothing."""
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
    text = _plain_reply(text)
    return " ".join(str((_object(text) or {}).get("diagnosis") or plain.diagnosis(text)).split())


def samples(text: str, family: str) -> list[tuple[str, str, str]]:
    """Every sample that a reply begins, from either format: ``(question, response, problem)`` as ``text.samples``.

    A thought before the reply holds drafts, so nothing of it is read.
    """
    text = _plain_reply(text)
    reply = _object(text)
    if reply is None:
        row = families.get(family)
        return plain.samples(text, row.read, row.needed)
    found = reply.get("samples")
    return [_sample(item, families.get(family)) for item in _flat(found)] if isinstance(found, list) else []


def parse(text: str, family: str) -> list[plain.Sample]:
    """Samples of one reply, ``(question, response)``, in order; what cannot be read is left out."""
    return [(question, response) for question, response, problem in samples(text, family) if not problem]


def _labelled(tag: re.Match[str]) -> str:
    """``<question>`` as a label on a new line; what closes or only wraps as an end of line."""
    if not tag[2]:
        return ""  # what only wraps a text
    label = "final answer" if tag[2].lower().startswith("final") else tag[2]
    return "\n" if tag[1] or label[:6].lower() in ("sample", "lesson", "option", "choice") else f"\n{label}: "


def _of_yaml(text: str) -> dict[str, Any] | None:
    found = _YAML.search(text)
    try:
        return _as_reply(read_yaml(found[1] or found[2])) if found else None
    except NO_YAML:
        return None


def _plain_reply(text: str) -> str:
    """A reply without its thought, its tags as labels, and with plain quotes if its JSON was put into HTML or has
    typographic ones."""
    if re.search(r"<(?:question|problem)\b[^<>]*>", text, re.I):
        text = _TAG.sub(_labelled, re.sub(r"^```(?:xml|html)?[ \t]*$", "", text, flags=re.MULTILINE))
    text = whole(turns.end_of_turn(re.sub(r"</?(?:tool|function)_call>", "", text)))
    if all(line.startswith(">") for line in text.splitlines() if line.strip()):
        text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    return text if '"' in text else html.unescape(text).translate(dict.fromkeys(map(ord, "“”„"), '"'))


def _object(text: str) -> dict[str, Any] | None:
    """The reply in a text's JSON, whole or cut, in prose or a fence; None if there is none.

    It is the last one with samples. Samples that stand alone, one after another, are a reply too.
    """
    found: dict[str, Any] | None = None
    alone: list[Any] = []
    for value in _values(forms.latex(text)):
        value = forms.rows(value) or forms.numbered(value) or value
        if _is_sample(value):
            alone.append(value)
        elif (reply := _as_reply(value)) and (reply["samples"] or not found):
            found = reply
    return found or ({"samples": alone} if alone else _of_yaml(text) or _as_reply(forms.table(text)))


def _is_sample(value: Any) -> bool:
    value = forms.spoken(value)
    keys = {forms.key(key) for key in value} if isinstance(value, dict) else set()
    asks, answers = keys.intersection(names.CALLED["question"]), keys.intersection(("answer", *names.CALLED["answer"]))
    return "question" in keys or bool(asks and answers and keys.isdisjoint(_LISTED))


def _values(text: str) -> Iterator[Any]:
    """Every JSON value of a text. One that does not parse is read as far as it goes, or repaired if it closes."""
    end, broken = 0, False
    for match in _OPENS.finditer(text):
        if match.start() < end:
            continue  # a part of the value before it
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except RecursionError:
            return  # deeper than any reply
        except ValueError:
            value = None if broken else _cut(text[match.start() :])
            broken = True
            if _as_reply(value):
                end = len(text)
        if value is not None:
            yield value


def _cut(text: str) -> Any:
    """A JSON value as far as it goes, or without its slips (commas, quotes, comments) if these cost samples; None if
    it is none."""
    read: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        read = pydantic_core.from_json(text.encode("utf-8", "replace"), allow_partial=True)  # half a surrogate pair
    # Only what closes: a repair would end a cut sample in the middle of a word.
    closes = max(text.rfind("}"), text.rfind("]")) + 1
    if not text[closes:].strip().startswith((",", ":", '"')):
        import json_repair

        with contextlib.suppress(ValueError, RecursionError):
            repaired = json_repair.loads(text[:closes])
            read = max(read, repaired, key=lambda value: len((_as_reply(value) or {"samples": ()})["samples"]))
    return read


def _as_reply(value: Any) -> dict[str, Any] | None:
    """A value as ``{"diagnosis", "samples"}``, also if it is wrapped, written as a string, or a list of samples."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = _loaded(value)
    if isinstance(value, list):
        if any(map(_is_sample, value)):
            return {"samples": value}
        parts = [*filter(None, map(_as_reply, value))]
        return {**parts[0], "samples": _flat([part["samples"] for part in parts])} if parts else None
    if not isinstance(value, dict):
        return None
    known = {forms.key(key): part for key, part in value.items()}
    listed = next((known[name] for name in _LISTED if name in known), None)
    listed = _loaded(listed) if isinstance(listed, str) else listed
    if isinstance(listed, dict):
        listed = [listed] if "question" in listed else _flat(list(listed.values()))
    if listed is None:
        listed = _flat([part for key, part in known.items() if _NUMBERED.fullmatch(key)])
    inner = None if listed else next(filter(None, map(_as_reply, known.values())), None)
    if listed or "diagnosis" in known or "samples" in known:
        listed = listed or (inner or {}).get("samples")
        return {"diagnosis": known.get("diagnosis"), "samples": listed if isinstance(listed, list) else []}
    return inner


def _loaded(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _sample(item: Any, family: families.Family) -> tuple[str, str, str]:
    """One sample in the form that plain text ends in too; fields that were not asked for are ignored."""
    if isinstance(item, str):
        item = _loaded(item) or item
    fields = family.sample.model_fields
    if isinstance(item, dict):
        inner = [value for value in item.values() if isinstance(value, dict)]
        wrapped = len(inner) == 1 and not _is_sample(item) and ("question" in inner[0] or len(item) == 1)
        item = inner[0] if wrapped else item
        item = {forms.key(key): names.plain(value) for key, value in forms.spoken(item).items()}
        for name in item.keys() & {"answer", "final", "solution"}:
            if isinstance(item[name], dict):
                item |= {forms.key(key): names.plain(value) for key, value in item.pop(name).items()}
        item = names.named(item, fields)
    known = {key: value for key, value in item.items() if key in fields} if isinstance(item, dict) else item
    try:
        sample: Any = family.sample.model_validate(known)
    except ValidationError as error:
        raw = item if isinstance(item, dict) else {"question": item}
        question, rest = str(raw.get("question", "")), {k: v for k, v in raw.items() if k != "question"}
        # a final number that stands at the end of the steps, say
        chosen = f"{raw.get('letter', '')}. {raw.get('why', '')}"
        answer = chosen if raw.get("letter") and raw.get("why") else raw.get("answer") or chosen
        if read := family.read(question.split("\n"), str(answer).split("\n")):
            return *read, ""
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "sample"
        return question, str(rest) if rest else "", f"{where}: {problem['msg'].lower()}"
    asked, answered = family.lines(sample)
    read = family.read(asked, answered)
    return (*read, "") if read else (sample.question, "\n".join(answered), family.needed)
