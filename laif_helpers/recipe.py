"""Defines a recipe as one pydantic model: notebooks, runner and trainer all read their settings through it.

Values may arrive as papermill's strings (``"5e-6"``, ``"false"``, ``"[le, lec]"``); they are read right or
refused with a sentence. Unknown keys are refused.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from laif_helpers import arguments, sections
from laif_helpers import arms as _arms
from laif_helpers.benchmarks import get
from laif_helpers.key_types import NO_YAML, GivenTwice, Price, check_base_url, read_yaml
from laif_helpers.paths import ROOT, IterationDir, RunDir
from laif_helpers.records import read_text
from laif_helpers.target import Target

__all__ = ["Price", "Recipe", "StageParameters", "build", "from_notebook", "load", "local_target"]


class Recipe(
    # the last one's keys come first, in files and in messages
    sections.MachineSection,
    sections.TrainingSection,
    sections.RepairSection,
    sections.InstructorSection,
    sections.LessonSection,
    sections.ArmSection,
    sections.QuestionSection,
    sections.TargetSection,
):
    """Settings of a run. Keys are the notebooks' parameter names in lower case."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        planned = [_arms.row(arm) for arm in (*self.arms, getattr(self, "arm", "vanilla"))]
        combined = [arm for arm in planned if arm.halves]
        if combined and self.iterations < 2 and not self.quote_only:
            raise ValueError(
                f"arm {combined[0].name!r} changes its strategy in the last iteration, so it needs iterations: 2 or "
                f"more (given: {self.iterations}); for one iteration take {' or '.join(combined[0].halves)}"
            )
        # a notebook that reads no teacher is not given one; 10 and 05, which do, look for themselves
        taught = [arm.name for arm in planned if arm.needs == "teacher" and type(self) is Recipe]
        if taught and not self.teacher:
            raise ValueError(f"arm {taught[0]!r} learns from a teacher; set teacher, a model as target is written")
        if self.kl_weight and (rolled := [arm.name for arm in planned if arm.signal != "answers"]):
            raise ValueError(
                f"kl_weight {self.kl_weight:g} acts on replayed answers, and arm {rolled[0]!r} learns from rollouts, "
                "which have none; leave the arm out, or set kl_weight: 0"
            )
        asked = [arm.name for arm in planned if arm.needs == "instructor" and type(self) is Recipe and self.iterations]
        if asked and self.instructor == "llm" and not self.instructor_model:
            raise ValueError(f"arm {asked[0]!r} asks instructor: llm; set instructor_model, its name at the endpoint")
        if self.average == "auto" and not self.holdout_fraction:
            raise ValueError(
                "average: auto chooses on held-out items, and holdout_fraction is 0; raise holdout_fraction, or set "
                "average to a share such as 0.5"
            )
        return self

    @model_validator(mode="after")
    def _target_and_splits_fit(self) -> "Recipe":
        target = Target.of(self.target)
        if target.kind == "server" and not self.target_url:
            raise ValueError(f"target {self.target!r} needs target_url, the server's base URL (http://…/v1)")
        if lost := [field for field in ("{model}", "{port}") if self.serve and field not in self.serve]:
            raise ValueError(f"serve: {self.serve!r} lacks {lost[0]}; e.g. vllm serve {{model}} --port {{port}}")
        # A notebook on the untouched target only asks and analyses; it need not declare how far the run goes.
        trains = self.iterations and not self.stops_early and getattr(self, "iteration", 1) > 0
        if not target.local and trains:
            raise ValueError(
                f"target {self.target!r} cannot be trained: set quote_only: true (requests and price only), "
                "lessons_only: true (lessons too) or iterations: 0 (evaluation and error analysis only)"
            )
        if type(self) is Recipe and self.iterations and self.arms and not self.in_domain:
            raise ValueError(
                f"in_domain is empty, and arm {self.arms[0]!r} learns from errors: name the benchmark whose "
                "error_split supplies them, or set iterations: 0"
            )
        # a single notebook measures nothing, so only a run is refused
        same = self.error_split.removesuffix("_seen") == self.test_split.removesuffix("_seen")
        if type(self) is Recipe and trains and same:
            raise ValueError(
                f"error_split {self.error_split!r} and test_split {self.test_split!r} share items: what is trained on "
                "would be measured; set another test_split, lessons_only: true or iterations: 0"
            )
        splits = {split for name in self.benchmarks for split in get(name).splits}
        unmeasured = self.test_split not in splits and not (splits <= {self.error_split} and self.measure_errors)
        if type(self) is Recipe and trains and unmeasured:
            raise ValueError(
                f"test_split {self.test_split!r} is no split of the benchmarks: {', '.join(sorted(splits))}"
            )
        if self.lessons_only and not self.iterations:
            raise ValueError("lessons_only with iterations: 0 makes no lessons; set iterations: 1")
        return self

    @model_validator(mode="after")
    def _addresses_are_base_urls(self) -> "Recipe":
        for key in ("target_url", "instructor_url"):
            if not (url := getattr(self, key)):
                continue
            check_base_url(key, url)
            if end := re.search(
                r"/(?:chat/)?completions/?$|/(?:models|responses|api/chat|api/generate)/?$", urlsplit(url).path
            ):
                raise ValueError(f"{key} is the server's base URL, and {end[0]!r} is added to it: leave that out")
        return self

    @property
    def stops_early(self) -> bool:
        """Whether the run ends with the first iteration's requests or lessons: no training, no comparison."""
        return self.quote_only or self.lessons_only

    @property
    def measures_repair(self) -> bool:
        """Whether self-repair is measured: of every arm and of the untouched target, if one arm is trained to it."""
        return not self.stops_early and any(_arms.row(arm).notebook == "07_tripost" for arm in self.arms)

    @property
    def all_arms(self) -> list[str]:
        return ["vanilla", *self.arms]


