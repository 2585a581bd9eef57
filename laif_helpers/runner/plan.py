"""Plans the stages of a run and what each waits for, and expands sweeps into points. Nothing is executed here."""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laif_helpers import arms, benchmarks, instructors, recipe
from laif_helpers.key_types import addresses_as_before, values_in
from laif_helpers.paths import NOTEBOOKS, IterationDir, RunDir, runs_dir
from laif_helpers.recipe import Recipe, StageParameters
from laif_helpers.runner import notebook
from laif_helpers.runner.points import Home, expand
from laif_helpers.sections import READS, keys_of

EVALUATE, ANALYSE, TRAIN, COMPARE = "01_evaluate", "02_error_analysis", "05_train_deepspeed", "06_compare"
PART = "01_part"
TRIPOST, REPAIR, SELF, DISTIL = "07_tripost", "08_repair", "09_self_training", "10_distil"
ASK = (EVALUATE, PART, TRIPOST, REPAIR, SELF, DISTIL)
"""Notebooks that let the target answer in their own kernel."""
TAKEN = ("deepspeed", "slurm", "compared", "published")
"""Folders beside the runs: settings, and what ``laif compare`` and ``laif figures`` write."""


@dataclass(frozen=True)
class Stage:
    """One notebook for one arm's one iteration. ``after`` holds keys of the stages whose files it reads; those in
    ``optional`` may fail. ``part``: which share of an evaluation's questions it answers; 0: it is no such stage."""

    run: RunDir
    recipe: Recipe
    notebook: str
    arm: str = "vanilla"
    iteration: int = 0
    after: tuple[str, ...] = ()
    point: str = ""
    optional: tuple[str, ...] = ()
    part: int = 0

    @property
    def name(self) -> str:
        """The notebook, with the number of a part: what its executed copy and its metrics are called."""
        return f"{self.notebook}{self.part or ''}"

    @property
    def key(self) -> str:
        place = "compare" if self.notebook == COMPARE else f"{self.arm}/iter{self.iteration}"
        return f"{self.point}/{place}/{self.name}" if self.point else f"{place}/{self.name}"

    @property
    def row(self) -> arms.Arm:
        """How the arm makes its lessons in this iteration."""
        return arms.row(arms.strategy(self.arm, self.iteration, self.recipe.iterations))

    @property
    def makes_lessons(self) -> bool:
        return self.notebook == self.row.notebook

    @property
    def folder(self) -> IterationDir:
        """Where the notebook writes."""
        if self.notebook == COMPARE:
            return IterationDir(self.run.compare)
        return self.run.iteration(self.arm, self.iteration)

    @property
    def previous(self) -> IterationDir:
        return self.run.iteration(self.arm, self.iteration - 1)

    @property
    def metrics(self) -> Path:
        return self.folder.metrics(self.name)


@dataclass(frozen=True)
class RunPlan:
    """A recipe's stages in an order in which they could run one by one.

    Attributes:
        values, origins: the recipe as written (a swept key holds its list) and where each value came from.
        axes: the keys of a sweep, each with a list in ``values``; empty for a plain run.
        points: name and settings of every point; one point named "" unless the recipe is a sweep.
        homes: where each point finds what it shares.
        parameters: the parameter names that each notebook declares.
    """

    run: RunDir
    values: dict[str, Any]
    origins: dict[str, str]
    axes: list[str]
    points: dict[str, Recipe]
    stages: list[Stage]
    parameters: dict[str, list[str]]
    notebooks: Path
    homes: dict[str, Home]

    @property
    def swept(self) -> bool:
        return bool(self.axes)

    @property
    def settings(self) -> Recipe:
        """Settings that hold for the whole run (of a sweep: the first point's)."""
        return next(iter(self.points.values()))

    def folder(self, point: str) -> RunDir:
        return _folder(self.run, point)


