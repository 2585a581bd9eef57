"""A sample's fields under the names that instructors give them, and options and letters in other forms."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

CALLED: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"))
"""A sample's fields, and what instructors that no schema holds call them."""
STEPS = CALLED.pop("steps")
CALLED["answer"] = [*STEPS, *CALLED["answer"]]


def named(item: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """A sample under the names that were asked for; options in a list get their letters."""
    found = dict(item)
    if isinstance(item.get("instruction"), str) and isinstance(item.get("input"), str) and item["input"].strip():
        found["question"] = f"{item['instruction']}\n{item['input']}"  # Alpaca's task and what it is about
    # the first name counts, and the field's own before all
    found = {name: item[other] for name in fields for other in CALLED.get(name, [])[::-1] if other in item} | found
    steps = next((name for name in STEPS if name in item), "")
    if "final" in fields and "final" not in found and "answer" in item and steps:
        found |= {"final": item["answer"], "answer": item[steps]}
    letters = {key[-1]: text for key, text in item.items() if re.fullmatch("(?:option_?|choice_?)?[a-d]", key)}
    if "options" in fields and "options" not in found and len(letters) == 4:
        found["options"] = letters
    if "options" in found:
        options = found["options"]
        # lines, as ``plain`` leaves a list, or one beside the other
        options = re.split(r"\n|[,;]?\s+(?=\(?[B-D][).]\s)", options) if isinstance(options, str) else options
        options = dict(zip("ABCD", options, strict=False)) if isinstance(options, list) else options
        found["options"] = _lettered(options) if isinstance(options, dict) else options
        found["question"] = re.split(r"\n\W*A[).:] ", str(found.get("question", "")))[0]  # which may hold them too
    if isinstance(found.get("letter"), str):
        said, options = found["letter"].casefold().strip(" ."), dict(found.get("options") or {})
        same = [label for label, text in options.items() if str(text).casefold().strip(" .") == said]
        letter = re.match(r"\W*(?:(?:the|correct|answer|option|choice|is|boxed)\W+)*([A-D])\b", said, re.IGNORECASE)
        found["letter"] = same[0] if len(same) == 1 else letter[1].upper() if letter else found["letter"]
    return found


def _lettered(options: dict[Any, Any]) -> dict[str, Any]:
    """Options under capital letters, their texts without them."""
    labels = {re.sub("OPTION|CHOICE|[ ()._]", "", str(key).upper()): text for key, text in options.items()}
    labels = dict(zip("ABCD", labels.values(), strict=False)) if [*labels] == ["1", "2", "3", "4"] else labels
    return {label: re.sub(rf"^\(?{re.escape(label)}[).:]\s+", "", str(text)) for label, text in labels.items()}


def plain(value: Any) -> Any:
    """Steps in a list as lines, of objects their words without an option's letter; a whole number 23.0 as 23."""
    if isinstance(value, list) and all(isinstance(part, str | dict) for part in value):
        parts = [list(part.values()) if isinstance(part, dict) else [part] for part in value]
        return "\n".join(
            " ".join(words for words in part if isinstance(words, str) and words != "ABCD"[at : at + 1])
            for at, part in enumerate(parts)
        )
    if isinstance(value, dict) and len(value) == 1 and isinstance(only := next(iter(value.values())), str):
        return only  # {"text": …}
    return int(value) if isinstance(value, float) and value.is_integer() else value
