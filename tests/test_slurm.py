"""The runner on a real SLURM: a controller and a node's daemon of its own, started for these tests on this machine."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, write_toy

from laif_helpers.runner import attempts, history, loop, manifest, scratch, slurm_jobs

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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AuthInfo=cred_expire=5
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=cancelled Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
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
    monkeypatch.setattr(loop, "engine", lambda name, slurm: slurm_jobs.Slurm({"time": 10, **slurm}))
    monkeypatch.setattr(slurm_jobs, "LOOK_S", 0.5)
    monkeypatch.setattr(slurm_jobs, "LOST_S", 3.0)
    return toy


def test_slurm_runs_the_same_stages(slurm: Toy) -> None:
    assert loop.run(slurm.plan(iterations=0)) == 0
    assert {row["status"] for row in manifest.rows(slurm.run_dir)} == {"done"}
    assert "versions" in manifest.rows(slurm.run_dir)[0]


def test_a_failed_notebook_is_a_failed_stage_and_is_not_tried_again(slurm: Toy) -> None:
    write_toy(slurm.notebooks, "01_evaluate", work='raise ValueError("on the node")')
    assert loop.run(slurm.plan(iterations=0)) == 1
    (row,) = [row for row in manifest.rows(slurm.run_dir) if row["status"] != "skipped"]
    assert row["reason"] == "ValueError: on the node"


def test_a_job_that_slurm_ended_is_a_failed_stage(slurm: Toy) -> None:
    """Cancelled by somebody else, killed with its node: the runner does not wait for ever."""
    note = slurm.root / "started"
    write_toy(slurm.notebooks, "01_evaluate", work=f"import time\nPath({str(note)!r}).touch()\ntime.sleep(600)")
    canceller = subprocess.Popen(
        ["bash", "-c", f"until [[ -e {note} ]]; do sleep 0.2; done; squeue -h -o %A | xargs scancel"]
    )
    assert loop.run(slurm.plan(iterations=0)) == 1
    canceller.wait(60)
    (row,) = [row for row in manifest.rows(slurm.run_dir) if row["status"] != "skipped"]
    assert row["status"] == "failed"
    write_toy(slurm.notebooks, "01_evaluate")
    assert loop.run(slurm.plan(iterations=0)) == 0, "the same command goes on"


def begins(slurm: Toy, times: int) -> Path:
    """01 notes that it begins, and works for ever until it has begun so often; the note."""
    note = slurm.root / "began"
    work = (
        f"import time\nnote = Path({str(note)!r})\nwith note.open('a') as handle:\n    handle.write('x')\n"
        f"while len(note.read_text()) < {times}:\n    time.sleep(0.1)"
    )
    write_toy(slurm.notebooks, "01_evaluate", work=work)
    return note


@pytest.mark.parametrize(("partition", "why"), [("all", "back into the queue"), ("cancelled", "pre-empted")])
def test_a_pre_empted_stage_is_queued_again_and_goes_on(slurm: Toy, partition: str, why: str) -> None:
    note = begins(slurm, 2)
    urgent = "sbatch --parsable -p urgent -c 4 -o /dev/null --wrap 'sleep 1'"
    other = subprocess.Popen(["bash", "-c", f"until [[ -e {note} ]]; do sleep 0.2; done; {urgent}"])
    made = slurm.plan(iterations=0, slurm={"partition": partition})
    del made.stages[1:]
    assert loop.run(made) == 0
    assert other.wait(60) == 0
    row = manifest.latest(slurm.run_dir)["vanilla/iter0/01_evaluate"]
    assert len(row["lost"]) == 1 and why in row["lost"][0]


def test_a_stage_whose_time_is_over_fails_with_the_key_that_gives_it_more(slurm: Toy) -> None:
    begins(slurm, 2)
    assert loop.run(slurm.plan(iterations=0, slurm={"time": "0:01"})) == 1
    row = manifest.latest(slurm.run_dir)["vanilla/iter0/01_evaluate"]
    assert "time limit of" in row["reason"] and "slurm: {time: …}" in row["reason"] and "lost" not in row


def test_a_runner_that_was_killed_finds_its_job(slurm: Toy) -> None:
    note = begins(slurm, 1)
    made = slurm.plan(iterations=0)
    del made.stages[1:]
    assert loop.run(made) == 0
    (row,) = manifest.rows(slurm.run_dir)
    assert note.read_text() == "x"
    history.append(slurm.run_dir.manifest, row | {"status": "running"})
    job = attempts.job_of(made, made.stages[0])
    job.with_suffix(scratch.RESULT).unlink()
    engine = slurm_jobs.Slurm({"time": 10})
    note.unlink()
    engine.submit(job)
    assert loop.run(made) == 0
    assert (note.read_text(), manifest.rows(slurm.run_dir)[-1]["why"]) == ("x", "taken over")


@pytest.mark.parametrize("values", [{"num_processes": 64, "deepspeed": "zero2"}, {"slurm": {"cpus_per_task": 64}}])
def test_more_cores_than_any_node_has(slurm: Toy, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"asks for 64 cores .* no node of SLURM's has more than 4"):
        loop.run(slurm.plan(iterations=1, **values))
    assert not slurm.run_dir.manifest.exists()


def test_options_that_sbatch_does_not_know(cluster: Path) -> None:
    with pytest.raises(ValueError, match=r"slurm: .*partitoin.*name options as submitit does"):
        slurm_jobs.Slurm({"partitoin": "gpu"})


def test_a_machine_without_slurm_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is part of the extra 'cluster'")
    monkeypatch.setattr(slurm_jobs.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="executor 'slurm' needs sbatch, which this machine does not have"):
        loop.engine("slurm")
