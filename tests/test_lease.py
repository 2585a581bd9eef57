"""The lease that ends ranks on other nodes: real processes, with short times."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from laif_helpers.records import write_text
from laif_helpers.train import lease

EVERY, PATIENCE = 0.05, 4.0  # a busy machine may stand still for a second or two
LONG = 600.0  # patience that no test outlives: what ends the process is then something else
RANK = "import sys, time, pathlib; from laif_helpers.train import lease\n"
RANK += "lease.hold(pathlib.Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))\n"
RANK += "print('training', flush=True); time.sleep(120)"


@pytest.fixture
def rank(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A process that trains under the lease on ``tmp_path``, which lies there as a notebook's; its patience: param."""
    (tmp_path / lease.FILE).write_text("first 0")
    argv = [sys.executable, "-c", RANK, str(tmp_path), str(EVERY), str(request.param)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "training\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [PATIENCE], indirect=True)
def test_renewed_it_lets_train_and_abandoned_it_ends(tmp_path: Path, rank: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 1.25 * PATIENCE
    while time.monotonic() < until:
        write_text(tmp_path / lease.FILE, f"first {time.monotonic()}")
        time.sleep(EVERY)
        assert rank.poll() is None
    assert rank.wait(timeout=100) == 3
    assert rank.stdout and "has ended" in rank.stdout.read()


@pytest.mark.parametrize("rank", [LONG], indirect=True)
def test_taken_back_it_ends(tmp_path: Path, rank: "subprocess.Popen[str]") -> None:
    (tmp_path / lease.FILE).unlink()
    assert rank.wait(timeout=100) == 3


@pytest.mark.slow
@pytest.mark.parametrize("rank", [LONG], indirect=True)
def test_the_next_notebook_waits_until_ranks_left_behind_are_gone(
    tmp_path: Path, rank: "subprocess.Popen[str]"
) -> None:
    with lease.granted(tmp_path, every=0.5) as renew:
        assert rank.wait(timeout=100) == 3
        before = (tmp_path / lease.FILE).read_text()
        time.sleep(0.6)
        renew()
        assert (tmp_path / lease.FILE).read_text() != before
    assert not (tmp_path / lease.FILE).exists()


def test_without_a_lease_nobody_trains(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no train.lease: either its training has ended, or this node"):
        lease.hold(tmp_path)
