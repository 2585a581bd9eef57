"""What a process was granted: affinity and control groups, whatever the machine has."""

import os
from pathlib import Path

import pytest

from laif_helpers import machine


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert machine.cores() == 1


def test_nobody_counts_the_whole_machine() -> None:
    package = Path(machine.__file__).parent
    counting = [path.name for path in package.rglob("*.py") if "os.cpu_count()" in path.read_text()]
    # doctor says both numbers
    assert sorted(counting) == ["doctor.py"]
