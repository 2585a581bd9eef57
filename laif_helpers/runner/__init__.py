"""Runs a recipe's stages: planned, started where the executor says, recorded in the manifest.

Empty but for its two verbs: the process of a stage lies in this package too, and begins without the runner's imports
(1.2 s of processor time for each stage).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laif_helpers.runner.plan import RunPlan


def run(run_plan: "RunPlan", *, executor: str = "local", workers: int = 0, redo: tuple[str, ...] = ()) -> int:
    """Run or resume a plan: see ``loop.run``."""
    from laif_helpers.runner import loop

    return loop.run(run_plan, executor=executor, workers=workers, redo=redo)


def target_missing(run_plan: "RunPlan") -> str:
    """Why the target cannot be loaded; "" if it can: see ``forecast.target_missing``."""
    from laif_helpers.runner import forecast

    return forecast.target_missing(run_plan)
