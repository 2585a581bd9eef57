"""Reads what logs of other tools write for an id, a text and a label."""

from typing import Any

_TRUE = ("true", "1", "1.0", "pass", "passed", "success", "yes", "right", "correct", "c", "y", "t", "✓")
_FALSE = (
    "false",
    "0",
    "0.0",
    "fail",
    "failed",
    "timeout",
    "timed out",
    "no",
    "wrong",
    "incorrect",
    "i",
    "n",
    "p",
    "f",
    "✗",
)
_KNOWN = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
"""Inspect's P is partly right, and so not right."""
_LABELS = ("correct", "is_correct", "passed", "pass", "exact_match", "em", "acc", "accuracy", "score")
_IDS = ("id", "question_id", "problem_id", "task_id", "item_id", "unique_id", "instance_id", "idx", "index")
"""What plain rows call their label and the item's id, the surest names first."""


def label_name(row: dict[str, Any]) -> str:
    """The field that says whether a row's answer is right; "" if it has none."""
    named = [name for name in _LABELS if name in row]
    return next((name for name in named if row[name] is not None), (named or [""])[0])


def id_name(row: dict[str, Any]) -> str:
    return next((name for name in _IDS if name in row), "")


def truth(value: Any) -> bool | None:
    """A label as tools write it: true, 1, "pass", "yes", "failed: …"; None if it says nothing, as a score between
    right and wrong does, or one on another scale."""
    if isinstance(value, str):
        return _KNOWN.get(value.partition(":")[0].strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def id_of(value: Any) -> str:
    """An id as text: 3.0, as data frames write a number beside an empty cell, is 3. Raises ValueError for none."""
    if value is None:
        raise ValueError("its id is null; give each row one")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def words(content: Any) -> str:
    """A message's text; of parts, as some clients send them, those of text. None, for no answer, is no text."""
    if isinstance(content, list):
        return "".join(words(part.get("text")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
