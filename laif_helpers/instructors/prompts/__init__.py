"""The instructor's prompts: templates that a researcher edits, and how the text of others enters them."""

import functools
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


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
    return strict(loader=loader, trim_blocks=True, lstrip_blocks=True).get_template(name)
