"""Runs stages on the nodes of a Ray cluster, each in an actor of its own with its cores and GPUs.

An actor is detached: it outlives the runner. If a runner was killed, the next one finds the stages that go on without
it (``find``). If a node or a worker dies, its stage begins again elsewhere, at most ``RETRIES`` times; a stage whose
notebook failed has a result, and is never repeated.
"""

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from laif_helpers.records import read_json
from laif_helpers.runner import executors, ray_nodes
from laif_helpers.runner.scratch import RESULT

NAMESPACE = "laif"
RETRIES = 2
LINGER_S = 60.0  # a finished actor leaves by itself, because the runner that would end it may be gone
LOOK_S, SILENT_S = 2.0, 10.0
OURS = ("LAIF_", "HF_", "OPENAI_", "WANDB_")
"""Variables that go with a stage to its node, folders and keys; in memory only. All others are the node's own."""


class StageActor:
    """What runs on a node: the same child process as on one machine."""

    code: int | None = None

    def run(self, job: str, log: str, threads: int, variables: dict[str, str]) -> int:
        os.environ.update(variables)
        self.code = executors.run_here(job, log, threads)
        leaving = threading.Timer(LINGER_S, os._exit, (0,))
        leaving.daemon = True
        leaving.start()
        return self.code

    def wait(self) -> int | None:
        """The exit code, for another runner than the one that asked for ``run``: calls are answered in turn."""
        return self.code


