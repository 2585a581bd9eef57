"""Asks a language model, if the recipe names one, for a sentence per cluster: what has the student not understood?

A reading of the cluster for people, under its words; no lesson is made from it. Items that are held out from the
instructor are not shown here either.
"""

import pandas as pd

from laif_helpers.answers import joined
from laif_helpers.error_analysis import typical
from laif_helpers.instructors import chat, ledger, llm, spending
from laif_helpers.instructors.chat import Asked
from laif_helpers.instructors.ledger import Reply
from laif_helpers.instructors.prompts import shown, template
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Message

WRONG, RIGHT = 5, 3
"""Items of a cluster that the model is shown: its most typical errors, and right answers from among them."""
MOST_SHOWN, MOST_SAID = 1_500, 300
"""Characters of each text that is shown, and of the sentence that is kept."""


def added(p: StageParameters, points: pd.DataFrame) -> pd.DataFrame:
    """``points`` with the column ``sentence``, "" for items of no cluster; unchanged if no model is to be asked.

    The model is asked if ``instructor`` is ``llm`` and ``quote_only`` is off. Replies stay in ``instruct/`` beside
    the map, so that none is paid for twice; ``max_usd`` is the cap of the arm's iteration, lessons included. An
    endpoint that is missing or refuses costs the sentences, never the map: it is printed in one line.
    """
    requests = _requests(p, points) if p.instructor == "llm" and not p.quote_only else {}
    if not requests:
        return points
    written = {number: sentence(reply) for number, reply in _ask(p, requests).items()}
    if not any(written.values()):
        return points
    return points.assign(sentence=[written.get(number, "") for number in points["near"]])


def sentence(reply: Reply) -> str:
    """A reply as one line of at most 300 characters; "" if the model refused or was cut short."""
    words = "" if reply.finish.startswith(("error", "length", "content_filter")) else " ".join(reply.text.split())
    words = words.removeprefix("Diagnosis:").strip()
    return words if len(words) <= MOST_SAID else f"{words[:MOST_SAID]} …"


def _requests(p: StageParameters, points: pd.DataFrame) -> dict[int, Asked]:
    """A request for each cluster that has an error which may be shown."""
    hidden = [joined.held_out(p, row.benchmark, row.id) for row in points[["benchmark", "id"]].itertuples()]
    open_ = points[[not held_out for held_out in hidden]]
    found = {}
    for number in sorted(set(points["cluster"]) - {-1}):
        wrong = open_[open_["cluster"] == number]
        right = open_[open_["correct"] & (open_["near"] == number)]
        if len(wrong):
            found[int(number)] = _request(p, typical(wrong, WRONG), typical(right, RIGHT))
    return found


def _request(p: StageParameters, wrong: pd.DataFrame, right: pd.DataFrame) -> Asked:
    rows = [
        {name: shown(str(text or "(no answer)"), MOST_SHOWN) for name, text in row.items()}
        for row in wrong[["question", "text", "gold"]].rename(columns={"text": "answer"}).to_dict("records")
    ]
    blocks = {"wrong": rows, "right": [shown(question, MOST_SHOWN) for question in right["question"]]}
    messages: list[Message] = [
        {"role": "system", "content": template("cluster.j2").render().strip()},
        {"role": "user", "content": template("cluster_user.j2").render(blocks).strip()},
    ]
    model = {"instructor": p.instructor, "model": p.instructor_model, "url": p.instructor_url}
    sampling = {"temperature": chat.TEMPERATURE, "max_tokens": spending.MAX_REPLY_TOKENS, "seed": p.seed}
    return Asked(ledger.key_of(messages, model | sampling), wrong["benchmark"].iloc[0], messages)


def _ask(p: StageParameters, requests: dict[int, Asked]) -> dict[int, Reply]:
    """The replies that are there or come; what stopped the rest is printed."""
    about = {"arm": p.arm, "iteration": str(p.iteration), "target": p.target, "instructor": p.instructor}
    left = max(p.max_usd - ledger.totals(p.folder.replies(p.arm))["usd"], 0.0)
    # A sentence has no schema, and a day is too long to wait for one.
    asking = p.model_copy(update={"reply_format": "text", "batch": False, "max_usd": left})
    with ledger.open_ledger(p.folder.replies("clusters"), about, {}) as calls:
        try:
            calls.answered([*requests.values()], lambda missing: llm.ask(missing, asking, calls))
        except (ValueError, RuntimeError) as error:
            print(f"Not every cluster has its sentence: {error}")
        replies = calls.replies(request.key for request in requests.values())
        print(f"{len(replies)} of {len(requests)} clusters put to {p.instructor_model}, {calls.spent():.4f} dollars")
    return {number: replies[request.key] for number, request in requests.items() if request.key in replies}