class StageParameters(Recipe):
    """A recipe and a notebook's place in the run (run, arm, iteration); each notebook's second cell builds it."""

    run: str = Field("explore", min_length=1, description="name of the run folder, or an absolute path")
    arm: str = Field("vanilla", description="the arm whose turn it is")
    iteration: int = Field(0, ge=0, description="0: the untouched target")
    part: int = Field(1, ge=1, description="which of the shards of an evaluation 01_part answers")

    @field_validator("arm")
    @classmethod
    def _known_arm(cls, arm: str) -> str:
        return sections.known_arm(arm)

    @model_validator(mode="after")
    def _iteration_fits_arm(self) -> "StageParameters":
        if (self.arm == "vanilla") != (self.iteration == 0):
            raise ValueError(
                f"arm {self.arm!r} with iteration {self.iteration}: iteration 0 is the untouched target, "
                "arm 'vanilla'; every other arm starts at iteration 1"
            )
        if self.part > self.shards:
            raise ValueError(f"part {self.part} of {self.shards}: set part to {self.shards} or less, or shards higher")
        return self

    @property
    def strategy(self) -> str:
        """How this arm makes its lessons in this iteration: the arm, or one half of an arm such as ``le+lec``."""
        return _arms.strategy(self.arm, self.iteration, self.iterations)

    @property
    def row(self) -> _arms.Arm:
        """The row of that strategy: what its requests are about, who answers them, with which words."""
        return _arms.row(self.strategy)

    @property
    def draw(self) -> int:
        """The seed of this iteration's choices: each iteration draws anew, all arms alike."""
        return 1000 * self.seed + self.iteration

    @property
    def asking(self) -> dict[str, Any]:
        """How the target is asked, as ``models.generate`` takes it."""
        return {"url": self.target_url, "change": self.request_options.target, "dtype": self.dtype}

    @property
    def folder(self) -> IterationDir:
        """Where this notebook writes."""
        return RunDir.named(self.run).iteration(self.arm, self.iteration)

    @property
    def previous(self) -> IterationDir:
        """The iteration before this one: its responses hold the errors to instruct on."""
        return RunDir.named(self.run).iteration(self.arm, self.iteration - 1)

    @property
    def vectors(self) -> Path:
        """Where the run keeps its texts' vectors: 02 and 04 embed the same questions."""
        return RunDir.named(self.run).path / "embeddings"

    @property
    def model(self) -> str:
        """The model to evaluate: the target as given, or this iteration's checkpoint."""
        return local_target(self.target) if self.iteration == 0 else str(self.folder.checkpoint)

    @property
    def base_model(self) -> str:
        """The model that training starts from: the target, or the previous iteration's checkpoint."""
        return local_target(self.target) if self.iteration <= 1 else str(self.previous.checkpoint)