class RayTask:
    """A stage's actor that looks like a process: ``poll()``.

    Attributes:
        lost: why the stage began again, one sentence for each time.
        failure: why it has failed, if not in its notebook.
    """

    def __init__(self, engine: "Ray", job: Path, actor: Any = None) -> None:
        self.engine, self.job, self.actor = engine, job, actor
        self.needs = read_json(job)["needs"]
        self.lost: list[str] = []
        self.failure = ""
        if actor is None:
            self._begin()
        else:
            self.reference = actor.wait.remote()

    def _begin(self) -> None:
        self.actor = self.engine.actor(self.job, self.needs)
        variables = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
        self.reference = self.actor.run.remote(str(self.job), self.needs["log"], self.needs["threads"], variables)

    def poll(self) -> int | None:
        import ray

        self.engine.look()
        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            code = ray.get(self.reference)
        except ray.exceptions.ActorUnavailableError:  # the network, perhaps: ask again
            self.reference = self.actor.wait.remote()
            return None
        except ray.exceptions.RayActorError as error:
            return self._again(_cause(error))
        except ray.exceptions.RayError as error:
            self.failure = f"its node could not run it: {_cause(error)}"
            return 1
        if code is None:  # its runner was killed before it could say what to run
            return self._again("its runner was killed while it began")
        ray.kill(self.actor)
        return int(code)

    def _again(self, why: str) -> int | None:
        """Begin again on another node; 1 if that was tried often enough, 0 if the stage had come to its end."""
        if self.job.with_suffix(RESULT).is_file():
            return 0
        if len(self.lost) == RETRIES:
            self.failure = f"its node or its worker was lost {RETRIES + 1} times; the last time: {why}"
            return 1
        self.lost.append(why)
        self._say(f"lost, begins again: {why}")
        self._begin()
        return None

    def _say(self, what: str) -> None:
        line = f"Ray: {self.job.stem.replace('__', '/')} {what}"
        print(line, file=sys.stderr)
        with Path(self.needs["log"]).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def _cause(error: Exception) -> str:
    """Ray's message without the table of ids in its middle."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(lines[1:2] or lines or [type(error).__name__])[:300]


class Ray:
    """Stages as Ray actors; every node needs the checkout and the run folder at its path.

    Joins the cluster at RAY_ADDRESS, or one that was started on this machine, or starts one here. Raises ValueError if
    Ray is not installed, ConnectionError if there is no cluster at the address.
    """

    def __init__(self) -> None:
        if not importlib.util.find_spec("ray"):
            raise ValueError("executor 'ray' needs Ray; install it with: pip install -e '.[cluster]'")
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # pages of its own logs whenever a node dies
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "30")  # 15 are too few on a busy machine
        os.environ.setdefault("RAY_worker_niceness", "0")  # else 15: beside any other work a stage would stand still
        import ray

        address = os.environ.get("RAY_ADDRESS", "")
        _knock(address)
        try:
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except Exception as error:  # Ray's own for a node that starts too slowly is a bare one
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConnectionError(f"Ray could not join a cluster ({_at(address)}): {why}") from None
        self.address = ray.get_runtime_context().gcs_address
        self.nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        self.has_gpus = any(node["Resources"].get("GPU") for node in self.nodes)
        self.looked = self.heard = time.monotonic()

    def check(self, run: Path, processes: int) -> None:
        """Raise ValueError, in one sentence, if the cluster cannot run the stages: too few GPUs or cores on each node,
        a node with another checkout, without the run folder, or with another time."""
        kind = "GPU" if self.has_gpus else "CPU"
        most = int(max((node["Resources"].get(kind, 0) for node in self.nodes), default=0))
        if processes > most:
            raise ValueError(
                f"num_processes {processes} needs {processes} {kind}s on one node, and no node of the Ray cluster has "
                f"more than {most}; set num_processes: {most}, or start a larger node"
            )
        ray_nodes.check(self.nodes, run)

    def threads(self, workers: int) -> int:
        """Cores of a stage, if so many stages run side by side: its share, at most what the smallest node has."""
        cores = [int(node["Resources"]["CPU"]) for node in self.nodes]
        return max(1, min(*cores, sum(cores) // workers))

    def start(self, job: Path, log: Path, threads: int, gpus: int) -> RayTask:
        import ray

        if (old := self._named(job)) is not None:
            ray.kill(old)
        return RayTask(self, job)

    def find(self, job: Path) -> RayTask | None:
        """The stage that a killed runner has left at work; None if there is none."""
        actor = self._named(job)
        return None if actor is None else RayTask(self, job, actor)

    def actor(self, job: Path, needs: dict[str, Any]) -> Any:
        import ray

        options = {
            "num_cpus": needs["threads"] if self.has_gpus else max(needs["threads"], needs["gpus"]),
            "num_gpus": needs["gpus"] if self.has_gpus else 0,
            "lifetime": "detached",
            "max_restarts": 0,
        }
        deadline = time.monotonic() + LINGER_S
        while True:
            try:
                return ray.remote(**options)(StageActor).options(name=str(job)).remote()
            except ValueError:  # the name of an actor that has just been ended is free after a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def look(self) -> None:
        """Raise ConnectionError if the cluster's head is gone: Ray itself would end this process after a minute."""
        now = time.monotonic()
        if now - self.looked < LOOK_S:
            return
        self.looked = now
        if _answers(self.address):
            self.heard = now
        elif now - self.heard > SILENT_S:
            raise ConnectionError(
                f"the head of the Ray cluster at {self.address} does not answer any more; start the cluster again, "
                "then the same command goes on from here"
            )

    def end(self, handles: Iterable[RayTask]) -> None:
        """End these stages and leave the cluster. Linux ends each stage with its actor's process."""
        import ray

        if _answers(self.address):
            for handle in handles:
                ray.kill(handle.actor)
        ray.shutdown()

    @staticmethod
    def _named(job: Path) -> Any:
        import ray

        with contextlib.suppress(ValueError):
            return ray.get_actor(str(job), namespace=NAMESPACE)
        return None


def _knock(address: str) -> None:
    """Raise ConnectionError if nobody listens at the address; Ray's own search takes half a minute."""
    place = address.removeprefix("ray://")
    if place not in ("", "auto", "local") and not _answers(place):
        raise ConnectionError(
            f"no Ray cluster at {_at(address)}: nobody answers there; start one with `ray start --head`, or unset "
            "RAY_ADDRESS to run on this machine"
        )


def _at(address: str) -> str:
    return f"RAY_ADDRESS {address!r}" if address else "RAY_ADDRESS is not set"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True
