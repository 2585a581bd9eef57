"""Samples in forms that no schema asked for, as rows: tables, columns of a frame, conversations."""

import csv
import re
from typing import Any

_CSV = re.compile(
    r"^(?:[\w \"]+[,\t])*\"?(?:question|problem|prompt)\"?[,\t][^\n]*\n.*", re.I | re.MULTILINE | re.DOTALL
)


def table(text: str) -> list[dict[str, str]]:
    """The rows of a table in Markdown, or of CSV that has a column of questions, by their headings."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.lstrip().startswith("|")]
    if not lines and (found := _CSV.search(text.replace("```", ""))):
        lines = list(csv.reader(found[0].splitlines(), delimiter="\t" if "\t" in found[0].split("\n")[0] else ","))
    return [
        {key(name): re.sub(r"<br ?/?>", "\n", cell).strip() for name, cell in zip(lines[0], line, strict=True)}
        for line in lines[1:]
        if len(line) == len(lines[0]) and "".join(line).strip(" -:")
    ]


def rows(value: Any) -> list[dict[str, Any]] | None:
    """Columns, each a list of one length, as rows; None if it is no frame."""
    columns = list(value.values()) if isinstance(value, dict) else []
    if len(columns) < 2 or not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def key(name: Any) -> str:
    """newQuestion and "New question" as new_question."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]+", "_", str(name).strip()).casefold()


def spoken(value: Any) -> Any:
    """A conversation as its question and its last answer; anything else as it is."""
    turns = (value.get("messages") or value.get("conversations")) if isinstance(value, dict) else None
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return value
    said = {turn.get("role", turn.get("from")): turn.get("content", turn.get("value")) for turn in turns}
    return {"question": said.get("user", said.get("human")), "answer": said.get("assistant", said.get("gpt"))}
