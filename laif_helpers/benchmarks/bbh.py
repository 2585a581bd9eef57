"""BIG-Bench Hard: 27 tasks, three worked examples each, chain of thought.

Paper: Suzgun et al. 2022, Challenging BIG-Bench Tasks, https://arxiv.org/abs/2210.09261
Data: https://github.com/suzgunmirac/BIG-Bench-Hard (MIT), folders ``bbh/`` and ``cot-prompts/``. Split: test, 6,511
items. Hub copies lack the worked examples, so the data is read from local files: clone that repository into the data
folder under the name ``bbh``.

One raw example (in the data's schema, written for this file; a file is ``{"canary": …, "examples": [ … ]}``)::

    {"input": "not ( True and False ) is", "target": "True"}

A single row also carries ``task``, the name of its file. Prompt: the task's three worked examples, then the question.
Metric: exact match of what follows "the answer is", read by the kind of the gold answer: an option, a truth value, a
number, a list of words, brackets.
"""

import functools
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from laif_helpers.benchmarks import Benchmark, _files
from laif_helpers.benchmarks._files import DataDir
from laif_helpers.graders import choice, final_number
from laif_helpers.graders import text as free_text
from laif_helpers.graders.turns import own_turn
from laif_helpers.records import Example, Grade, Message, read_json

_COT = "Let's think step by step."
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.+)$", re.MULTILINE)


def load(split: str, data_dir: DataDir = None, limit: int | None = None) -> list[Example]:
    """All tasks in alphabetical order; ``limit`` takes from each task in turn, so that few items still cover all."""
    _files.check_split("bbh", split, ("test",))
    first = _files.find("bbh", ["bbh/boolean_expressions.json", "boolean_expressions.json"], data_dir)
    if first is None:
        why = "no hub data set holds its worked examples (clone https://github.com/suzgunmirac/BIG-Bench-Hard as 'bbh')"
        raise _files.missing("bbh", split, ["bbh/<task>.json"], data_dir, why)
    tasks = []
    for path in sorted(first.parent.glob("*.json")):
        rows = read_json(path).get("examples")
        if not isinstance(rows, list):
            raise ValueError(f"{path}: no list 'examples'")
        rows = [{"task": path.stem, **row} for row in rows]
        tasks.append(_files.examples(rows, from_row, str(path), split, limit))
    found = list(itertools.chain(*tasks))
    if limit:
        turns = itertools.zip_longest(*tasks)
        found = [example for turn in turns for example in turn if example is not None][:limit]
    if data_dir:
        for example in found:
            example.fields["data_dir"] = str(data_dir)
    return found


def from_row(row: dict[str, Any]) -> Example:
    """``input`` and ``target`` of a row, with its ``task``. Raises ValueError naming the field."""
    task, question = _files.field(row, "task"), _files.field(row, "input", "question")
    target = _files.field(row, "target", "answer").strip()
    options = dict(_OPTION.findall(question))
    label = re.fullmatch(r"\(?([A-Z])\)?", target)
    if options and label and label[1] not in options:
        raise ValueError(f"field 'target' is {target!r}; the options are {', '.join(options)}")
    id = _files.content_id("bbh", task, question)
    return _files.item("bbh", question.strip(), target, id=id, task=task, options=options if label else {})


def messages_for(text: str) -> list[Message]:
    """Without worked examples: a lesson names no task."""
    return [{"role": "user", "content": f"Q: {text}\nA: {_COT}"}]


@functools.cache
def cot_prompt(task: str, data_dir: str | None = None) -> str:
    """The task's instruction and three worked examples, without the canary line. Raises FileNotFoundError."""
    name = f"cot-prompts/{task}.txt"
    path = _files.find("bbh", [name], data_dir)
    if path is None:
        raise _files.missing("bbh", "test", [name], data_dir, "no hub data set holds it")
    return Path(path).read_text(encoding="utf-8").partition("-----\n")[2].strip()


def grade(example: Example, text: str) -> Grade:
    text = own_turn(text)
    if example.fields["options"]:
        return choice.grade(replace(example, gold=example.gold.strip("()")), text)
    if re.fullmatch(r"-?\d+", example.gold):
        return final_number.grade(example.gold, text, example.question)
    found = free_text.grade(example.gold, text)
    if not found.correct and not re.search(r"\w", example.gold):  # the whole sequence of brackets, closed
        whole = free_text.grade(f"{example.question.rpartition('Input:')[2]} {example.gold}", text)
        return whole if whole.correct else found
    return found


BENCHMARKS = {
    "bbh": Benchmark(
        name="bbh",
        splits=("test",),
        family="text",
        load=load,
        from_row=from_row,
        messages_for=messages_for,
        gold_response=lambda example: None,
        grade=grade,
        chance=lambda example: choice.chance(example) or 0.5 * free_text.is_truth(example.gold),
        worked_examples=lambda example: cot_prompt(example.fields["task"], example.fields.get("data_dir")),
        facets=("task",),
        licence="MIT",
        origin="clone https://github.com/suzgunmirac/BIG-Bench-Hard into the data folder as 'bbh'",
    )
}
