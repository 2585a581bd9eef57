"""Throw-away notebooks that stand in for the six real ones: same names, same files, no model."""

import contextlib
import io
import json
import os
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import yaml

# No test reaches the hub; without this line each look for a model that is not there costs half a minute of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The tests hold what a processor computes. `make gpu` asks a GPU for what must be true there.
if not os.environ.get("LAIF_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
if "PYTEST_XDIST_WORKER" in os.environ:  # the other core is another worker's
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from train_toys import base_fixture, parameters_fixture, train_in_process  # noqa: F401  of the tests of stage 5

from laif_helpers.paths import RunDir
from laif_helpers.records import write_text
from laif_helpers.runner import executors, loop, plan

# The same tries each time: a new counterexample is for `make faults` to find, not for a change that has no part in it.
hypothesis.settings.register_profile("tests", derandomize=not os.environ.get("LAIF_FAULTS_FULL"))
hypothesis.settings.load_profile("tests")

_LONGEST = "smoke by_hand train ray real_model servers runner llm browser league_run train_resume fault_matrix models"
LONGEST = _LONGEST.split()
"""Files to start with, so that no worker is left with a long one at the end."""
MODELS = {"base", "tiny", "tiny_bert"}
"""Fixtures that make a model: a test that takes one loads torch."""

IMPORTS = (
    "import json\nfrom pathlib import Path\nfrom laif_helpers import recipe\nfrom laif_helpers.paths import RunDir"
)
PLACE = 'RUN = "explore"\nARM = "vanilla"\nITERATION = 0\n'
WRITE = "def put(path, text):\n    path.parent.mkdir(parents=True, exist_ok=True)\n    path.write_text(text)\n"
METRICS = 'put(p.folder.metrics("{name}"), json.dumps({{}}))'
TOYS = {
    "01_evaluate": (
        PLACE + 'TARGET = "data/nano"\nBENCHMARKS = ["practice"]\nIN_DOMAIN = ["practice"]\nLIMIT = 0\n',
        'text = "".join(f.read_text() for f in sorted(Path(p.model).glob("*.safetensors")))\n'
        'for split in ("train", "test"):\n    put(p.folder.responses("practice", split), json.dumps({"text": text}))',
    ),
    "01_part": (PLACE + 'TARGET = "data/nano"\nSHARDS = 2\nPART = 1\n', ""),
    "02_error_analysis": (PLACE + "SEED = 0\n", 'put(p.folder.errors, "map")'),
    "03_instruct_LE": (
        PLACE + "BUDGET = 600\n",
        'put(p.folder.lessons(p.arm), json.dumps({"n": p.budget, "of": p.previous.responses("practice", "train")'
        ".read_text()}))",
    ),
    "05_train_deepspeed": (
        PLACE + 'TARGET = "data/nano"\nBUDGET = 600\nSEED = 0\n',
        'text = f"{p.arm}{p.iteration}-{p.budget}-{p.seed} " + (Path(p.base_model) / "model.safetensors").read_text()\n'
        'put(p.folder.checkpoint / "model.safetensors", text)\n'
        "put(p.folder.train_metrics, json.dumps({}))\n"
        'if p.arm == "fine_tuning":\n    put(p.folder.lessons(p.arm), "gold")',
    ),
    "06_compare": (
        'RUN = "explore"\nARMS = ["le"]\nITERATIONS = 2\n',
        'put(RunDir.named(p.run).compare / "results.csv", "arm\\n" + "\\n".join(p.arms))',
    ),
}
TOYS["04_instruct_LEC"] = TOYS["03_instruct_LE"]
TOYS["09_self_training"] = (f'TARGET = "data/nano"\n{TOYS["03_instruct_LE"][0]}', TOYS["03_instruct_LE"][1])
TOYS["07_tripost"] = TOYS["08_repair"] = TOYS["10_distil"] = (PLACE + 'TARGET = "data/nano"\n', "")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"test_{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
    for item in items:
        if MODELS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.model)


