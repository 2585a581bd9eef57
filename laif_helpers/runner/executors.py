"""Starts a stage's process: on this machine, as a Ray task, or as a SLURM job, on nodes that share the run folder.

Each executor has ``start(job, log, threads, gpus)`` → a handle with ``poll() -> exit code | None``; ``find(job)``, the
handle of a stage that a killed runner has left at work; ``threads(workers)``; ``check(run, processes)``, which raises
ValueError for what the place cannot do; and ``end(handles)``. That is all the runner knows of them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from laif_helpers import launch, machine
from laif_helpers.paths import ROOT

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
FOREIGN = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONDONTWRITEBYTECODE", "MPLBACKEND")
"""Variables that a user has set for other programs, and that would change, break or slow a stage: without bytecode each
one would compile torch and transformers anew, for 5 to 15 s."""


def environment(threads: int) -> dict[str, str]:
    """The caller's environment with as many threads as a stage may use, if the caller has not set them, and without
    what is meant for other programs."""
    wanted = dict.fromkeys(THREADS, str(threads)) | {
        "TOKENIZERS_PARALLELISM": "false",  # it warns once per fork, and the threads above are shared out already
        "TQDM_MININTERVAL": "5",  # each refresh of a text bar would be a line of the log
    }
    others = {name for name in os.environ if name in FOREIGN or launch.LAUNCHERS.match(name)}
    given = {name: value for name, value in os.environ.items() if name not in others}
    ours = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:IProgress not found",  # nobody looks at a widget here
        # numbers with a point and text in UTF-8, whatever the user's language
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
    }
    return wanted | given | ours | _caches()


def _caches() -> dict[str, str]:
    """Where libraries may keep what they make, if the home folder cannot be written; models already there stay."""
    home = Path.home()
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=home):
        return {}
    place = Path(tempfile.gettempdir()) / f"laif-caches-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():  # what lies there is run: compiled operators
        raise ValueError(f"{place} is another user's; set HOME to a folder that you can write")
    names = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR")
    models = home / ".cache" / "huggingface"
    kept = {"HF_HOME": os.environ.get("HF_HOME") or str(models)} if models.is_dir() else {}
    return {name: os.environ.get(name) or str(place) for name in names} | kept


def _device(own: list[str], threads: int) -> dict[str, str]:
    """A stage's own GPUs, and its share of their memory if stages that run beside it get the same ones."""
    beside = -(-machine.cores() // threads // len(launch.gpus()))
    return {"CUDA_VISIBLE_DEVICES": ",".join(own), launch.GPU_SHARE: str(1 / max(1, beside))}


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, and SIGINT does so too if it was ignored: a shell's background job, a
    batch script's. Only the main thread can; elsewhere nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Local:
    """Stages as child processes in sessions of their own, which Linux ends with the runner (``launch``)."""

    def __init__(self) -> None:
        self.placed: list[tuple[subprocess.Popen[bytes], list[str]]] = []

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> "subprocess.Popen[bytes]":
        own = self._quietest(gpus)
        with log.open("ab") as sink:
            handle = subprocess.Popen(
                [sys.executable, "-u", "-m", "laif_helpers.runner.stage_run", str(job), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(threads) | (_device(own, threads) if own else {}),
                start_new_session=True,
            )
        self.placed.append((handle, own))
        return handle

    def _quietest(self, count: int) -> list[str]:
        """The ``count`` GPUs with the fewest of this runner's stages: left alone, each stage would take the first one.

        None if there are fewer than that, as for a server of a target that may spread over them.
        """
        self.placed = [(handle, own) for handle, own in self.placed if handle.poll() is None]
        found, at_work = launch.gpus(), Counter(gpu for _, own in self.placed for gpu in own)
        return sorted(found, key=at_work.__getitem__)[:count] if count <= len(found) else []

    def find(self, job: Path) -> None:
        """Nothing outlives its runner here."""

    def threads(self, workers: int) -> int:
        return machine.cores() // workers

    def check(self, run: Path, processes: int) -> None:
        """Raise ValueError for fewer GPUs than a training will ask for: it runs after answers and lessons are paid."""
        launch.devices(processes)

    def end(self, handles: Iterable["subprocess.Popen[bytes]"]) -> None:
        launch.end(*handles)


def run_here(job: str, log: str, threads: int) -> int:
    """What a worker of Ray or a job of SLURM does for a stage: the same child process as on one machine."""
    handle = Local().start(Path(job), Path(log), threads, 0)
    return handle.wait()
