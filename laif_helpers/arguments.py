"""Makes plain what is passed by hand: numpy's and pandas' values, None for no answer, a text for a number."""

import math
import numbers
import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind", int, float)
_SET = re.compile(r"^\s*([A-Z][A-Z0-9_]*)\s*(?::[^=\n]*)?=(?!=)", re.M)


def number(name: str, value: Any, least: float, kind: type[Kind]) -> Kind:
    """``value`` as an ``int`` or a ``float``. Raises ValueError unless it is that, finite, and ``least`` or more."""
    try:
        found = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not least <= found < math.inf or kind(found) != found:
        raise ValueError(f"{name} {value!r:.60}: give a {'whole ' * (kind is int)}number from {least:g} on")
    return kind(found)


def text(name: str, value: Any) -> str:
    """A text, "" for none (also NaN and pandas' NA), a number's digits. Raises ValueError for anything else."""
    if isinstance(value, str):
        return value
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    if isinstance(value, numbers.Number):
        return str(value)
    raise ValueError(f"{name} is {type(value).__name__}, not text: pass the text that it holds")


def row(value: Any) -> dict[str, Any]:
    """A row as a mapping; pandas' rows too. Raises ValueError for anything else."""
    if isinstance(value, Mapping) or hasattr(value, "to_dict"):
        return dict(value)
    raise ValueError(f"a row is a mapping of fields to values, and this is {type(value).__name__}: {value!r:.60}")


def place(name: str, value: Any) -> str:
    """A name or path as text. Raises ValueError for anything else."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} is {type(value).__name__}: give a name or a path")
    return str(os.fspath(value))


def set_since(call: str, namespace: Mapping[str, Any]) -> set[str]:
    """UPPER_CASE names that cells have set since an earlier cell held ``call``; none where IPython keeps no cells.

    A kernel keeps a name whose line was mended or taken away, so its globals alone do not tell what its cells say.
    """
    cells = list(map(str, namespace.get("In", ())))
    begin = max((at for at, cell in enumerate(cells[:-1], 1) if call in cell), default=0)
    return {name for cell in cells[begin:] for name in _SET.findall(cell)}
