"""What a process was granted: affinity and control groups, whatever the machine has."""

import os
from pathlib import Path

import pytest

from laif_helpers import machine


def granted(monkeypatch: pytest.MonkeyPatch, root: Path, membership: str, files: dict[str, str], cores: int = 8) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(machine, "CGROUPS", root / "fs")
    monkeypatch.setattr(machine, "MEMBERSHIP", root / "membership")
    (root / "membership").write_text(membership)
    for name, text in files.items():
        (root / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "fs" / name).write_text(text)
    return machine.cores()


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/job/step\n", {"cpu.max": "max 100000\n", "job/cpu.max": "250000 100000\n"}, 3),
        ("0::/job/step\n", {"job/step/cpu.max": "100000 100000\n", "job/cpu.max": "400000 100000\n"}, 1),
        ("0::/of-the-host\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("4:cpu:/job\n", {"cpu/job/cpu.cfs_quota_us": "200000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 2),
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "1\n"}, 8),
        ("7:memory:/job\n", {"memory/job/cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_a_quota_of_processor_time_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, membership: str, files: dict[str, str], cores: int
) -> None:
    assert granted(monkeypatch, tmp_path, membership, files) == cores


def test_affinity_counts_and_no_control_group_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert granted(monkeypatch, tmp_path, "0::/\n", {"cpu.max": "800000 100000\n"}, cores=3) == 3
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "none")
    assert machine.cores() == 3


def test_nobody_counts_the_whole_machine() -> None:
    package = Path(machine.__file__).parent
    counting = [path.name for path in package.rglob("*.py") if "os.cpu_count()" in path.read_text()]
    # doctor says both numbers
    assert sorted(counting) == ["doctor.py", "machine.py"]
