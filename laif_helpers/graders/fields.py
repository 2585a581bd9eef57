"""Reads an answer given as a field: the value of ``"answer"`` in JSON, closed or cut off, alone or inside prose."""

import json
import re
from typing import NamedTuple

_KEY = re.compile(
    r"[\"'](?:the[ _]?)?(?:final|correct|my|best|selected|chosen|predicted)?[ _]?"
    r"(?:(?P<sure>answer|ans)|choice|option|result|solution|prediction|label|sorted)"
    r"(?:[ _]?(?:choice|value|letter|number|option|text|list|words))?[\"']\s{0,9}:\s{0,9}",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\"(?P<string>(?:[^\"\\]|\\.){0,4000})(?:\"|\Z)|'(?P<single>[^'\n]{0,4000})'|\[(?P<list>[^\]]{0,4000})\]"
    r"|\{(?P<object>[^{}]{0,4000})\}|(?P<bare>[^\n,}\]]{1,300})",
    re.DOTALL,
)
_INNER = re.compile(r"[\"'](?:value|number|amount|letter|label)[\"']\s{0,9}:\s{0,9}", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


class Field(NamedTuple):
    """A field's value without quotes and escapes, and the place in the text at which its object ends."""

    value: str
    end: int


def answer(text: str) -> Field | None:
    """The last field that is called an answer (or, if none is, a result, choice or solution); None without any."""
    if "{" not in text:
        return None
    keys = list(_KEY.finditer(text, text.index("{")))
    chosen = [key for key in keys if key["sure"]] or keys
    value = _VALUE.match(text, chosen[-1].end()) if chosen else None
    if value is None or not value[value.lastgroup or 0].strip():
        return None
    closed = text.rfind("}", value.end() - (value.lastgroup == "object")) + 1
    return Field(_unescaped(value), closed or len(text))


def _unescaped(value: "re.Match[str]") -> str:
    if value.lastgroup == "object" and (key := _INNER.search(value["object"])):
        inner = _VALUE.match(value["object"], key.end())
        return _unescaped(inner) if inner else ""
    if value.lastgroup != "string":
        return value[value.lastgroup or 0].strip()
    try:
        return str(json.loads(f'"{value["string"]}"', strict=False))
    except ValueError:
        return value["string"]  # "\(8\)": LaTeX that no JSON encoder wrote


def boxed(text: str) -> tuple[str, str, str]:
    """What stands before, in and behind the last ``\\boxed{…}``; three empty texts without a whole one."""
    for start in [*_BOX.finditer(text)][-1:]:
        depth = 1
        for mark in _BRACE.finditer(text, start.end()):
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if not depth:
                return text[: start.start()], text[start.end() : mark.start()], text[mark.end() :]
    return "", "", ""
