"""Compares the vocabularies of two local models: a teacher scores the target's tokens, so it must have the same."""

import functools
from pathlib import Path

from laif_helpers.paths import resolve
from laif_helpers.target import Target


def problem(target: str, teacher: str) -> str:
    """Why ``teacher`` cannot score what ``target`` writes, token by token; "" if it can.

    A model that is not on this machine yet is compared when it is loaded: "" here.
    """
    if not teacher:
        return "no teacher is set; set teacher, a model of this machine with the target's vocabulary"
    if not Target.of(teacher).local:
        return f"teacher {teacher!r} must be a model of this machine: every token is scored, which no server answers"
    folders = [resolve(name) for name in (target, teacher)]
    if not all(folder.is_dir() for folder in folders):
        return ""
    mine, theirs = map(_ids, folders)
    if mine == theirs:
        return ""
    shared = len(mine.items() & theirs.items())
    return (
        f"teacher {teacher!r} has another vocabulary than the target ({len(theirs):,} tokens against {len(mine):,}, "
        f"{shared:,} of them the same under the same number), so it cannot score the target's tokens; take a teacher "
        "of the target's own family"
    )


@functools.lru_cache(maxsize=8)  # every arm that has a teacher asks
def _ids(folder: Path) -> dict[str, int]:
    from transformers import AutoTokenizer

    return dict(AutoTokenizer.from_pretrained(folder).get_vocab())
