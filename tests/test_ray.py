"""The runner on a real Ray: a cluster of several nodes on this machine, whose workers, nodes and head are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Toy, write_toy

from laif_helpers.paths import ROOT
from laif_helpers.runner import loop, manifest, ray_nodes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="processes are tied by prctl")]
FIRST = "vanilla/iter0/01_evaluate"
KEY = "sk-not-to-be-found"
QUICK = {"health_check_period_ms": 1000, "health_check_failure_threshold": 8}
DRIVER = """
import sys
from pathlib import Path
from laif_helpers.runner import loop
from laif_helpers.runner import plan, ray_tasks
ray_tasks.LOOK_S, ray_tasks.SILENT_S = 0.5, 2.0
made = plan.make(Path(sys.argv[1]), notebooks=Path(sys.argv[2]))
del made.stages[1:]  # the others would do the same
try:
    sys.exit(loop.run(made, executor="ray"))
except (ValueError, ConnectionError) as error:
    print(f"laif: {error}")
    sys.exit(2)
"""
WORK = """
import os, time, psutil
stage = psutil.Process().parent()
assert os.environ["OPENAI_API_KEY"], "a key goes with the stage"
with Path({note!r}).open("a") as note:
    note.write(json.dumps([os.environ["NODE"], stage.ppid(), stage.pid, os.getpid()]) + "\\n")
while not Path({go!r}).exists():
    time.sleep(0.05)
"""


class Cluster:
    """A head without cores, on which no stage runs, and nodes of one core each, which a variable names."""

    def __init__(self) -> None:
        from ray import cluster_utils

        self.ray = cluster_utils.Cluster()
        self.nodes: dict[str, Any] = {}
        self.add("head", num_cpus=0, include_dashboard=False, no_monitor=True, _system_config=QUICK)

    def add(self, name: str, variables: dict[str, str] | None = None, **options: Any) -> None:
        known = {"NODE": name, **(variables or {})}
        options = {"num_cpus": 1, "node_name": name, "include_log_monitor": False, "env_vars": known} | options
        for _ in range(3):  # Ray gives a node 15 s to start its agents, which a busy machine may not do
            try:
                self.nodes[name] = self.ray.add_node(**options)
                return
            except Exception as error:
                why = str(error)
        pytest.fail(why)

    def kill(self, name: str) -> None:
        self.ray.remove_node(self.nodes.pop(name), allow_graceful=False)


class Driver:
    """``laif run --executor ray`` of the toy recipe, in a process of its own, and what its first stage says of itself:
    node, worker, stage and kernel, once for each time that it begins."""

    def __init__(self, toy: Toy, cluster: Cluster, work: str = WORK) -> None:
        self.toy, self.note, self.go = toy, toy.root / "began", toy.root / "go"
        write_toy(toy.notebooks, "01_evaluate", work=work.format(note=str(self.note), go=str(self.go)))
        toy.plan(iterations=0)
        self.environment = os.environ | {"RAY_ADDRESS": cluster.ray.address, "OPENAI_API_KEY": KEY}

    def start(self) -> None:
        argv = [sys.executable, "-c", DRIVER, str(self.toy.root / "toy.yaml"), str(self.toy.notebooks)]
        self.process = subprocess.Popen(
            argv, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def end(self) -> tuple[int, str]:
        text, _ = self.process.communicate(timeout=300)
        return self.process.returncode, text

    def run(self) -> tuple[int, str]:
        self.start()
        return self.end()

    def began(self, times: int) -> list[list[Any]]:
        wait_for(lambda: self.note.is_file() and self.note.read_text().count("\n") >= times)
        return [json.loads(line) for line in self.note.read_text().splitlines()]

    @property
    def row(self) -> dict[str, Any]:
        return manifest.latest(self.toy.run_dir)[FIRST]


def wait_for(reached: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    pytest.importorskip("ray", reason="Ray is part of the extra 'cluster'")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("RAY_raylet_start_wait_time_s", "30")
    patch.setenv("RAY_worker_niceness", "0")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def cluster(surroundings: None) -> Iterator[Cluster]:
    made = Cluster()
    made.add("a")
    yield made
    made.ray.shutdown()


def test_a_lost_worker_and_a_lost_node_cost_a_stage_its_start_and_no_more(toy: Toy, cluster: Cluster) -> None:
    driver = Driver(toy, cluster)
    driver.start()
    (first,) = driver.began(1)
    os.kill(first[1], signal.SIGKILL)
    _, second = driver.began(2)
    wait_for(lambda: gone(first[1:]))
    cluster.add("b")
    cluster.kill("a")
    *_, third = driver.began(3)
    driver.go.touch()
    code, text = driver.end()
    assert code == 0, text
    assert [first[0], second[0], third[0]] == ["a", "a", "b"]
    assert gone([*second[1:], *third[1:]])
    assert len(driver.row["lost"]) == 2 and "node" in driver.row["lost"][1]
    assert (toy.run_dir.path / "run.log").read_text().count("lost, begins again") == 2
    assert "raylet" not in text, "Ray's own logs are no part of ours"
    for path in (path for path in toy.root.rglob("*") if path.is_file()):
        assert KEY not in path.read_text(errors="replace"), path


@pytest.mark.thorough
def test_a_stage_whose_workers_all_die_is_given_up(toy: Toy, cluster: Cluster) -> None:
    driver = Driver(toy, cluster, work=WORK.replace("while", "os.kill(stage.ppid(), 9)\nwhile"))
    assert driver.run()[0] == 1
    assert len(driver.began(3)) == 3
    assert "worker was lost 3 times" in driver.row["reason"] and len(driver.row["lost"]) == 2


def test_a_stage_outlives_its_runner_and_the_next_one_finds_it_and_how_it_failed(toy: Toy, cluster: Cluster) -> None:
    driver = Driver(toy, cluster, work=WORK + 'raise ValueError("on the node")')
    driver.start()
    driver.began(1)
    driver.process.kill()
    driver.end()
    (toy.run_dir.path / ".lock").write_text("")
    driver.start()
    wait_for(lambda: FIRST in (toy.run_dir.path / ".lock").read_text())
    driver.go.touch()
    code, text = driver.end()
    assert code == 1, text
    assert len(driver.began(1)) == 1, "neither the new runner nor the failure of its notebook begins it again"
    assert (driver.row["why"], driver.row["reason"]) == ("taken over", "ValueError: on the node")


def test_a_head_that_dies_ends_the_run_with_a_sentence_and_the_next_cluster_goes_on(toy: Toy, cluster: Cluster) -> None:
    lost = Cluster()
    lost.add("a")
    driver = Driver(toy, lost)
    driver.start()
    (first,) = driver.began(1)
    lost.ray.head_node.kill_gcs_server(check_alive=False)
    began = time.monotonic()
    code, text = driver.end()
    assert (code, time.monotonic() - began < 60) == (2, True), text
    assert "the head of the Ray cluster" in text and "the same command goes on from here" in text
    lost.ray.shutdown()
    wait_for(lambda: gone(first[1:]))
    driver.environment["RAY_ADDRESS"] = cluster.ray.address
    driver.go.touch()
    code, text = driver.run()
    assert code == 0, text
    assert len(driver.began(2)) == 2


ASK = """
import json, sys
from pathlib import Path
from laif_helpers.runner import ray_nodes, ray_tasks
engine = ray_tasks.Ray()
found = {}
for node in engine.nodes:
    try:
        found[node["NodeName"]] = ray_nodes.check([node], Path(sys.argv[1])) or []
    except ValueError as error:
        found[node["NodeName"]] = [str(error)]
