"""Reads what logs of other tools write for an id, a text and a label."""

from typing import Any

_TRUE = "true|1|1.0|pass|passed|success|yes|right|correct|c|y|t|ok|✓|✔|✅"
_FALSE = "false|0|0.0|fail|failed|failure|error|timeout|timed out|no|wrong|incorrect|i|n|p|f|✗|✘|❌"
_KNOWN = dict.fromkeys(_TRUE.split("|"), True) | dict.fromkeys(_FALSE.split("|"), False)
"""Inspect's P is partly right, and so not right."""
_LABELS = (
    "correct is_correct passed pass exact_match em acc accuracy pass@1 score grade verdict judgement judgment "
    "correctness is_right success"
)
_IDS = (
    "id question_id problem_id task_id item_id unique_id instance_id idx index qid uid uuid _id example_id sample_id "
    "doc_id row_id prompt_id test_id question prompt name"
)
_TEXTS = (
    "text response output prediction generation answer completion model_output model_response generated_text generated "
    "raw_output raw_response llm_output model_answer pred reply content outputs actualoutput actual_output"
)
"""What plain rows call their label, the item's id and the answer, the surest names first; in any case."""
_RESPONSES = (
    "response prediction model_output model_response generated_text generation output model_answer llm_output pred"
)
"""What rows with the item's own fields call the answer; "text", "answer" and "completion" may be the item's."""
_INSIDE = ("choices", "message", "content", "text", "output")


def label_name(row: dict[str, Any]) -> str:
    """The field that says whether a row's answer is right; "" if it has none."""
    named = _named(row, _LABELS)
    known = [name for name in named if row[name] is not None]  # "correct" may hold the right letter
    clear = [name for name in known if truth(row[name]) is not None and len(str(row[name])) > 1]
    return next((name for name in known if isinstance(row[name], bool)), (clear or known or named or [""])[0])


def id_name(row: dict[str, Any]) -> str:
    return next(iter(_named(row, _IDS)), "")


def response_name(row: dict[str, Any]) -> str:
    return next(iter(_named(row, _RESPONSES)), "")


def _named(row: dict[str, Any], names: str) -> list[str]:
    written = {name.casefold(): name for name in reversed(row)}
    return [written[name] for name in names.split() if name in written]


def text_of(row: dict[str, Any]) -> str:
    """A row's answer, "" if it has none. Raises ValueError if it is no text, nor one text in a list or a message."""
    name = next((name for name in _named(row, _TEXTS) if row[name] is not None), "")
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
        return _KNOWN.get(value.partition(":")[0].strip(" .").lower())
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
