"""Reads what logs of other tools write for an id, a text and a label."""

import re
from pathlib import Path
from typing import Any

import yaml

_NAMES: dict[str, str] = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"))
_KNOWN = {word: kind == "true words" for kind in ("true words", "false words") for word in _NAMES[kind].split("|")}
_INSIDE = ("choices", "message", "content", "text", "output")


def label_name(row: dict[str, Any]) -> str:
    """The field that says whether a row's answer is right; "" if it has none."""
    named = _named(row, "labels")
    known = [name for name in named if row[name] is not None]  # "correct" may hold the right letter
    clear = [name for name in known if truth(row[name]) is not None and not re.fullmatch("[A-Za-z]", str(row[name]))]
    return next((name for name in known if isinstance(row[name], bool)), (clear or known or named or [""])[0])


def id_name(row: dict[str, Any]) -> str:
    return next(iter(_named(row, "ids")), "")


def response_name(row: dict[str, Any]) -> str:
    return next(iter(_named(row, "responses")), "")


def question_of(row: dict[str, Any]) -> str:
    """What a row asks; "" if it has no field for it."""
    return next((str(row[name]) for name in _named(row, "questions") if row[name]), "")


def _named(row: dict[str, Any], kind: str) -> list[str]:
    written = {name.casefold(): name for name in reversed(row)}
    return [written[name] for name in _NAMES[kind].split() if name in written]


def text_of(row: dict[str, Any]) -> str:
    """A row's answer, "" if it has none. Raises ValueError if it is no text, nor one text in a list or a message."""
    named = [*_named(row, "texts"), *(name for name in row if name.startswith("pred_"))]  # DSPy: pred_ and its field
    name = next((name for name in named if row[name] is not None), "")
    value = row.get(name)
    if not name and isinstance(row.get("messages"), list) and row["messages"]:
        value = row["messages"][-1]
    while isinstance(value, list | dict):
        inner = list(value) if isinstance(value, list) else [value[key] for key in _INSIDE if key in value][:1]
        if len(inner) != 1:
            raise ValueError(f"field {name!r} holds {str(row[name])[:80]}; write one answer's text, a row for each")
        value = inner[0]
    return "" if value is None else str(value)


def truth(value: Any) -> bool | None:
    """A label as tools write it: true, 1, "pass", "yes", "failed: …"; None if it says nothing, as a score between
    right and wrong does, or one on another scale."""
    if isinstance(value, str):
        word = re.sub(r"\A([01])\.0+\Z", r"\1", value.partition(":")[0].strip(" .").lower())  # decimal(5, 2)
        return _KNOWN.get(word)
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def id_of(value: Any) -> str:
    """An id as text: 3.0, as data frames write a number beside an empty cell, is 3. Raises ValueError for none."""
    if value is None:
        raise ValueError("its id is null; give each row one")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def words(content: Any) -> str:
    """A message's text; of parts, as some clients send them, those of text. None, for no answer, is no text."""
    if isinstance(content, list):
        return "".join(words(part.get("text") if isinstance(part, dict) else part) for part in content)
    return "" if content is None else str(content)


def benchmark_of(row: dict[str, Any]) -> str | None:
    """The benchmark whose schema ``row`` has, None if none fits."""
    if "task" in row and "input" in row and "target" in row:
        return "bbh"
    if "perturbation_type" in row:
        return "gsm_plus"
    if "entry_point" in row:
        return "humaneval" if str(row.get("task_id", "")).startswith("HumanEval") else "mbpp"
    if "test_list" in row:
        return "mbpp"
    if isinstance(row.get("label"), list) or "answerKey" in row:
        return "arc_challenge"
    if "question" in row and ("subject" in row or "choices" in row or {"A", "B"} <= row.keys()):
        return "mmlu"
    final = str(row.get("answer") or row.get("ground_truth") or "")
    return "gsm8k" if "question" in row and re.search(r"(?:####|A:)\s*\S+\s*$", final) else None
