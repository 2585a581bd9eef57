"""Gives a chat template values of its own, such as ``enable_thinking: false``, if nobody names others."""

import copy
from collections.abc import Mapping
from typing import Any


def with_values(tokenizer: Any, values: Mapping[str, Any]) -> Any:
    """The tokenizer with a template that takes ``values`` by itself; a copy, because one tokenizer may serve many.

    They are written into the template, so a checkpoint that is saved with it asks as it was trained, here and behind
    any server. Values that a request names go before these.
    """
    if not values or not tokenizer.chat_template:
        return tokenizer
    # The line's end is cut off when a template is rendered, so the first line of the template stays a first line.
    head = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {value!a} %}}{{%- endif %}}\n"
        for name, value in values.items()
    )
    changed = copy.copy(tokenizer)
    named = tokenizer.chat_template  # a text, or several texts by name
    changed.chat_template = (
        {name: _begun(head, text) for name, text in named.items()} if isinstance(named, dict) else _begun(head, named)
    )
    return changed


def _begun(head: str, text: str) -> str:
    return text if text.startswith(head) else head + text