def make(
    path: Path, name: str = "", overrides: Mapping[str, Any] | None = None, notebooks: Path = NOTEBOOKS
) -> RunPlan:
    """Read and check everything about a run before any of it happens.

    Raises ValueError or FileNotFoundError, in one sentence, for an unknown key, a value that does not fit, a
    notebook without its one parameters cell, or a parameter that is no recipe key.
    """
    values, origins = recipe.load(path, overrides)
    run = RunDir(run_path(name or path.stem))
    values |= addresses_as_before(values, values_in(run.recipe))
    points, homes, axes = expand(values)
    stages = _all_stages(run, points, homes)
    checked = {
        stem: notebook.check(notebooks / f"{stem}.ipynb", StageParameters.model_fields, _required(stem))
        for stem in sorted({stage.notebook for stage in stages})
    }
    for stage in stages:
        _fits(stage, checked[stage.notebook])
        if stage.row.needs and (reason := instructors.problem(stage.recipe, stage.row.needs)):
            raise ValueError(reason)
        _check_attempts(stage)
    return RunPlan(run, values, origins, axes, points, stages, checked, notebooks, homes)


def _check_attempts(stage: Stage) -> None:
    """Raises ValueError if a stage that samples attempts would refuse its settings once its turn has come."""
    if stage.notebook == TRIPOST:
        from laif_helpers import tripost

        tripost.check(stage.recipe)
    if stage.notebook == SELF:
        from laif_helpers import self_training

        self_training.drawn(stage.recipe)


def parameters(stage: Stage, names: list[str], **replaced: Any) -> dict[str, Any]:
    """Values for a notebook in UPPER_CASE: of each key that it declares, and of each that its sections hold and that is
    not at its default."""
    values = {**stage.recipe.model_dump(), "run": run_name(stage.run), "arm": stage.arm, "iteration": stage.iteration}
    values["part"] = stage.part or 1
    defaults = _defaults()
    # Only a switch cares which iteration is the last; the other arms' stages stand when a run is made longer.
    beside = {"iterations"} if arms.row(stage.arm).halves and stage.notebook != EVALUATE else set()
    read = keys_of(READS[stage.notebook]) | beside
    undeclared = sorted(key for key in read if values[key] != defaults[key] and key.upper() not in names)
    values |= replaced
    return {name: values[name.lower()] for name in (*names, *map(str.upper, undeclared))}


@functools.cache
def _defaults() -> dict[str, Any]:
    defaults: dict[str, Any] = recipe.build(Recipe, {}).model_dump()
    return defaults


def _fits(stage: Stage, names: list[str]) -> None:
    """Build the parameters as the notebook will: it sees what it declares, and defaults for the rest."""
    given = {name.lower(): value for name, value in parameters(stage, names).items()}
    try:
        recipe.build(StageParameters, given)
    except ValueError as error:
        raise ValueError(f"{stage.notebook}.ipynb would refuse its parameters: {error}") from None


def run_name(run: RunDir) -> str:
    """What ``RUN`` says: relative to the runs folder if it lies in it, so that nothing names this machine."""
    runs = runs_dir().resolve()
    path = run.path.absolute()
    return path.relative_to(runs).as_posix() if path.is_relative_to(runs) else str(path)


def _required(stem: str) -> tuple[str, ...]:
    """Keys without which a notebook would silently work on another run, or on the default target."""
    if stem == COMPARE:
        return ("run", "arms")
    return ("run", "arm", "iteration", "target") if stem in (*ASK, TRAIN) else ("run", "arm", "iteration")


def run_path(name: str) -> Path:
    """The folder of a run of that name. Raises ValueError for a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name in TAKEN:
        raise ValueError(
            f"run name {name!r}: up to 100 letters, digits, '.', '_' and '-' ({', '.join(TAKEN)} are taken); a run is "
            "named after its recipe's file, or by --name"
        )
    return runs_dir().resolve() / name


def _folder(run: RunDir, point: str) -> RunDir:
    return RunDir(run.path / "points" / point) if point else run


def _all_stages(run: RunDir, points: dict[str, Recipe], homes: dict[str, Home]) -> list[Stage]:
    """Every point's stages; what points share each of them plans under the same key, and the first one stands."""
    planned: dict[str, Stage] = {}
    for point, settings in points.items():
        for stage in _stages(run, point, settings, homes[point]):
            planned.setdefault(stage.key, stage)
    return list(planned.values())


