"""Reads what this process was granted on its machine."""

import math
import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may use: its affinity, or less if its control group has a quota of processor time.

    A batch system or a container grants a few cores of many; ``os.cpu_count()`` sees them all.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([usable, *(math.ceil(quota) for quota in _quotas())]))


def secret(variable: str) -> str:
    """A key from the environment, without white space around it; "" if there is none.

    Raises ValueError if it holds what no key holds, such as a line break: it could be sent in no header. The sentence
    names the variable and shows nothing of its value.
    """
    value = os.environ.get(variable, "").strip()
    if stray := re.search(r"[^!-~]|^[\"']|[\"']$", value):
        kind = "white space" if stray[0].isspace() else "a character that is not plain ASCII"
        kind = "a quotation mark" if stray[0] in "\"'" else kind
        raise ValueError(f"the environment variable {variable} holds {kind} at place {stray.start() + 1}; set it again")
    return value


def _quotas() -> list[float]:
    """Cores that each control group above this process allows; version 2 in one file, version 1 in two."""
    if not MEMBERSHIP.is_file():
        return []
    found = []
    for line in MEMBERSHIP.read_text(encoding="utf-8").splitlines():
        _, controllers, inside = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = CGROUPS / controllers if controllers else CGROUPS
        group = top / inside.strip("/")
        # inside a container the path may be that of the host, so that only the top is there
        found += [_quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(top)]
    return [quota for quota in found if quota]


def _quota(group: Path) -> float:
    """Cores that one control group allows; 0 if it sets no limit."""
    one_file, amount = group / "cpu.max", group / "cpu.cfs_quota_us"
    if one_file.is_file():
        quota, period = one_file.read_text(encoding="utf-8").split()
    elif amount.is_file():
        quota = amount.read_text(encoding="utf-8").strip()
        period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
    else:
        return 0.0
    return int(quota) / int(period) if quota.isdigit() else 0.0
