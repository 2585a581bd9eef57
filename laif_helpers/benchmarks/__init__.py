"""Finds benchmarks: one file each, behind one small dataclass.

``get(name)`` imports only the file that is asked for. A benchmark's module holds its paper, URL, licence, one
raw example, prompt, pattern, loading and grading; evaluation and training text come from the same
``messages_for``.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laif_helpers import arguments
from laif_helpers.records import Example, Grade, Message

if TYPE_CHECKING:
    from laif_helpers.benchmarks._files import Source

_NAMES = (
    *("gsm8k", "gsm_plus", "mmlu", "arc_challenge", "mbpp", "humaneval", "bbh", "practice", "practice_plus"),
    *("multistep_arithmetic", "word_sorting", "date_understanding", "logical_deduction"),
)
_MODULES = dict(zip(_NAMES, _NAMES, strict=True)) | {"practice_plus": "practice"}


@dataclass(frozen=True)
class Benchmark:
    """What the stages need to know of a benchmark.

    Attributes:
        name: the fixed name, as recipes write it.
        splits: names of its splits, e.g. ``("train", "test")``.
        family: ``math``, ``choice``, ``code`` or ``text``; instructor prompts and lesson checks go by it.
        load: ``load(split, data_dir=None, limit=None) -> list[Example]``, always in the same order.
        from_row: one row of any public schema -> Example; the id depends on the row's content alone.
        question_text: all that a person answering would be shown (with options or signature), without the
            prompt's fixed words; this is what a lesson's ``question`` holds and what gets embedded.
        messages_for: the chat turns that a question text is asked with, an item's or a lesson's.
        worked_examples: what stands before an item's own question in the prompt (BBH); a lesson goes without.
        gold_response: the gold answer written as a response (what plain fine-tuning trains on), or None
            if the data holds no worked answer.
        grade: ``grade(example, text) -> Grade``; never raises on model text.
        chance: probability that a blind guess is right.
        facets: names in ``Example.fields`` worth breaking results down by.
        sources: split -> where its rows lie, local file names and the pinned hub data set.
        licence: of the data.
        own_files: the files of a benchmark of the user's own.
        origin: where to get the data by hand, if no hub data set holds it.
    """

    name: str
    splits: tuple[str, ...]
    family: str
    load: Callable[..., list[Example]]
    from_row: Callable[[dict[str, Any]], Example]
    messages_for: Callable[[str], list[Message]]
    gold_response: Callable[[Example], str | None]
    grade: Callable[[Example, str], Grade]
    question_text: Callable[[Example], str] = lambda example: example.question
    chance: Callable[[Example], float] = lambda example: 0.0
    worked_examples: Callable[[Example], str] = lambda example: ""
    facets: tuple[str, ...] = ()
    sources: Mapping[str, "Source"] = field(default_factory=dict)
    licence: str = ""
    origin: str = ""
    own_files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Whatever a notebook passes by hand is made plain here, for every benchmark."""
        load, from_row, grade = self.load, self.from_row, self.grade

        def loaded(split: str, data_dir: Any = None, limit: int | None = None) -> list[Example]:
            return load(split, data_dir, limit and arguments.number("limit", limit, 0, int))

        object.__setattr__(self, "load", loaded)
        object.__setattr__(self, "from_row", lambda row: from_row(arguments.row(row)))
        object.__setattr__(self, "grade", lambda one, said: grade(self._item(one), arguments.text("the answer", said)))

    def _item(self, example: Any) -> Example:
        """The item, also if it is given as a row: its own, or one of the benchmark's data."""
        if isinstance(example, Example):
            return example
        row = arguments.row(example)
        return Example(**row) if row.keys() == {one.name for one in fields(Example)} else self.from_row(row)

    def messages(self, example: Example) -> list[Message]:
        """The chat turns that the target is asked with."""
        example = self._item(example)
        turns, before = self.messages_for(self.question_text(example)), self.worked_examples(example)
        return [turns[0] | {"content": f"{before}\n\n{turns[0]['content']}"}, *turns[1:]] if before else turns


def names() -> list[str]:
    """Names that ``get`` accepts, beside paths of files of the user's own (``own.py``)."""
    return list(_MODULES)


def get(name: str | os.PathLike[str]) -> Benchmark:
    """The benchmark of that name, or in that ``.jsonl`` file. Raises ValueError that lists the known names."""
    name = arguments.place("the benchmark", name)
    if name.endswith((".jsonl", ".json")):
        from laif_helpers.benchmarks import own

        return own.benchmark(name)
    if name not in _MODULES and ("." in name or "/" in name):
        raise ValueError(
            f"benchmark {name!r}: only JSON Lines are read, in a file whose name ends with .jsonl; pandas writes them: "
            "frame.to_json('mine.jsonl', orient='records', lines=True), with columns 'question' and 'answer', and "
            "datasets: dataset.to_json('mine.jsonl')"
        )
    if name not in _MODULES:
        raise ValueError(
            f"unknown benchmark {name!r}; known: {', '.join(_MODULES)}, or the path of a .jsonl file with 'question' "
            "and 'answer'"
        )
    module = importlib.import_module(f"laif_helpers.benchmarks.{_MODULES[name]}")
    return module.BENCHMARKS[name]
