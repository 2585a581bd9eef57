"""A user's own benchmark: a JSONL file, no code. A recipe names the file: ``benchmarks: [mydata.jsonl]``.

The name is a path: absolute, or relative to the project or to ``LAIF_DATA``. One row an item::

    {"question": "How many legs have 3 cats?", "answer": "12"}
    {"question": "Which is a bird?", "answer": "B", "choices": ["a bat", "a wren"]}
    {"question": "Capital of France?", "answer": "Paris", "grading": "exact", "id": "fr", "split": "train"}

``question`` and ``answer`` are needed. ``choices`` is a list (labelled A, B, …) or maps labels to texts; ``answer`` is
then a label or an option's text. ``grading`` is ``numeric`` (LaTeX too), ``choice`` or ``exact``; where it is absent,
rows with choices are ``choice``, and the others ``numeric`` if every such answer of the file is a number, else
``exact``. ``solution`` is a worked answer; ``subject``, ``task``, ``type`` and ``topic`` break results down.
Splits: the rows' ``split`` field, or files ``mydata.train.jsonl`` and ``mydata.test.jsonl`` beside (or in place of)
``mydata.jsonl``, whose rows are the test split.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers.benchmarks import Benchmark
from laif_helpers.benchmarks._files import DataDir, check_split, content_id, examples, field
from laif_helpers.graders import choice, final_number
from laif_helpers.graders import text as free_text
from laif_helpers.paths import data_dirs, resolve
from laif_helpers.records import Example, Grade, Message, read_rows

EXACT_INSTRUCTION = 'Answer the question. You may reason first; close with a line "The answer is …".'
GRADINGS = ("numeric", "choice", "exact")
FACETS = ("subject", "task", "type", "topic")
_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPLIT_FILES = ("train", "validation", "test")


def is_own(name: str) -> bool:
    """Whether a benchmark's name is a file of the user's."""
    return name.endswith((".jsonl", ".json"))


def benchmark(name: str) -> Benchmark:
    """The benchmark in that file. Raises FileNotFoundError naming the places searched, ValueError naming file, row and
    field."""
    files = tuple(_files(name))
    return _benchmark(name, files, tuple(path.stat().st_mtime_ns for path, _ in files))


def _files(name: str) -> list[tuple[Path, str]]:
    """The file and its ``.train``, ``.validation`` and ``.test`` companions, each with the split of its rows."""
    places = [resolve(name), *(root / name for root in data_dirs())]
    for place in places:
        found = [(place.with_suffix(f".{split}{place.suffix}"), split) for split in _SPLIT_FILES]
        found = [(path, split) for path, split in found if path.is_file()]
        if place.is_file():
            found.append((place, "test"))
        if found:
            return found
    looked = ", ".join(dict.fromkeys(map(str, places)))
    raise FileNotFoundError(
        f"benchmark {name!r}: no such file as {looked}, nor one with .train or .test before its suffix; give an "
        "absolute path, or name its folder by the environment variable LAIF_DATA"
    )


@functools.lru_cache(maxsize=8)
def _benchmark(name: str, files: tuple[tuple[Path, str], ...], _changed: tuple[int, ...]) -> Benchmark:
    gradings, splits = _survey(files)
    numeric = "exact" not in gradings
    family = {"numeric": "math", "choice": "choice"}.get(next(iter(gradings)), "text") if len(gradings) == 1 else "text"

    def from_row(row: dict[str, Any]) -> Example:
        return _example(name, row, numeric)

    def load(split: str, data_dir: DataDir = None, limit: int | None = None) -> list[Example]:
        check_split(name, split, splits)
        found: list[Example] = []
        for path, default in files:
            rows = (row for row in read_rows(path) if str(row.get("split") or default) == split)
            found += examples(rows, from_row, str(path), split, None)
        return found[: limit or None]

    def messages_for(text: str) -> list[Message]:
        if re.search(r"^A\. .*\n^B\. ", text, re.MULTILINE):
            return choice.messages_for(text)
        return [{"role": "user", "content": text if numeric else f"{EXACT_INSTRUCTION}\n\n{text}"}]

    return Benchmark(
        name=name,
        splits=splits,
        family=family,
        load=load,
        from_row=from_row,
        question_text=_question_text,
        messages=lambda example: messages_for(_question_text(example)),
        messages_for=messages_for,
        gold_response=_gold_response,
        grade=grade,
        chance=lambda example: choice.chance(example) if example.fields["options"] else 0.0,
        facets=FACETS,
        own_files=tuple(path for path, _ in files),
    )


def _survey(files: tuple[tuple[Path, str], ...]) -> tuple[set[str], tuple[str, ...]]:
    """The gradings and splits that occur; every row is read, so that a bad one is told before anything is asked."""
    splits: list[str] = []
    open_ended: set[str] = set()
    told: set[str] = set()
    for path, default in files:
        for number, row in enumerate(read_rows(path), start=1):
            try:
                grading = _grading(row)
                answer = field(row, "answer")
                _example("", row, True)
            except ValueError as error:
                raise ValueError(f"{path}: row {number}: {error}") from None
            splits.append(str(row.get("split") or default))
            told |= {grading} if grading else set()
            open_ended |= set() if grading else {"numeric" if final_number.is_answer(answer) else "exact"}
    if not splits:
        raise ValueError(f"{files[0][0]}: no rows; write one JSON object with 'question' and 'answer' a line")
    told |= {"exact"} if "exact" in open_ended else open_ended
    return told, tuple(sorted(set(splits), key=lambda split: (split != "train", split)))


def _grading(row: dict[str, Any]) -> str:
    """The row's grading where it says so, or has choices; "" where the file decides."""
    given = row.get("grading")
    if given is not None and given not in GRADINGS:
        raise ValueError(f"field 'grading' is {given!r}; choose one of {', '.join(GRADINGS)}")
    if given == "choice" and not row.get("choices"):
        raise ValueError("field 'choices' is missing or empty, but 'grading' is 'choice'")
    return given or ("choice" if row.get("choices") else "")


