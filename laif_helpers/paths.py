"""Defines the root constant and a run's folder layout; no other module knows where files lie."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[1]
INSTALLED_ALONE = not (_BESIDE / "notebooks").is_dir()
"""The package without its checkout, as `pip install git+…` leaves it: only `laif compare` needs no more."""
ROOT = Path.cwd() if INSTALLED_ALONE else _BESIDE
NOTEBOOKS = ROOT / "notebooks"
NANO = ROOT / "data" / "nano"
SENTINEL = "laif_done.json"
"""Lies in a checkpoint that is whole, and names its steps and the hash of its weights."""


def runs_dir() -> Path:
    """Folder of all runs: ``LAIF_RUNS`` if it is set (tests, a scratch disk), else ``papermill_runs/``."""
    return Path(os.environ.get("LAIF_RUNS") or ROOT / "papermill_runs")


def in_runs(path: Path) -> Path:
    """A path as people read it: relative to the folder of runs if it lies there."""
    return path.relative_to(runs_dir()) if path.is_relative_to(runs_dir()) else path


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists: where it would lie."""
    return path if path.exists() else existing(path.parent)


def data_dirs(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Folders searched for benchmark files, first match wins.

    An explicit ``data_dir`` is searched alone; else ``LAIF_DATA``, ``../shared/data`` beside the checkout and
    ``data/downloads`` (what ``laif data get`` fetches).
    """
    if data_dir:
        return [resolve(data_dir)]
    env = os.environ.get("LAIF_DATA")
    places = [Path(env).expanduser()] if env else [ROOT.parent / "shared" / "data"]
    return [*places, ROOT / "data" / "downloads"]


def file_label(benchmark: str) -> str:
    """A benchmark's name as part of a file name: for a user's own file, its stem and a mark of its folder."""
    if not benchmark.endswith((".jsonl", ".json")):
        return benchmark
    stem = re.sub(r"[^\w.-]+", "_", Path(benchmark).stem)
    folder = str(Path(benchmark).parent)
    return stem if folder == "." else f"{stem}-{hashlib.sha256(folder.encode()).hexdigest()[:6]}"


def stamp_of(responses: Path) -> Path:
    """What made a file of responses: model, settings, graders, and what went unanswered."""
    return responses.with_name(f".{responses.stem}.made")


def short_names(benchmarks: Iterable[str]) -> dict[str, str]:
    """How tables and figures name benchmarks: a user's own file by its stem, by ``file_label`` if two are alike."""
    names = list(dict.fromkeys(benchmarks))
    stems = {name: Path(name).stem if name.endswith((".jsonl", ".json")) else name for name in names}
    count = Counter(stems.values())
    return {name: stem if count[stem] == 1 else file_label(name) for name, stem in stems.items()}


def resolve(name: str | os.PathLike[str]) -> Path:
    """A path that a recipe names: absolute, or relative to the project root (never the working directory)."""
    path = Path(os.path.expandvars(name)).expanduser()
    return path if path.is_absolute() else ROOT / path


def places_of(name: str, data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where a file that a recipe names may lie: as named, else in a data folder."""
    return list(dict.fromkeys([resolve(name), *(folder / name for folder in data_dirs(data_dir))]))


class _At:
    """A file or folder of a fixed name, as an attribute of the folder that it lies in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: "IterationDir | RunDir", _: type) -> Path:
        return owner.path / self.name


@dataclass(frozen=True)
class IterationDir:
    """One arm's one iteration: ``papermill_runs/<run>/<arm>/iter<k>/``."""

    path: Path

    def responses(self, benchmark: str, split: str) -> Path:
        return self.path / "responses" / f"{file_label(benchmark)}.{split}.jsonl"

    def replies(self, arm: str) -> Path:
        return self.path / "instruct" / f"{arm}.replies.sqlite"

    def requests(self, arm: str) -> Path:
        return self.path / "instruct" / f"{arm}.requests.jsonl"

    def diagnoses(self, arm: str) -> Path:
        return self.path / "instruct" / f"{arm}.diagnoses.jsonl"

    def lessons(self, arm: str) -> Path:
        return self.path / "lessons" / f"{arm}.jsonl"

    def repairs(self, benchmark: str, split: str) -> Path:
        """Attempts, feedback and updates of the model by itself, on a split."""
        return self.path / "repair" / f"{file_label(benchmark)}.{split}.jsonl"

    trajectories = _At("trajectories.jsonl")
    attempts = _At("attempts.jsonl")
    """The model's own sampled answers to training questions, as they were drawn."""
    repair_records = _At("records.jsonl")
    """The training rows that 07 makes of the trajectories, and the questions that 10 chooses."""

    def metrics(self, notebook: str) -> Path:
        """The small JSON file that a notebook's last cell writes; tests read it by name."""
        return self.path / "metrics" / f"{notebook}.json"

    errors = _At("errors.parquet")
    error_map = _At("error_map.html")
    selection = _At("selection.json")
    checkpoint = _At("checkpoint")
    train_log = _At("train_log.jsonl")
    train_metrics = _At("train_metrics.json")
    training_set = _At("train.jsonl")
    probe = _At("probe.jsonl")
    """Items answered before and after a training."""
    notebooks = _At("notebooks")


@dataclass(frozen=True)
class RunDir:
    """One run: ``papermill_runs/<run>/``."""

    path: Path

    @classmethod
    def named(cls, run: str) -> "RunDir":
        """``run`` is a name under the runs folder, or an absolute path."""
        return cls(Path(run) if Path(run).is_absolute() else runs_dir() / run)

    def iteration(self, arm: str, k: int) -> IterationDir:
        """Arm's iteration k; iteration 0 of every arm is the untouched target, kept once under ``vanilla``."""
        return IterationDir(self.path / ("vanilla" if k == 0 else arm) / f"iter{k}")

    recipe = _At("recipe.yaml")
    parameters = _At("recipe-params.yaml")
    """The resolved recipe as papermill parameters (``papermill … -f recipe-params.yaml``)."""
    manifest = _At("manifest.jsonl")
    compare = _At("compare")
