"""Writes ``docs/recipe.md``, every key of a recipe, from the keys themselves: ``python docs/recipe_page.py``."""

import inspect
import json
from typing import Any

from pydantic.fields import FieldInfo

from laif_helpers import recipe
from laif_helpers.paths import ROOT
from laif_helpers.sections import Section

PAGE = ROOT / "docs" / "recipe.md"
HEAD = """# Every key of a recipe

A recipe is a YAML file of these keys; a key that it leaves out has its default. In a notebook's parameters cell the
same keys stand in capitals. A list, if the key takes one value, is a sweep: the run has a point for each. Written by
`python docs/recipe_page.py` from `laif_helpers/sections.py`.
"""
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
WORDS = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "array": "list"}


def page() -> str:
    """The page: a part for each section of keys, the target's first, a row for each key."""
    parts = [HEAD]
    for section in reversed(recipe.Recipe.__bases__):
        assert issubclass(section, Section)
        described = section.model_json_schema()["properties"]
        rows = [row(key, field, described[key]) for key, field in section.model_fields.items()]
        table = ["| key | default | takes | meaning |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {section.__name__.removesuffix('Section')}", f"{section.__doc__}\n", *table, ""]))
    return "\n".join(parts)


def row(key: str, field: FieldInfo, described: dict[str, Any]) -> str:
    meaning, default = field.description or "", described.get("default")
    if inspect.isfunction(field.default_factory):  # it depends on other keys, and its docstring says how
        meaning += f". {' '.join(str(field.default_factory.__doc__).split())}"
        default = "it depends"
    shown = json.dumps(default, ensure_ascii=False).replace('"', "") if default not in ("", {}, None) else ""
    cells = [f"`{key}`", shown, takes(described), meaning.replace("``", "`").replace("<", "&lt;")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def takes(described: dict[str, Any]) -> str:
    """The type in plain words, with its limits."""
    choices = described.get("anyOf", [described])
    names = [", ".join(each["enum"]) if "enum" in each else each.get("const") or _named(each) for each in choices]
    return ", ".join(names + [f"{sign} {described[key]:.10g}" for key, sign in LIMITS.items() if key in described])


def _named(described: dict[str, Any]) -> str:
    return WORDS.get(described.get("type", ""), "mapping")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
