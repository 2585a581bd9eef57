"""The instructor's prompts: a template for each strategy, a file of words for each family, one table of headings.

A researcher edits templates, families and headings; code knows only their names.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laif_helpers.records import Message

FOLDER = Path(__file__).parent
LABELS = {
    "right": "Questions the student answers correctly",
    "wrong": "Question the student got wrong",
    "group": "Questions the student got wrong",
    "errors": "Questions of one kind that the student got wrong",
    "vary": "Question to vary",
    "answered": "Question the student answered",
    "student": "The student's answer",
    "gold": "Correct answer",
    "task": "Task",
}
"""The headings of a request's blocks: what templates write and what local instructors look for."""


def shown(text: str, most: int = 0) -> str:
    """Text of others inside a request, cut at ``most`` characters: a line that looks like one of our labels is
    indented. Half a surrogate pair, which no file can hold, becomes the replacement character."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    cut = text[:most] + " […]" if most and len(text) > most else text
    return re.sub(r"^### ", " ### ", cut.strip("\n"), flags=re.M)


@functools.cache
def template(name: str) -> Any:
    """A template of the folder; a name that it uses and is not given is an error (jinja2.UndefinedError)."""
    import jinja2

    # Plain text for a model, not HTML: what is shown in a notebook is escaped there.
    loader = jinja2.FileSystemLoader(FOLDER)
    strict = functools.partial(jinja2.Environment, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment = strict(loader=loader, trim_blocks=True, lstrip_blocks=True)
    environment.globals["label"] = LABELS
    return environment.get_template(name)


# -- reading a request and writing the reply, as the local instructors do


def reply(diagnosis: str, samples: Sequence[tuple[str, str]]) -> str:
    """A reply in the papers' form; ``samples``: (question, answer)."""
    parts = [f"Diagnosis: {diagnosis}"]
    parts += [f"Sample {n}:\nQuestion: {asked}\nAnswer: {answer}" for n, (asked, answer) in enumerate(samples, start=1)]
    return "\n\n".join(parts) + "\n"


def blocks(messages: Sequence[Message]) -> dict[str, str]:
    """The text under each heading of the user's messages, by the heading's name in ``LABELS``."""
    named = {label: name for name, label in LABELS.items()}
    text = "\n".join(message["content"] for message in messages if message["role"] == "user")
    parts = re.split(rf"^### ({'|'.join(map(re.escape, named))})[ \t]*$", text, flags=re.MULTILINE)
    return {named[label]: block.strip() for label, block in zip(parts[1::2], parts[2::2], strict=True)}


def wanted(found: dict[str, str]) -> int:
    """How many questions the task asks for: its first number. Raises ValueError if it names none."""
    number = re.search(r"\d+", found.get("task", ""))
    if number is None:
        raise ValueError(f"the request's block '### {LABELS['task']}' must name a number; found {found.get('task')!r}")
    return int(number[0])


def numbered(block: str) -> list[str]:
    """The texts of a block that lists them as ``1. …``, ``2. …``."""
    return [part.strip() for part in re.split(r"^\d+\.\s+", block, flags=re.MULTILINE) if part.strip()]
