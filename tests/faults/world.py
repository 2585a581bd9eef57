"""The runs that the fault matrix breaks: their recipes and servers, and what must be the same after a fault."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from laif_helpers.paths import ROOT, RunDir

HERE = Path(__file__).resolve().parent
PATIENCE_S = 600.0  # a machine that others use too
KEY = "sk-planted-in-the-environment-0123456789"
"""A key in every run's environment, which no file of the run may hold."""
MODULES = {
    "runner": "laif_helpers.cli",
    "stage": "laif_helpers.runner.stage_run",
    "kernel": "ipykernel",
    "launcher": "deepspeed.launcher.launch",
    "rank": "laif_helpers.train.child",
}
"""A word of each process's command line."""

BOTH = "benchmarks: [practice]\nin_domain: [practice]\narms: [le]\niterations: 1\nmap_iterations: false\nworkers: 1\n"
RECIPES = {
    # target and instructor behind servers, up to the lessons: no model is loaded, so that a stage takes seconds
    "small": BOTH
    + """limit: 24
target: server:toy
target_url: {target}
instructor: llm
instructor_model: practice
instructor_url: {instructor}
prices: {{practice: {{input: 1, output: 4}}}}
max_usd: 1
probe: 2
budget: 12
lessons_only: true
max_new_tokens: 64
""",
    # the embedded target, trained and compared
    "full": BOTH + "limit: 40\nbudget: 16\nreplay_fraction: 0\nmax_new_tokens: 48\n"
    "batch_size: 4\nepochs: 3\nsave_steps: 4\n",
    # a training over two ranks, long enough to be met in the middle
    "ranks": BOTH.replace("[le]", "[fine_tuning]")
    + "limit: 40\nbudget: 40\nreplay_fraction: 0\nmax_new_tokens: 32\nbatch_size: 4\nepochs: 8\nsave_steps: 10\n"
    "deepspeed: zero2\nnum_processes: 2\n",
}
RECIPES["train"] = RECIPES["full"]
SMALL_STAGES = {
    "vanilla/iter0/01_evaluate": ("responses",),
    "vanilla/iter0/02_error_analysis": ("errors.parquet", "error_map.html", "weaknesses.*"),
    "le/iter1/03_instruct_LE": ("instruct", "lessons"),
}
FILES = {
    **SMALL_STAGES,
    "le/iter1/05_train_deepspeed": ("checkpoint*", "train*", "probe.jsonl", "preflight.json"),
    "fine_tuning/iter1/05_train_deepspeed": ("checkpoint*", "train*", "probe.jsonl", "lessons"),
    "le/iter1/01_evaluate": ("responses",),
    "compare/06_compare": ("*",),
}
"""What each stage leaves, relative to its folder: it is taken away for a cell that breaks this stage."""
ALONE = {
    "train": ("vanilla/iter0/01_evaluate", "le/iter1/03_instruct_LE", "le/iter1/05_train_deepspeed"),
    "ranks": ("vanilla/iter0/01_evaluate", "fine_tuning/iter1/05_train_deepspeed"),
}
"""Worlds that are made by stages alone, without notebooks: their cells break trainings and nothing else."""

# -- what must be the same

LEFT_OUT = re.compile(
    r"(^|/)(run\.log|\.lock|.*\.lease|\.jobs/.*|manifest\.jsonl|notebooks/.*|.*\.seconds\.csv|logs/.*|train\.out"
    r"|.*\.sqlite(-wal|-shm|\.lock)?|preflight\.json|.*\.pdf|checkpoint\.steps/.*|checkpoint/README\.md|train_config\.json|costs\.csv|report\.html)$"
)
"""Times, process numbers and places: logs, locks, the ledger (compared by its rows), PDF files (they hold the date),
costs, the checkpoint's card, and the configuration of a training, which names its folder."""
TIMES = re.compile(
    r"second|_s$|started|ended|created|time|tokens_per|memory|peak|_gb$|_mb$|resumed_from|elapsed|speed|_bytes$|usd"
)
"""Keys of JSON files that measure the machine and not the result."""
TOLERANCE = 1e-3
"""Of logged losses of two ranks, which add up in another order from run to run. One process: none."""


