"""Starts a stage's process: on this machine, as a Ray task, or as a SLURM job, on nodes that share the run folder.

Each executor has ``start(job, log, threads, gpus)`` → a handle with ``poll() -> exit code | None``, and
``end(handles)``; that is all the runner knows of them.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from laif_helpers.paths import ROOT

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
GRACE_S = 5.0


def command(job: Path, parent: int) -> list[str]:
    return [sys.executable, "-u", "-m", "laif_helpers.runner.stage_run", str(job), str(parent)]


FOREIGN = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONOPTIMIZE", "MPLBACKEND")
"""Variables that a user has set for other programs, and that would change or break a stage."""


def environment(threads: int) -> dict[str, str]:
    """The caller's environment with as many threads as a stage may use, if the caller has not set them, and without
    what is meant for other programs."""
    wanted = dict.fromkeys(THREADS, str(threads)) | {
        "TOKENIZERS_PARALLELISM": "false",  # it warns once per fork, and the threads above are shared out already
        "TQDM_MININTERVAL": "5",  # each refresh of a text bar would be a line of the log
    }
    given = {name: value for name, value in os.environ.items() if name not in FOREIGN}
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
    names = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR")
    models = home / ".cache" / "huggingface"
    kept = {"HF_HOME": str(models)} if models.is_dir() else {}
    return {name: os.environ.get(name) or str(place) for name in names} | kept | _named("HF_HOME")


def _named(variable: str) -> dict[str, str]:
    return {variable: os.environ[variable]} if os.environ.get(variable) else {}


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
    """Stages as child processes in sessions of their own, which Linux ends with the runner (``kernel``)."""

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> "subprocess.Popen[bytes]":
        with log.open("ab") as sink:
            return subprocess.Popen(
                command(job, os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(threads),
                start_new_session=True,
            )

    def end(self, handles: Iterable["subprocess.Popen[bytes]"]) -> None:
        """End stages with everything they started, in whatever session: asked first, killed after a grace."""
        import psutil

        processes = []
        for handle in handles:
            try:
                parent = psutil.Process(handle.pid)
                processes += [*parent.children(recursive=True), parent]
            except psutil.NoSuchProcess:
                continue
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
            _, processes = psutil.wait_procs(processes, timeout=GRACE_S)


class RayTask:
    """A Ray task that looks like a process: ``poll()``."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def poll(self) -> int | None:
        import ray

        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            return ray.get(self.reference)
        except ray.exceptions.RayError as error:
            print(f"Ray lost the task: {str(error).splitlines()[0]}", file=sys.stderr)
            return 1


class Ray:
    """Stages as Ray tasks with CPU and GPU counts; every node needs the checkout and the run folder at its path."""

    def __init__(self) -> None:
        if not importlib.util.find_spec("ray"):
            raise ValueError("executor 'ray' needs Ray; install it with: pip install -e '.[cluster]'")
        import ray

        # RAY_ADDRESS or a cluster already started on this machine is joined; else Ray starts one here.
        ray.init(log_to_driver=False, logging_level="error", include_dashboard=False, ignore_reinit_error=True)
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> RayTask:
        import ray

        task = ray.remote(num_cpus=threads, num_gpus=gpus if self.has_gpus else 0, max_retries=0)(run_here)
        return RayTask(task.remote(str(job), str(log), threads))

    def end(self, handles: Iterable[RayTask]) -> None:
        """Leave the cluster. Ray ends the workers of our job, and Linux each stage with its worker."""
        import ray

        for handle in handles:
            ray.cancel(handle.reference, force=True)
        time.sleep(0.5)
        ray.shutdown()


class SlurmJob:
    """A SLURM job that looks like a process: ``poll()``."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.looked, self.gone = time.monotonic(), 0

    def poll(self) -> int | None:
        """The stage's exit code once its result lies in the shared folder; 1 if SLURM no longer knows the job."""
        if not self.job.paths.result_pickle.exists() and not self._lost():
            return None
        try:
            return int(self.job.result())
        except Exception as error:  # submitit has a class for each way to fail; its sentence goes to the user
            print(f"SLURM job {self.job.job_id}: {str(error).splitlines()[0]}", file=sys.stderr)
            return 1

    def _lost(self) -> bool:
        """Whether the queue has lacked the job so long that a slow file system is no excuse.

        ``sacct``, which submitit asks, needs accounting, which small clusters do not keep.
        """
        if time.monotonic() - self.looked < LOOK_S:
            return False
        self.looked = time.monotonic()
        queued = ["squeue", "--noheader", "--jobs", str(self.job.job_id), "--format", "%T"]
        found = subprocess.run(queued, capture_output=True, text=True, check=False)
        known = bool(found.stdout.strip()) or (found.returncode != 0 and "Invalid job id" not in found.stderr)
        self.gone = 0 if known else self.gone + 1
        return self.gone * LOOK_S > LOST_S


LOOK_S, LOST_S = 5.0, 60.0


class Slurm:
    """Stages as SLURM jobs with their cores and GPUs; every node needs the checkout and the run folder at its path.

    ``options`` are sbatch's own (``partition``, ``account``, ``mem``, ``time`` in minutes …). A stage whose job SLURM
    ends (its time is over, its node is gone) has failed; the same command goes on from what it has left.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if not importlib.util.find_spec("submitit"):
            raise ValueError("executor 'slurm' needs submitit; install it with: pip install -e '.[cluster]'")
        if not shutil.which("sbatch"):
            raise ValueError("executor 'slurm' needs sbatch, which this machine does not have; use a login node")
        self.options = {"time": 24 * 60, **options}
        self._executor(Path(tempfile.gettempdir()), {})
        offered = subprocess.run(["sinfo", "--noheader", "--format", "%G"], capture_output=True, text=True, check=False)
        self.has_gpus = "gpu" in offered.stdout

    def _executor(self, folder: Path, needs: dict[str, Any]) -> Any:
        import submitit

        executor = submitit.SlurmExecutor(folder=folder / "slurm")
        try:
            executor.update_parameters(**needs, **self.options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"slurm: {' '.join(str(error).split())[:300]}; name options as submitit does") from None
        return executor

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> SlurmJob:
        needs = {"job_name": f"laif-{job.stem}"[:60], "cpus_per_task": threads}
        executor = self._executor(job.parent, needs | ({"gpus_per_node": gpus} if gpus and self.has_gpus else {}))
        try:
            return SlurmJob(executor.submit(run_here, str(job), str(log), threads))
        except Exception as error:  # sbatch's own words, under submitit's class
            raise ValueError(f"SLURM took no job: {error}; see the key slurm of the recipe") from None

    def end(self, handles: Iterable[SlurmJob]) -> None:
        for handle in handles:
            handle.job.cancel()


def run_here(job: str, log: str, threads: int) -> int:
    """What a worker of Ray or a job of SLURM does for a stage: the same child process as on one machine."""
    handle = Local().start(Path(job), Path(log), threads, 0)
    return handle.wait()


def get(name: str, slurm: dict[str, Any] | None = None) -> Local | Ray | Slurm:
    """The executor of that name; ``slurm``: options for sbatch. Raises ValueError for an unknown name, a missing extra
    or a machine without SLURM."""
    if name not in ("local", "ray", "slurm"):
        raise ValueError(f"unknown executor {name!r}; known: local, ray, slurm")
    if name == "slurm":
        return Slurm(slurm or {})
    return Ray() if name == "ray" else Local()
