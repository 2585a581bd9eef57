"""Lists the arms of a comparison, one row each; plan, requests, tables, figures, forecast and export read them."""

from dataclasses import dataclass
from typing import Any, Literal

About = Literal["", "errors", "errors_and_neighbours", "items", "random"]
Signal = Literal["answers", "teacher", "lesson"]
OWN_LOOK = ("#F0E442", "x", (0, (2, 1)))
"""Of an arm that has no row here, such as one of another run: yellow crosses."""


@dataclass(frozen=True)
class Arm:
    """One way of making what the target learns from.

    Attributes:
        learns: from what, in the report's words.
        about: what it asks about: the target's errors; those beside the nearest items it got right; any item, without
            its answer; as many items as errors would be, drawn at random, with their answers. "": no instructor.
        notebook: makes its lessons; "" if 05 itself takes the gold answers.
        template: the prompt's name under ``instructors/prompts``, after the family's: ``math_<template>.j2``.
        task: end of the request's last sentence, "Write n new questions with their answers, …".
        look: colour, marker and line style, the same in every figure. Printed in grey no two are equally light.
        needs: who answers its requests.
        halves: of a switch, the strategies of its iterations before the last, and of the last.
        signal: what a training step follows. ``answers``: the words of the training set. Else the model's own rollouts,
            scored token by token by a ``teacher``, or by the model itself as it was, shown the ``lesson``.
    """

    name: str
    learns: str
    look: tuple[str, Any, Any]
    about: About = ""
    template: str = ""
    task: str = ""
    notebook: str = ""
    needs: Literal["", "instructor", "teacher"] = ""
    halves: tuple[str, ...] = ()
    signal: Signal = "answers"

    @property
    def studies_errors(self) -> bool:
        return self.about in ("errors", "errors_and_neighbours")


_REPAIR = "that train what the student got wrong"
_PRACTISE = "that train what the student should practise next"
_ALIKE = "of the same kind"
_BESIDE = "lessons on errors beside right answers"
_SHOWN = "its own scores of its words, shown le's lessons"
_BOUNDARY = "along the boundary between what the student can do and what it got wrong"
_TAUGHT: dict[str, Any] = {"notebook": "03_instruct_LE", "needs": "instructor"}
_CONTRASTED: dict[str, Any] = {"notebook": "04_instruct_LEC", "needs": "instructor"}
_SCORED: dict[str, Any] = {"notebook": "10_distil", "needs": "teacher", "signal": "teacher"}
_OWN: dict[str, Any] = {"notebook": "09_self_training"}
_ATTEMPTS: dict[str, Any] = {"notebook": "07_tripost"}
_ROWS = (
    # name, learns, look, about, template, task
    Arm("vanilla", "", ("#000000", "o", (0, (1, 1)))),
    Arm("fine_tuning", "gold answers", ("#7CC4F0", "v", (0, (3, 1, 1, 1)))),
    Arm("auggpt", "lessons on any item", ("#E69F00", "s", (0, (4, 2))), "items", "auggpt", _ALIKE, **_TAUGHT),
    Arm("random", "lessons on random items", ("#8A8A8A", "p", (0, (2, 3))), "random", "random", _PRACTISE, **_TAUGHT),
    # LE and LEC, whose values lie closest, are a dark broken line and a lighter solid one
    Arm("le", "lessons on errors", ("#0072B2", "^", (0, (7, 1.5))), "errors", "le", _REPAIR, **_TAUGHT),
    Arm("lec", _BESIDE, ("#D55E00", "D", "-"), "errors_and_neighbours", "lec", _BOUNDARY, **_CONTRASTED),
    Arm("le+lec", "le's lessons, at last lec's", ("#009E73", "<", (0, (6, 1, 1, 1, 1, 1))), halves=("le", "lec")),
    Arm("lec+le", "lec's lessons, at last le's", ("#CC79A7", ">", (0, (6, 1, 3, 1))), halves=("lec", "le")),
    # own answers to training questions, verified or not; then own rollouts that a teacher scores
    Arm("rft", "its own right answers", ("#043E0C", "*", (0, (5, 1))), **_OWN),
    Arm("rft_errors", "its own right answers to what it failed", ("#96105A", (4, 1, 0), (0, (3, 1))), **_OWN),
    Arm("self", "its own answers, right or wrong", ("#180A06", (3, 1, 0), (0, (1, 1, 3, 1))), **_OWN),
    Arm("opd", "a teacher's scores of its words", ("#0A1270", (6, 1, 0), (0, (8, 2))), **_SCORED),
    Arm(
        "opd_errors",
        "a teacher's scores of its words on failed items",
        ("#96060E", (7, 0, 0), (0, (2, 1, 1, 1))),
        **_SCORED,
    ),
    Arm(
        "opd_contrast",
        "a teacher's scores of its words, half on failed items",
        ("#6428C0", "X", (0, (10, 1))),
        **_SCORED,
    ),
    Arm("sdft", _SHOWN, ("#E8BF4A", (8, 1, 0), (0, (4, 1, 1, 1))), "errors", "le", _REPAIR, signal="lesson", **_TAUGHT),
    # TriPosT and what it is compared with: other records of the same sampled attempts
    Arm("tripost", "its own attempts, criticised and repaired", ("#8B1A1A", "h", (0, (9, 1))), **_ATTEMPTS),
    Arm("tripost_injected", "errors put into gold answers, repaired", ("#C77C11", "H", (0, (5, 2))), **_ATTEMPTS),
    Arm("rejection", "its own right attempts", ("#5A7D2A", "d", (0, (3, 2))), **_ATTEMPTS),
    Arm("lmsi", "its own attempts that agree", ("#4B3F8F", "P", (0, (2, 2))), **_ATTEMPTS),
    Arm("critique", "feedback on its own attempts", ("#A6A13A", "8", (0, (1, 2))), **_ATTEMPTS),
    Arm("answer_only", "gold answers without their steps", ("#1E1E1E", "1", (0, (1, 3))), **_ATTEMPTS),
)
ARMS = {arm.name: arm for arm in _ROWS}
"""Baselines and control first; tables keep this order."""


def strategy(arm: str, iteration: int, iterations: int) -> str:
    """How an arm makes its lessons in an iteration: a switch does as its second half in the last one."""
    halves = ARMS[arm].halves
    return halves[iteration >= iterations] if halves else arm


def row(arm: str) -> Arm:
    """An arm's row; of an arm that this release does not know, a row with its name and ``OWN_LOOK``."""
    return ARMS.get(arm) or Arm(arm, "", OWN_LOOK)


def studies_errors(arm: str) -> bool:
    """Whether an arm, or what a switch is made of, asks about the target's errors."""
    return any(row(name).studies_errors for name in (arm, *row(arm).halves))
