"""Builds the four step by step tasks: reads their questions, answers them by a solver, and grades answers.

The questions are this project's own (``data/make_reasoning.py``). A task is *seen* in the buckets of its train split
and *unseen* in harder ones, which only its test split holds.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from laif_helpers.benchmarks import Benchmark
from laif_helpers.benchmarks._files import DataDir, check_split, content_id, field
from laif_helpers.graders import choice, final_number, steps
from laif_helpers.graders import text as free_text
from laif_helpers.paths import ROOT
from laif_helpers.records import Example, Grade, Message

SPLITS = ("train", "validation", "test")
SEEN = "test_seen"
"""The test items of the seen buckets alone: a small model's answers to the others are long, and never right."""
FOLDER = ROOT / "data" / "reasoning"


@dataclass(frozen=True)
class Task:
    """A task of this project's own.

    Attributes:
        bucket: the bucket that tables show, from the item as the task's verifier reads it.
        seen: the buckets of the train split.
    """

    name: str
    bucket: Callable[[Any], str]
    seen: tuple[str, ...]

    def benchmark(self, family: str) -> Benchmark:
        return Benchmark(
            name=self.name,
            splits=(*SPLITS, SEEN),
            family=family,
            load=self.load,
            from_row=self.from_row,
            messages_for=messages_for,
            gold_response=lambda example: example.rationale or None,
            grade=grade,
            chance=choice.chance,
            facets=("bucket", "seen"),
            licence="Apache-2.0",
        )

    def load(self, split: str, data_dir: DataDir = None, limit: int | None = None) -> list[Example]:
        """Items of a split, always the same in the same order; ``limit`` keeps the mix of cells."""
        check_split(self.name, split, (*SPLITS, SEEN))
        return self._world[split][: limit or None]

    @cached_property
    def _world(self) -> dict[str, list[Example]]:
        lines = gzip.decompress((FOLDER / f"{self.name}.jsonl.gz").read_bytes()).splitlines()
        world: dict[str, list[Example]] = {split: [] for split in SPLITS}
        for row in map(json.loads, lines):
            world[row["split"]].append(self._example(row["question"], row["split"]))
        world[SEEN] = [replace(item, split=SEEN) for item in world["test"] if item.fields["seen"]]
        return world

    def _example(self, question: str, split: str) -> Example:
        """Raises ValueError if the task's solver cannot answer the question."""
        task, bucket = steps.task(self.name), self.bucket
        item = task.read(question)
        solved = task.solve(item)
        gold = steps.final(str(solved[-1])).rpartition("answer is")[2].strip(" :.()")
        fields = {"bucket": bucket(item), "seen": bucket(item) in self.seen, "steps": len(solved) - 1}
        fields |= _options(question)
        return Example(content_id(self.name, question), self.name, split, question, gold, steps.write(solved), fields)

    def from_row(self, row: dict[str, Any]) -> Example:
        """``question`` and ``answer``, or ``input`` and ``target`` as BIG-Bench Hard has them."""
        question = field(row, "question", "input").strip().removeprefix("Q:").strip()
        gold = field(row, "answer", "target", "correct_answer").strip().strip("()")
        try:
            example = self._example(question, "")
        except ValueError:  # a question that the solver cannot read still has an answer
            fields = {"bucket": "other", "seen": False, **_options(question)}
            return Example(content_id(self.name, question), self.name, "", question, gold, "", fields)
        return replace(example, gold=gold, rationale=example.rationale if example.gold == gold else "")


def _options(question: str) -> dict[str, Any]:
    listed = question.partition("Options:")[2]
    found = dict(line[1:].split(") ", 1) for line in listed.strip().splitlines() if line[:1] == "(" and ") " in line)
    return {"options": found} if found else {}


def messages_for(question: str) -> list[Message]:
    """The question alone: the answer's format is learnt, never described."""
    return [{"role": "user", "content": question}]


def grade(example: Example, text: str) -> Grade:
    """By the final response if there is one, else by what the text names as its answer."""
    final = steps.final(text)
    if example.fields.get("options"):
        return choice.grade(example, final)
    if example.benchmark == "multistep_arithmetic":
        return final_number.grade(example.gold, final, example.question)
    return free_text.grade(example.gold, final.removesuffix("."))
