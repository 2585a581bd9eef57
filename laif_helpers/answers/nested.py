"""Reads rows that hold what was asked, what was answered and the verdicts inside objects, or under names with a path:
those of LangSmith, Braintrust, Phoenix, MLflow, evalscope, ragas, verl, TRL, and whoever else writes
``inputs.question``, ``{"scores": {"correct": 1}}`` or ``annotation_correct_score``.

An item is known by all that was asked, its repeats are samples: the id of such a row is mostly that of a call.
"""

import ast
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from laif_helpers.answers.labels import label_name, question_of, text_of, truth, words
from laif_helpers.records import Row

_ASKED = ("inputs", "input", "question", "query", "user_input", "request", "messages", "prompt")
_SAID = ("outputs", "output", "response", "messages", "completion")
_GOLDS = (
    *("reference_outputs", "reference_output", "reference", "expected_response", "expected_output", "expected"),
    *("expectations", "target", "ground_truth", "gts"),
)
_JUDGED = ("annotations", "feedback", "scores", "metrics", "sample_score")


def fits(row: Row) -> bool:
    found = _unfolded(row)
    return None not in (_part(found, _ASKED), _part(found, _SAID)) and bool(label_name(found) or _verdicts(found))


def fields(row: Row, path: Path) -> Row:
    """The fields of ``logs.Logged``. Raises ValueError if several scorers judged and none of them says by its name that
    it tells right from wrong."""
    row = _unfolded(row)
    asked, said, gold = (_part(row, names) for names in (_ASKED, _SAID, _GOLDS))
    question, gold = _question(asked), _text(gold).strip()
    id = json.dumps(asked, ensure_ascii=False) if isinstance(asked, dict) else question
    number = re.fullmatch(r"-?[\d,]*\.?\d+", gold)
    about: Row = {"question": question, "id": id, "gold": gold, "text": _text(said)}
    about["item"] = {"question": question, "answer": f"#### {gold}" if number else gold}
    turns = said if isinstance(said, list) and said and isinstance(said[-1], dict) else [{}]
    about["model"] = str(row.get("model") or turns[-1].get("model") or path.stem)
    # evalscope: one file a data set, in the folder of the model
    about["task"] = path.stem if "sample_score" in row else str(row.get("task") or "items")
    return about | {"label": None if row.get("error") else _label(row), "split": "test"}


def _unfolded(row: Row) -> Row:
    """The row with objects in place of names with a path, of texts that spell one, and of lists of named verdicts."""
    found: Row = {}
    for name, value in row.items():
        *above, last = re.split("[./]", re.sub(r"^annotation_(.+)_(score|label)$", r"annotations.\1.\2", name))
        inside = found
        for part in above:
            inside = inside.setdefault(part, {}) if isinstance(inside.get(part, {}), dict) else {}
        inside[last] = _spelled(value)
    for name in _JUDGED:
        if isinstance(found.get(name), list):
            found[name] = {each["name"]: each for each in found[name] if isinstance(each, dict) and "name" in each}
    return found


def _spelled(value: Any) -> Any:
    """The object that a cell of a table spells, in JSON or as Python does; else the value."""
    if isinstance(value, str) and value[:1] == "{":
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError):
                return read(value)
    return value


def _part(row: Row, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _question(asked: Any) -> str:
    if isinstance(asked, dict):
        inner = question_of(asked) or (_question(asked["messages"]) if "messages" in asked else "")
        return inner or (words(*asked.values()) if len(asked) == 1 else json.dumps(asked, ensure_ascii=False))
    turns = [turn for turn in asked if isinstance(turn, dict)] if isinstance(asked, list) else []
    last = next((turn for turn in reversed(turns) if turn.get("role") == "user"), None)
    return words(last.get("content")) if last else words(asked)


def _text(value: Any) -> str:
    """An answer: a text, the last of some messages, or what an object holds alone or under a name for it."""
    if isinstance(value, list) and value:
        return _text(value[-1].get("content") if isinstance(value[-1], dict) else value[-1])
    if isinstance(value, dict):
        return text_of(value) or (_text(*value.values()) if len(value) == 1 else "")
    return words(value)


def _verdicts(row: Row) -> Row:
    """What each scorer said, by its name."""
    judged = _part(row, _JUDGED)
    if judged is None:  # MLflow: correct/value
        judged = {name: row[name] for name in row if isinstance(row[name], dict) and "value" in row[name]}
        judged = {name: value for name, value in judged.items() if name not in _GOLDS}
    if isinstance(inner := judged.get("score"), dict):  # evalscope names the metric that counts
        values = inner.get("value") or {}
        return {name: values[name] for name in values if name == inner.get("main_score_name", name)}
    return {name: _verdict(value) for name, value in judged.items()}


def _verdict(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return next((value[name] for name in ("score", "value", "label") if value.get(name) is not None), None)


def _label(row: Row) -> bool | None:
    found = {name: value for name, value in _verdicts(row).items() if value is not None}
    if named := label_name(found):
        return truth(found[named])
    if (plain := row.get(label_name(row))) is not None and not isinstance(plain, dict):
        return truth(plain)
    if len(found) > 1:
        raise ValueError(f"{len(found)} scorers judged it ({', '.join(found)}); call the one that is meant 'correct'")
    return truth(next(iter(found.values()), None))
