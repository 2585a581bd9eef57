"""Samples in forms that no schema asked for, as rows: tables, columns of a frame, conversations."""

import csv
import re
from typing import Any

_CSV = re.compile(
    r"^(?:[\w \"]+[,\t])*\"?(?:question|problem|prompt)\"?[,\t][^\n]*\n.*", re.I | re.MULTILINE | re.DOTALL
)


def table(text: str) -> list[dict[str, str]]:
    """The rows of a table in Markdown, or of CSV that has a column of questions, by their headings."""
    bare = re.search(r"^ *:?-+:? *(?:\| *:?-+:? *)+$", text, re.MULTILINE)  # headings without signs at the margin
    rows = (line.strip() for line in text.splitlines())
    lines = [row.strip("|").split("|") for row in rows if row.startswith("|") or (bare and "|" in row)]
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
    names = [re.sub(r"^(question|problem|answer|solution|final)s$", r"\1", key(name)) for name in value]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def numbered(value: Any) -> list[dict[str, Any]] | None:
    """question_1, answer_1, question_2 … as rows; None if a value has no such keys."""
    found: dict[str, dict[str, Any]] = {}
    for name, part in value.items() if isinstance(value, dict) else ():
        if named := re.fullmatch(r"(\w*?[a-z])_?(\d+)", key(name)):
            found.setdefault(named[2], {})[named[1]] = part
    return [*found.values()] if found and all(len(row) > 1 for row in found.values()) else None


_LATEX = (
    r"(?:frac|tfrac|times|theta|triangle|therefore|boxed|begin|beta|bar|binom|big|nabla|right|rightarrow|rho|forall)"
    r"(?![A-Za-z])|text\{"
)
r"""Commands that no word behind a tab or a new line is: ``\ne = 5`` begins a line of code."""


def latex(text: str) -> str:
    r"""JSON with the backslashes of LaTeX doubled that mean something else there: \frac and \times begin with signs."""
    return re.sub(rf"(?<!\\)((?:\\\\)*)\\(?={_LATEX})", r"\1\\\\", text)


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