def write_notebook(path: Path, cells: list[tuple[str, str, list[str]]]) -> None:
    """``cells``: (kind, text, tags)."""
    written = []
    for number, (kind, text, tags) in enumerate(cells):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"c{number}", "metadata": {"tags": tags}, "source": text}
        written.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    path.write_text(json.dumps({"cells": written, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def write_toy(folder: Path, name: str, work: str = "", parameters: str = "") -> None:
    """The toy of that name; ``work`` is put before its own work, ``parameters`` replaces its parameters cell."""
    own_parameters, own_work = TOYS[name]
    metrics = METRICS.format(name=name)
    if name == plan.PART:
        metrics = 'put(p.folder.metrics(f"01_part{p.part}"), "{}")'
    if name == plan.COMPARE:
        metrics = 'put(RunDir.named(p.run).compare / "metrics" / "06_compare.json", "{}")'
    cells = [
        ("markdown", f"# {name}", []),
        ("code", IMPORTS, []),
        ("code", parameters or own_parameters, ["parameters"]),
    ]
    work = f"{WRITE}\n{work}\n{own_work}" if "ended" not in work else f"{WRITE}\n{work}"
    cells += [("code", "p = recipe.from_notebook(globals())", []), ("code", work, [])]
    write_notebook(folder / f"{name}.ipynb", cells if "ended" in work else [*cells, ("code", metrics, [])])


class InProcess:
    """An executor that runs a notebook's cells in this process: the runner's logic without kernels."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> Any:
        job_values = json.loads(job.read_text())
        self.ran.append(job_values["stage"])
        result = self._execute(job_values)
        Path(job_values["result"]).write_text(json.dumps(result))
        return type("Done", (), {"poll": lambda self: 0})()

    def _execute(self, job: dict[str, Any]) -> dict[str, Any]:
        read = json.loads(Path(job["notebook"]).read_text())["cells"]
        cells = [cell | {"source": "".join(cell["source"])} for cell in read if cell["cell_type"] == "code"]
        space: dict[str, Any] = {"__name__": "__main__"}
        for cell in cells:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(cell["source"], job["notebook"], "exec"), space)
            except Exception as error:
                trace = traceback.format_exc().splitlines()
                reason = f"{type(error).__name__}: {error}"
                return {"status": "failed", "reason": reason, "source": cell["source"], "traceback": trace}
            if "parameters" in cell["metadata"].get("tags", ()):
                space |= job["parameters"]
        ended = json.loads(Path(job["metrics"]).read_text()).get("ended")
        return {"status": "ended", "reason": ended} if ended else {"status": "done"}

    def find(self, job: Path) -> None:
        return None

    def threads(self, workers: int) -> int:
        return 1

    def check(self, run: Path, processes: int) -> None:
        pass

    def end(self, handles: Any) -> None:
        assert not list(handles)


@dataclass
class Toy:
    """A toy project: change its recipe or notebooks, run it, look at its files."""

    root: Path
    engine: InProcess
    values: dict[str, Any]

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def run_dir(self) -> RunDir:
        return RunDir(self.root / "runs" / "toy")

    def plan(self, **values: Any) -> plan.RunPlan:
        self.values |= values
        path = self.root / "toy.yaml"
        path.write_text(yaml.safe_dump(self.values))
        return plan.make(path, notebooks=self.notebooks)

    def run(self, redo: tuple[str, ...] = (), **values: Any) -> tuple[int, list[str]]:
        """Exit status and the stages that ran this time."""
        before = len(self.engine.ran)
        code = loop.run(self.plan(**values), redo=redo)
        return code, self.engine.ran[before:]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Toy notebooks under ``tmp_path``, executed in this process unless a test asks for kernels."""
    for folder in ("runs", "notebooks", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("untouched")
    for name in TOYS:
        write_toy(tmp_path / "notebooks", name)
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LAIF_DATA", str(tmp_path / "no-data"))
    engine = InProcess()
    monkeypatch.setattr(loop, "engine", lambda name, slurm: engine)
    values = {
        "target": str(tmp_path / "model"),
        "benchmarks": ["practice"],
        "arms": ["fine_tuning", "le"],
        "iterations": 1,
        "budget": 10,
        "workers": 2,
    }
    return Toy(tmp_path, engine, values)


@pytest.fixture
def real_kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it after ``toy`` to execute the notebooks in real kernels."""
    local = executors.Local()
    return lambda: monkeypatch.setattr(loop, "engine", lambda name, slurm: local)


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Stages of this test's runs and their trainings are executed here, one after the other: real notebooks, libraries
    imported once."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    engine, handle = InProcess(), SimpleNamespace(update=lambda _: None)
    monkeypatch.setattr(loop, "engine", lambda name, slurm: engine)
    monkeypatch.setattr("IPython.display.display", lambda *_, **options: handle if options else None)
    monkeypatch.setattr("laif_helpers.train._run", train_in_process)
    return engine


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn and files without a picture are saved: to save them takes most of 06's time, and is another
    test's subject."""
    monkeypatch.setattr("laif_helpers.figures.save", lambda _, stem: write_text(stem.with_suffix(".png"), "drawn"))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs' folder of a test that asks an instructor: no key in the environment, retries without a wait."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("laif_helpers.models.protocol._wait", lambda error, attempt: 0.01)
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``cache(name, folder)``: puts a model into the hub's cache, laid out as the hub's client does; its snapshot."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder: Path) -> Path:
        place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        return Path(shutil.copytree(folder, place / "snapshots" / ("0" * 40)))

    return put
