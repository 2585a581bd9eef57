"""Shares folders of a run between places through links: equal results are computed once."""

import os
from pathlib import Path

from laif_helpers import arms
from laif_helpers.paths import RunDir
from laif_helpers.recipe import Recipe
from laif_helpers.runner import plan
from laif_helpers.runner.plan import RunPlan


def link(run_plan: RunPlan) -> None:
    """Make the links that a plan counts on, before its first stage; relative ones, so that a run can be moved.

    Raises ValueError if a folder that must be shared holds results of its own.
    """
    for point, settings in run_plan.points.items():
        run, home = run_plan.folder(point), run_plan.homes[point]
        for reader in (run, run_plan.folder(home.lessons)):
            _to(reader.path / "vanilla", run_plan.folder(home.vanilla).path / "vanilla")
        for arm in settings.arms:
            _share_turns(run, arm, plan.shared_turns(settings, arm), settings.iterations)
            _share_lessons(run, run_plan.folder(home.lessons), settings, arm)


def _share_turns(run: RunDir, arm: str, shared: range, iterations: int) -> None:
    """``le+lec/iter1`` leads to ``le/iter1`` if the plan runs le; else a link of an earlier plan goes."""
    for k in range(1, iterations + 1):
        own = run.iteration(arm, k).path
        if k in shared:
            _to(own, run.iteration(arms.row(arm).halves[0], k).path)
        elif own.is_symlink():
            own.unlink()


def _share_lessons(run: RunDir, home: RunDir, settings: Recipe, arm: str) -> None:
    """What 03 or 04 leaves in iteration 1 and others read, for the points that differ in training alone.

    Not the whole folder: checkpoint and answers are each point's own.
    """
    stem = arms.row(arms.strategy(arm, 1, settings.iterations)).notebook
    if stem and 1 not in plan.shared_turns(settings, arm) and settings.iterations:
        own, shared = run.iteration(arm, 1), home.iteration(arm, 1)
        for place in (own.path / "instruct", own.path / "lessons", own.metrics(stem)):
            _to(place, shared.path / place.relative_to(own.path))


def _to(place: Path, target: Path) -> None:
    if place == target:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_symlink():
        raise ValueError(
            f"{place} holds results of its own, but this plan reads {target} there; move it to that place, remove it, "
            "or use another run name"
        )
    if not place.is_symlink():
        place.symlink_to(os.path.relpath(target, place.parent), target_is_directory=not target.suffix)
