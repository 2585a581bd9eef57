"""Reads a notebook's parameters cell, and checks it more strictly than papermill does.

papermill warns about a misspelt parameter and goes on with the default, loses a parameter whose line it cannot
parse, and overwrites every value if no cell is tagged. Here each of these is refused before anything runs.
"""

import ast
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from laif_helpers.records import digest

TAG = "parameters"


def read(path: Path) -> dict[str, Any]:
    """The notebook's JSON. Raises FileNotFoundError or ValueError with a sentence."""
    if not path.is_file():
        raise FileNotFoundError(f"notebook {path} does not exist; the runner needs it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: not a notebook (not valid JSON: {error})") from None


def source(cell: dict[str, Any]) -> str:
    """A cell's text; the format allows a string or a list of lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def parameters_index(notebook: dict[str, Any], name: str) -> int:
    """Position of the one cell tagged ``parameters``. Raises ValueError if there is none, or a second."""
    tagged = [i for i, cell in enumerate(notebook["cells"]) if TAG in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{name}: {len(tagged)} cells are tagged {TAG!r}; tag exactly one")
    return tagged[0]


def declared(path: Path) -> dict[str, Any]:
    """Parameter names of a notebook and their defaults, in order.

    Raises ValueError for a missing or second tag, a value that is not a literal, a name not in UPPER_CASE, a
    line that is no assignment, or one that papermill would lose (a trailing comment, ``X | None``).
    """
    name, notebook = path.name, read(path)
    text = source(notebook["cells"][parameters_index(notebook, path.name)])
    values: dict[str, Any] = {}
    for node in ast.parse(text).body:
        key, value = _assignment(node, name)
        values[key] = value
    if lost := set(values) ^ set(import_papermill().inspect_notebook(str(path))):
        raise ValueError(
            f"{name}: papermill reads the parameters cell differently: {', '.join(sorted(lost))}; write each "
            "parameter as NAME = literal on a line of its own, without annotation or trailing comment"
        )
    return values


def check(path: Path, known: Collection[str], required: Collection[str] = ()) -> list[str]:
    """Names of the parameters that a notebook declares, each of them a recipe key, the required ones among them.

    ``known`` and ``required`` are recipe keys in lower case. Raises ValueError with a sentence.
    """
    names = list(declared(path))
    if strange := [name for name in names if name.lower() not in known]:
        raise ValueError(f"{path.name}: parameter {strange[0]} is no recipe key; remove it or add it to the recipe")
    if lacking := [key for key in required if key.upper() not in names]:
        raise ValueError(f"{path.name}: the parameters cell lacks {lacking[0].upper()}; declare it with its default")
    return names


def source_hash(path: Path) -> str:
    """Digest of the code: outputs, counts, metadata and the story told between the cells leave it as it is."""
    cells = [source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    return digest(cells)[:16]


def _assignment(node: ast.stmt, name: str) -> tuple[str, Any]:
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    if isinstance(node, ast.AnnAssign):
        target = node.target
    if not isinstance(target, ast.Name) or not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        raise ValueError(f"{name}: line {node.lineno} of the parameters cell is not `NAME = literal`")
    if not target.id.isupper():
        raise ValueError(f"{name}: parameter {target.id!r} is not in UPPER_CASE")
    try:
        return target.id, ast.literal_eval(node.value)
    except ValueError:
        raise ValueError(
            f"{name}: parameter {target.id} is not a literal; derive it in the cell after the parameters"
        ) from None


def import_papermill() -> Any:
    """papermill, without the grammar of internationalised addresses that jsonschema compiles, if it finds the package,
    for 1.7 s in every process: a notebook's schema asks for no such format."""
    absent = "rfc3987_syntax" not in sys.modules
    if absent:
        sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    try:
        import papermill
    finally:
        if absent:
            del sys.modules["rfc3987_syntax"]
    return papermill
