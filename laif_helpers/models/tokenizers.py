"""Compares the vocabularies of two models, and gives a chat template values and a form of its own."""

import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from laif_helpers.models import check
from laif_helpers.paths import resolve
from laif_helpers.target import Target


def vocabulary_problem(target: str, teacher: str) -> str:
    """Why ``teacher`` cannot score what ``target`` writes, token by token; "" if it can.

    A model that is not on this machine yet is compared when it is loaded: "" here.
    """
    if not teacher:
        return "no teacher is set; set teacher, a model of this machine with the target's vocabulary"
    if not Target.of(teacher).local:
        return f"teacher {teacher!r} must be a model of this machine: every token is scored, which no server answers"
    folders = [resolve(name) for name in (target, teacher)]
    if not all(folder.is_dir() for folder in folders):
        return ""
    mine, theirs = map(_ids, folders)
    if mine == theirs:
        return ""
    shared = len(mine.items() & theirs.items())
    return (
        f"teacher {teacher!r} has another vocabulary than the target ({len(theirs):,} tokens against {len(mine):,}, "
        f"{shared:,} of them the same under the same number), so it cannot score the target's tokens; take a teacher "
        "of the target's own family"
    )


@functools.lru_cache(maxsize=8)  # every arm that has a teacher asks
def _ids(folder: Path) -> dict[str, int]:
    return dict(check.tokenizer_of(str(folder)).get_vocab())


DAY = datetime(2024, 7, 26)
"""What a template that writes today's date is given (Llama 3's own date where it knows no other): a run that goes on
after midnight, and one that is repeated, ask the same. A checkpoint's template keeps it."""
_TODAY = re.compile(r"strftime_now\(\s*(\\?['\"])(.*?)\1\s*\)")  # also as JSON writes it
_PARTS = (
    "{%- set told = namespace(all=[]) %}{%- for m in messages %}{%- set told.all = told.all + "
    "[dict(m, content=[{'type': 'text', 'text': m.content}]) if m.content is string else m] %}{%- endfor %}"
    "{%- set messages = told.all %}\n"
)


def take_text(tokenizer: Any) -> None:
    """Let a template that takes a message's content in parts take a text too; it is saved with a checkpoint."""
    if tokenizer.chat_template and check.content_form(tokenizer) == "parts":
        _begin(tokenizer, _PARTS)


def with_day(template: str) -> str:
    """A chat template in which each call for today's date is ``DAY`` in the form that it asks for."""
    return _TODAY.sub(lambda call: repr(DAY.strftime(call[2])), template)


def with_values(tokenizer: Any, values: Mapping[str, Any]) -> Any:
    """The tokenizer with a template that takes ``values`` by itself; a copy, because one tokenizer may serve many.

    They are written into the template, so a checkpoint that is saved with it asks as it was trained, here and behind
    any server. Values that a request names go before these. Today's date is a fixed one (``with_day``).
    """
    if not tokenizer.chat_template:
        return tokenizer
    # The line's end is cut off when a template is rendered, so the first line of the template stays a first line.
    head = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {value!a} %}}{{%- endif %}}\n"
        for name, value in values.items()
    )
    changed = copy.copy(tokenizer)
    _rewrite(changed, with_day)
    _begin(changed, head)
    return changed


def written(tokenizer: Any, conversations: Sequence[Sequence[Any]], **options: Any) -> list[str]:
    """The text of each conversation. Raises ValueError with the template's own words if it refuses one."""
    from jinja2 import TemplateError

    try:
        return [tokenizer.apply_chat_template(turns, tokenize=False, **options) for turns in conversations]
    except TemplateError as error:
        name = tokenizer.name_or_path
        raise ValueError(f"the chat template of model {name!r} refuses these messages: {error}") from None


def ids_of(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of texts in which the template has written every special token already."""
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def _begin(tokenizer: Any, head: str) -> None:
    _rewrite(tokenizer, lambda text: text if text.startswith(head) else head + text)


def _rewrite(tokenizer: Any, change: Callable[[str], str]) -> None:
    named = tokenizer.chat_template  # a text, or several texts by name
    tokenizer.chat_template = (
        {name: change(text) for name, text in named.items()} if isinstance(named, dict) else change(named)
    )
