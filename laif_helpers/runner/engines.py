"""Finds the executor of a name: this machine, a Ray cluster, or SLURM."""

from typing import Any

from laif_helpers.runner import executors


def get(name: str, slurm: dict[str, Any] | None = None) -> Any:
    """The executor of that name; ``slurm``: options for sbatch. Raises ValueError for an unknown name, a missing extra
    or a machine without SLURM."""
    if name not in ("local", "ray", "slurm"):
        raise ValueError(f"unknown executor {name!r}; known: local, ray, slurm")
    if name == "slurm":
        from laif_helpers.runner.slurm_jobs import Slurm

        return Slurm(slurm or {})
    if name == "ray":
        from laif_helpers.runner.ray_tasks import Ray

        return Ray()
    return executors.Local()
