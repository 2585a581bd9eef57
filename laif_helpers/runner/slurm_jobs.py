"""Runs stages as SLURM jobs with their cores and GPUs, through submitit; every node sees checkout and run folder.

What became of a job is read from its state, asked of the controller itself: ``sacct``, which submitit asks, needs
accounting, which small clusters do not keep. A job that was pre-empted or lost with its node is submitted again, and
its stage goes on from what is there; one whose time is over has failed. Jobs outlive the runner: the next one finds
them (``find``).
"""

import importlib.util
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from laif_helpers.records import read_json, write_json
from laif_helpers.runner import executors
from laif_helpers.runner.scratch import RESULT

LOOK_S, LOST_S = 5.0, 60.0
RETRIES = 10  # low-priority partitions pre-empt often
AGAIN = {"PREEMPTED": "it was pre-empted", "NODE_FAIL": "its node failed", "BOOT_FAIL": "its node did not start"}
OVER = {
    "TIMEOUT": "its time limit of {limit} is over; set a longer one, slurm: {{time: …}} (minutes), and run it again: "
    "it goes on from what is there",
    "OUT_OF_MEMORY": "it needed more memory than its job had; set slurm: {{mem: …}}",
    "CANCELLED": "somebody cancelled its job {id}",
    "DEADLINE": "its job {id} missed its deadline",
}
AT_WORK = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "RESIZING")


class SlurmJob:
    """A stage's job that looks like a process: ``poll()``.

    Attributes:
        lost: why the stage began again, one sentence for each time.
        failure: why it has failed, if not in its notebook.
    """

    def __init__(self, engine: "Slurm", job: Path, identity: str) -> None:
        self.engine, self.job, self.failure = engine, job, ""
        self.lost: list[str] = []
        self._watch(identity)

    def _watch(self, identity: str) -> None:
        import submitit

        self.slurm: Any = submitit.SlurmJob(self.job.parent / "slurm", identity)
        self.looked, self.gone, self.restarts = time.monotonic(), 0, 0

    def poll(self) -> int | None:
        """The stage's exit code once its result lies in the shared folder, or once SLURM has ended its job."""
        if self.slurm.paths.result_pickle.exists() and self.job.with_suffix(RESULT).exists():
            return 0
        if time.monotonic() - self.looked < LOOK_S:
            return None
        self.looked = time.monotonic()
        found = state(self.slurm.job_id)
        now = found.get("JobState", "")
        self._note_restarts(int(found.get("Restarts", 0)))
        if now in AT_WORK:
            self.gone = 0
            return None
        if now in AGAIN:
            return self._again(AGAIN[now])
        if now in OVER:
            self.failure = OVER[now].format(limit=found.get("TimeLimit", "?"), id=self.slurm.job_id)
            return 1
        return self._silent(now)

    def _note_restarts(self, restarts: int) -> None:
        if restarts > self.restarts:
            self.restarts = restarts
            self.slurm.paths.result_pickle.unlink(missing_ok=True)  # what the ended attempt said while it was ended
            self.lost.append("SLURM put its job back into the queue")

    def _again(self, why: str) -> int | None:
        if len(self.lost) >= RETRIES:
            self.failure = f"its job was lost {RETRIES + 1} times; the last time: {why}"
            return 1
        self.lost.append(why)
        self._watch(self.engine.submit(self.job))
        return None

    def _silent(self, now: str) -> int | None:
        """A job that has ended without the stage's word: killed, or the file system is slow to show it."""
        if self.slurm.paths.result_pickle.exists() and (code := self._code()):
            return code
        self.gone += 1
        if self.gone * LOOK_S <= LOST_S:
            return None
        self.failure = f"its job {self.slurm.job_id} ended without a result ({now or 'SLURM no longer knows it'})"
        return 1

    def _code(self) -> int:
        try:
            return int(self.slurm.result())
        except Exception as error:  # submitit has a class for each way to fail
            self.failure = f"its job {self.slurm.job_id} failed: {str(error).splitlines()[0]}"
            return 1


def state(identity: str) -> dict[str, str]:
    """What the controller says of a job: ``JobState``, ``TimeLimit``, ``Restarts`` …; {} if it knows no such job.

    ``RUNNING`` stands for a controller that does not answer now.
    """
    asked = ["scontrol", "--oneliner", "show", "job", identity]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return {} if "Invalid job id" in found.stderr else {"JobState": "RUNNING"}
    return dict(re.findall(r"(\w+)=(\S*)", found.stdout))


