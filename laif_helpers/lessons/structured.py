"""Replies by JSON schema: one pydantic model per family, and a reader that falls back on the papers' text formats.

A reply that was cut is read as far as it goes; each sample is checked on its own, so that a bad one costs itself.
"""

import functools
import json
import re
from typing import Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from laif_helpers.graders import turns
from laif_helpers.lessons import text as plain

_OPENS = re.compile(r'\{\s*"(?:diagnosis|samples)"\s*:')
_DECODER = json.JSONDecoder(strict=False)  # a line break inside a string is no reason to lose what was paid for


class _Strict(BaseModel):
    # OpenAI's strict schemas want every field required and no other allowed.
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, coerce_numbers_to_str=True)


class MathSample(_Strict):
    """A word problem, its steps and its number."""

    question: str = Field(min_length=1, description="with all numbers that are needed")
    answer: str = Field(description="the solution, one step a line, each calculation an equation such as 6 * 4 = 24")
    final: str = Field(min_length=1, description="the final number alone")


class Options(_Strict):
    """The texts of the four options."""

    A: str
    B: str
    C: str
    D: str


class ChoiceSample(_Strict):
    """A question with four options."""

    question: str = Field(min_length=1, description="without its options")
    options: Options
    letter: str = Field(pattern="^[A-D]$", description="of the right option")
    why: str = Field(description="why this option is right and the tempting ones are not")


class CodeSample(_Strict):
    """A function to write, and the function."""

    question: str = Field(
        min_length=1, description="imports, one signature, a docstring with two or three >>> examples"
    )
    answer: str = Field(min_length=1, description="Python: the imports and the complete function")


SAMPLES: dict[str, type[_Strict]] = {"math": MathSample, "choice": ChoiceSample, "code": CodeSample}


@functools.cache
def schema(family: str) -> dict[str, Any]:
    """The JSON schema of a whole reply: ``diagnosis``, then ``samples``. Raises ValueError for an unknown family."""
    if family not in SAMPLES:
        raise ValueError(f"no schema for family {family!r}; known: {', '.join(SAMPLES)}")
    listed: Any = list.__class_getitem__(SAMPLES[family])
    fields: dict[str, Any] = {"diagnosis": (str, ...), "samples": (listed, ...)}
    return _bare(create_model("Reply", __base__=_Strict, **fields).model_json_schema())


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
        return plain.samples(text, family)
    found = reply.get("samples")
    return [_sample(one, family) for one in found] if isinstance(found, list) else []


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


def _sample(one: Any, family: str) -> tuple[str, str, str]:
    model = SAMPLES[family]
    known = {key: value for key, value in one.items() if key in model.model_fields} if isinstance(one, dict) else one
    try:
        sample: Any = model.model_validate(known)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "sample"
        raw = one if isinstance(one, dict) else {"question": one}
        question, rest = str(raw.get("question", "")), {k: v for k, v in raw.items() if k != "question"}
        return question, str(rest) if rest else "", f"{where}: {problem['msg'].lower()}"
    return _as_written(sample, family)


def _as_written(sample: Any, family: str) -> tuple[str, str, str]:
    """A sample in the one form per family that the text formats end in too."""
    if family == "math":
        steps = [line for line in sample.answer.splitlines() if not line.lstrip().startswith("####")]
        asked, said = [sample.question], [*steps, f"#### {sample.final}"]
    elif family == "choice":
        options = [f"{letter}. {text}" for letter, text in sample.options.model_dump().items()]
        asked, said = [sample.question, *options], [f"{sample.letter} - {sample.why}"]
    else:
        asked, said = (
            [_fenced(sample.question) if "def " in sample.question else sample.question],
            [_fenced(sample.answer)],
        )
    read = _READ[family](asked, said)
    return (*read, "") if read else (sample.question, "\n".join(said), plain._NEEDED[family])


_READ = {"math": plain._math, "choice": plain._choice, "code": plain._code}


def _fenced(code: str) -> str:
    return code if "```" in code else f"```python\n{code}\n```"