def _example(name: str, row: dict[str, Any], numeric: bool) -> Example:
    question, answer = field(row, "question").strip(), field(row, "answer").strip()
    grading = _grading(row) or ("numeric" if numeric else "exact")
    options = _options(row) if grading == "choice" else {}
    if options:
        answer = _label(answer, options)
    labels = {facet: str(row[facet]) for facet in FACETS if row.get(facet) is not None}
    stem = Path(name).stem
    return Example(
        id=str(row.get("id") or "").strip() or content_id(stem, question, *options.values()),
        benchmark=name,
        split="",
        question=question,
        gold=answer.replace(",", "") if grading == "numeric" and re.fullmatch(r"-?[\d,.]+", answer) else answer,
        rationale=str(row.get("solution") or ""),
        fields={"grading": grading, "options": options, **labels},
    )


def _options(row: dict[str, Any]) -> dict[str, str]:
    choices = row["choices"]
    pairs: Iterator[tuple[Any, Any]] | list[tuple[Any, Any]]
    if isinstance(choices, dict):
        pairs = list(choices.items())
    elif isinstance(choices, list):
        pairs = list(zip(_LABELS, choices, strict=False))
    else:
        raise ValueError(f"field 'choices' is {type(choices).__name__}; write a list, or labels with their texts")
    if len(pairs) < 2 or any(not str(text).strip() for _, text in pairs):
        raise ValueError("field 'choices' needs at least two options, none of them empty")
    return {str(label): str(text) for label, text in pairs}


def _label(answer: str, options: dict[str, str]) -> str:
    by_text = [label for label, text in options.items() if text.strip() == answer]
    label = answer if answer in options else answer.upper() if answer.upper() in options else (by_text or [""])[0]
    if not label:
        raise ValueError(f"field 'answer' is {answer!r}, neither a label ({', '.join(options)}) nor an option's text")
    return label


def _question_text(example: Example) -> str:
    return choice.question_text(example) if example.fields["options"] else example.question


def _gold_response(example: Example) -> str | None:
    if example.fields["options"]:
        return choice.gold_response(example)
    numeric = f"\\boxed{{{example.gold}}}" if "\\" in example.gold else f"#### {example.gold}"
    end = numeric if example.fields["grading"] == "numeric" else f"The answer is {example.gold}."
    return f"{example.rationale}\n{end}".strip()


def grade(example: Example, text: str) -> Grade:
    """By the item's own grading: a number, an option, or the very words."""
    if example.fields["grading"] == "numeric":
        return final_number.grade(example.gold, text, example.question)
    if example.fields["options"]:
        return choice.grade(example, text)
    return free_text.grade(example.gold, text)
