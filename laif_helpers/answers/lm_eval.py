"""Reads samples of lm-evaluation-harness (``--log_samples``): ``doc`` is the item, ``resps`` the unfiltered answers."""

import math
import re
from pathlib import Path

from laif_helpers.answers.labels import question_of, truth
from laif_helpers.records import Row


def metric(row: Row) -> str:
    """The first of a row's metrics that calls the answer right or wrong; "" if none does."""
    names = (*row.get("metrics", ()), "exact_match", "acc", "acc_norm", "pass@1", "pass_at_1")
    return next((name for name in names if truth(row.get(name)) is not None), "")


def is_vote(filter: str) -> bool:
    """Whether a filter reads an answer by a majority of its repeats, as ``maj@64`` does."""
    return filter.startswith("maj")


def bbh_task(path: Path) -> str:
    """Which of BIG-Bench Hard's tasks a file of samples holds; its items do not say."""
    found = re.search(r"bbh_(?:cot_)?(?:fewshot_|zeroshot_)?([a-z_]+?)(?:_\d{4}|$)", path.name)
    return found[1] if found else ""


def asked(row: Row) -> str:
    """The question itself; if the item has no such field, all that was sent."""
    arguments = row.get("arguments")
    sent = next(iter(arguments.values()), None) if isinstance(arguments, dict) else None
    whole = str(sent.get("arg_0", "")) if isinstance(sent, dict) else ""
    return question_of(row["doc"]) or whole


def texts(row: Row) -> list[str]:
    """All generated texts; of a vote what won; of a task scored by likelihood the option held most likely.

    Raises ValueError if there is neither.
    """
    answers = (not is_vote(str(row.get("filter", ""))) and row.get("resps")) or row["filtered_resps"]
    pairs = [answer[0] if isinstance(answer, list) and answer else None for answer in answers or ()]
    # [[log-likelihood, is it the greedy answer]], one for each option
    if pairs and all(isinstance(p, list) and len(p) == 2 and str(p[1]) in ("True", "False") for p in pairs):
        likelihoods, labels = [float(answer[0][0]) for answer in answers], _options(row["doc"])
        if labels and len(likelihoods) == 2 * len(labels):  # acc_mutual_info: those without the question follow
            del likelihoods[len(labels) :]
        if labels and len(labels) != len(likelihoods):
            raise ValueError(f"'resps' holds {len(answers)} likelihoods for {len(labels)} options")
        likelihoods = [-math.inf if math.isnan(value) else value for value in likelihoods]
        best = likelihoods.index(max(likelihoods))
        return [labels[best] if labels else str(best)]
    while isinstance(answers, list) and answers and isinstance(answers[0], list):
        answers = answers[0]
    found = ["" if text is None else text for text in (answers if isinstance(answers, list) else [answers])]
    if not found or not all(isinstance(text, str) for text in found):
        raise ValueError("'resps' holds no generated text")
    return found


def _options(doc: Row) -> list[str]:
    """Labels of the options: the item's own, else letters; an item of lettered fields (``A`` … ``D``) has these."""
    choices = doc.get("choices")
    if isinstance(choices, dict):
        return [str(label) for label in choices.get("label", [])]
    count = len(choices) if isinstance(choices, list) else sum(letter in doc for letter in "ABCDEFGHIJ")
    return [chr(ord("A") + place) for place in range(count)]
