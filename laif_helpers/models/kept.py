"""Answers that go to disk as they come, so that a killed run asks only for those that are missing."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from laif_helpers import models
from laif_helpers.key_types import RequestChange
from laif_helpers.models.sampling import limits
from laif_helpers.records import Completion, Message, digest, sound_rows, write_jsonl

Ask = Callable[..., list[Completion]]
"""``ask(conversations, **options)``: ``models.generate`` for one model; or ``generate`` below, for a file too."""


def generate(
    path: Path,
    model: str,
    conversations: list[list[Message]],
    *,
    max_new_tokens: int | Sequence[int] = 256,
    n: int = 1,
    beside: Iterable[Path] = (),
    **how: Any,
) -> list[Completion]:
    """As ``models.generate``, but each answer is appended to ``path`` as soon as it is finished.

    What ``path`` or a file of ``beside`` holds of the same model, conversation, sample and settings is not asked again.
    """
    asked = [turns for turns in conversations for _ in range(n)]
    longest = limits(max_new_tokens, len(conversations), n)
    numbers, made_by = models.sample_numbers(asked), _made_by(model, how)
    keys = [
        digest([made_by | {"max_new_tokens": most}, *of]) for most, *of in zip(longest, asked, numbers, strict=True)
    ]
    wanted, own = set(keys), _read(path)
    known = {key: row for file in beside for key, row in _read(file).items() if key in wanted} | own
    missing = [at for at, key in enumerate(keys) if key not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, known.values())
    with path.open("a", encoding="utf-8") as handle:
        before = time.perf_counter()

        def keep(at: int, done: Completion) -> None:
            nonlocal before
            now = time.perf_counter()
            row = {"key": keys[missing[at]], **asdict(done), "seconds": round(now - before, 4)}
            known[row["key"]], before = row, now
            if not done.unanswered:
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
                handle.flush()

        left, how["max_new_tokens"] = [asked[at] for at in missing], [longest[at] for at in missing]
        models.generate(model, left, numbers=[numbers[at] for at in missing], on_done=keep, **how)
    return [Completion(**{field: value for field, value in known[key].items() if field != "key"}) for key in keys]


def _made_by(model: str, how: dict[str, Any]) -> dict[str, Any]:
    """All that decides an answer beside its conversation and its number."""
    change = how.get("change") or RequestChange()
    settings: dict[str, Any] = {key: how[key] for key in ("temperature", "seed") if key in how}
    dtype = models.chosen_dtype(model, how.get("dtype", "auto"))
    return {"model": models.fingerprint(model), "dtype": dtype, "values": change.template_values, **settings}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Answers that an earlier call left, by key. A line that it was writing when it was killed is dropped."""
    return {row["key"]: row for row in sound_rows(path, more=False) if "key" in row}