def _stages(run: RunDir, point: str, settings: Recipe, home: Home) -> Iterator[Stage]:
    yield from _vanilla(_folder(run, home.vanilla), settings, home.vanilla)
    first, error_map = (Stage(run, settings, stem, point=home.vanilla).key for stem in (EVALUATE, ANALYSE))
    chains = [list(_arm(run, settings, arm, point, home)) for arm in settings.arms]
    # A switch waits for the arm whose iterations it shares, wherever the recipe names the two.
    named = zip(settings.arms, chains, strict=True)
    yield from (stage for _, chain in sorted(named, key=lambda pair: bool(arms.row(pair[0]).halves)) for stage in chain)
    measured = any(settings.test_split in benchmarks.get(name).splits for name in settings.benchmarks)
    if measured and not settings.stops_early:
        beside = [error_map] if settings.in_domain else []
        if settings.measures_repair:
            beside.append(Stage(run, settings, REPAIR, point=home.vanilla).key)
        shown = [[stage.key for stage in chain if stage.notebook != ANALYSE] for chain in chains]
        ends = [first, *beside, *(keys[-1] for keys in shown if keys)]
        yield Stage(_folder(run, point), settings, COMPARE, after=tuple(ends), point=point, optional=tuple(beside))


def _vanilla(run: RunDir, settings: Recipe, point: str) -> Iterator[Stage]:
    *parts, first = _evaluation(Stage(run, settings, EVALUATE, point=point))
    yield from (*parts, first)
    if settings.in_domain:
        yield Stage(run, settings, ANALYSE, after=(first.key,), point=point)
    if settings.measures_repair:
        yield Stage(run, settings, REPAIR, after=(first.key,), point=point)


def _evaluation(stage: Stage) -> list[Stage]:
    """The stages that answer parts of its questions side by side, and itself, which asks what a failed one left out."""
    shards = stage.recipe.shards
    if shards == 1:
        return [stage]
    parts = [replace(stage, notebook=PART, part=part) for part in range(1, shards + 1)]
    keys = tuple(part.key for part in parts)
    return [*parts, replace(stage, after=(*stage.after, *keys), optional=keys)]


def _arm(run: RunDir, settings: Recipe, arm: str, point: str, home: Home) -> Iterator[Stage]:
    """An arm's stages. Each waits for the one before it; who studies errors waits for their map too, which names each
    one's cluster; and a map waits for the untouched target's, into which it is drawn.

    A switch whose first strategy is an arm of the run has only a last iteration of its own (``shared_turns``).
    """
    last, first_map = (Stage(run, settings, stem, point=home.vanilla).key for stem in (EVALUATE, ANALYSE))
    folder, mapped = _folder(run, point), first_map
    for k in range(1, (1 if settings.stops_early else settings.iterations) + 1):
        if k in shared_turns(settings, arm):
            if not settings.stops_early:
                shared = arms.row(arms.row(arm).halves[0])
                last = Stage(folder, settings, EVALUATE, shared.name, k, point=point).key
                own_map = Stage(folder, settings, ANALYSE, shared.name, k, point=point).key
                mapped = own_map if _mapped(settings, shared, k) else ""
            continue
        row = arms.row(arms.strategy(arm, k, settings.iterations))
        stems = [row.notebook] if row.notebook else []
        if not settings.stops_early:
            stems += [TRAIN, EVALUATE, *[REPAIR] * settings.measures_repair]
        for stem in stems:
            place = home.lessons if k == 1 and stem == row.notebook else point
            waits = (last, mapped) if mapped and stem == row.notebook and row.studies_errors else (last,)
            optional = waits[1:] if settings.per == "error" else ()
            stage = Stage(_folder(run, place), settings, stem, arm, k, waits, place, optional)
            yield from _evaluation(stage) if stem == EVALUATE else (stage,)
            last = stage.key
        mapped = ""
        if _mapped(settings, row, k):
            stage = Stage(folder, settings, ANALYSE, arm, k, (last, first_map), point)
            yield stage
            mapped = stage.key


def _mapped(settings: Recipe, row: arms.Arm, k: int) -> bool:
    """Whether 02 maps the errors that an arm has left after iteration k."""
    wanted = settings.map_iterations or settings.per == "cluster"
    return row.studies_errors and k < settings.iterations and wanted and not settings.stops_early


def shared_turns(settings: Recipe, arm: str) -> range:
    """Iterations of a switch that are another arm's: ``le+lec`` does as ``le`` until the last one."""
    halves = arms.row(arm).halves
    return range(1, settings.iterations if halves and halves[0] in settings.arms else 1)