try:
    engine.check(Path(sys.argv[1]), 3)
except ValueError as error:
    found["GPUs"] = [str(error)]
print(json.dumps(found))
"""


@pytest.mark.thorough
def test_each_node_is_asked_before_work_whether_it_sees_the_same(tmp_path: Path, surroundings: None) -> None:
    made = Cluster()
    try:
        made.add("good", num_gpus=2)
        for name, line in {
            "none": "import sys\nsys.modules['laif_helpers'] = None",
            "late": "import time\nnow = time.time\ntime.time = lambda: now() - 3600",
            "other": "",
        }.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "sitecustomize.py").write_text(line)
            if name == "other":
                shutil.copytree(ROOT / "laif_helpers", tmp_path / name / "laif_helpers")
                (tmp_path / name / "laif_helpers" / "stats.py").write_text("# another version")
            path = os.pathsep.join([str(tmp_path / name), os.environ["PYTHONPATH"]])
            made.add(name, {"PYTHONPATH": path})
        environment = os.environ | {"RAY_ADDRESS": made.ray.address}
        argv = [sys.executable, "-c", ASK, str(tmp_path)]
        done = subprocess.run(
            argv, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True, timeout=300
        )
        found = json.loads(done.stdout.splitlines()[-1])
    finally:
        made.ray.shutdown()
    assert found["good"] == []
    assert "node none" in found["none"][0] and "has no laif_helpers" in found["none"][0]
    assert "another version of laif_helpers" in found["other"][0]
    assert "clock of node late" in found["late"][0] and "behind this machine's" in found["late"][0]
    assert "num_processes 3 needs 3 GPUs on one node" in found["GPUs"][0]


def test_a_node_that_does_not_see_the_run_folder_or_has_another_time(tmp_path: Path) -> None:
    node, run = {"NodeName": "b", "NodeID": "7"}, tmp_path / "run" / "x" / "y"
    own = {"package": "1", "checkout": True, "sees": False, "time": 1e9}
    with pytest.raises(ValueError, match=r"node b .* does not see the run folder .*set LAIF_RUNS to a shared folder"):
        ray_nodes.refuse(node, own, own, run)
    run.mkdir(parents=True)
    (run / "7").touch()
    ray_nodes.refuse(node, own | {"sees": True, "time": 1e9 + 60}, own, run)
    with pytest.raises(ValueError, match=r"clock of node b .* is 3600 s behind this machine's; set it"):
        ray_nodes.refuse(node, own | {"sees": True, "time": 1e9 - 3600}, own, run)


def test_a_ray_of_our_own_starts_as_we_need_it_or_says_why_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def too_slow(**_: Any) -> None:
        seen.update(os.environ)
        raise Exception("The current node timed out during startup.")  # what Ray 2.60 raises on a busy machine

    monkeypatch.setattr("ray.init", too_slow)
    for name in ("RAY_ADDRESS", "RAY_worker_niceness"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectionError, match=r"RAY_ADDRESS is not set.*node timed out during startup"):
        loop.engine("ray")
    assert seen["RAY_worker_niceness"] == "0"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head"])
def test_no_cluster_at_the_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=rf"no Ray cluster at RAY_ADDRESS '{address}'.*ray start --head"):
        loop.engine("ray")
