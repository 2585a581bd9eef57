"""A user's own benchmark: a JSONL file, no code. A recipe names the file: ``benchmarks: [mydata.jsonl]``.

The name is a path: absolute, or relative to the project or to ``LAIF_DATA``. One row an item::

    {"question": "How many legs have 3 cats?", "answer": "12"}
    {"question": "Which is a bird?", "answer": "B", "choices": ["a bat", "a wren"]}
    {"question": "Capital of France?", "answer": "Paris", "grading": "exact", "id": "fr", "split": "train"}

``question`` and ``answer`` are needed; a list as ``answer`` holds all answers that are accepted, the first of which is
shown as gold. ``choices`` is a list (labelled A, B, …) or maps labels (letters in any case, or 1, 2, …) to texts;
``answer`` is then a label or an option's text, or ``answer_index`` counts from 0.
``grading`` is ``numeric`` (LaTeX too), ``choice`` or ``exact``; if it is absent, rows with choices, or whose question
ends on a list of them ("A. a bat"), are ``choice``, and the others ``numeric`` if every such answer of the file is a
number, or theirs is one alone or a formula, else ``exact``. ``solution`` is a worked answer, which may also stand in
``answer``, before ``#### 12`` or around a last ``\\boxed{12}``; ``subject``, ``task``, ``type`` and ``topic`` break
results down.
Splits: the rows' ``split`` field, or files ``mydata.train.jsonl`` and ``mydata.test.jsonl`` beside (or in place of)
``mydata.jsonl``, whose rows are the test split. A first row ``{"settings": {"decimal": ","}}`` holds for all rows of
its file: numbers are then written 1.234,5, in the answers of the file as in the model's.
"""

import functools
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from laif_helpers.benchmarks import Benchmark, _row_fields
from laif_helpers.benchmarks._files import DataDir, check_split, content_id, item, unique_ids
from laif_helpers.graders import choice, final_number, numbers
from laif_helpers.graders import text as free_text
from laif_helpers.graders.families import GRADINGS
from laif_helpers.paths import places_of
from laif_helpers.records import Example, Grade, Message, read_rows

EXACT_INSTRUCTION = 'Answer the question. You may reason first; close with a line "The answer is …".'
SETTINGS = {"decimal": (".", ",")}
"""What the first row of a file may settle for all of it, with the values it takes."""
FACETS = ("subject", "task", "type", "topic")
_LISTED = re.compile(
    r"\s*(?:^[ \t]*(?i:options|choices|answers):?\s*)?(?:(?:^[ \t]*\(?[A-Ja-j][).:][ \t]*\S.*\s*){2,10}"
    r"|(?<=[?.:!]\s)(?:\(?[A-Ja-j]\)[^()\n]*\w[^()\n]*){2,10})(?i:^[ \t]*(?:your |the )?answer:?\s*)?\Z",
    re.MULTILINE,
)
"""Options at the end of a question: one a line, or "(A) a bat (B) a wren" or "A) a bat B) a wren" in a row."""
_PROGRAM = re.compile(r"^\s*(?:def \w+\([^\n]*:|class \w+[^\n]*:|#include\b)", re.MULTILINE)
_OPTIONS = re.compile(r"^(?:A|1)\. (?:.*\n)+?(?:B|2)\. ", re.MULTILINE)
_SPLIT_FILES = ("train", "validation", "test")
_COMMAS = str.maketrans(".,", ",.")
_Placed = tuple[Path, int, dict[str, Any]]
"""A row with its file and number."""


def benchmark(name: str) -> Benchmark:
    """The benchmark in that file. Raises FileNotFoundError naming the places searched, ValueError naming file, row and
    field."""
    files = tuple(_files(name))
    return _benchmark(name, files, tuple(path.stat().st_mtime_ns for path, _ in files))


def _files(name: str) -> list[tuple[Path, str]]:
    """The file and its ``.train``, ``.validation`` and ``.test`` companions, each with the split of its rows."""
    for place in places_of(name):
        found = [(place.with_suffix(f".{split}{place.suffix}"), split) for split in _SPLIT_FILES]
        found = [(path, split) for path, split in found if path.is_file()]
        if place.is_file():
            found.append((place, "test"))
        if found:
            return found
    looked = ", ".join(map(str, places_of(name)))
    raise FileNotFoundError(
        f"benchmark {name!r}: no such file as {looked}, nor one with .train or .test before its suffix; give an "
        "absolute path, or name its folder by the environment variable LAIF_DATA"
    )


