"""About what a recipe's instructor will cost before a single answer is known; 03 and 04 quote the real requests.

How many questions the target gets wrong is not known yet, so a fifth and three fifths of the items give a range.
"""

import math
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.recipe import Recipe

WRONG = (0.2, 0.6)
CHARS_PER_TOKEN = 4.0
FRAME = 1800  # characters of instructions in a request, beside the item and the answer to it
LEAST_ANSWER = 200  # where the data holds a letter only, a lesson still says why


def lines(recipe: Recipe) -> list[str]:
    """Lines on the instructor of a recipe: requests, tokens, dollars; none where no language model is asked."""
    arms = [arm for arm in recipe.arms if arm != "fine_tuning"]
    if recipe.instructor != "llm" or not arms:
        return []
    try:
        sizes = [_sizes(name, recipe) for name in recipe.in_domain]
    except (OSError, ValueError) as error:
        return [f"instructor: no forecast, for a benchmark cannot be read ({str(error).splitlines()[0]})"]
    turns = len(arms) * max(1, 1 if recipe.quote_only else recipe.iterations)
    low, high = (_tokens(sizes, share, recipe, any("lec" in arm for arm in arms)) for share in WRONG)
    told = [f"{turns * a / 1e6:,.1f} to {turns * b / 1e6:,.1f}" for a, b in zip(low[1:], high[1:], strict=True)]
    dollars = sorted(turns * _usd(tokens, recipe) for tokens in (low, high))
    priced = f"{dollars[0]:,.0f} to {dollars[1]:,.0f} dollars" if dollars[1] else "no price given"
    who = f"{recipe.instructor_model or 'a model'}, {turns} arm iterations"
    asked = f"{turns * low[0]:,.0f} to {turns * high[0]:,.0f} requests"
    spent = f"{told[0]} million tokens in, {told[1]} out, {priced}"
    return [f"instructor: {who}, if {WRONG[0]:.0%} to {WRONG[1]:.0%} of the answers are wrong: {asked}, {spent}"]


def _sizes(name: str, recipe: Recipe) -> tuple[int, float, float, int]:
    """Items of the split that supplies errors, mean characters of a question and of a gold answer, and how often each
    lesson is answered again."""
    bench: Any = benchmarks.get(name)
    items = bench.load(recipe.error_split, data_dir=recipe.data_dir or None, limit=recipe.limit or None)
    questions = [len(bench.question_text(item)) for item in items]
    answers = [max(LEAST_ANSWER, len(bench.gold_response(item) or "")) for item in items]
    again = recipe.agreement if bench.family == "choice" else 0
    return len(items), sum(questions) / len(items), sum(answers) / len(items), again


def _tokens(
    sizes: list[tuple[int, float, float, int]], wrong: float, recipe: Recipe, contrast: bool
) -> tuple[float, ...]:
    """Requests and tokens in and out of one arm's one iteration, over all in-domain benchmarks."""
    requests = asked = answered = 0.0
    for items, question, answer, again in sizes:
        errors = max(1, round(items * wrong * (1 - recipe.holdout_fraction)))
        each = math.ceil(recipe.budget / errors) + 1
        shown = question * (1 + (recipe.k if contrast else 0)) + 2 * answer
        requests += errors
        asked += errors * (FRAME + shown + each * again * question) / CHARS_PER_TOKEN
        answered += errors * each * (question + answer + again * LEAST_ANSWER) / CHARS_PER_TOKEN
    return requests, asked, answered


def _usd(tokens: tuple[float, ...], recipe: Recipe) -> float:
    price = recipe.prices.get(recipe.instructor_model)
    return (tokens[1] * price.input + tokens[2] * price.output) / 1e6 if price else 0.0