def artefacts(run: Path) -> dict[str, Any]:
    """A run's files by name: a digest, or what a JSON file says but for times; of a ledger, its replies."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.name.endswith(".replies.sqlite"):
            found[name] = _replies(path)
        elif path.is_file() and not path.is_symlink() and not LEFT_OUT.search(name):
            found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    data = path.read_bytes()
    with contextlib.suppress(ValueError):
        if path.suffix == ".json":
            return _timeless(json.loads(data))
        if path.name in ("train_log.jsonl", "probe.jsonl"):
            return [_timeless(json.loads(line)) for line in data.splitlines()]
    return hashlib.sha256(data).hexdigest()[:16]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if not TIMES.search(key)}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _replies(path: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
        return base.execute("SELECT key, status, reply FROM calls ORDER BY key").fetchall()


def differences(before: dict[str, Any], after: dict[str, Any], tolerance: float = 0.0) -> list[str]:
    """Names of files that differ, or that one of two runs lacks."""
    names = sorted(before.keys() | after.keys())
    return [name for name in names if not _alike(before.get(name), after.get(name), tolerance)]


def _alike(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if tolerance and isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance * max(1.0, abs(a))
    return bool(a == b)


# -- servers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Servers:
    """Target and instructor: real processes on fixed ports, which can be killed and started again."""

    folder: Path
    ports: dict[str, int]
    delays: dict[str, float] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    paid_before: int = 0
    wanted: tuple[str, ...] = ("target", "instructor")

    def start(self, who: str) -> None:
        port, delay = str(self.ports[who]), str(self.delays.get(who, 0.0))
        if who == "target":
            argv = [str(HERE / "target_server.py"), port, str(self.folder / "asked.log"), delay]
        else:
            argv = ["-m", "bench.practice_server", "--port", port, "--delay", delay, *self.options]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "LAIF_RUNS": "", "LAIF_FAULT": ""}
        self.running[who] = subprocess.Popen(
            [sys.executable, *argv], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        stdout = self.running[who].stdout
        assert stdout and stdout.readline(), f"the {who} server did not start"

    def kill(self, who: str) -> None:
        if who == "instructor":
            self.paid_before += self._paid_now()
        self.running[who].kill()
        self.running.pop(who).wait()

    def paid(self) -> int:
        """Answers that the instructor has charged for, over all its lives."""
        return self.paid_before + self._paid_now()

    def _paid_now(self) -> int:
        if "instructor" not in self.running:
            return 0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['instructor']}/stats", timeout=10) as reply:
            return int(json.load(reply)["answered"])

    def asked(self) -> list[str]:
        """Questions that the target has answered, in order."""
        log = self.folder / "asked.log"
        return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []

    def __enter__(self) -> "Servers":
        for who in self.wanted:
            self.start(who)
        return self

    def __exit__(self, *_: object) -> None:
        for who in list(self.running):
            self.running[who].kill()
            self.running.pop(who).wait()


# -- runs


@dataclass
class Run:
    """One run folder and the calls of ``laif run`` on it."""

    folder: Path
    recipe: Path
    wrapper: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    fault: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def temporary(self) -> Path:
        return self.folder / "t"

    @property
    def dir(self) -> RunDir:
        return RunDir(self.runs / self.recipe.stem)

    def start(self, stage: str = "") -> "subprocess.Popen[bytes]":
        """`laif run`, or one stage without notebook and kernel."""
        words = [str(HERE / "stage.py"), str(self.dir.path), stage]
        words = words if stage else ["-m", "laif_helpers.cli", "run", str(self.recipe)]
        argv = [*self.wrapper, sys.executable, *words]
        ours = {
            "LAIF_RUNS": str(self.runs),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(HERE / "hook"), str(ROOT)]),
            "LAIF_FAULT": json.dumps(self.fault | {"flag": str(self.folder / "flag")}) if self.fault else "",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        environment = os.environ | {"OPENAI_API_KEY": KEY, "HF_TOKEN": KEY}
        with (self.folder / "output").open("ab") as log:
            return subprocess.Popen(
                argv,
                env=environment | ours | self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    @property
    def happened(self) -> bool:
        """Whether the fault that was asked for has come about."""
        return (self.folder / "flag").exists()

    def finish(self, stage: str = "") -> int:
        runner = self.start(stage)
        try:
            return runner.wait(PATIENCE_S)
        finally:
            if runner.poll() is None:
                runner.kill()
                runner.wait()

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started for this run, known by its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                same = process.environ().get("LAIF_RUNS") == str(self.runs)
                if same and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def victim(self, who: str) -> psutil.Process | None:
        """The process of that role; of the ranks the second, which writes no log."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if MODULES[who] in words and (who == "launcher" or MODULES["launcher"] not in words):
                    found.append(process)
        return max(found, key=lambda process: process.pid) if found else None

    def left(self, patience: float = 15.0) -> list[str]:
        """Processes that are still there after a while."""
        deadline = time.monotonic() + patience
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"process {process.pid}" for process in alive]

    def litter(self) -> list[str]:
        """Temporary files and folders that nobody will remove any more."""
        half = re.compile(r"^\..*\.([a-z0-9_]{8}|part\..*|partial)$|^checkpoint\.(part|unfinished)")
        own = [path.name for path in self.temporary.iterdir() if not path.name.startswith(("laif-caches", "torch"))]
        own = [name for name in own if not name.startswith(("pymp-", ".ses"))]
        notes = [path.name for path in self.dir.path.glob(".jobs/*.scratch")]
        return own + notes + [path.name for path in self.dir.path.rglob("*") if half.match(path.name)]

    def metrics(self, stage: str) -> dict[str, Any]:
        """What a training has measured of itself."""
        found: dict[str, Any] = json.loads((self.dir.path / stage).parent.joinpath("train_metrics.json").read_text())
        return found

    def undo(self, *stages: str) -> None:
        """As if these stages had not run yet."""
        for stage in stages:
            place = self.dir.path / stage.rpartition("/")[0]
            for pattern in FILES[stage]:
                for path in place.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not self.dir.manifest.is_file():
            return
        rows = [json.loads(line) for line in self.dir.manifest.read_text(encoding="utf-8").splitlines()]
        kept = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["stage"] not in stages]
        self.dir.manifest.write_text("".join(kept), encoding="utf-8")

    def holding(self, word: str) -> list[str]:
        """Files of the run that hold a word."""
        files = [path for path in self.dir.path.rglob("*") if path.is_file()]
        return [path.name for path in files if word.encode() in path.read_bytes()]

    def ledger_rows(self, status: str) -> int:
        ledger = self.dir.path / "le" / "iter1" / "instruct" / "le.replies.sqlite"
        if not ledger.is_file():
            return 0
        try:
            with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=5)) as base:
                return int(base.execute("SELECT COUNT(*) FROM calls WHERE status = ?", (status,)).fetchone()[0])
        except sqlite3.Error:
            return 0


