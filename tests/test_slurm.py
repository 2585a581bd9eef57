"""The runner on a real SLURM: a controller and a node's daemon of its own, started for these tests on this machine."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Toy, write_toy

from laif_helpers import runner
from laif_helpers.runner import executors, manifest

pytestmark = pytest.mark.slow
CONFIGURATION = """ClusterName=laif
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SrunPortRange={ports[2]}-{last}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a running cluster of one node; its configuration is what SLURM's commands read."""
    pytest.importorskip("submitit", reason="submitit is part of the extra 'cluster'")
    daemons = [shutil.which(name) or shutil.which(name, path="/usr/sbin") for name in ("slurmctld", "slurmd")]
    if not all(daemons) or os.geteuid() != 0:
        pytest.skip("needs slurmctld and slurmd (Debian: slurmctld, slurmd, slurm-client), started as root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = free_ports(3)
    text = CONFIGURATION.format(folder=folder, host=socket.gethostname(), user="root", ports=ports, last=ports[2] + 50)
    (folder / "slurm.conf").write_text(text)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    started = []
    try:
        for daemon, log in zip(daemons, ("controller.out", "node.out"), strict=True):
            with (folder / log).open("wb") as sink:
                started.append(subprocess.Popen([str(daemon), "-D"], stdout=sink, stderr=sink))
        deadline = time.monotonic() + 120
        while "idle" not in ask("sinfo", "-h", "-o", "%T"):
            assert time.monotonic() < deadline, (folder / "node.log").read_text()
            time.sleep(0.2)
        yield folder
    finally:
        ask("scancel", "--user", "root")
        for process in reversed(started):
            process.terminate()
            process.wait(30)
        del os.environ["SLURM_CONF"]


@pytest.fixture
def slurm(toy: Toy, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy recipe, whose stages go to the cluster."""
    engine = executors.Slurm({"time": 10})
    monkeypatch.setattr(executors, "get", lambda name, slurm: engine)
    monkeypatch.setattr(executors, "LOOK_S", 0.5)
    monkeypatch.setattr(executors, "LOST_S", 3.0)
    return toy


def test_slurm_runs_the_same_stages(slurm: Toy) -> None:
    assert runner.run(slurm.plan(iterations=0)) == 0
    assert {row["status"] for row in manifest.rows(slurm.run_dir)} == {"done"}
    assert "versions" in manifest.rows(slurm.run_dir)[0]


def test_a_failed_notebook_is_a_failed_stage_and_is_not_tried_again(slurm: Toy) -> None:
    write_toy(slurm.notebooks, "01_evaluate", work='raise ValueError("on the node")')
    assert runner.run(slurm.plan(iterations=0)) == 1
    (row,) = [row for row in manifest.rows(slurm.run_dir) if row["status"] != "skipped"]
    assert row["reason"] == "ValueError: on the node"


def test_a_job_that_slurm_ended_is_a_failed_stage(slurm: Toy) -> None:
    """Cancelled by somebody else, killed with its node: the runner does not wait for ever."""
    note = slurm.root / "started"
    write_toy(slurm.notebooks, "01_evaluate", work=f"import time\nPath({str(note)!r}).touch()\ntime.sleep(600)")
    canceller = subprocess.Popen(
        ["bash", "-c", f"until [[ -e {note} ]]; do sleep 0.2; done; squeue -h -o %A | xargs scancel"]
    )
    assert runner.run(slurm.plan(iterations=0)) == 1
    canceller.wait(60)
    (row,) = [row for row in manifest.rows(slurm.run_dir) if row["status"] != "skipped"]
    assert row["status"] == "failed"
    write_toy(slurm.notebooks, "01_evaluate")
    assert runner.run(slurm.plan(iterations=0)) == 0, "the same command goes on"


def test_options_that_sbatch_does_not_know(cluster: Path) -> None:
    with pytest.raises(ValueError, match=r"slurm: .*partitoin.*name options as submitit does"):
        executors.Slurm({"partitoin": "gpu"})


def test_a_machine_without_slurm_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is part of the extra 'cluster'")
    monkeypatch.setattr(executors.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="executor 'slurm' needs sbatch, which this machine does not have"):
        executors.get("slurm")
