"""Folders of a run that two places share through a link: what would come out the same is computed once."""

from pathlib import Path

from laif_helpers.paths import RunDir
from laif_helpers.runner import plan
from laif_helpers.runner.plan import Plan


def link(made: Plan) -> None:
    """Make the links that a plan counts on, before its first stage; relative ones, so that a run can be moved.

    Raises ValueError where a folder that must be shared holds results of its own.
    """
    for point, settings in made.points.items():
        run = made.folder(point)
        if made.shared_vanilla:
            _to(run.path / "vanilla", Path("..") / ".." / "vanilla")
        for arm in settings.arms:
            _share_turns(run, arm, plan.shared_turns(settings, arm), settings.iterations)


def _share_turns(run: RunDir, arm: str, shared: range, iterations: int) -> None:
    """``le+lec/iter1`` leads to ``le/iter1`` where the plan runs le; else a link of an earlier plan goes."""
    for k in range(1, iterations + 1):
        own = run.iteration(arm, k).path
        if k in shared:
            _to(own, Path("..") / arm.partition("+")[0] / own.name)
        elif own.is_symlink():
            own.unlink()


def _to(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        raise ValueError(
            f"{place} holds results of its own, but this plan reads {target} there; use another run name, or remove it"
        )
    if not place.is_symlink():
        place.symlink_to(target, target_is_directory=True)
