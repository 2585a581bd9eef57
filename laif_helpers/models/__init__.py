"""Answers conversations (``generate``) with a model on this machine or with any OpenAI-compatible server."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from laif_helpers import arguments
from laif_helpers.key_types import RequestChange
from laif_helpers.models import local
from laif_helpers.models.gguf import prepare
from laif_helpers.models.local import chosen_dtype, fingerprint
from laif_helpers.models.sampling import Sampling, limits, sample_numbers
from laif_helpers.models.serving import as_here, serve
from laif_helpers.records import Completion, Message
from laif_helpers.target import Target

__all__ = ["as_here", "chosen_dtype", "fingerprint", "generate", "prepare", "sample_numbers", "serve"]

# A plain text bar is right for executed notebooks, which keep no widgets; so no word, whoever loads tqdm first.
warnings.filterwarnings("ignore", message="IProgress not found")

OnDone = Callable[[int, Completion], None]
Ask = Callable[[list[list[Message]], Sampling, OnDone], None]


def generate(
    model: str | os.PathLike[str],
    conversations: Iterable[list[Message]],
    *,
    max_new_tokens: int | Sequence[int] = 256,
    temperature: float = 0.0,
    seed: int = 0,
    n: int = 1,
    numbers: list[int] | None = None,
    url: str = "",
    change: RequestChange | None = None,
    dtype: str = "auto",
    batch_size: int = 0,
    on_done: OnDone | None = None,
    progress: bool = True,
) -> list[Completion]:
    """Answers to ``conversations``, in their order; ``n`` samples of each follow one another.

    ``model``: a folder (a LoRA adapter's too) or hub name, or ``server:<model>``, asked at ``url``. ``Sampling`` says
    what ``max_new_tokens``, ``temperature``, ``seed`` and ``numbers`` are. ``change``: what a server's requests have
    more, less or under another name; its ``chat_template_kwargs`` are for a model of this machine too. ``dtype``:
    ``auto``, ``float32`` or ``bfloat16``, ``batch_size``: rows decoded at once (0: as many as fit), both of this
    machine. ``on_done`` is called with (index, completion) as soon as an answer is finished.

    A prompt longer than the model's context is not asked: its completion is empty and its ``finish`` says why.
    Raises ValueError (unusable model or settings), ServerError (a server that refuses or keeps failing).
    """
    model, conversations = arguments.place("the model", model), _as_lists(conversations)
    temperature, n = arguments.number("temperature", temperature, 0, float), arguments.number("n", n, 1, int)
    seed, size = (arguments.number(*given, 0, int) for given in (("seed", seed), ("batch_size", batch_size)))
    longest = limits(max_new_tokens, len(conversations), n)
    if n > 1 and not temperature:
        raise ValueError(f"n {n} at temperature 0: several samples need a temperature above 0")
    conversations = [turns for turns in conversations for _ in range(n)]  # equal prompts get seeds of their own
    if not conversations:
        return []
    how = Sampling(longest, temperature, seed, sample_numbers(conversations) if numbers is None else numbers)
    served, change = Target.of(model).kind == "server", change or RequestChange()
    ask = _ask_server(model, url, change) if served else _ask_local(model, dtype, size, change)
    return _collected(partial(ask, conversations, how), len(conversations), on_done, progress)


def _collected(ask: Callable[[OnDone], None], count: int, on_done: OnDone | None, progress: bool) -> list[Completion]:
    """The completions that ``ask`` reports, by their index; a progress bar counts them, tokens per second beside it."""
    completions: dict[int, Completion] = {}
    tokens, started = 0, time.perf_counter()
    with progress_bar(count, "answers", "item", progress) as bar:

        def finished(index: int, completion: Completion) -> None:
            nonlocal tokens
            completions[index] = completion
            if on_done:
                on_done(index, completion)
            tokens += completion.new_tokens
            rate = tokens / max(1e-9, time.perf_counter() - started)
            bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
            bar.update()

        ask(finished)
    return [completions[index] for index in sorted(completions)]


def _ask_server(model: str, url: str, change: RequestChange) -> Ask:
    from laif_helpers.models import server

    return partial(server.ask, Target.of(model).name, url, change)


def _ask_local(model: str, dtype: str, batch_size: int, change: RequestChange) -> Ask:
    """Load the model now (a progress bar's rates should not count that), ask later."""
    loaded = local.load(model, dtype, change.template_values)

    def ask(conversations: list[list[Message]], how: Sampling, on_done: OnDone) -> None:
        for index, completion in local.answer(loaded, conversations, how, batch_size):
            on_done(index, completion)

    return ask


def _as_lists(conversations: Iterable[Iterable[Message]]) -> list[list[Message]]:
    """Each conversation as a list of its turns. Raises ValueError for one that is none."""
    found = []
    for index, given in enumerate(conversations):
        turns = [] if isinstance(given, (str, Mapping)) else list(given)
        if not turns or not all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in turns):
            raise ValueError(f"conversation {index}: expected a list of {{'role', 'content'}} turns, got {given!r:.80}")
        found.append(turns)
    return found


def progress_bar(total: int, what: str, unit: str, shown: bool = True) -> Any:
    """A tqdm bar that speaks once a second at most: every refresh becomes a line of an executed notebook."""
    from tqdm.auto import tqdm

    return tqdm(total=total, unit=unit, desc=what, disable=not shown, mininterval=1.0)
