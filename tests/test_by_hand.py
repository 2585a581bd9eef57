"""The path of a person in JupyterLab: every notebook with its defaults, one after the other, in one run folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from laif_helpers.paths import NOTEBOOKS, ROOT, RunDir
from laif_helpers.runner import notebook

pytestmark = [pytest.mark.smoke, pytest.mark.model, pytest.mark.slow]
AGAIN = ["-p", "ARM", "le", "-p", "ITERATION", "1"]
"""What the "Next" line of 05 says: 01 once more, on what was trained."""
PATH = (
    ("01_evaluate", []),
    ("02_error_analysis", []),
    ("03_instruct_LE", []),
    ("04_instruct_LEC", []),
    ("06_compare", []),  # nothing is trained yet: it says so, and ends well
    ("05_train_deepspeed", []),
    ("06_compare", []),  # trained, not evaluated
    ("01_evaluate", AGAIN),
    ("06_compare", []),
)


def execute(name: str, options: list[str], out: Path, runs: Path) -> str:
    """Run a notebook as papermill's own command does, and give back all that it showed."""
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / f"{name}.ipynb"), str(out), *options]
    done = subprocess.run(
        [*command, "--no-progress-bar"],
        env=os.environ | {"LAIF_RUNS": str(runs), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name} {options}: {done.stderr[-3000:]}"
    assert "unknown parameter" not in done.stderr
    cells = [cell for cell in notebook.read(out)["cells"] if cell["cell_type"] == "code"]
    assert not any(output.get("name") == "stderr" for cell in cells[:2] for output in cell["outputs"]), "a warning"
    return json.dumps([cell["outputs"] for cell in cells], ensure_ascii=False)


@pytest.mark.parametrize(
    "limit", [pytest.param([], marks=pytest.mark.thorough, id="300"), pytest.param(["-p", "LIMIT", "100"], id="100")]
)
def test_every_notebook_runs_with_its_defaults(limit: list[str], tmp_path: Path) -> None:
    """In every run of the tests with a third of the items."""
    shown = [
        execute(name, [*options, *limit], tmp_path / f"{number}.ipynb", tmp_path)
        for number, (name, options) in enumerate(PATH)
    ]
    compared = RunDir(tmp_path / "explore").compare
    assert "trained, not evaluated" in shown[6]
    assert "trained, not evaluated" not in shown[8]
    assert "le,1,practice," in (compared / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({name for name, _ in PATH}))
def test_each_notebook_says_what_comes_next(name: str) -> None:
    text = "\n".join(notebook.source(cell) for cell in notebook.read(NOTEBOOKS / f"{name}.ipynb")["cells"][-4:])
    assert "**Next" in text or "next_step(" in text
