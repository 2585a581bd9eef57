"""The path of a person in JupyterLab: every notebook with its defaults, one after the other, in one run folder."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from laif_helpers.paths import NOTEBOOKS, ROOT, RunDir
from laif_helpers.runner import notebook

pytestmark = [pytest.mark.smoke, pytest.mark.model, pytest.mark.slow]
AGAIN = {"ARM": "le", "ITERATION": 1}
"""What the "Next" line of 05 says: 01 once more, on what was trained."""
PATH: tuple[tuple[str, dict[str, Any]], ...] = (
    ("01_evaluate", {}),
    ("02_error_analysis", {}),
    ("03_instruct_LE", {}),
    ("04_instruct_LEC", {}),
    ("06_compare", {}),  # nothing is trained yet: it says so, and ends well
    ("05_train_deepspeed", {}),
    ("06_compare", {}),  # trained, not evaluated
    ("01_evaluate", AGAIN),
    ("06_compare", {}),
)
SHORT = (*PATH[:4], PATH[5], *PATH[7:])
"""06 on what is not there yet is in ``test_compare.py`` too."""
FEWER: dict[str, dict[str, Any]] = {"05_train_deepspeed": {"EPOCHS": 1.0}}

Execute = Callable[[str, dict[str, Any], Path], dict[str, Any]]


def by_command(name: str, values: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run a notebook in a kernel of its own, as papermill's own command does."""
    options = [word for key, value in values.items() for word in ("-p", key, str(value))]
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / f"{name}.ipynb"), str(out), *options]
    done = subprocess.run([*command, "--no-progress-bar"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {options}: {done.stderr[-3000:]}"
    assert "unknown parameter" not in done.stderr
    return notebook.read(out)


def outputs(executed: dict[str, Any]) -> str:
    """All that a notebook showed; its first cells may not show a warning."""
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert not any(output.get("name") == "stderr" for cell in cells[:2] for output in cell["outputs"]), "a warning"
    return json.dumps([cell["outputs"] for cell in cells], ensure_ascii=False)


@pytest.fixture
def in_one_kernel() -> Iterator[Execute]:
    """Run notebooks one after the other in one kernel, emptied between them: libraries are imported one time."""
    notebook.import_papermill()
    import nbformat
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    manager = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3").create_kernel_manager()

    def execute(name: str, values: dict[str, Any], out: Path) -> dict[str, Any]:
        executed = parameterize_notebook(load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb")), values)
        executed.cells.append(nbformat.v4.new_code_cell("%reset -f"))
        NotebookClient(executed, km=manager, timeout=None).execute()
        return executed

    yield execute
    run_sync(manager.shutdown_kernel)(now=True)


def walk(execute: Execute, path: Sequence[tuple[str, dict[str, Any]]], folder: Path) -> list[str]:
    """What each notebook of the path showed."""
    shown = [outputs(execute(name, values, folder / f"{number}.ipynb")) for number, (name, values) in enumerate(path)]
    assert "trained, not evaluated" not in shown[-1]
    compared = RunDir(folder / "explore").compare
    results = (compared / "results.csv").read_text(encoding="utf-8")
    assert "le,1,practice," in results and "le,1,practice_plus," in results
    return shown


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LAIF_RUNS", str(tmp_path)), ("PYTHONPATH", str(ROOT)), ("OMP_NUM_THREADS", "1")):
        monkeypatch.setenv(name, value)


@pytest.mark.thorough
def test_every_notebook_runs_with_its_defaults(tmp_path: Path) -> None:
    assert "trained, not evaluated" in walk(by_command, PATH, tmp_path)[6]


def test_every_notebook_runs_with_a_third_of_the_items(in_one_kernel: Any, tmp_path: Path) -> None:
    walk(in_one_kernel, [(name, {"LIMIT": 100} | FEWER.get(name, {}) | values) for name, values in SHORT], tmp_path)


@pytest.mark.parametrize("name", sorted({name for name, _ in PATH}))
def test_each_notebook_says_what_comes_next(name: str) -> None:
    text = "\n".join(notebook.source(cell) for cell in notebook.read(NOTEBOOKS / f"{name}.ipynb")["cells"][-4:])
    assert "**Next" in text or "next_step(" in text