def local_target(target: str) -> str:
    """A target that is a folder of this machine as an absolute path; hub names and servers as they are.

    A GGUF file's is the plain folder that stage 1 writes for it.
    """
    found = Target.of(target)
    if found.kind == "gguf":
        from laif_helpers.models import gguf

        return str(gguf.folder_of(target))
    return str(found.path or target)


GONE = {"curriculum": "none"}
"""Keys of earlier releases, with the value that means what is done now: recipes of earlier runs hold them."""


def build(model: type[Recipe], values: Mapping[str, Any]) -> Any:
    """``model(**values)``, with one sentence for every problem. Raises ValueError."""
    values = {key: value for key, value in values.items() if GONE.get(key, ...) != value}
    unknown = [key for key in values if key not in model.model_fields]
    if unknown:
        close = difflib.get_close_matches(unknown[0].lower().replace("-", "_"), model.model_fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(model.model_fields)}"
        raise ValueError(f"unknown recipe key {unknown[0]!r}{hint}")
    for key, value in values.items():
        if isinstance(value, bool) and model.model_fields[key].annotation in (int, float):
            raise ValueError(f"{key}: write a number (given: {value}; YAML reads yes, no, on and off so)")
    try:
        return model(**values)
    except ValidationError as error:
        # a default that waits for values which are refused is no fault of its own
        problems = (problem for problem in error.errors() if problem["type"] != "default_factory_not_called")
        raise ValueError("; ".join(map(_sentence, problems))) from None


def _read(path: Path) -> dict[str, Any]:
    """The mapping that a recipe file holds. Raises ValueError with a sentence for any other content."""
    text = read_text(path)
    try:
        values = read_yaml(text) or {}
    except GivenTwice as error:
        raise ValueError(f"{path}: {error}") from None
    except NO_YAML as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not text.strip():
        raise ValueError(f"{path}: an empty file; write the keys that differ from the defaults, or a comment")
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a recipe is a mapping of keys to values, not a {type(values).__name__}")
    if odd := [key for key in values if not isinstance(key, str)]:
        raise ValueError(f"{path}: YAML reads the key {odd[0]!r} as {type(odd[0]).__name__}; a key is a setting's name")
    return values


def _sentence(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["input"] is None:
        return f"{place}: no value; write one, or leave the key out for its default"
    return f"{place}: {message} (given: {problem['input']!r})" if place else message


def from_notebook(namespace: Mapping[str, Any]) -> StageParameters:
    """The parameters of a notebook, read from its ``globals()`` right after the parameters cell.

    Every UPPER_CASE name is taken for a parameter, so that a misspelt one, which papermill would inject with
    no more than a warning, is refused here; a key in lower case is a variable, and said to be. If the parameters
    cell ran again without a name, the kernel keeps that name: a key still holds, and a sentence says so; a misspelt one
    is dropped. Raises ValueError.
    """
    for name in StageParameters.model_fields.keys() & namespace.keys():
        if isinstance(namespace[name], (str, int, float)):
            print(f"{name} = {namespace[name]!r} sets no parameter; write {name.upper()} for that.")
    values = {name.lower(): value for name, value in namespace.items() if name.isupper() and name[0] != "_"}
    now = {name.lower() for name in arguments.set_since("from_notebook(", namespace)}
    for name in sorted(values.keys() - now) if "run" in now else ():
        if name not in StageParameters.model_fields:
            del values[name]
            continue
        print(f"{name.upper()} still holds what an earlier cell set; write del {name.upper()} to drop it.")
    return build(StageParameters, values)


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of a recipe file and of ``--set`` overrides, unvalidated, and where each value came from.

    Returns ``(values, origins)``; origins map a key to ``recipe`` or ``--set``. Raises ValueError, or FileNotFoundError
    with the nearest recipe that is there.
    """
    if not path.is_file():
        known = {file.stem: file for file in (ROOT / "papermill_runs").glob("*.yaml")}
        near = difflib.get_close_matches(path.stem, known, n=1)
        what = "is a folder" if path.is_dir() else "does not exist"
        nearest = f"did you mean {os.path.relpath(known[near[0]])}?" if near else ""
        raise FileNotFoundError(f"recipe {path} {what}; {nearest or 'the recipes lie in papermill_runs/*.yaml'}")
    values, over = _read(path), dict(overrides or {})
    return values | over, dict.fromkeys(values, "recipe") | dict.fromkeys(over, "--set")
