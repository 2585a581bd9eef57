"""On-policy distillation: chooses the training questions that the target answers while a teacher scores its tokens.

``opd`` draws from all questions (arXiv 2306.13649); ``opd_errors`` from those that the target failed; ``opd_contrast``
takes half from those it failed and half from those it passed: LEC's idea without a lesson. The answers are written
during the training itself (stage 5), anew in every epoch, because the model that answers changes.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laif_helpers import benchmarks, lessons, models
from laif_helpers.answers import joined, pools
from laif_helpers.lessons.text import normalise
from laif_helpers.models import local, tokenizers
from laif_helpers.recipe import StageParameters, local_target
from laif_helpers.records import ROLLOUT, Example, Message, write_jsonl


@dataclass(frozen=True)
class Question:
    """A question to be answered in training; ``failed``: the target's last answer was wrong; ``tokens``: its length."""

    example: Example
    failed: bool
    tokens: int

    @property
    def messages(self) -> list[Message]:
        return benchmarks.get(self.example.benchmark).messages(self.example)

    @property
    def asked(self) -> str:
        return f"{benchmarks.get(self.example.benchmark).question_text(self.example)}\n\nRight: {self.example.gold}"


def choose(p: StageParameters) -> list[Question]:
    """``p.budget`` questions a benchmark, drawn with the seed, and the rows of ``p.folder.repair_records``.

    If fewer questions fit the arm, they come again until the budget is full, so that every arm learns from as many
    rollouts. Raises ValueError for a teacher that cannot score the target's tokens.
    """
    if p.row.needs != "teacher":
        raise ValueError(
            f"arm {p.arm!r} has no teacher that scores it; the arms that do: opd, opd_errors, opd_contrast"
        )
    if reason := tokenizers.vocabulary_problem(p.base_model, p.teacher):
        raise ValueError(reason)
    forbidden = {normalise(question) for _, question in lessons.test_questions(p)}
    chosen = [question for study in pools.read(p).values() for question in _drawn(p, study, forbidden)]
    write_jsonl(p.folder.repair_records, [_row(question) for question in chosen])
    return chosen


def _drawn(p: StageParameters, study: pools.Study, forbidden: set[str]) -> list[Question]:
    """As many as the budget takes in a drawn order; all of them again and again if there are fewer. If a benchmark has
    no failed question, or failed ones alone, it has no halves."""
    text = study.bench.question_text
    half = p.budget // 2 if study.right and study.wrong else p.budget * bool(study.wrong)
    wanted = {
        "opd": [([*study.everything.values()], p.budget)],
        "opd_errors": [(study.wrong, p.budget)],
        "opd_contrast": [(study.wrong, half), (study.right, p.budget - half)],
    }[p.strategy]
    rng, failed = random.Random(f"{p.draw}-{study.bench.name}-rollouts"), {a.example.id for a in study.wrong}
    found = []
    for answers, n in wanted:
        free = [answer for answer in answers if normalise(text(answer.example)) not in forbidden]
        drawn = itertools.islice(itertools.cycle(rng.sample(free, len(free))), n)
        found += [Question(answer.example, answer.example.id in failed, answer.tokens) for answer in drawn]
    return found


def _row(question: Question) -> dict[str, Any]:
    row = {"id": question.example.id, "benchmark": question.example.benchmark, "source": ROLLOUT}
    return row | {"messages": question.messages, "answer_tokens": question.tokens}


def ask_teacher(p: StageParameters, chosen: Sequence[Question], most: int = 60) -> list[dict[str, Any]]:
    """The teacher's greedy answers to up to ``most`` of the questions, graded: can it show what the target lacks?"""
    distinct = list({question.example.id: question for question in chosen}.values())
    shown = random.Random(p.draw).sample(distinct, min(most, len(distinct)))
    asked = [question.messages for question in shown]
    how: dict[str, Any] = {"max_new_tokens": p.max_new_tokens, "dtype": p.dtype, "change": p.request_options.target}
    answers = models.generate(local_target(p.teacher), asked, **how)
    rows = []
    for question, answer in zip(shown, answers, strict=True):
        bench = benchmarks.get(question.example.benchmark)
        right = bench.grade(question.example, answer.text).correct
        about = {"benchmark": bench.name, "target failed": question.failed, "teacher right": right}
        cells = {"question": bench.question_text(question.example), "teacher": answer.text}
        rows.append(about | cells | {"tokens": answer.prompt_tokens + answer.new_tokens})
    return rows


def scored(p: StageParameters, question: Question) -> list[dict[str, Any]]:
    """The target's last answer to a question, token by token, as training will score it: the probabilities (per cent)
    that teacher and target give it, and the divergence KL(target || teacher) of the whole distributions there (nats).
    """
    answered = joined.pairs(p, p.previous, question.example.benchmark, p.error_split)
    by_id = {example.id: response for example, response in answered}
    answer, scores, ids, start = by_id[question.example.id].text, [], [], 0
    for name in (local_target(p.teacher), p.base_model):
        loaded = local.load(name, p.dtype, p.request_options.target.template_values)
        prompt = local.prompt_ids(loaded, [question.messages])[0]
        ids = prompt + loaded.tokenizer(answer, add_special_tokens=False)["input_ids"] + loaded.stop_ids[:1]
        start = len(prompt)
        scores.append(local.log_probabilities(loaded.model, ids)[start - 1 : -1])
    teacher, target = scores
    away = (target.exp() * (target - teacher)).sum(-1).clamp(min=0)
    texts = [loaded.tokenizer.decode([token]) for token in ids[start:]]
    given = (100 * each.exp()[range(len(texts)), ids[start:]] for each in (teacher, target))
    columns = zip(texts, *(column.tolist() for column in (*given, away)), strict=True)
    return [
        {"token": text, "teacher, %": round(theirs, 1), "target, %": round(own, 1), "divergence, nats": round(far, 2)}
        for text, theirs, own, far in columns
    ]
