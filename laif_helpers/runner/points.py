"""Expands a sweep into its points, and tells which answers and lessons the points share."""

import itertools
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal

from laif_helpers import recipe
from laif_helpers.recipe import Recipe
from laif_helpers.sections import InstructorSection, LessonSection, TrainingSection, keys_of

BEYOND_ITERATION_0 = keys_of((LessonSection, InstructorSection, TrainingSection))
"""Keys that leave the untouched target's greedy answers as they are: a sweep over them evaluates it once."""
AFTER_LESSONS = keys_of((TrainingSection,))
"""Keys that leave the first lessons as they are: a sweep over them asks the instructor once."""


@dataclass(frozen=True)
class Home:
    """Names of the folders, under ``points/``, where a point finds what it shares with others; "": the run's own.

    Attributes:
        vanilla: holds iteration 0, named by the swept keys that change the untouched target's answers.
        lessons: holds the lessons of iteration 1, named by the swept keys that change those too.
    """

    vanilla: str
    lessons: str


def expand(values: dict[str, Any]) -> tuple[dict[str, Recipe], dict[str, Home], list[str]]:
    """Every combination of the keys that hold a list although the recipe model wants a number."""
    axes = [key for key, value in values.items() if isinstance(value, list) and _sweepable(key)]
    for key in axes:
        if not values[key] or len(set(map(repr, values[key]))) != len(values[key]):
            raise ValueError(f"{key}: {values[key]}: a sweep needs one or more different values")
    points, homes = {}, {}
    for combination in itertools.product(*(values[key] for key in axes)):
        chosen = dict(zip(axes, combination, strict=True))
        name = _name(chosen)
        points[name] = recipe.build(Recipe, {**values, **chosen})
        # answers that are drawn depend on the seed
        same = BEYOND_ITERATION_0 - ({"seed"} if points[name].temperature else set())
        homes[name] = Home(_name(chosen, without=same), _name(chosen, without=AFTER_LESSONS))
    return points, homes, axes


def _name(chosen: Mapping[str, Any], without: Set[str] = frozenset()) -> str:
    return "_".join(f"{key}{value}" for key, value in chosen.items() if key not in without)


def _sweepable(key: str) -> bool:
    known, numeric = Recipe.model_fields.get(key), (int, float, float | Literal["auto"])
    return known is not None and known.annotation in numeric and key not in ("workers", "shards")