@functools.lru_cache(maxsize=8)
def _benchmark(name: str, files: tuple[tuple[Path, str], ...], _changed: tuple[int, ...]) -> Benchmark:
    rows = [(path, number, row) for path, _ in files for number, row in _rows(path)]
    if not rows:
        raise ValueError(f"{files[0][0]}: no rows; write one JSON object with 'question' and 'answer' a line")
    gradings = _gradings(rows)
    numeric, has_options = "exact" not in gradings, "choice" in gradings
    family = GRADINGS[gradings.pop()] if len(gradings) == 1 else "text"
    # all rows are read here, so that a bad one is named before anything is asked
    named = _each(rows, lambda row: _split(str(row["split"])) if row.get("split") else "")
    found = zip(rows, _each(rows, lambda row: _example(name, row, numeric)), named, strict=True)
    items = [replace(item, split=split or dict(files)[path]) for (path, *_), item, split in found]
    examples = unique_ids(items)  # an id that is given twice gets a number, in whichever file
    splits = tuple(sorted({example.split for example in examples}, key=lambda split: (split != "train", split)))

    def from_row(row: dict[str, Any]) -> Example:
        return _example(name, _with_choices(row), numeric)

    def load(split: str, data_dir: DataDir = None, limit: int | None = None) -> list[Example]:
        check_split(name, split, splits)
        return [example for example in examples if example.split == split][: limit or None]

    def messages_for(text: str) -> list[Message]:
        if has_options and _OPTIONS.search(text):
            return choice.messages_for(text)
        return [{"role": "user", "content": text if numeric else f"{EXACT_INSTRUCTION}\n\n{text}"}]

    return Benchmark(
        name=name,
        splits=splits,
        family=family,
        load=load,
        from_row=from_row,
        question_text=choice.question_text,
        messages_for=messages_for,
        gold_response=functools.partial(_gold_response, named=not numeric),
        grade=grade,
        chance=choice.chance,
        facets=FACETS,
        own_files=tuple(path for path, _ in files),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers; what a first row settles stands in each. Raises ValueError for an unknown setting."""
    settings: dict[str, Any] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if number == 1 and row.keys() == {"settings"}:
            settings = row["settings"] if isinstance(row["settings"], dict) else {"settings": row["settings"]}
            for key, value in settings.items():
                if value not in SETTINGS.get(key, ()):
                    known = "; ".join(f"{name}: one of {values}" for name, values in SETTINGS.items())
                    raise ValueError(f"{path}: row 1: setting {key!r} is {value!r}; known are {known}")
        else:
            yield number, _with_choices({**settings, **row})


def _with_choices(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the options that its question lists at its end as ``choices``, if one of them is its answer."""
    question, answer = row.get("question"), row.get("answer")
    if "choices" in row or row.get("grading") or not isinstance(question, str) or not isinstance(answer, str):
        return row
    listed = _LISTED.search(question)
    pattern = r"(?m)(?:^[ \t]*\(?|\(|(?<=\s)(?=.\)))([A-Ja-j])[).:]\s*([^\n]+?)\s*(?=\s\(?[A-Ja-j]\)|$)"
    pairs = re.findall(pattern, listed[0]) if listed else []
    options = {label.upper(): words for label, words in pairs}
    if not listed or not listed.start() or [*options] != [*string.ascii_uppercase[: len(pairs)]]:
        return row
    try:
        _row_fields.label_of(answer.strip(), options, False)
    except ValueError:
        return row
    return {**row, "question": question[: listed.start()], "choices": options}


def _each(rows: list[_Placed], make: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """What ``make`` makes of each row. Raises ValueError naming file and row."""
    made = []
    for path, number, row in rows:
        try:
            made.append(make(row))
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
    return made


def _split(name: str) -> str:
    """A split's name, which becomes part of a file's. Raises ValueError for one that would lead elsewhere."""
    if not re.fullmatch(r"\w[\w.-]*", name) or ".." in name:
        raise ValueError(f"split {name!r}: name it with letters, digits, '_', '-' and '.' alone")
    return name


def _no_program(row: dict[str, Any]) -> None:
    """Raises ValueError for a row about a program, which words would grade."""
    tests = {"test_list", "test_cases", "unit_tests", "entry_point", "canonical_solution", "input_output"} & row.keys()
    if (tests or _PROGRAM.search(str(row.get("answer")))) and not row.get("grading"):
        raise ValueError(
            f"field {min(tests, default='answer')!r} is about a program, and own files have numbers, options, words: "
            "write rows as MBPP does to mbpp/test.jsonl in a folder, name it by LAIF_DATA, and run the benchmark mbpp"
        )


def _gradings(rows: list[_Placed]) -> set[str]:
    """The gradings that occur: those that rows name, and numeric or exact for the others, which go together."""
    _each(rows, _no_program)
    _each(rows, _row_fields.question_of)  # a field of another name comes first
    given = _each(rows, _row_fields.graded_by)
    accepted = _each(rows, lambda row: [] if _row_fields.graded_by(row) else _row_fields.accepted_answers(row))
    open_ended = [(*place, answer) for (*place, _), answers in zip(rows, accepted, strict=True) for answer in answers]
    words = [found for found in open_ended if not final_number.is_answer(found[2])]
    if words and len(words) < len(open_ended) and all(word.casefold() in _row_fields.EMPTY_CELLS for *_, word in words):
        path, number, answer = words[0]
        raise ValueError(
            f"{path}: row {number}: answer {answer!r} stands among numbers (an empty cell?); write the answer, leave "
            'the row out, or give every row "grading": "exact"'
        )
    open_grading = {"exact" if words else "numeric"} if open_ended else set()
    return {*given} - {""} | open_grading


def _example(name: str, row: dict[str, Any], numeric: bool) -> Example:
    question, accepted = _row_fields.question_of(row), _row_fields.accepted_answers(row)
    given = "" if row.get("id") is None or row["id"] != row["id"] else str(row["id"]).strip()  # NaN is no id
    numeric = numeric or _row_fields.is_number(accepted)  # spelled in many ways, also in a file of words
    grading = _row_fields.graded_by(row) or ("numeric" if numeric else "exact")
    options = _row_fields.read_options(row) if grading == "choice" else {}
    accepted = [_as_graded(answer, grading, options, row) for answer in accepted]
    fields = {"grading": grading, "options": options, "accepted": accepted, "decimal": row.get("decimal", ".")}
    fields |= {facet: str(row[facet]) for facet in FACETS if row.get(facet) is not None}
    id = given or content_id(Path(name).stem, question, *options.values())
    return item(name, question, accepted[0], id=id, rationale=_row_fields.solution_of(row), **fields)


def _as_graded(answer: str, grading: str, options: dict[str, str], row: dict[str, Any]) -> str:
    """An accepted answer as its grader takes it. Raises ValueError for one that no response could ever meet."""
    if options:
        label = _row_fields.label_of(answer, options, isinstance(row["choices"], list))
        _row_fields.check_counted(row, label)
        if row.get("answer_index") is not None and label != (other := _row_fields.counted(row)):
            raise ValueError(f"'answer' means option {label} and 'answer_index' option {other}; leave one of them out")
        return label
    if row.get("grading") == "numeric" and not final_number.is_answer(answer) and not numbers.parse(answer):
        raise ValueError(f"field 'answer' is {answer!r}, no number, and 'grading' is 'numeric'; write 'exact'")
    if re.search(r"\n\s*\n", answer):
        raise ValueError("field 'answer' has an empty line, and an answer is read up to one; write it without")
    if grading == "numeric":
        return _row_fields.plain_number(answer)
    if not free_text.grade(answer, f"The answer is {answer}.").correct:
        raise ValueError(f"field 'answer' is {answer!r}, which is read from no response; write the words alone")
    return answer


def _gold_response(example: Example, named: bool) -> str | None:
    """``named``: the prompt asks to name the answer in a sentence, since the file holds words, too."""
    if example.fields["options"]:
        return choice.gold_response(example)
    # as the file writes its numbers, because training goes by it and grading reads it
    gold = example.gold.translate(_COMMAS) if example.fields["decimal"] == "," else example.gold
    words = f"The answer is:\n{gold}." if "\n" in gold else f"The answer is {gold}."
    numeric = f"\\boxed{{{gold}}}" if "\\" in gold else words if named else f"#### {gold}"
    end = numeric if example.fields["grading"] == "numeric" else words
    return f"{example.rationale}\n{end}".strip()


def grade(example: Example, text: str) -> Grade:
    """By the item's own grading: a number, an option, or the very words; right if any accepted answer is met."""
    grades = [_grade(replace(example, gold=gold), text) for gold in example.fields["accepted"]]
    return next((grade for grade in grades if grade.correct), grades[0])


def _grade(example: Example, text: str) -> Grade:
    if example.fields["grading"] == "numeric":
        return final_number.grade(example.gold, text, example.question, example.fields["decimal"])
    if example.fields["options"]:
        return choice.grade(example, text)
    return free_text.grade(example.gold, text, example.question)
