"""Estimates what a recipe's instructor can do and will cost before any answer is known; 03 and 04 quote the requests.

How many questions the target gets wrong is not known yet, so a fifth and three fifths of the items give a range.
"""

import functools
import math
from typing import Any

from laif_helpers import benchmarks, instructors, lessons, target
from laif_helpers.instructors import spending
from laif_helpers.key_types import TEMPLATE_KEY
from laif_helpers.models import gguf
from laif_helpers.recipe import Recipe
from laif_helpers.runner import manifest
from laif_helpers.runner.plan import RunPlan, Stage
from laif_helpers.target import Target
from laif_helpers.train import settings

WRONG = (0.2, 0.6)
FRAME = 1800  # characters of instructions in a request, beside the item and the answer to it


def lines(stages: list[Stage]) -> list[str]:
    """Lines on the instructor of a plan: a language model's requests, tokens, dollars, and what keeps it from teaching.

    Each stage that asks counts once, so that what the points of a sweep or the arms of a run share is paid once.
    """
    return [*_cost(stages), *warnings(stages)]


def warnings(stages: list[Stage]) -> list[str]:
    """What a run would do without, unnoticed: lessons that its instructor cannot write, requests that nobody sends."""
    asking = next((stage.recipe for stage in stages if stage.row.needs == "instructor"), None)
    found = [instructors.warning(asking), _unpaid(asking)] if asking else []
    found += [_unsent(stages[0].recipe), _untracked(stages)] if stages else []
    return [sentence for sentence in found if sentence]


def target_missing(run_plan: RunPlan) -> str:
    """Why the target cannot be loaded, in one sentence, before a minute is spent on trying; "" if it can be, or if it
    has answered already. Raises FileNotFoundError for a path that leads nowhere, ValueError for a broken GGUF file."""
    name = run_plan.settings.target
    if any(stage.row.needs == "teacher" for stage in run_plan.stages):
        target.check(run_plan.settings.teacher, "teacher")
    rows = manifest.latest(run_plan.stages[0].run)
    if rows.get(run_plan.stages[0].key, {}).get("status") == "done":
        return ""
    target.check(name)
    if (found := target.Target.of(name)).kind == "gguf" and found.path:
        gguf.read_header(found.path)
    return target.unreachable(name)


def _unpaid(recipe: Recipe) -> str:
    """What stage 3 would stop at, hours later: no price, or no cap. Replies of an earlier call need neither."""
    if recipe.instructor != "llm" or recipe.quote_only:
        return ""
    try:
        spending.check(recipe, None)
    except ValueError as error:
        return f"stage 3 will stop if it has to ask: {error}"
    return ""


def _untracked(stages: list[Stage]) -> str:
    """What stage 5 would stop at, hours later: a tracker that is not there."""
    try:
        for trains in {stage.recipe.report_to for stage in stages if stage.notebook.startswith("05")}:
            settings.check_tracker(trains)
    except ValueError as error:
        return f"stage 5 will stop: {error}"
    return ""


def _unsent(recipe: Recipe) -> str:
    change = recipe.request_options.target.model_dump()
    beside = change.keys() - {"add"} | change.get("add", {}).keys() - {TEMPLATE_KEY}
    if not beside or recipe.serve or not Target.of(recipe.target).local:
        return ""
    return (
        f"request_options.target changes what a server is sent, and target {recipe.target!r} answers on this machine: "
        f"nothing but add: {{{TEMPLATE_KEY}: …}} counts"
    )


def _cost(stages: list[Stage]) -> list[str]:
    asking = (stage for stage in stages if stage.row.needs == "instructor" and stage.recipe.instructor == "llm")
    turns = [stage for stage in asking if stage.makes_lessons]
    if not turns:
        return []
    try:
        turn_by_turn = ([_spent(stage, share) for stage in turns] for share in WRONG)
        low, high = (list(map(sum, zip(*parts, strict=True))) for parts in turn_by_turn)
    except (OSError, ValueError) as error:
        return [f"instructor: no forecast, because a benchmark cannot be read ({str(error).splitlines()[0]})"]
    tokens = [f"{a:,.0f} to {b:,.0f}" for a, b in zip(low[1:3], high[1:3], strict=True)]
    dollars = sorted((low[3], high[3]))
    named = turns[0].recipe.instructor_model in turns[0].recipe.prices
    priced = f"{dollars[0]:,.2f} to {dollars[1]:,.2f} dollars" if named else "no price given"
    who = f"{turns[0].recipe.instructor_model or 'a model'}, {len(turns)} arm iteration{'s' * (len(turns) != 1)}"
    asked = f"{low[0]:,.0f} to {high[0]:,.0f} requests"
    spent = f"{tokens[0]} tokens in, {tokens[1]} out, {priced}"
    return [f"instructor: {who}, if {WRONG[0]:.0%} to {WRONG[1]:.0%} of the answers are wrong: {asked}, {spent}"]


def _spent(stage: Stage, wrong: float) -> tuple[float, ...]:
    """Requests, tokens in, tokens out and dollars of one arm's one iteration."""
    recipe = stage.recipe
    sizes = [_sizes(name, recipe.error_split, recipe.data_dir, recipe.limit) for name in recipe.in_domain]
    tokens = _tokens(sizes, wrong, recipe, contrast=stage.row.about == "errors_and_neighbours")
    return *tokens, spending.price(recipe, tokens[1], tokens[2])


@functools.cache  # the points and turns of a run ask about the same items
def _sizes(name: str, split: str, data_dir: str, limit: int) -> tuple[int, float, float, bool]:
    """Items of the split that supplies errors, mean characters of a question and of a gold answer, and whether the
    instructor may be asked again about its lessons (``agreement``)."""
    bench: Any = benchmarks.get(name)
    items = bench.load(split, data_dir=data_dir or None, limit=limit or None)
    return len(items), *lessons.typical_size(bench, items), lessons.families.get(bench.family).by_letter


def _tokens(
    sizes: list[tuple[int, float, float, bool]], wrong: float, recipe: Recipe, contrast: bool
) -> tuple[float, ...]:
    """Requests and tokens in and out of one arm's one iteration, over all in-domain benchmarks."""
    requests = asked = answered = 0.0
    for items, question, answer, choice in sizes:
        again = recipe.agreement if choice else 0
        errors = max(1, round(items * wrong * (1 - recipe.holdout_fraction)))
        each = math.ceil(recipe.budget / errors) + 1
        shown = question * (1 + (recipe.k if contrast else 0)) + 2 * answer
        requests += errors
        asked += errors * (FRAME + shown + each * again * question) / lessons.CHARS_PER_TOKEN
        answered += errors * each * (question + answer + again * lessons.LEAST_ANSWER) / lessons.CHARS_PER_TOKEN
    return requests, asked, answered