def wait(condition: Callable[[], Any], what: str, patience: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {patience:g} s")
        time.sleep(0.002)


@contextlib.contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[None]:
    """A file system of so many megabytes at ``place``; none if 0."""
    if not size_mb:
        yield
        return
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size_mb}m", "laif-faults", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@dataclass
class World:
    """A finished run that nobody disturbed, and copies of it."""

    name: str
    folder: Path
    ports: dict[str, int]
    paid: int = 0
    expected: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @contextlib.contextmanager
    def copy(self, *undone: str, disk_mb: int = 0) -> Iterator[Run]:
        """The finished run in a folder of its own, without what these stages had done; on a small disk if asked."""
        with tempfile.TemporaryDirectory(prefix="lf", dir="/tmp") as place, small_disk(Path(place) / "runs", disk_mb):
            shutil.copytree(self.folder / "reference" / "runs", Path(place) / "runs", symlinks=True, dirs_exist_ok=True)
            run = Run(Path(place), self.recipe)
            run.undo(*undone)
            try:
                yield run
            finally:
                for process in run.processes():
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(signal.SIGKILL)


def source_hash() -> str:
    """Of the product and of the matrix: a reference run belongs to one state of both."""
    files = [*sorted((ROOT / "laif_helpers").rglob("*.py")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
    files += [HERE / "world.py", HERE / "target_server.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:10]


def make(name: str, folder: Path, stages: tuple[str, ...] = ()) -> World:
    """The world of that name under ``folder``, as it was left there or made anew; with ``stages`` by these alone."""
    place, stages = folder / name, stages or ALONE.get(name, ())
    about = place / "about.json"
    if not about.is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        world = World(name, place, {who: free_port() for who in ("target", "instructor")})
        urls = {who: f"http://127.0.0.1:{port}/v1" for who, port in world.ports.items()}
        world.recipe.write_text(RECIPES[name].format(**urls), encoding="utf-8")
        (place / "reference").mkdir()
        run = Run(place / "reference", world.recipe)
        with Servers(place, world.ports) as servers:
            if stages:
                run.dir.path.mkdir(parents=True)
                shutil.copy(world.recipe, run.dir.recipe)
            for stage in stages or ("",):
                assert run.finish(stage) == 0, run.output[-3000:]
            about.write_text(json.dumps({"ports": world.ports, "paid": servers.paid()}), encoding="utf-8")
    read = json.loads(about.read_text(encoding="utf-8"))
    world = World(name, place, read["ports"], read["paid"])
    world.expected = artefacts(place / "reference" / "runs" / name)
    return world