class Slurm:
    """Stages as SLURM jobs. ``options`` are sbatch's own (``partition``, ``account``, ``mem``, ``time`` in minutes …).

    Raises ValueError if submitit or SLURM is missing, or if an option is unknown.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if not importlib.util.find_spec("submitit"):
            raise ValueError("executor 'slurm' needs submitit; install it with: pip install -e '.[cluster]'")
        if not shutil.which("sbatch"):
            raise ValueError("executor 'slurm' needs sbatch, which this machine does not have; use a login node")
        self.options = {"time": 24 * 60, **options}
        self._executor(Path(tempfile.gettempdir()), {})
        wanted = ["--partition", str(options["partition"])] if "partition" in options else []
        asked = ["sinfo", "--noheader", "--Node", *wanted, "--format", "%c %G"]
        offered = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
        self.cores = [int(line.split()[0]) for line in offered] or [1]
        self.gpus = [sum(map(int, re.findall(r"gpu:(?:[^:,(]+:)?(\d+)", line))) for line in offered] or [0]

    def check(self, run: Path, processes: int) -> None:
        """Raise ValueError if no node has the cores or GPUs that a stage asks for."""
        if any(self.gpus) and processes > max(self.gpus):
            raise ValueError(
                f"num_processes {processes} needs {processes} GPUs on one node, and no node of SLURM's has more than "
                f"{max(self.gpus)}; set num_processes: {max(self.gpus)}, or another slurm: {{partition: …}}"
            )
        asked = max(int(self.options.get("cpus_per_task", 1)), 1 if any(self.gpus) else processes)
        if asked > max(self.cores):
            raise ValueError(
                f"a stage asks for {asked} cores (slurm: {{cpus_per_task: …}} or num_processes), and no node of "
                f"SLURM's has more than {max(self.cores)}"
            )

    def threads(self, workers: int) -> int:
        return max(1, min(self.cores) // workers)

    def _executor(self, folder: Path, needs: dict[str, Any]) -> Any:
        import submitit

        executor = submitit.SlurmExecutor(folder=folder / "slurm")
        try:
            ours = {"additional_parameters": {"requeue": True}, "signal_delay_s": 1}  # see in_job
            executor.update_parameters(**{**needs, **ours, **self.options})
        except (TypeError, ValueError) as error:
            raise ValueError(f"slurm: {' '.join(str(error).split())[:300]}; name options as submitit does") from None
        return executor

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> SlurmJob:
        if state(before := self._noted(job)).get("JobState") in AT_WORK and before:
            subprocess.run(["scancel", before], check=False)
        return SlurmJob(self, job, self.submit(job))

    def find(self, job: Path) -> SlurmJob | None:
        """The stage that a killed runner has left in the queue or at work; None if there is none."""
        identity = self._noted(job)
        return SlurmJob(self, job, identity) if identity and state(identity).get("JobState") in AT_WORK else None

    def submit(self, job: Path) -> str:
        """Put a stage into the queue and note its job's id. Raises ValueError with sbatch's own words."""
        wanted = read_json(job)["needs"]
        cores = wanted["threads"] if any(self.gpus) else max(wanted["threads"], wanted["gpus"])
        needs = {"job_name": f"laif-{job.stem}"[:60], "cpus_per_task": cores}
        needs |= {"gpus_per_node": wanted["gpus"]} if wanted["gpus"] and any(self.gpus) else {}
        executor = self._executor(job.parent, needs)
        try:
            submitted = executor.submit(in_job, str(job), wanted["log"], wanted["threads"])
        except Exception as error:  # sbatch's own words, under submitit's class
            raise ValueError(f"SLURM took no job: {error}; see the key slurm of the recipe") from None
        write_json(job.with_suffix(".slurm"), {"id": str(submitted.job_id)})
        return str(submitted.job_id)

    @staticmethod
    def _noted(job: Path) -> str:
        return str(read_json(job.with_suffix(".slurm"), {}).get("id", ""))

    def end(self, handles: Iterable[SlurmJob]) -> None:
        for handle in handles:
            handle.slurm.cancel()


def in_job(job: str, log: str, threads: int) -> int:
    """What a job does. SLURM itself ends or requeues it: submitit's own handler would report a failure before that, and
    its signal would end a job that is still starting."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    return executors.run_here(job, log, threads)
