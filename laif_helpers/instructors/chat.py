"""Builds what is sent to a language model and reads its answer, call by call or in a batch."""

from typing import Any

from laif_helpers import benchmarks
from laif_helpers.instructors.ledger import Asked, Ledger, Reply
from laif_helpers.instructors.spending import MAX_REPLY_TOKENS, price
from laif_helpers.lessons import structured
from laif_helpers.models import replies
from laif_helpers.models.form import Form
from laif_helpers.recipe import Recipe, StageParameters

OPENAI = "https://api.openai.com/v1"
TEMPERATURE = 0.8
"""As in LLMs-as-Instructors (arXiv 2407.00497)."""
SCHEMA = "response_format"
"""The parameter that holds the JSON schema of a reply."""


def url_of(p: Recipe) -> str:
    """The endpoint's base URL."""
    return p.instructor_url or OPENAI


def known_form(p: StageParameters, ledger: Ledger) -> Form:
    """The form of requests that this endpoint and model are known to take; what was learned lies in the ledger."""
    form = Form.load(p.request_options.instructor, ledger.noted(_note(p)))
    if p.reply_format == "json" and SCHEMA in form.left_out:
        form.left_out.discard(SCHEMA)  # the recipe insists on it, and nothing in this form was answered
        form.proven = False
    return form


def keep_form(form: Form, p: StageParameters, ledger: Ledger) -> None:
    """A request in this form was answered: later runs and batches begin with it."""
    if not form.proven:
        form.proven = True
        ledger.note(_note(p), form.dump())


def _note(p: StageParameters) -> str:
    return f"form of {p.instructor_model} at {url_of(p)}"


def takes_schema(p: StageParameters, form: Form) -> bool:
    """Whether replies are asked for by JSON schema; ``auto`` says yes until the endpoint has refused."""
    return p.reply_format == "json" or (p.reply_format == "auto" and SCHEMA not in form.left_out)


def bare(p: Recipe, longest: int = MAX_REPLY_TOKENS) -> dict[str, Any]:
    """The body of a call without a prompt; ``longest``: tokens of the reply."""
    # OpenAI's newer models refuse the name that every other server knows.
    length = "max_tokens" if p.instructor_url else "max_completion_tokens"
    return {"model": p.instructor_model, "messages": [], "temperature": TEMPERATURE, "seed": p.seed, length: longest}


def call(request: Asked, p: StageParameters, as_json: bool, longest: int = MAX_REPLY_TOKENS) -> dict[str, Any]:
    """The body of a chat completion, before the endpoint's own form of it."""
    body = bare(p, longest) | {"messages": request.messages}
    if as_json:
        schema = structured.schema(benchmarks.get(request.benchmark).family)
        wrapped = {"name": "lessons", "strict": True, "schema": schema}
        body[SCHEMA] = {"type": "json_schema", "json_schema": wrapped}
    return body


def read(
    key: str, completion: Any, p: StageParameters, most: float, share: float = 1.0, longest: float = MAX_REPLY_TOKENS
) -> Reply:
    """A completion as the ledger keeps it; a refusal's words stand in for the text. ``share``: of the full price;
    ``longest``: tokens that were asked for at most.

    Some servers put the whole answer where a thought belongs: it is taken if the model ended by itself and wrote
    nothing else.
    """
    found = replies.read_completion(completion, 0.0, longest)
    message = replies.first_choice(completion).get("message") or {}
    text, finish = found.text, found.finish
    if refusal := replies.plain_text(message.get("refusal")):
        text, finish = text or refusal, "error: refusal"
    elif not text.strip() and (called := replies.call_text(message)):
        text, finish = called, finish if finish == "length" else "stop"
    elif not text.strip() and finish == "stop":
        text = next(filter(None, map(replies.plain_text, replies.thoughts(message))), "")
    asked, got = found.prompt_tokens, found.new_tokens
    # An endpoint that does not say what it used is counted at the most it can have been.
    usd = price(p, asked, got) * share if asked and (got or not text) else most
    usd = max(usd, replies.dollars(completion))  # a price table may be wrong, or know nothing of a fee
    return Reply(key, text, finish, asked, got, 1, usd)
